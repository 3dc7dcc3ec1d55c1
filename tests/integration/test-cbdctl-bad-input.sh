#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# What cbdctl says of transports and numbers that are wrong: one row each, status
# and message, and that nothing is lost.

. "$(dirname "$0")/bad-transports.sh"
trap 'echo "$0: line $LINENO fails" >&2' ERR

requires_program jq mkfs.ext4 nbdkit python3 qemu-img setpriv sfdisk

# A fresh transport, ready to be spoilt.
fresh()
{
	format_transport transport --force --force
}

# A backend, which has to refuse.
backend()
{
	timeout "$(limit 10)" cbd-backend -f -t "$transport" --id 0 "$disk"
}

make_disk "$disks/disk" 1M

# --- What cannot be used ----------------------------------------------------

# refused CHECK-STATUS TEXT: by all commands that open a transport
refused()
{
	local command

	for command in list "clear backend 0" "clear host 0 --force"; do
		# shellcheck disable=SC2086 # words
		expect 1 "cbdctl: $2" "${as_owner[@]}" cbdctl $command "$transport"
		[ ! -s "$tmp/expect.out" ] || fail "$command: prints $(cat "$tmp/expect.out")"
	done
	for command in check "check --repair"; do
		# shellcheck disable=SC2086 # words
		expect "$1" "cbdctl: $2" "${as_owner[@]}" cbdctl $command "$transport"
	done
	if [ "$1" -eq 3 ]; then
		grep -qF "header and copy are both beyond repair" "$tmp/expect.err"
	fi
	expect 0 "cbdctl: $2" "${as_owner[@]}" cbdctl list-transports "$transport"
}

each_bad_transport refused

# Both are damaged: no accident makes it an empty one, an order does.
spoil both-bits 100
expect 3 "'cbdctl format --force' makes it usable again, empty" cbdctl check "$transport"
expect 1 "$transport: is a cbd transport already; --force formats it" \
	cbdctl format "$transport"
cbdctl format --channels 4 --force "$transport" >/dev/null
cbdctl check "$transport"

# --- Formatting what is no transport ----------------------------------------

# not_formatted TEXT [OPTION]...: and $transport is not changed
not_formatted()
{
	local text=$1 before
	shift

	before=$(digest)
	expect 1 "cbdctl: $transport: $text" "${as_owner[@]}" cbdctl format "$@" "$transport"
	[ "$(digest)" = "$before" ] || fail "format: the file was changed"
}

spoil missing
not_formatted "No such file or directory; give a size to create it"
not_formatted "too small: 8192 bytes; 32 channels of 1048576 bytes need" --size 8K
[ ! -e "$transport" ] || fail "format has left a file"
spoil folder
not_formatted "Is a directory" --size 24M
spoil fifo
not_formatted "neither a file nor a devdax device" --size 24M
spoil device /dev/null
not_formatted "a character device, but not a devdax one" --size 24M
spoil unreadable
not_formatted "Permission denied" --force
spoil empty
not_formatted "is empty; give its size"
not_formatted "too small: 8192 bytes; 32 channels of 1048576 bytes need" --size 8K
spoil set version=2
not_formatted "is a cbd transport already; --force formats it"
not_formatted "format version 2, this program knows 1" --force
transport=$memory/no/transport
not_formatted "No such file or directory" --size 24M

# The needed size is right: with it format succeeds.
transport=$memory/needed
expect 1 "too small: 4096 bytes" cbdctl format --size 4096 --hosts 9 --blkdevs 40 "$transport"
needed=$(sed 's/.* need //' "$tmp/expect.err")
not_formatted "too small: $((needed - 4096)) bytes" --hosts 9 --blkdevs 40 --size $((needed - 4096))
cbdctl format --size "$needed" --hosts 9 --blkdevs 40 "$transport" >/dev/null
rm "$transport"

# A device that is not there is not made as a file.
for transport in /dev/dax7.7 /dev/cbd-test-none; do
	not_formatted "there is no such device; 'daxctl list' shows all" --size 24M
	[ ! -e "$transport" ] || fail "format has made $transport"
done

