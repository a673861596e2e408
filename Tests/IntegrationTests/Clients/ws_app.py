"""A WebSocket echo of python3-websockets as a pod; subprotocol `echo`.

A text message `close CODE REASON` closes from the server's side, `stats` is answered with counts. Path /refuse: 403.
"""
import asyncio
import http
import json
import os
import signal

import websockets
from websockets.exceptions import ConnectionClosed

counts = {"opened": 0, "closed": {}, "messages": 0, "head": {}}


async def serve(socket):
    counts["opened"] += 1
    counts["head"] = {name: value for name, value in socket.request_headers.raw_items()}
    try:
        async for message in socket:
            counts["messages"] += 1
            if message == "stats":
                await socket.send(json.dumps(counts))
            elif isinstance(message, str) and message.startswith("close "):
                _, code, reason = message.split(" ", 2)
                await socket.close(int(code), reason)
            else:
                await socket.send(message)
    except ConnectionClosed:
        pass
    code = str(socket.close_code)
    counts["closed"][code] = counts["closed"].get(code, 0) + 1


async def check(path, _headers):
    return (http.HTTPStatus.FORBIDDEN, [], b"no\n") if path == "/refuse" else None


async def main():
    stop = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set_result, None)
    port = int(os.environ["PORT"])
    async with websockets.serve(serve, "127.0.0.1", port, process_request=check, max_size=2**25,
                                subprotocols=["echo"]):
        print("listening", port, flush=True)
        await stop


asyncio.run(main())
