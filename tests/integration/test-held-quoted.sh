#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The command of held.free can be given to a shell as it is, whatever the path of the
# transport looks like.

. "$(dirname "$0")/functions.sh"

requires_program jq

# shellcheck disable=SC2016 # the dollar is part of the name
format_transport 'it'\''s "a" $(touch pwned); transport'
make_disk "$disks/disk" 16M
start_backend 1 "$disk"
kill_backend 1
cd "$tmp"

command=$(cbdctl list "$transport" | jq -r '.backends[0].held.free')
[[ $command == "cbdctl clear backend 1 '"* ]] || fail "it is: $command"
sh -c "$command" || fail "fails: $command"
[ ! -e pwned ] || fail "a part of the path was executed"
[ "$(cbdctl list -B "$transport" | jq length)" -eq 0 ] || fail "it has freed nothing: $command"
