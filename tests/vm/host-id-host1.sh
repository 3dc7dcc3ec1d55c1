# The original of two cloned machines: it was there first, and keeps running
# while the clone is refused and, with an id of its own, let in.
# shellcheck shell=bash

# shellcheck source=guest-lib.sh
. /lab/guest-lib.sh

need_build
clone_machine
new_disk /run/disk.img
cbdctl format --force "$dev"
start_backend 1 /run/disk.img
raise_flag original-runs
wait_flag clone-refused

has_alive 1 -H || die "not one host is alive, but $(alive -H)"
has_alive 1 -B || die "not one backend is alive, but $(alive -B)"
raise_flag original-unharmed
wait_flag clone-admitted
wait_until "two hosts to be alive" has_alive 2 -H
raise_flag both-seen
stop_backend