# A limit of the process is an error and no signal.
transport=$memory/limit
limited()
{
	(ulimit -f 1024 && exec "$@")
}
expect 1 "cannot grow to 25165824 bytes: this process may write files of 1048576 bytes only (ulimit -f)" \
	limited cbdctl format --channels 4 --size 24M "$transport"
[ ! -e "$transport" ] || fail "format has left a file"
if ! sanitized; then
	expect 1 "cannot map" prlimit --as=40000000 cbdctl format --size 64M "$transport"
	[ ! -e "$transport" ] || fail "format has left a file"

	# What could not be looked at is not said to be a transport.
	fresh
	expect 1 "cbdctl: $transport: cannot map 25165824 bytes: Cannot allocate memory" \
		prlimit --as=25000000 cbdctl format "$transport"
	rm "$transport"
fi

# A sparse file is reserved: what the file system lacks is found now.
full=$disks/full
mkdir "$full"
if mount -t tmpfs -o size=16M none "$full" 2>/dev/null; then
	cleanup_fn umount "$full"
	transport=$full/sparse
	truncate -s 24M "$transport"
	not_formatted "cannot reserve 25165824 bytes: No space left on device" --channels 4
	umount "$full"
	cleanup_commands=("${cleanup_commands[@]:0:${#cleanup_commands[@]}-1}")
fi
transport=$memory/sparse
truncate -s 24M "$transport"
cbdctl format --channels 4 "$transport" >/dev/null
[ $(($(stat -c '%b * %B' "$transport"))) -ge 25165824 ] || fail "a sparse transport is not reserved"
rm "$transport"

# Somebody's file, by a wrong path.
transport=$disks/image
truncate -s 64M "$transport"
printf 'label: gpt\n,,\n' | sfdisk -q "$transport"
not_formatted "holds data (gpt); --force formats it"
rm "$transport"
for format in qcow2 qed vdi vmdk vhdx vpc; do
	qemu-img create -q -f $format "$transport" 64M
	not_formatted "holds data (${format/vpc/vhd}); --force formats it" --size 64M
	rm "$transport"
done
truncate -s 64M "$transport"
mkfs.ext4 -qF "$transport"
not_formatted "holds data (ext4); --force formats it"
cbdctl format --force "$transport" >/dev/null
cbdctl check "$transport"
rm "$transport"

# What nobody recognizes is somebody's too: even one byte, behind a hole. Zeroes, as
# truncate(1) and dd(1) make them, are nobody's.
head -c 64M /dev/urandom >"$transport"
not_formatted "holds data; --force formats it"
cbdctl format --force "$transport" >/dev/null
cbdctl check "$transport"
rm "$transport"
truncate -s 64M "$transport"
printf x | dd of="$transport" bs=1 seek=40M conv=notrunc status=none
not_formatted "holds data; --force formats it"
head -c 64M /dev/zero >"$transport"
cbdctl format "$transport" >/dev/null
rm "$transport"

# The disk of a backend, not even with all force.
make_disk "$disks/served" 64M
format_transport transport
start_backend 0 "$disk"
transport=$disk
not_formatted "is in use by a process on this host"
not_formatted "is in use by a process on this host" --force
not_formatted "is in use, and not as a transport" --force --force
stop_backend 0
disk=$disks/disk

# --- What can be used nevertheless ------------------------------------------

# another magic: the copy serves
fresh
uuid=$(jq -r .uuid "$tmp/format.json")
damage="$transport: the header is damaged, its copy is used; 'cbdctl check --repair' restores it"
printf 'NOTcbd!!' | dd of="$transport" conv=notrunc status=none
expect 0 "$damage" cbdctl list "$transport"
[ "$(jq -r '.transport | "\(.uuid) \(.damaged)"' "$tmp/expect.out")" = "$uuid true" ]
expect 1 "$damage" cbdctl clear backend 0 "$transport"
expect 0 "$damage" cbdctl list-transports "$transport"
expect 3 "$transport: header is damaged" cbdctl check "$transport"
expect 0 "$transport: header is damaged; repaired" cbdctl check --repair "$transport"
expect 0 "" cbdctl check "$transport"
[ "$(cbdctl list "$transport" | jq -r '.transport | "\(.uuid) \(.damaged)"')" = "$uuid false" ]

