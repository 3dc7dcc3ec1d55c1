# Guest side of CXL memory: builds a RAM region over the first memory device and
# gives it to device_dax. It writes to sysfs because the cxl tool of Debian 12
# cannot build regions of this type. guest-run.sh keeps its trace.
# shellcheck shell=bash

set -x
bus=/sys/bus/cxl/devices
driver=/sys/bus/dax/drivers/device_dax

endpoint_decoder()
{
	local e

	for e in "$bus"/endpoint*; do
		if [ "$(basename "$(readlink -f "$e/uport")")" = mem0 ]; then
			echo "decoder${e##*endpoint}.0"
		fi
	done
}

make_region() # DECODER SIZE
{
	local region

	region=$(cat "$bus/decoder0.0/create_ram_region")
	echo "$region" >"$bus/decoder0.0/create_ram_region"
	echo 256 >"$bus/$region/interleave_granularity"
	echo 1 >"$bus/$region/interleave_ways"
	echo ram >"$bus/$1/mode"
	echo "$2" >"$bus/$1/dpa_size"
	echo "$2" >"$bus/$region/size"
	echo "$1" >"$bus/$region/target0"
	echo 1 >"$bus/$region/commit"
	echo "$region" >/sys/bus/cxl/drivers/cxl_region/bind
}

make_region "$(endpoint_decoder)" "$(cat "$bus/mem0/ram/size")"
if [ ! -e /sys/bus/dax/devices/dax0.0/driver ]; then
	daxctl reconfigure-device --mode=devdax --force dax0.0 ||
		{ echo dax0.0 >"$driver/new_id"; echo dax0.0 >"$driver/bind"; }
fi
ls -l /dev/dax0.0
