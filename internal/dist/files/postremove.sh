#!/bin/sh
# After the files of a package are gone.
set -e

if test -d /run/systemd/system; then
	systemctl daemon-reload
fi
# The user owns no file: dpkg --purge leaves nothing of the package. rpm leaves its user, as
# usual there. Keys that the operator has put into /etc/turbine stay, but not for a group
# that gets the number of this one later.
if test "$1" = purge && getent passwd turbine >/dev/null; then
	if test -d /etc/turbine; then
		find /etc/turbine -group turbine -exec chgrp -h root {} +
	fi
	userdel turbine
fi
