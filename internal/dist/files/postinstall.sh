#!/bin/sh
# After the files of a package are in place. Its argument is dpkg's "configure", with
# the version before behind it, or the number of versions that rpm will have.
set -e

# The user owns no file that is there when the server does not run.
if ! getent passwd turbine >/dev/null; then
	useradd --system --user-group --no-create-home --home-dir /nonexistent \
		--shell /usr/sbin/nologin --comment "Turbine server" turbine
fi

case "$1" in
configure) before=$2 ;;
2) before=yes ;;
*) before= ;;
esac
if ! test -d /run/systemd/system; then
	exit 0
fi
systemctl daemon-reload
if test -z "$before"; then
	echo "turbine: set it up in /etc/turbine/turbine.yaml, then: systemctl enable --now turbine"
elif systemctl --quiet is-active turbine.service; then
	# The new program takes over the port. No client is refused; if it cannot start, the old
	# one continues, and the log says why.
	systemctl reload turbine.service || echo "turbine: the old program still runs, see journalctl -u turbine"
fi
