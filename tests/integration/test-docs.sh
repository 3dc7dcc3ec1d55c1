#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# README and docs/: links lead somewhere, the picture is what its script draws, and examples
# of units are units.

. "$(dirname "$0")/functions.sh"

requires_program python3
top=$(readlink -f "${abs_top_srcdir:?}")

"$top/docs/shape.py" "$tmp/shape.svg"
cmp "$top/docs/shape.svg" "$tmp/shape.svg" || fail "docs/shape.py draws another picture"

# What GitHub makes of a heading.
anchors()
{
	sed -n 's/^##* *//p' "$1" | tr '[:upper:] ' '[:lower:]-' | tr -cd 'a-z0-9_\n-'
}

for file in "$top"/*.md "$top"/docs/*.md; do
	while IFS= read -r link; do
		case $link in
		http://* | https://*) continue ;;
		esac
		target=$file
		[ -z "${link%%#*}" ] || target=$(dirname "$file")/${link%%#*}
		[ -e "$target" ] || fail "${file#"$top"/}: a link to $link"
		[[ $link != *#* ]] || anchors "$target" | grep -xF -e "${link#*#}" >/dev/null ||
			fail "${file#"$top"/}: a link to $link, which is no heading"
	done < <(grep -oE '\]\([^)]+\)' "$file" | sed 's/^](\(.*\))$/\1/')
done

# Each manual that README and the operations manual name is one of this project, or known.
grep -ohE '\b(cbd|cbdctl|cbd-[a-z]+|libcbd|nbdkit-cbd-plugin)\([0-9]\)' "$top/README.md" \
	"$top/docs/operations.md" "$top/docs/comparison.md" | sort -u >"$tmp/manuals"
while IFS= read -r manual; do
	found=$(find "$top" -name "${manual%(*}.pod" -not -path "$top/build/*")
	[ -n "$found" ] || fail "there is no $manual"
done <"$tmp/manuals"

# What systemd says of units that are not installed is not asked: only of their lines.
if command -v systemd-analyze >/dev/null; then
	cp "$top"/examples/*.service "$tmp"
	for unit in "$tmp"/*.service; do
		systemd-analyze verify --man=no "$unit" >"$tmp/verify.log" 2>&1 || true
		if grep -F "${unit##*/}:" "$tmp/verify.log"; then
			fail "${unit##*/}: systemd does not understand it"
		fi
	done
fi
