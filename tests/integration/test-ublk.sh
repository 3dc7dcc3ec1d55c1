#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# cbd-ublk without its driver: COMMAND --help and cbd-ublk(8) have the same commands and
# options, in the synopsis too, and cbd-ublk understands them; what is wrong on the command
# line is said; where the kernel has no driver the message tells what to do, and nothing is
# left. With a driver tests/vm/ublk.sh tests it.

. "$(dirname "$0")/options.sh"

manual=${abs_top_srcdir:?}/ublk/cbd-ublk.pod
command -v cbd-ublk >/dev/null || skip "cbd-ublk is not built"
CBD_UBLK_RUN=$tmp/run
export CBD_UBLK_RUN

# --- Options ----------------------------------------------------------------

same "cbd-ublk --help" "$(help_options cbd-ublk)" "$manual" \
	"$(manual_section "$manual" OPTIONS | item_options)"
commands=$(cbd-ublk --help | sed -nE '/^Commands:/,/^$/s/^  ([a-z-]+) .*/\1/p' | sort)
same "cbd-ublk --help" "$commands" "$manual" \
	"$(sed -nE 's/^=head1 cbd-ublk ([a-z-]+)$/\1/p' "$manual" | sort)"
for command in $commands; do
	help=$(help_options cbd-ublk "$command")
	same "cbd-ublk $command --help" "$help" "$manual" \
		"$(manual_section "$manual" "cbd-ublk $command" | item_options)"
	# the synopsis has the short forms
	same "cbd-ublk $command --help" \
		"$(cbd-ublk "$command" --help | sed -nE 's/^ +(-[A-Za-z]|--[a-z-]+).*/\1/p' |
			grep -vx -e -h | sort -u)" \
		"the synopsis" \
		"$(manual_section "$manual" SYNOPSIS | awk -v RS= "/^ cbd-ublk $command /" |
			synopsis_options)"
	for option in $help; do
		understood "$option" cbd-ublk "$command"
	done
done
expect 0 "" cbd-ublk --version
grep -qE '^cbd-ublk [0-9]+\.[0-9]+\.[0-9]+ \(libcbd [0-9.]+\)$' "$tmp/expect.out" ||
	fail "--version: $(cat "$tmp/expect.out")"

# wrong TEXT ARGUMENT...: a mistake, which is named
wrong()
{
	expect 2 "cbd-ublk: $1" cbd-ublk "${@:2}"
	[ "$(wc -l <"$tmp/expect.err")" -eq 2 ] || fail "not two lines: $(cat "$tmp/expect.err")"
}
add=(add -t /nowhere --backend 0)
wrong "the command is missing"
wrong "mount: unknown command" mount
wrong "--transport: is required" add --backend 0
wrong "--backend: is required" add -t /nowhere
wrong "--backend: must not be empty" add --backend=
wrong "--queues: '0': must be a number from 1 to 256" "${add[@]}" --queues 0
wrong "--depth: '4097': must be" "${add[@]}" --depth 4097
wrong "--name: '../x': a name has" "${add[@]}" --name ../x
wrong "--name: is required: 'a b' cannot be" add -t /nowhere --backend "a b"
wrong "--poll: 'never': must be" "${add[@]}" --poll never
wrong "'x': one NAME only" "${add[@]}" x
wrong "the NAME of the device is missing" del
wrong "the NAME of the device is missing" recover
wrong "'a/b': a name has" recover a/b
wrong "--udev: takes no NAME" list --udev /dev/ublkb0 x

# --- Without devices --------------------------------------------------------

expect 0 "" cbd-ublk list
[ "$(jq -c . "$tmp/expect.out")" = "[]" ] || fail "list: $(cat "$tmp/expect.out")"
expect 1 "cbd-ublk: x: there is no such device" cbd-ublk list x
expect 1 "cbd-ublk: x: there is no such device" cbd-ublk del x
expect 2 "cbd-ublk: --udev: 'sda': is no /dev/ublkbN or /dev/ublkcN" cbd-ublk list --udev sda

# --- Without the driver -----------------------------------------------------

[ -e /dev/ublk-control ] && skip "the kernel has the driver: the rest is for others"
format_transport transport
for mode in "" -f; do
	# shellcheck disable=SC2086 # a word or none
	expect 1 "/dev/ublk-control: the kernel's driver is not loaded: 'modprobe ublk_drv'" \
		timeout "$(limit 20)" cbd-ublk add $mode -t "$transport" --backend 0
	one_message
done
[ -z "$(ls "$CBD_UBLK_RUN")" ] || fail "left: $(ls "$CBD_UBLK_RUN")"