# bits of the header, of its table, of the copy and the copy's table
for row in "0 100" "0 4099" "copy 100" "copy 4096"; do
	object=header
	[ "${row% *}" = 0 ] || object="copy of the header"
	# shellcheck disable=SC2086 # words
	"$patch" "$transport" flip $row
	expect 3 "$transport: $object is damaged" cbdctl check "$transport"
	expect 3 "'cbdctl check --repair' restores what nobody uses" cbdctl check "$transport"
	expect 0 "$transport: $object is damaged; repaired" cbdctl check --repair "$transport"
	expect 0 "" cbdctl check "$transport"
done

# sound, and not the same
fresh
"$patch" "$transport" copy label=0x41
expect 3 "copy of the header is not equal to the header" cbdctl check "$transport"
expect 0 "copy of the header is not equal to the header; repaired" \
	cbdctl check --repair "$transport"
expect 0 "" cbdctl check "$transport"

# smaller than its file, and the copy of an older, larger one is not taken for it
fresh
cbdctl format --force --size 20M --channels 2 "$transport" >"$tmp/format.json"
uuid=$(jq -r .uuid "$tmp/format.json")
"$patch" "$transport" flip 0
expect 0 "$damage" cbdctl list "$transport"
[ "$(jq -r .transport.uuid "$tmp/expect.out")" = "$uuid" ]
dd if=/dev/zero of="$transport" bs=4096 count=1 conv=notrunc status=none
expect 1 "not a cbd transport (no magic)" cbdctl list "$transport"

fresh
"$patch" "$transport" both ro_compat=2
message="$transport: has features (ro_compat 0x2) that this version only reads"
expect 0 "" cbdctl list "$transport"
[ "$(jq -r .transport.ro_compat "$tmp/expect.out")" = 0x2 ]
expect 0 "" cbdctl check "$transport"
expect 1 "$message" cbdctl check --repair "$transport"
expect 1 "$message" cbdctl clear backend 0 "$transport"
expect 1 "$message" backend

fresh
"$patch" "$transport" both compat=8
expect 0 "" cbdctl list "$transport"
start_backend 0 "$disk"
expect 0 "" cbdctl check "$transport"
stop_backend 0

# --- Formatting again -------------------------------------------------------

fresh
expect 1 "$transport: is a cbd transport already; --force formats it" \
	cbdctl format "$transport"

start_backend 0 "$disk"
expect 1 "$transport: is in use by a process on this host" cbdctl format "$transport"
expect 1 "$transport: is in use by a process on this host" cbdctl format --force "$transport"
alive "${backend_pids[0]}" || fail "the backend did not survive that"
kill_backend 0
cbdctl format --channels 4 --force "$transport" >/dev/null
expect 0 "" cbdctl list -B "$transport"
[ "$(jq length "$tmp/expect.out")" -eq 0 ]

# An owner on another host that is silent: its boot is not this one.
fresh
start_backend 0 "$disk"
kill_backend 0
"$patch" "$transport" line host-state:0 16:8=1
"$patch" "$transport" line backend-claim:0:0 24:8=1
expect 1 "$transport: backend 0 of host 0 is suspect, not dead; clear it if that host is off" \
	cbdctl format --force "$transport"
expect 1 "--force formats it" cbdctl format "$transport"
cbdctl format --channels 4 --force --force "$transport" >/dev/null
expect 0 "" cbdctl check "$transport"

# In use, and it was said twice: its users find out, and end or fail.
fresh
start_backend 0 "$disk"
start_nbdkit cbd "$transport" backend=0
cbdctl format --channels 4 --force --force "$transport" >/dev/null
wait_until 20 gone "${backend_pids[0]}" || fail "the backend has not noticed"
grep -qx "cbd-backend: backend 0: $transport: was formatted again" "$tmp/backend-0.log"
expect 1 "Input/output error" timeout "$(limit 20)" "$nbd_io" "$uri" write:0:4K:1
stop "$nbdkit_pid"
expect 0 "" cbdctl check --repair "$transport"

