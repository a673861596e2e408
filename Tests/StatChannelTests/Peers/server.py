"""python3-websockets as an autoscaler. It prints what comes, a line each, and obeys lines of its input:

`close CODE REASON`, `text WORDS`, `pieces`, `ping`, `rest` (stop listening), `listen`.
"""
import asyncio
import hashlib
import sys

import websockets
from websockets.exceptions import ConnectionClosed

sockets = set()
state = {"port": 0, "server": None}


def say(*words):
    print(*words, flush=True)


async def serve(socket):
    sockets.add(socket)
    head = socket.request_headers
    names = ",".join(sorted(name.lower() for name, _ in head.raw_items()))
    say("open", socket.path, head["Host"], names)
    try:
        async for message in socket:
            kind = "text" if isinstance(message, str) else "binary"
            say(kind, len(message), hashlib.sha1(message).hexdigest()[:8] if kind == "binary" else message)
    except ConnectionClosed:
        pass
    sockets.discard(socket)
    say("closed", socket.close_code)


async def listen():
    state["server"] = await websockets.serve(serve, "127.0.0.1", state["port"], max_size=2**23, ping_interval=None)
    state["port"] = state["server"].sockets[0].getsockname()[1]
    say("listening", state["port"])


async def obey(words):
    if words[0] == "close":
        for socket in list(sockets):
            await socket.close(int(words[1]), " ".join(words[2:]))
    elif words[0] == "text":
        for socket in list(sockets):
            await socket.send(" ".join(words[1:]))
    elif words[0] == "pieces":
        for socket in list(sockets):
            await socket.send([b"a", b"b", b"c"])
    elif words[0] == "ping":
        for socket in list(sockets):
            await (await socket.ping(b"are you there"))
            say("pong")
    elif words[0] == "rest":
        state["server"].close()
        await state["server"].wait_closed()
        say("resting")
    elif words[0] == "listen":
        await listen()


async def main():
    await listen()
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := (await lines.readline()).decode().split():
        await obey(line)


asyncio.run(main())
