#!/bin/sh
# After the files of a package are gone.
set -e

if test -d /run/systemd/system; then
	systemctl daemon-reload
fi
# The user owns no file: dpkg --purge leaves nothing. rpm leaves its user, as usual there.
if test "$1" = purge && getent passwd turbine >/dev/null; then
	userdel turbine
fi