# --- The command line -------------------------------------------------------

transport=$memory/new
while read -r size text; do
	expect 2 "--size: '$size': $text" cbdctl format --size "$size" "$transport"
	[ ! -e "$transport" ] || fail "--size $size has left a file"
done <<'EOF'
0 must be a whole number above 0
-1 must be a whole number above 0
1.5G must be a whole number above 0
1GB must be a whole number above 0
99999999999999999999 is more than 64T
99999999999999999999x must be a whole number above 0
18446744073709551616 is more than 64T
65T is more than 64T
99999T is more than 64T
EOF
expect 2 "--size: '': must be a whole number above 0" cbdctl format --size '' "$transport"
# ENOSPC or EFBIG, as the file system says
expect 1 "$transport: cannot reserve 70368744177664 bytes" cbdctl format --size 64T "$transport"
[ ! -e "$transport" ] || fail "--size 64T has left a file"

while read -r options text; do
	# shellcheck disable=SC2086 # words
	expect 2 "$text" cbdctl ${options//,/ } "$transport"
done <<'EOF'
frmat frmat: unknown command
format,--hosts,0 --hosts: '0': must be a number from 1 to 64
format,--backends,65 --backends: '65': must be a number from 1 to 64
format,--depth,33 --depth: '33': must be a power of two
format,--channel-size,1000K --channel-size: '1000K': must be a multiple of 4K from 1M to 16M
format,--coherence,soft --coherence: 'soft': must be hardware or software
format,--label,0123456789012345678901234567890123456789012345678901234567890123 --label: '0123
format,--heartbeat,0 --heartbeat: '0': must be a number from 1 to 60000
format,--dead-after,1 --dead-after: '1': must be a number from 2 to 1000
format,--channels,257 --channels: '257': must be a number from 1 to 256
format,--blkdevs,-1 --blkdevs: '-1': must be a number from 1 to 256
format,--sise,24M unrecognized option '--sise'
format,extra : one transport is enough
list,-X invalid option -- 'X'
list,--id,0 --id: needs one of --hosts
list,-B,--id,x --id: 'x': must be a number
list,-B,extra : one transport is enough
check,extra : one transport is enough
clear what to clear is missing
clear,host host: '/
clear,channel,0 'channel': must be host, backend or blkdev
clear,host,x host: 'x': must be a number
clear,host,1,--host-gone,64 --host-gone: '64': must be a number from 0 to 63
clear,host,1,extra : one transport is enough
EOF
for command in list check "clear host 0" format; do
	# shellcheck disable=SC2086 # words
	expect 2 "the transport is missing" cbdctl $command
done
expect 2 "the command is missing" cbdctl
expect 2 "option '--size' requires an argument" cbdctl format --size
expect 2 "unrecognized option '--nonsense'" cbdctl --nonsense
for command in format list list-transports check clear; do
	expect 2 "cbdctl: unrecognized option '--nonsense'" cbdctl $command --nonsense
	expect 2 "Try 'cbdctl $command --help'." cbdctl $command --nonsense
done

fresh
for command in list check "format --force --channels 4"; do
	# shellcheck disable=SC2086 # words
	expect 1 "cbdctl: stdout: No space left on device" sh -c 'exec cbdctl "$@" >/dev/full' sh \
		$command "$transport"
done
expect 1 "$transport: backend 4: there are only 0 to 3" cbdctl list -B --id 4 "$transport"
expect 1 "$transport: backend 3: not in use" cbdctl list -B --id 3 "$transport"
for object in host:16:15 backend:4:3 blkdev:16:15; do
	IFS=: read -r kind id last <<<"$object"
	expect 1 "$transport: $kind $id: the transport has 0..$last" \
		cbdctl clear "$kind" "$id" "$transport"
	expect 1 "$transport: $kind 0: is not in use" cbdctl clear "$kind" 0 "$transport"
done
expect 1 "hosts_gone: the transport has hosts 0..15" \
	cbdctl clear host 0 --host-gone 16 "$transport"
