#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# cbdctl COMMAND --help and cbdctl(1) have the same commands and options, in the
# synopsis too, and cbdctl understands them.

. "$(dirname "$0")/options.sh"

manual=${abs_top_srcdir:?}/ctl/cbdctl.pod

same "cbdctl --help" "$(help_options cbdctl)" "$manual" \
	"$(manual_section "$manual" OPTIONS | item_options)"

commands=$(cbdctl --help | sed -nE '/^Commands:/,/^$/s/^  ([a-z-]+) .*/\1/p' | sort)
same "cbdctl --help" "$commands" "$manual" \
	"$(sed -nE 's/^=head1 cbdctl ([a-z-]+)$/\1/p' "$manual" | sort)"

for command in $commands; do
	help=$(help_options cbdctl "$command")
	same "cbdctl $command --help" "$help" "$manual" \
		"$(manual_section "$manual" "cbdctl $command" | item_options)"
	same "cbdctl $command --help" "$(grep -vx -e -h -e --help <<<"$help")" "the synopsis" \
		"$(manual_section "$manual" SYNOPSIS | awk -v RS= "/^ cbdctl $command /" |
			synopsis_options)"
	for option in $help; do
		understood "$option" cbdctl "$command"
	done
done
expect 0 "" cbdctl --version
grep -qE '^cbdctl [0-9]+\.[0-9]+\.[0-9]+$' "$tmp/expect.out" ||
	fail "--version: $(cat "$tmp/expect.out")"
