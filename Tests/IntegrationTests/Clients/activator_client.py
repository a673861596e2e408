"""HTTP/2, HTTP/1.1 and WebSocket clients of an activator that is told to end; pods are real queue-proxies.

Each case needs an activator of its own. `--set quiet=MS`: how long it takes requests after SIGTERM.
"""
import asyncio
import os
import signal
import socket
import time

import websockets

from h2kit import Connection
from kit import case, equal, eventually, expect, main

NAMES = [("knative-serving-namespace", "default"), ("knative-serving-revision", "app-00001")]


def end(options):
    os.kill(options.pid, signal.SIGTERM)
    return time.monotonic()


def refuses(options):
    try:
        socket.create_connection(("127.0.0.1", options.port), timeout=5).close()
        return False
    except ConnectionError:
        return True


@case("goaway")
def goaway(options):
    """After SIGTERM requests are taken for a while; then GOAWAY, streams finish, the connection ends."""
    quiet = int(options.more["quiet"]) / 1000
    with Connection(options) as connection:
        equal(connection.finish(connection.start("/bytes/3", fields=NAMES)).status, 200)
        slow = connection.start("/wait?ms=2500", fields=NAMES)
        begun = end(options)
        during = connection.finish(connection.start("/bytes/5", fields=NAMES))
        expect(during.status == 200 and len(during.body) == 5 and not connection.goaways, during, connection.goaways)
        connection.pump(lambda: connection.goaways)
        expect(time.monotonic() - begun >= quiet * 0.9, time.monotonic() - begun, quiet)
        code = connection.goaways[-1][1]
        equal(code, "NO_ERROR")
        finished = connection.finish(slow)
        expect(finished.status == 200 and finished.has_ended and finished.reset is None, finished)
        last = connection.goaways[-1][0]
        expect(last >= slow, connection.goaways)
        connection.pump(lambda: connection.is_closed)
    eventually(lambda: refuses(options))


@case("http1")
def http1(options):
    """A kept connection serves on while it drains, then ends; a request under way is finished and says `close`."""
    def request(path):
        fields = "".join(f"{name}: {value}\r\n" for name, value in NAMES)
        return f"GET {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n".encode()

    def answer(connection):
        received = b""
        while b"\r\n\r\n" not in received:
            part = connection.recv(65536)
            expect(part, received)
            received += part
        head, _, body = received.partition(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        while len(body) < length:
            body += connection.recv(65536)
        return head.lower()

    first, second = options.connect(), options.connect()
    first.sendall(request("/bytes/3"))
    answer(first)
    second.sendall(request("/slow?ms=2500"))
    end(options)
    first.sendall(request("/bytes/3"))
    expect(b" 200 " in answer(first))
    equal(first.recv(1), b"", "an unused connection ends")
    head = answer(second)
    expect(b" 200 " in head and b"connection: close" in head, head)
    equal(second.recv(1), b"")


@case("websocket")
def websocket(options):
    """A WebSocket lives through the drain and beyond; the close frames pass; new connections are refused."""
    async def work():
        socket = await websockets.connect(f"ws://127.0.0.1:{options.port}/", extra_headers=dict(NAMES))
        await socket.send("before")
        equal(await socket.recv(), "before")
        end(options)
        await socket.send("during")
        equal(await socket.recv(), "during")
        while not refuses(options):
            await asyncio.sleep(0.02)
        await socket.send("after")
        equal(await socket.recv(), "after")
        await socket.send("close 1000 done")
        await socket.wait_closed()
        equal((socket.close_code, socket.close_reason), (1000, "done"))

    asyncio.run(work())


if __name__ == "__main__":
    main()
