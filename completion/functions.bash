# shellcheck disable=SC2034 # the functions of the programs, which begin with this, use them
#
# What completions of the programs of cbd share. They need no other package: what bash
# gives, and the words of the line. Each file that generate.pl makes begins with this.

# What is completed: cbd_cur, behind the "=" of an option that is cbd_option; else
# cbd_option is empty, or the option in front that waits for a value. bash breaks words
# at "=".
_cbd_words()
{
	local before=${COMP_WORDS[COMP_CWORD - 1]-}

	cbd_cur=${COMP_WORDS[COMP_CWORD]-}
	cbd_option=
	cbd_joined=
	COMPREPLY=()
	if [ "$cbd_cur" = "=" ]; then
		cbd_option=$before
		cbd_cur=
		cbd_joined=yes
	elif [ "$before" = "=" ] && [ "$COMP_CWORD" -ge 2 ]; then
		cbd_option=${COMP_WORDS[COMP_CWORD - 2]}
		cbd_joined=yes
	elif [[ $before = -* ]]; then
		cbd_option=$before
	fi
}

# Those of the words that begin as the one that is completed.
_cbd_offer()
{
	local word

	while IFS= read -r word; do
		COMPREPLY+=("$word")
	done < <(compgen -W "$*" -- "$cbd_cur")
}

_cbd_offer_options()
{
	_cbd_offer "$@"
	# a value comes behind "=": no space
	if [ ${#COMPREPLY[@]} -eq 1 ] && [[ ${COMPREPLY[0]} = *= ]]; then
		compopt -o nospace 2>/dev/null
	fi
}

_cbd_offer_files()
{
	local word

	while IFS= read -r word; do
		COMPREPLY+=("$word")
	done < <(compgen -f -- "$cbd_cur")
	compopt -o filenames 2>/dev/null
}

# Devices, links to devices that carry a transport, and files.
_cbd_offer_transports()
{
	local word

	for word in /dev/dax[0-9]* /dev/cbd-transport/*; do
		if [ -e "$word" ] && [[ $word = "$cbd_cur"* ]]; then
			COMPREPLY+=("$word")
		fi
	done
	[[ $cbd_cur = /dev/dax* ]] || _cbd_offer_files
}

# The transport on the line: a device, or what an option -t says, or a file.
_cbd_transport()
{
	local i word

	for ((i = 1; i < ${#COMP_WORDS[@]}; i++)); do
		word=${COMP_WORDS[i]}
		[ "$i" -ne "$COMP_CWORD" ] || continue
		if [[ $word != -* && -e $word && ! -d $word ]]; then
			echo "$word"
			return
		fi
	done
	# clear names what it clears first: take the only transport of this machine
	word=(/dev/dax[0-9]*)
	if [ ${#word[@]} -eq 1 ] && [ -e "${word[0]}" ]; then
		echo "${word[0]}"
	fi
}

# The kind of objects that the options of "list" select.
_cbd_kind()
{
	case " ${COMP_WORDS[*]} " in
	*" -H "* | *" --hosts "*) echo host ;;
	*" -B "* | *" --backends "*) echo backend ;;
	*" -D "* | *" --blkdevs "*) echo blkdev ;;
	esac
}

# _cbd_offer_ids host|backend|blkdev [KEY]: numbers, and values of KEY, of "cbdctl list". That
# takes some heartbeats, and a suspicion where something is silent.
_cbd_offer_ids()
{
	local transport keys

	case $1 in
	host) keys=host_id ;;
	backend) keys=backend_id ;;
	blkdev) keys=mapped_id ;;
	*) return ;;
	esac
	transport=$(_cbd_transport)
	[ -n "$transport" ] || return
	keys+=${2:+\\|$2}
	_cbd_offer "$(timeout 8 cbdctl list "--${1}s" "$transport" 2>/dev/null |
		sed -n "s/^ *\"\($keys\)\":\"\{0,1\}\([A-Za-z0-9_.-]\{1,\}\)\"\{0,1\},\{0,1\}\$/\2/p" |
		sort -u)"
}

# Names of devices of cbd-ublk.
_cbd_offer_devices()
{
	_cbd_offer "$(cbd-ublk list 2>/dev/null | sed -n 's/^ *"name":"\([A-Za-z0-9._+-]*\)",\{0,1\}$/\1/p')"
}

# _cbd_find_operands FIRST VALUED: sets cbd_operands to the words from FIRST to the one that is
# completed that are neither options nor values of those in VALUED.
_cbd_find_operands()
{
	local i word

	cbd_operands=()
	for ((i = $1; i < COMP_CWORD; i++)); do
		word=${COMP_WORDS[i]}
		if [[ $word != -* ]]; then
			cbd_operands+=("$word")
		elif [ "${COMP_WORDS[i + 1]-}" = "=" ]; then
			i=$((i + 2))
		elif [[ $2 = *" $word "* ]]; then
			i=$((i + 1))
		fi
	done
}
