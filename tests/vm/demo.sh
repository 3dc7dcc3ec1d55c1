#!/bin/bash
# The demonstration: three hosts share one memory, /dev/dax0.0. A has no disk and verifies
# a file system on the disk of B. cbd-backend is killed, stopped, upgraded, the disk grows,
# B hangs and is powered off, and C takes its disk over. Then one invalidate is taken out of
# libcbd, and the simulator finds it.
#
# It says what it does, shows what it types on which host, and ends where something is not
# as it should be. This script owns the order of things and the verdict; the guests belong
# to lab.sh, and what is sent to them to remote.sh.
#
# usage: build/run tests/vm/demo.sh [--record FILE] [guests|simulator]
#        --record FILE  write what is shown to FILE too, for asciinema play
#        guests, simulator: this part alone
#
# Exits as automake wants it: 0 passed, 1 failed, 77 skipped, 99 broken.
# CBD_VM_KEEP=1 keeps the run folder.

# shellcheck disable=SC2016 # what is typed is expanded by the host
set -eEuo pipefail
trap 'echo "demo.sh: line $LINENO: $BASH_COMMAND: failed" >&2' ERR

# shellcheck source=remote.sh
. "$(dirname "$0")/remote.sh"

size=$((64 << 20))
grown=$((96 << 20))
record=
mark=0
mutant=payload-load-no-invalidate

# What is shown, and its recording

show()
{
	local line

	while IFS= read -r line || [ -n "$line" ]; do
		printf '%s\n' "$line"
		[ -z "$record" ] || printf '%s %s\n' "$EPOCHREALTIME" "$line" >>"$times"
	done
}

step() # TITLE
{
	printf '\n=== %s\n\n' "$1" | show
}

tell() # SENTENCES
{
	fmt -w 78 <<<"$*" | show
}

typed() # PROMPT COMMAND
{
	sed "1s/^/$1 /; 2,\$s/^/   /" <<<"$2" | show
}

fail()
{
	tell "NOT AS IT SHOULD BE: $*"
	hosts_said
	exit 1
}

# The form of asciinema, version 2: a header, and a line for each line that was shown.
make_cast()
{
	jq -nRc '[inputs | capture("^(?<at>[0-9.]+) (?<text>.*)$") | .at |= tonumber] as $l |
		{version: 2, width: 118, height: 40, timestamp: ($l[0].at | floor),
		 idle_time_limit: 2, title: "cbd: three hosts, one memory, one disk"},
		($l[] | [((.at - $l[0].at) * 1000 | round / 1000), "o", .text + "\r\n"])' \
		"$times" >"$record"
	rm -f "$times"
}

# Commands of the hosts

# Types COMMAND, and shows what it says.
on() # HOST COMMAND
{
	local rc=0

	typed "$1#" "$2"
	ask "$1" "$2" || rc=$?
	show <"$LAB_RUN/said"
	[ $rc = 0 ] || fail "that ended with status $rc"
}

# The same of what has to be refused, and why.
refused() # HOST COMMAND REASON
{
	typed "$1#" "$2"
	! ask "$1" "$2" || fail "that should have been refused"
	show <"$LAB_RUN/said"
	grep -qF "$3" "$LAB_RUN/said" || fail "that was not refused because '$3'"
}

# What cbdctl top sees: host A has it run all the time, a line of JSON for each second.
top_lines()
{
	wc -l <"$top"
}

since_mark() # JQ PROGRAM, over the blkdev of each second
{
	head -n "$(top_lines)" "$top" | tail -n +$((mark + 1)) |
		jq -s "[.[].blkdevs[0] | select(.counted) |
			.answered = .read.requests_per_s + .write.requests_per_s + .other.requests_per_s |
			.errors = .read.errors_per_s + .write.errors_per_s + .other.errors_per_s] | $1"
}

# For two seconds, of which both began after now.
await_flow()
{
	local end=$((SECONDS + $(patience 60))) enough=$(($(top_lines) + 3))

	until [ "$(top_lines)" -ge $enough ] &&
		[ "$(since_mark '.[-2:] | all(.answered > 0)')" = true ]; do
		[ ! -s "$LAB_RUN/fio.errors" ] || fail "fio says: $(cat "$LAB_RUN/fio.errors")"
		[ $SECONDS -lt $end ] || fail "host A's requests are not answered"
		sleep 0.5
	done
}

