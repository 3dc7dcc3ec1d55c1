# SPDX-License-Identifier: BSD-3-Clause
# What the scripts share that boot guests by lab.sh: how they end, and what they need.
# Sourced, with $here the folder of this file.
# shellcheck shell=bash

skip()
{
	echo "${0##*/}: skipped: $*"
	exit 77
}

broken()
{
	echo "${0##*/}: $*" >&2
	exit 99
}

# By hand: the build tree is this folder or one above it, else the source tree.
find_build()
{
	local dir=$PWD

	while [ "$dir" != / ] && [ ! -x "$dir/run" ]; do
		dir=$(dirname "$dir")
	done
	[ "$dir" != / ] || dir=${abs_top_srcdir:?}
	echo "$dir"
}

requires()
{
	local program

	for program in "$@"; do
		command -v "$program" >/dev/null || skip "$program is missing"
	done
}

# What the guests boot from.
build_lab()
{
	local rc=0

	"${here:?}/lab.sh" build >/dev/null || rc=$?
	case $rc in
	0) ;;
	77) skip "this machine cannot run the guests, see above" ;;
	*) broken "what the guests boot from could not be built" ;;
	esac
}
