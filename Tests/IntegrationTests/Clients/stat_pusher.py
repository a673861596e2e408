"""An activator's control channel: pushes one revision's stat again and again, and says how the connection ended.

usage: stat_pusher.py PORT NAMESPACE REVISION CONCURRENCY
"""

import asyncio
import struct
import sys

import websockets


def field(number, payload):
    return bytes([number << 3 | 2, len(payload)]) + payload


def message(namespace, revision, concurrency):
    stat = field(1, b"activator-1")
    if concurrency:
        stat += bytes([2 << 3 | 1]) + struct.pack("<d", concurrency)
        stat += bytes([4 << 3 | 1]) + struct.pack("<d", concurrency)
    entry = field(1, namespace.encode()) + field(2, revision.encode()) + field(3, stat)
    return field(1, entry)


async def main(port, namespace, revision, concurrency):
    async with websockets.connect(f"ws://127.0.0.1:{port}/", compression=None) as channel:
        print("connected", flush=True)
        await channel.send("text is passed over")
        await channel.send(b"\xff garbage")
        try:
            while True:
                await channel.send(message(namespace, revision, concurrency))
                try:
                    await asyncio.wait_for(channel.recv(), 0.5)
                except asyncio.TimeoutError:
                    pass
        except websockets.ConnectionClosed as closed:
            print("closed", closed.code, closed.reason, flush=True)


asyncio.run(main(int(sys.argv[1]), sys.argv[2], sys.argv[3], float(sys.argv[4])))
