#!/bin/sh
# What two hosts do, one case after the other in the same two guests.
exec "${0%/*}/smoke.sh" hosts
