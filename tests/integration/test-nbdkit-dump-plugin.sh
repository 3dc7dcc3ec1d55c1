#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# nbdkit cbd --dump-plugin tells versions and features.

. "$(dirname "$0")/functions.sh"

requires_program nbdkit

nbdkit cbd --dump-plugin >"$tmp/dump"
version=$(cbdctl --version | sed 's/^cbdctl //')
format_transport transport
format_version=$(sed -nE 's/.*"version":([0-9]+).*/\1/p' "$tmp/format.json")

for line in name=cbd "version=$version" thread_model=parallel magic_config_key=transport \
	"cbd_library_version=$version" "cbd_format_version=$format_version" \
	cbd_features=data-crc,block-status; do
	grep -qx "$line" "$tmp/dump" || fail "no line $line in: $(cat "$tmp/dump")"
done
# nbdkit's fallback for .zero loses data: see test-zero-large.sh
grep -qx has_zero=1 "$tmp/dump" || fail "the plugin has no .zero"