# What comes is to meet requests under way.
set_mark()
{
	await_flow
	mark=$(top_lines)
}

# What host A has noticed of all this since set_mark.
noticed() # JQ CONDITION that has to be true of it
{
	local what

	await_flow
	what=$(since_mark '{
		stood_s: (([.[] | select(.answered == 0 and .in_flight > 0) | .interval_ms] | add // 0) / 1000),
		waiting: (map(.in_flight) | max),
		p99_ms: (map(.write.p99_ns, .read.p99_ns) | max / 1000000 | round),
		again: .[-1].answered,
		errors: (map(.errors) | add)}')
	jq -r '"top on A: nothing answered for at least \(.stood_s) s, up to \(.waiting) requests waiting; " +
		"99 of 100 within \(.p99_ms) ms; \(.again) a second again; \(.errors) errors"' <<<"$what" |
		show
	jq -e ".errors == 0 and ($1)" <<<"$what" >/dev/null || fail "it should have noticed: $1"
	! ask A 'dmesg | grep -iE "I/O error|nbd0.*(error|timed out)|EXT4-fs (error|warning)"' ||
		fail "the kernel of host A has seen an error: $(cat "$LAB_RUN/said")"
}

# The guests

clean_up()
{
	if [ -n "$record" ] && [ -s "$times" ]; then
		make_cast
	fi
	remove_run_folder
}

new_lab()
{
	build_lab
	new_run_folder 120 "$here/demo-guest.sh"
	cp "$here/demo.fio" "$LAB_RUN/"
	cp "$here/guest-power-off.sh" "$LAB_RUN/power-off"
	truncate -s $size "$LAB_RUN/disk"
	top=$LAB_RUN/top
}

# B and C have the same disk, as two machines in front of one storage array: of the same
# serial number, and neither of the QEMUs keeps the other one out. What is written into
# monitor-N.in is a command of QEMU's monitor.
boot_host() # HOST
{
	local n=${node[$1]} extra=()

	if [ "$1" != A ]; then
		mkfifo "$LAB_RUN/monitor-$n".{in,out}
		extra+=(-chardev "pipe,id=monitor,path=monitor-$n" -mon chardev=monitor
			-drive "if=none,id=disk,format=raw,file=$LAB_RUN/disk"
			-device "virtio-blk-pci,bus=pcie.0,drive=disk,serial=array-7-disk-1,share-rw=on")
	fi
	boot "$1" "${extra[@]}"
}

grow_disk()
{
	local n

	for n in 2 3; do
		echo "block_resize disk ${grown}B" 1<>"$LAB_RUN/monitor-$n.in"
	done
	quietly B "wait_until 'the larger disk' has_size /dev/vda $grown"
	quietly C "wait_until 'the larger disk' has_size /dev/vda $grown"
}

# The acts

backend="cbd-backend -t $dev --id 1 --name data --write-through -P /run/cbd-backend.pid"
nbd_client="nbd-client -unix /run/cbd.sock /dev/nbd0"

hosts()
{
	step "Three hosts, one memory"
	tell "Host A, B and C are virtual machines, each with a kernel of its own. All three see" \
		"the same memory as $dev. B and C see the same disk as /dev/vda; A has none. The CPUs" \
		"are emulated: what follows is about errors and data, its times are not those of hardware."
	local host

	"$here/lab.sh" prepare
	for host in A B C; do
		boot_host $host
	done
	for host in A B C; do
		is_up $host
	done
	on A "ls -l $dev"
	on B "cat /sys/block/vda/{size,serial}"
	on C "cat /sys/block/vda/{size,serial}"
}

mounted()
{
	step "A mounts the disk of B"
	on A "cbdctl format --label demo $dev | jq -c '{coherence, size, heartbeat_ms, dead_after}'"
	on B "$backend /dev/vda"
	on A "nbdkit -U /run/cbd.sock -P /run/cbd-nbdkit.pid cbd $dev backend=data"
	on A "$nbd_client"
	quietly A "wait_until '/dev/nbd0 to have its size' has_size /dev/nbd0 $size"
	on A "mkfs.ext4 -q /dev/nbd0 && mount /dev/nbd0 /mnt && df -h /mnt"
	quietly A "head -c 5000003 /dev/urandom >/mnt/kept; sha256sum /mnt/kept >/run/sums"
	tell "fio now writes blocks at random places, each with a checksum, reads them back and" \
		"compares them, over again, and stops at the first that is wrong. cbdctl top looks" \
		"on, each second."
	on A "grep -v '^#' /lab/demo.fio | paste -sd ' '"
	quietly A "cbdctl top --json $dev >/lab/top 2>&1 &"
	quietly A verify_start
	await_host A "$top"
	await_flow
	on A "cbdctl top --once $dev"
}

killed()
{
	step "cbd-backend is killed"
	tell "A's requests wait: BUSY are those that have no answer. An error is not due."
	set_mark
	on B 'kill -9 "$(cat /run/cbd-backend.pid)"'
	on A "cbdctl top --once $dev"
	on B "$backend /dev/vda"
	noticed ".stood_s > 1 and .waiting > 0"
}

stopped()
{
	step "cbd-backend is stopped in order, and started again"
	set_mark
	on B 'kill "$(cat /run/cbd-backend.pid)"'
	quietly B 'wait_until "the end" test ! -e /run/cbd-backend.pid'
	on A "cbdctl list -B $dev | jq -c '.[] | {name, state, blkdevs}'"
	on B "$backend /dev/vda"
	noticed true
}

upgraded()
{
	step "cbd-backend is upgraded in place"
	tell "A new process takes the slot over from the one that serves it, which answers what it" \
		"has taken, hands over, and ends."
	set_mark
	on B "cat /run/cbd-backend.pid"
	on B "$backend --takeover /dev/vda"
	on B "cat /run/cbd-backend.pid"
	noticed true
}

grew()
{
	step "The disk grows"
	tell "The storage array makes the disk larger. cbd-backend notices, and A connects again," \
		"because a connection of NBD keeps the size that it began with: fio has a rest."
	grow_disk
	on B "blockdev --getsize64 /dev/vda"
	on B 'kill -HUP "$(cat /run/cbd-backend.pid)"'
	quietly A verify_stop
	on A "umount /mnt && e2fsck -fn /dev/nbd0"
	on A "nbd-client -d /dev/nbd0"
	quietly A "wait_until '/dev/nbd0 to be free' is_free /dev/nbd0"
	on A "$nbd_client"
	quietly A "wait_until '/dev/nbd0 to have its size' has_size /dev/nbd0 $grown"
	on A "mount /dev/nbd0 /mnt && resize2fs /dev/nbd0 && df -h /mnt"
	quietly A "[ \$((\$(stat -f -c '%b * %S' /mnt))) -gt $size ]"
	on A "sha256sum -c /run/sums"
	quietly A verify_start
	await_flow
}

moved()
{
	local takeover="$backend --takeover \\
--fence '/lab/power-off \"\$CBD_HOST_NAME\"' /dev/vda"

	step "Host B hangs, and host C takes its disk over"
	tell "C may not take what lives, whatever its operator says: here that B is fenced."
	refused C "$backend --takeover --fenced /dev/vda" "is alive"
	tell "Now B stands still, all of it. Nobody can know whether it is dead, or will go on in" \
		"a moment in the middle of a write. So A waits."
	set_mark
	"$here/lab.sh" pause 2
	on A "cbdctl top --once $dev"
	refused C "$backend /dev/vda" "is owned by host"
	tell "With a fence it may: the command switches B off, and comes back when B is off. Then" \
		"nothing that B began can still come to the disk or to the memory."
	on C "$takeover"
	[ -e "$LAB_RUN/is-off.host-b" ] || fail "host B was not fenced"
	! "$here/lab.sh" alive 2 || fail "host B is on"
	noticed ".stood_s > 1 and .waiting > 0"
	on A "cbdctl status $dev"
}

# Sums up what fio has done, and looks at the file system from both sides.
verified()
{
	step "What A has"
	quietly A verify_stop
	jq -sr '"fio: \(length) runs, \(map(.error) | add) errors; \(map(.written) | add / 1048576 | round) MiB " +
		"written, \(map(.read) | add / 1048576 | round) MiB read and compared; the longest wait was " +
		"\(map(.longest_ns) | max / 1e8 | round / 10) s"' "$LAB_RUN/fio.runs" | show
	jq -se 'length > 1 and all(.error == 0 and .written > 0 and .read >= .written)' \
		"$LAB_RUN/fio.runs" >/dev/null || fail "fio has found errors"
	on A "echo 3 >/proc/sys/vm/drop_caches; sha256sum -c /run/sums"
	on A "umount /mnt && e2fsck -fn /dev/nbd0"
	on A "cbdctl metrics $dev | grep ^cbd_blkdev_errors_total"
	[ "$(awk '{ n += $2 } END { print n }' "$LAB_RUN/said")" = 0 ] ||
		fail "a client was given an error"
	on A "cbdctl check $dev"
	on A 'nbd-client -d /dev/nbd0; kill "$(cat /run/cbd-nbdkit.pid)"'
	on C 'kill "$(cat /run/cbd-backend.pid)"'
	quietly C 'wait_until "the end" test ! -e /run/cbd-backend.pid'
	on C "e2fsck -fn /dev/vda"
}

guests()
{
	hosts
	mounted
	killed
	stopped
	upgraded
	grew
	moved
	verified
	switch_off A C
}

simulator()
{
	local sim=$builddir/tests/sim found seed

	step "One invalidate is taken out"
	tell "The virtual machines above share the caches of one machine, so that a line of memory" \
		"is never stale. The simulator runs libcbd on hosts whose caches are not coherent." \
		"Does it find what a reader forgets?"
	awk -F '\t' -v name=$mutant '$1 == name { print $2; print $3 }' "$srcdir/tests/sim/mutants" |
		{
			read -r file
			read -r script
			file=libcbd/$file
			typed '$' "sed -i '$script' $file"
			{ diff -U0 "$srcdir/$file" <(sed "$script" "$srcdir/$file") || true; } |
				grep '^[-+]	' | show
		}
	typed '$' "make check-mutants MUTANTS=$mutant"
	found=$(timeout "$(limit 100)" \
		"$srcdir/tests/sim/mutants.sh" $mutant) || fail "$found"
	fmt -w 78 <<<"$found" | show
	seed=$(sed -n "s/^$mutant: killed; seed \([0-9]*\):.* is stale in the cache of .*/\1/p" <<<"$found")
	[ -n "$seed" ] || fail "no seed, or no place"
	tell "The same run again, with the invalidate in its place:"
	typed '$' "tests/sim/sim-random $seed && echo nothing found"
	timeout "$(limit 60)" "$sim/sim-random" "$seed" 2>&1 | show || fail "the simulator finds a fault"
	echo "nothing found" | show
}

parts=(guests simulator)
while [ $# -gt 0 ]; do
	case $1 in
	--record)
		record=${2:?FILE}
		shift
		;;
	guests | simulator) parts=("$1") ;;
	*) broken "usage: demo.sh [--record FILE] [guests|simulator]" ;;
	esac
	shift
done
[ -x "$builddir/run" ] || broken "$builddir: not built"
requires jq
times=$record.times
[ -z "$record" ] || : >"$times"
trap clean_up EXIT
trap 'exit 99' INT TERM HUP
for part in "${parts[@]}"; do
	case $part in
	guests)
		requires nbdkit nbd-client mkfs.ext4 e2fsck resize2fs fio sha256sum
		new_lab
		;;
	simulator)
		[ -x "$builddir/tests/sim/sim-random" ] ||
			make -s -C "$builddir/tests/sim" sim-random sim-systematic >&2 ||
			broken "the simulator could not be built"
		;;
	esac
	"$part"
done
printf '\nAll was as it should be.\n' | show
