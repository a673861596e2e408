"""python3-websockets as an activator: cases against a stat server at the port of the first argument."""
import asyncio
import sys

import websockets
from websockets.exceptions import ConnectionClosedError, InvalidStatusCode

from kit import case, run

PORT = int(sys.argv[1])
URL = f"ws://127.0.0.1:{PORT}/"


def connect(**options):
    options.setdefault("compression", None)
    return websockets.connect(options.pop("url", URL), **options)


@case
async def messages():
    async with connect() as socket:
        await socket.send(b"first")
        await socket.send("text is ignored")
        await socket.send([b"in ", b"three ", b"pieces"])
        await socket.send(bytes(range(256)) * 1000)
        await socket.send(b"")
        await (await socket.ping(b"payload"))
        await (await socket.ping())
        await socket.send(b"last")
    assert socket.close_code == 1000, socket.close_code


@case
async def extension():
    """An extension and a subprotocol are offered, and not agreed to."""
    async with connect(compression="deflate", subprotocols=["a"], url=URL + "any/path?x=y") as socket:
        assert socket.subprotocol is None and not socket.extensions
        await socket.send(b"plain")
        await (await socket.ping())


async def refused(status, **options):
    try:
        async with connect(**options):
            raise AssertionError("connected")
    except InvalidStatusCode as error:
        assert error.status_code == status, error.status_code


@case
async def origins():
    await refused(403, origin="http://evil.example")
    await refused(403, origin="http://127.0.0.1")
    async with connect(origin=f"http://127.0.0.1:{PORT}") as socket:
        await (await socket.ping())


@case
async def buckets():
    await refused(421, url=f"ws://autoscaler-bucket-00-of-01.knative-serving.svc:{PORT}/", host="127.0.0.1", port=PORT)
    async with connect(url=f"ws://autoscaler.knative-serving.svc:{PORT}/", host="127.0.0.1", port=PORT) as socket:
        await (await socket.ping())


@case
async def limit():
    """One byte more than a message may have."""
    async with connect(max_size=None) as socket:
        await socket.send(b"\0" * (4 << 20))
        await (await socket.ping())
        try:
            await socket.send(b"\0" * ((4 << 20) + 1))
            await socket.wait_closed()
        except ConnectionClosedError:
            pass
        assert socket.close_code == 1009, socket.close_code


@case
async def restart():
    """The server goes when it gets `now`."""
    async with connect() as socket:
        await socket.send(b"now")
        await socket.wait_closed()
        assert (socket.close_code, socket.close_reason) == (1012, "Restarting"), (
            socket.close_code, socket.close_reason)
    try:
        async with connect():
            raise AssertionError("connected after the end")
    except OSError:
        pass


asyncio.run(run(sys.argv[2:]))
