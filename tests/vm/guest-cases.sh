# Runs the cases of a test one after the other: what host N does in CASE, or CASE:KIND,
# is in CASE-hostN.sh. A case begins when each host is through with the one before.
# shellcheck shell=bash

# shellcheck source=guest-lib.sh
. /lab/guest-lib.sh

need_build
export CASE KIND
# shellcheck disable=SC2153 # of the settings
for CASE in $CASES; do
	KIND=${CASE#*:}
	say "begins $CASE"
	bash "$SRC/tests/vm/${CASE%:*}-host$NODE.sh" || die "case $CASE has failed"
	raise_flag "ended-$NODE"
	for ((n = 1; n <= NODES; n++)); do
		wait_flag "ended-$n"
	done
done
