#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Completion of bash, without the package bash-completion: every command and option of --help
# and no other, values of enumerations, transports, and what "cbdctl list" shows.

. "$(dirname "$0")/functions.sh"

folder=${abs_top_builddir:?}/completion
for program in cbdctl cbd-backend cbd-bench; do
	# shellcheck source=/dev/null
	. "$folder/$program"
done

# complete_line WORD...: what is offered for the last word, or for that which begins with
# "@", one a line. Words are as bash breaks them.
complete_line()
{
	local function i

	COMP_WORDS=("$@")
	COMP_CWORD=$(($# - 1))
	for ((i = 0; i < $#; i++)); do
		if [[ ${COMP_WORDS[i]} = @* ]]; then
			COMP_WORDS[i]=${COMP_WORDS[i]#@}
			COMP_CWORD=$i
		fi
	done
	function=$(complete -p "$1" | sed 's/.*-F \([^ ]*\).*/\1/')
	$function "$1" "${COMP_WORDS[COMP_CWORD]}" ""
	printf '%s\n' "${COMPREPLY[@]}" | sort
}

# offers EXPECTED WORD...
offers()
{
	local expected=$1 real
	shift

	real=$(complete_line "$@" | paste -sd ' ')
	[ "$real" = "$expected" ] || fail "$*: offered '$real', not '$expected'"
}

# options_of COMMAND...: of --help, as they are offered
options_of()
{
	"$@" --help | sed -nE 's/^ +(-[A-Za-z], )?(--[a-z-]+)(=)?.*/\2\3/p' | sort | paste -sd ' '
}

# --- Commands and options, as --help has them --------------------------------

commands=$(cbdctl --help | sed -nE '/^Commands:/,/^$/s/^  ([a-z-]+) .*/\1/p')
# shellcheck disable=SC2086 # words
offers "$(printf '%s\n' $commands --help --version | sort | paste -sd ' ')" cbdctl ""
offers "check clear" cbdctl c
for command in $commands; do
	offers "$(options_of cbdctl "$command")" cbdctl "$command" --
done
offers "$(options_of cbd-backend)" cbd-backend --
offers "$(options_of cbd-bench)" cbd-bench --
offers "--heartbeat= --help --hosts=" cbdctl format --h
offers "" cbdctl nothing --

if [ -e "$folder/cbd-ublk" ]; then
	# shellcheck source=/dev/null
	. "$folder/cbd-ublk"
	for command in add recover del list; do
		offers "$(options_of cbd-ublk $command)" cbd-ublk $command --
	done
	offers "--help --version add del list recover" cbd-ublk ""
	offers "adaptive busy sleep" cbd-ublk add --poll = ""
fi

# --- Values -----------------------------------------------------------------

offers "hardware software" cbdctl format --coherence ""
offers "software" cbdctl format --coherence = s
offers "hardware software" cbdctl format --coherence =
offers "" cbdctl format --size ""
offers "bytes errors id in-flight iops p50 p99" cbdctl top --sort = ""
# what --help says of --engine is what it takes
for engine in $(complete_line cbd-backend --engine =); do
	expect 1 "No such file" cbd-backend -t /none --id 1 --engine "$engine" /none
done
offers "adaptive busy sleep" cbd-backend --poll = ""
offers "rw" cbd-bench --rw = rw
offers "randread randrw randwrite" cbd-bench --rw rand
offers "root" cbd-backend -u root

# --- Files and transports ---------------------------------------------------

format_transport transport --heartbeat 50
cd "$memory"
mkdir folder
offers "transport" cbdctl list t
offers "folder transport" cbdctl list --hosts ""
offers "transport" cbd-bench -t tr
offers "transport" cbd-backend --transport = tr
offers "folder" cbd-backend -t transport --id 1 fo
offers "transport" cbdctl format --force tr

make_disk "$disks/disk" 1M
start_backend 2 --name data "$disk"
offers "backend blkdev host" cbdctl clear ""
offers "transport" cbdctl clear backend 2 tr
offers "0" cbdctl clear host @ transport
offers "2" cbdctl clear backend @ transport
offers "0" cbdctl clear backend 2 --host-gone = @ transport
offers "2" cbdctl list -B --id = @ transport
offers "2 data" cbd-bench -t transport --backend ""
