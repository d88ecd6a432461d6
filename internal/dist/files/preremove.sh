#!/bin/sh
# Before the files of a package go: dpkg's "remove", or 0 of rpm, if no other version
# comes in their place. The clients get what is queued for them.
set -e

case "$1" in
remove | 0)
	if test -d /run/systemd/system; then
		systemctl --quiet disable --now turbine.socket turbine.service || true
	fi
	;;
esac
