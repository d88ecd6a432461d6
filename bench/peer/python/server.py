"""python-engineio on aiohttp and uvloop: echo, or broadcast in a loop over all clients."""

import os
import ssl
import time

import engineio
import uvloop
from aiohttp import web

engine = engineio.AsyncServer(
    async_mode="aiohttp",
    async_handlers=False,
    ping_interval=int(os.environ["PING_INTERVAL"]) / 1000,
    ping_timeout=int(os.environ["PING_TIMEOUT"]) / 1000,
    http_compression=False,
    max_http_buffer_size=1_000_000,
)
broadcast = os.environ["APP"] == "broadcast"
work = int(os.environ["WORK"]) / 1e6
clients = set()


@engine.on("connect")
async def connect(sid, environ):
    clients.add(sid)


@engine.on("disconnect")
def disconnect(sid, reason=None):
    clients.discard(sid)


@engine.on("message")
async def message(sid, data):
    if work > 0:
        until = time.perf_counter() + work
        while time.perf_counter() < until:
            pass
    if not broadcast:
        await engine.send(sid, data)
        return
    for client in list(clients):
        await engine.send(client, data)


app = web.Application()
engine.attach(app)
context = None
if "TLS_CERT" in os.environ:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(os.environ["TLS_CERT"], os.environ["TLS_KEY"])
uvloop.install()
web.run_app(app, ssl_context=context, host="127.0.0.1", port=int(os.environ["PORT"]), print=None, access_log=None)
