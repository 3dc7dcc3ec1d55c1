# Of cbdctl list: what does not depend on who looks, and when.
del(.transport.path) | del(.. | .alive?, .state?, .held?)
