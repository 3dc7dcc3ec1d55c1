# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
#
# factor.sh - how much longer than an idle machine this one may need: every bound of a
# test is multiplied by it. tests/factor.h is the same in C.
#
# Environment: CBD_TEST_FACTOR, instead of what the load says.

# factor: 4, and one for each runnable task a CPU. A bound that is reached asks again,
# so a load that comes later counts too.
factor()
{
	local one five cpus load

	if [ -n "${CBD_TEST_FACTOR-}" ]; then
		echo "$CBD_TEST_FACTOR"
		return
	fi
	read -r one five _ </proc/loadavg
	cpus=$(nproc)
	load=${one%.*}
	[ "$load" -ge "${five%.*}" ] || load=${five%.*}
	echo $((4 + load / cpus))
}

# patience SECONDS: what an idle machine does within SECONDS is done by then
patience()
{
	echo $(($1 * $(factor)))
}

# limit SECONDS: the same for timeout(1), which cannot ask again. Only a hang gets there.
limit()
{
	echo $(($1 * ($(factor) + 8)))
}
