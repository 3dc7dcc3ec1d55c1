# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
#
# options.sh - which options --help shows, and which a manual. Sourced by the tests
# test-options-*.sh.

# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/functions.sh"

# help_options COMMAND...: those that begin the lines of its --help
help_options()
{
	"$@" --help | sed -nE 's/^ +((-[A-Za-z], )?--[a-z-]+).*/\1/p' | tr -d ' ' | tr ',' '\n' | sort -u
}

# manual_section FILE HEADING: its lines
manual_section()
{
	awk -v heading="=head1 $2" '/^=head1 / { on = ($0 == heading) } on' "$1"
}

# item_options: those that the items of a manual on stdin are about
item_options()
{
	sed -nE '/^=item .*B<-/p' | grep -oE 'B<--?[A-Za-z][a-z-]*' | sed 's/^B<//' | sort -u
}

# synopsis_options: those that a synopsis on stdin shows
synopsis_options()
{
	grep -oE '(^|[ [|])--?[A-Za-z][a-z-]*' | tr -d ' [|' | sort -u
}

# same NAME LIST NAME LIST
same()
{
	[ -n "$2" ] || fail "no options in $1"
	diff <(echo "$2") <(echo "$4") || fail "$1 (<) and $3 (>) differ"
}

# understood OPTION COMMAND...: that it has such an option at all
understood()
{
	local option=$1
	shift

	timeout "$(limit 10)" "$@" "$option" </dev/null >"$tmp/understood.log" 2>&1 || true
	if grep -e 'unrecognized option' -e 'invalid option' -e ambiguous "$tmp/understood.log"; then
		fail "$*: --help shows $option, which it does not know"
	fi
}
