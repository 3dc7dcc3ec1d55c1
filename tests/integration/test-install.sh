#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# make install puts everything in its place; programs of others, in C and C++, build
# with it by pkg-config and run: the examples of libcbd(3), and a C++ client.
# make uninstall leaves nothing behind.

. "$(dirname "$0")/functions.sh"

requires_program make pkg-config cmp python3
here=${abs_top_srcdir:?}/tests/integration
root=$tmp/root

# in_build TARGET
in_build()
{
	env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL make -C "${abs_top_builddir:?}" DESTDIR="$root" \
		"$1" >"$tmp/$1.log" 2>&1 || fail "make $1 has failed"
}

# setting NAME: of the build
setting()
{
	sed -n "s/^$1 = //p" "$abs_top_builddir/Makefile"
}

in_build install
pkg_config()
{
	PKG_CONFIG_SYSROOT_DIR=$root PKG_CONFIG_LIBDIR=$(dirname "$(find "$root" -name cbd.pc)") \
		pkg-config "$@" cbd
}
[ "$(pkg_config --modversion)" = "$(setting PACKAGE_VERSION)" ] || fail "cbd.pc: wrong version"
libdir=$(dirname "$(find "$root" -name libcbd.so)")
# completions have the names of the programs
bindir=$(dirname "$(find "$root" -path '*bin/cbdctl')")
sbindir=$(dirname "$(find "$root" -path '*bin/cbd-backend')")
plugin=$(find "$root" -name nbdkit-cbd-plugin.so)
find "$root" ! -type d -printf '%f\n' | sort >"$tmp/installed"
# What goes to systemd and udev goes where they are.
expected_of()
{
	[ "$(setting "$1")" = no ] || printf '%s\n' "${@:2}"
}
{
	expected_of systemdsystemunitdir cbd-backend@.service cbd-backend-next@.service \
		cbd-backends.target cbd-nbdkit@.service cbd.target
	expected_of sysusersdir cbd.conf
	expected_of tmpfilesdir cbd.conf
	expected_of udevdir 60-cbd.rules
	expected_of completionsdir cbd-backend cbd-bench cbdctl
	if [ "$(setting UBLK_TRUE)" != "#" ]; then
		echo cbd-ublk
		echo cbd-ublk.8
		expected_of systemdsystemunitdir cbd-ublk@.service
		expected_of udevdir 60-cbd-ublk.rules
		expected_of completionsdir cbd-ublk
	fi
} >"$tmp/expected"
sort "$tmp/expected" - <<END | diff "$tmp/installed" - || fail "these are not the installed files"
backend-fence.conf
backend-mount.conf
backend.conf
cbd-backend
cbd-backend.8
cbd-bench
cbd-bench.1
cbd-devdax@.service
cbd-format.5
cbd-format.h
cbd-format.service
cbd.7
cbd.h
cbd.pc
cbdctl
cbdctl.1
comparison.md
event-loop.c
grafana-dashboard.json
libcbd.3
libcbd.la
libcbd.so
libcbd.so.0
libcbd.so.0.0.0
nbdkit-cbd-plugin.1
nbdkit-cbd-plugin.la
nbdkit-cbd-plugin.so
nbdkit.conf
operations.md
polling.c
synchronous.c
ublk.conf
END

# Each manual has the same end.
find "$root" -path '*/man/*' -type f >"$tmp/manuals"
while IFS= read -r manual; do
	for section in VERSION AUTHORS COPYRIGHT; do
		grep -qE "^\.SH \"?$section\"?\$" "$manual" || fail "$manual: no $section"
	done
	grep -qF "cbd $(setting PACKAGE_VERSION)." "$manual" || fail "$manual: not of this version"
done <"$tmp/manuals"
[ "$(wc -l <"$tmp/manuals")" -ge 7 ] || fail "where are the manuals?"

# The programs of others. -Werror: the headers have to be clean everywhere.
case $(setting CC) in
*clang*) cxx=clang++ ;;
*) cxx=g++ ;;
esac
requires_program "$cxx"
sanitizers=
case $(setting CBD_CFLAGS) in
*-fsanitize=address,undefined*) sanitizers=-fsanitize=address,undefined ;;
esac
# build COMPILER OPTION... SOURCE PROGRAM
build()
{
	# shellcheck disable=SC2046,SC2086 # lists
	$1 "${@:2:$#-2}" -Wall -Wextra -Werror -pedantic -g $sanitizers -o "${!#}" \
		$(pkg_config --cflags --libs) >"$tmp/build.log" 2>&1 || fail "${!#} does not build"
}
"$here/pod-examples.py" "$abs_top_srcdir/libcbd/libcbd.pod" "$tmp" >"$tmp/examples"
build "$(setting CC)" -std=gnu11 "$tmp/client.c" "$tmp/client"
build "$(setting CC)" -std=gnu11 "$tmp/server.c" "$tmp/server"
build "$(setting CC)" -std=gnu11 "$tmp/loop.c" "$tmp/loop"
build $cxx -std=c++11 "$here/client.cc" "$tmp/client++"
for header in cbd.h cbd-format.h; do
	printf '#include <%s>\nint main(void)\n{\n\treturn 0;\n}\n' "$header" >"$tmp/one.c"
	build "$(setting CC)" -std=c11 "$tmp/one.c" "$tmp/one"
done

# What is installed, and nothing of the build.
export LD_LIBRARY_PATH=$libdir PATH=$bindir:$sbindir:/usr/sbin:/usr/bin:/sbin:/bin
transport=$memory/transport
cbdctl format --size 48M --heartbeat 100 "$transport" >"$tmp/format.log"
make_disk "$disks/disk" 16M

"$tmp/server" "$transport" "$disk" 2>"$tmp/server.log" &
server=$!
cleanup_fn stop $server
alive_backend()
{
	cbdctl list -B "$transport" | grep '"alive":true' >/dev/null || gone $server
}
wait_until 20 alive_backend || fail "the example of a server does not serve"
for client in client client++; do
	timeout "$(limit 60)" "$tmp/$client" "$transport" 0 >"$tmp/$client.log" 2>&1 ||
		fail "$client has failed"
	grep -qx same "$tmp/$client.log" || fail "$client read other data than it wrote"
done
cmp -n 4096 "$disk" <(head -c 4096 /dev/zero | tr '\0' x)
cmp -i 4096:0 -n 1048576 "$disk" <(head -c 1M /dev/zero | tr '\0' c)
timeout "$(limit 60)" "$tmp/loop" "$transport" 0 >"$tmp/loop.log" 2>&1 || fail "loop has failed"
grep -qx "256 blocks" "$tmp/loop.log" || fail "loop has not read 256 blocks"
stop $server
wait $server || fail "the example of a server did not stop in order"

# The programs and the plugin.
start_backend 0 "$disk"
[ -n "$sanitizers" ] ||
	timeout "$(limit 60)" nbdkit -U - "$plugin" "$transport" backend=0 \
		--run "'$nbd_io' \"\$uri\" read:0:4K:0x78 read:4K:1M:0x63"
stop_backend 0

in_build uninstall
left=$(find "$root" ! -type d)
[ -z "$left" ] || fail "make uninstall leaves $left"
