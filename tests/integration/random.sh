# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
#
# random.sh - random I/O against a shadow copy, for one kind of transport and one
# engine: with one queue and with four, on a disk with blocks and on one in memory.
# Sourced by the tests test-random-*.sh.

# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/functions.sh"

operations=${RANDOM_OPERATIONS:-$(share 5000)}
seed=${RANDOM_SEED:-$((SRANDOM))}

# random_round QUEUES FOLDER ENGINE [OPTION-OF-BACKEND]...
random_round()
{
	local queues=$1 folder=$2 engine=$3
	shift 3

	echo "queues $queues, engine $engine $*"
	# The size is no multiple of a page.
	make_disk "$folder/disk" $((96 * 1024 * 1024 + 1536))
	start_backend 1 --engine "$engine" "$@" "$disk"
	start_nbdkit cbd "$transport" backend=1 queues="$queues"
	"$random_io" -s "$seed" -n "$operations" -o "$folder/image" "$uri" |
		grep -v ' finished$'
	stop "$nbdkit_pid"
	stop_backend 1
	cmp "$folder/image" "$folder/disk"
	# A retry would hide what went wrong.
	if grep 'error:' "$tmp/nbdkit.log"; then fail "nbdkit reports errors"; fi
	if grep -e error -e damaged -e leav "$tmp/backend-1.log" | grep -v 'has left$'; then
		fail "cbd-backend reports errors"
	fi
	rm "$folder/image" "$folder/disk"
}

# random_test ENGINE [OPTION-OF-FORMAT]...
random_test()
{
	local engine=$1
	shift

	requires_program nbdkit cmp
	format_transport transport "$@"
	random_round 1 "$disks" "$engine"
	random_round 4 "$memory" "$engine"
}
