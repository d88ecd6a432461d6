#!/bin/sh
# haproxy on port $PORT in front of the server, which listens on a Unix socket.
# $TURBINE is the server's command line.
set -e
DIR=$(mktemp -d)
trap 'rm -rf "$DIR"' EXIT
trap 'kill -KILL $SERVER; exit 0' TERM # nobody needs its farewells
cat > "$DIR/haproxy.cfg" <<CONF
global
	maxconn 9500
	nbthread 1
defaults
	mode http
	option forwardfor
	timeout connect 5s
	timeout client 60s
	timeout server 60s
	timeout tunnel 120s
listen turbine
	bind 127.0.0.1:$PORT
	server one unix@$DIR/turbine.sock
CONF
$TURBINE --addr "unix:$DIR/turbine.sock" &
SERVER=$!
until [ -S "$DIR/turbine.sock" ]; do sleep 0.02; done
haproxy -db -q -f "$DIR/haproxy.cfg" &
wait
