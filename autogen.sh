#!/bin/sh
# Makes ./configure and what it needs, in the source tree. Once is enough: make
# repeats it when its sources have changed.
set -eu

cd "$(dirname "$0")"

missing=
need() # PROGRAM PACKAGE
{
	command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
need autoreconf autoconf
need aclocal automake
need libtoolize libtool
need pkg-config pkg-config

if [ -n "$missing" ]; then
	echo "autogen.sh: missing Debian packages:$missing" >&2
	exit 1
fi

mkdir -p m4
exec autoreconf --force --install "$@"
