#!/bin/sh
# Installs the Autobahn|Testsuite and what it needs into a folder:
#
#	internal/e2e/autobahn/install.sh FOLDER
#
# The suite runs on Python 2.7 alone: PYTHON2, that of pyenv, or python2.7.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=$1

python=
for candidate in "${PYTHON2:-}" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/2.7*/bin/python2.7 python2.7; do
	if [ -n "$candidate" ] && "$candidate" -c 'import ssl, zlib' 2>/dev/null; then
		python=$("$candidate" -c 'import sys; print(sys.executable)')
		break
	fi
done
if [ -z "$python" ]; then
	echo "no Python 2.7: install one (pyenv install 2.7.18), or set PYTHON2 to its path" >&2
	exit 1
fi

rm -rf "$folder"
mkdir -p "$folder"
"$python" -m pip install --quiet --no-deps --require-hashes --no-compile \
	--target "$folder/packages" --requirement "$here/requirements.txt"
ln -s "$python" "$folder/python"
"$folder/python" "$here/fuzz.py" "$folder/packages" # fails when something is missing
cp "$here/requirements.txt" "$folder/requirements.txt" # last: it says that all is there
