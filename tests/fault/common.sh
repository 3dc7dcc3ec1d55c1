# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
#
# common.sh - run the fault driver with the options of one combination. Sourced by
# the tests of this folder.
#
# Environment: FAULT_ROUNDS (rounds of each test), FAULT_SEED (to repeat a run).

# shellcheck source-path=SCRIPTDIR/../integration
. "$(dirname "${BASH_SOURCE[0]}")/../integration/functions.sh"

# fault_test [OPTION]...: of the driver
fault_test()
{
	local options=(--rounds "${FAULT_ROUNDS:-60}")

	requires_program nbdkit
	if [ -n "${FAULT_SEED-}" ]; then options+=(--seed "$FAULT_SEED"); fi
	# whatever it has started ends with it
	"${programs%/integration}/fault/fault" --transport "$memory/transport" \
		--disk "$disks/disk" --tmp "$tmp" "${options[@]}" "$@"
}
