#!/bin/sh
# nginx on port $PORT in front of the server, which listens on a Unix socket.
# $TURBINE is the server's command line.
set -e
DIR=$(mktemp -d)
trap 'rm -rf "$DIR"' EXIT
trap 'kill -KILL $SERVER; exit 0' TERM # nobody needs its farewells
cat > "$DIR/nginx.conf" <<CONF
daemon off;
master_process off;
worker_rlimit_nofile 20000;
error_log stderr crit;
pid $DIR/nginx.pid;
events { worker_connections 19000; }
http {
	access_log off;
	client_body_temp_path $DIR/nginx.body;
	proxy_temp_path $DIR/nginx.proxy;
	fastcgi_temp_path $DIR/nginx.fastcgi;
	uwsgi_temp_path $DIR/nginx.uwsgi;
	scgi_temp_path $DIR/nginx.scgi;
	keepalive_requests 100000000;
	map \$http_upgrade \$connection_upgrade { default upgrade; '' ''; }
	upstream turbine { server unix:$DIR/turbine.sock; keepalive 256; keepalive_requests 100000000; }
	server {
		listen 127.0.0.1:$PORT backlog=4096;
		location / {
			proxy_pass http://turbine;
			proxy_http_version 1.1;
			proxy_set_header Host \$host;
			proxy_set_header Upgrade \$http_upgrade;
			proxy_set_header Connection \$connection_upgrade;
			proxy_set_header X-Forwarded-For \$remote_addr;
			proxy_buffering off;
			proxy_read_timeout 120s;
		}
	}
}
CONF
$TURBINE --addr "unix:$DIR/turbine.sock" &
SERVER=$!
until [ -S "$DIR/turbine.sock" ]; do sleep 0.02; done
nginx -p "$DIR" -c "$DIR/nginx.conf" &
wait
