"""python3-websockets against martlet and ws_app.py, over ws:// and, with --ca, wss://."""
import asyncio
import json
import os
import ssl

import websockets
from websockets.exceptions import ConnectionClosed, InvalidStatusCode

from kit import case, equal, expect, main


def connect(options, path="/", **more):
    context = ssl.create_default_context(cafile=options.ca) if options.ca else None
    scheme = "wss" if options.ca else "ws"
    return websockets.connect(f"{scheme}://{options.host}:{options.port}{path}", host="127.0.0.1", ssl=context,
                              max_size=2**25, **more)


def run(work):
    """A case of a coroutine."""

    def call(options):
        asyncio.run(work(options))

    call.__name__ = work.__name__
    return case()(call)


@run
async def thousand_messages(options):
    async with connect(options) as socket:
        for number in range(500):
            await socket.send(f"message {number}")
            equal(await socket.recv(), f"message {number}")
        for number in range(500):  # all at once
            await socket.send(b"%d" % number)
        equal([await socket.recv() for _ in range(500)], [b"%d" % number for number in range(500)])


@run
async def large_frames(options):
    data = os.urandom(5_000_000)
    for compression in [None, "deflate"]:
        async with connect(options, compression=compression) as socket:
            await socket.send(data)
            expect(await socket.recv() == data, compression)
            await socket.send([data[:1_000_000], data[1_000_000:1_000_001], data[1_000_001:]])  # fragments
            expect(await socket.recv() == data, compression)


@run
async def close_by_client(options):
    for code, reason in [(1000, ""), (1001, "going"), (3000, "r\u00e9ason"), (4999, "x" * 100)]:
        socket = await connect(options)
        await socket.close(code, reason)
        equal((socket.close_code, socket.close_reason), (code, reason))
    # The closing handshake is over before the server's own code hears of it.
    async with asyncio.timeout(10), connect(options) as socket:
        closed = {}
        while closed.get("1001") != 1 or closed.get("4999") != 1:
            await socket.send("stats")
            closed = json.loads(await socket.recv())["closed"]
            await asyncio.sleep(0.01)


@run
async def close_by_server(options):
    for code, reason in [(1000, "bye"), (1012, "Restarting"), (4001, "mine")]:
        socket = await connect(options)
        await socket.send(f"close {code} {reason}")
        try:
            found = await socket.recv()
            expect(False, "received", found)
        except ConnectionClosed as closed:
            equal((closed.rcvd.code, closed.rcvd.reason, closed.rcvd_then_sent), (code, reason, True))


@run
async def lost_client(options):
    """A connection that is cut is cut on the other side too: the pod sees 1006."""
    async with connect(options) as watcher:

        async def cut_ones():
            await watcher.send("stats")
            return json.loads(await watcher.recv())["closed"].get("1006", 0)

        before = await cut_ones()
        socket = await connect(options)
        await socket.send("x")
        await socket.recv()
        socket.transport.abort()
        async with asyncio.timeout(10):
            while await cut_ones() != before + 1:
                await asyncio.sleep(0.01)


@run
async def pings(options):
    async with connect(options) as socket:
        for _ in range(100):
            await asyncio.wait_for(await socket.ping(), 10)


@run
async def handshake(options):
    own = {"X-Mine": "1", "Cookie": "a=b"}
    async with connect(options, subprotocols=["chat", "echo"], extra_headers=own) as socket:
        equal(socket.subprotocol, "echo")
        await socket.send("stats")
        head = {name.lower(): value for name, value in json.loads(await socket.recv())["head"].items()}
        equal([head.get(name) for name in ("x-mine", "cookie", "upgrade")], ["1", "a=b", "websocket"], head)
        scheme = None if "sidecar" in options.more else "https" if options.ca else "http"  # the gateway's to say
        equal(head.get("x-forwarded-proto"), scheme, head)
    try:
        await connect(options, "/refuse")
        expect(False, "not refused")
    except InvalidStatusCode as refused:
        equal(refused.status_code, 403)


@run
async def many_sockets(options):
    """50 at once, each with its own messages."""

    async def talk(number):
        async with connect(options, open_timeout=20) as socket:
            for count in range(20):
                await socket.send(f"{number}-{count}")
                equal(await socket.recv(), f"{number}-{count}")

    await asyncio.gather(*(talk(number) for number in range(50)))


if __name__ == "__main__":
    main()
