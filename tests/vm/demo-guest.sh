# What hosts of the demonstration do when a command of demo.sh calls it.
# shellcheck shell=bash

# fio, one run after the other; each ends when all that it wrote was read and compared.
verify_start()
{
	rm -f /run/stop
	until [ -e /run/stop ]; do
		fio --output-format=json --output=/run/fio.json /lab/demo.fio || {
			echo "fio ended with status $?" >&2
			break
		}
		jq -c '.jobs[0] | {error, written: .write.io_bytes, read: .read.io_bytes,
			longest_ns: .write.clat_ns.max}' /run/fio.json >>/lab/fio.runs
	done 2>>/lab/fio.errors &
	echo $! >/run/verify.pid
}

verify_stop()
{
	: >/run/stop
	wait_until "fio to end" gone "$(cat /run/verify.pid)"
}
