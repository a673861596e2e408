"""Clients over TLS while certificates are swapped: half keep their connection, half make a new one every few requests.

    rotation_load.py PORT CA CONNECTIONS HOST...

Checks each certificate. Prints "serial HOST SERIAL" when a certificate has served so many connections; after SIGTERM
one line of JSON: what was done and everything that failed.
"""
import asyncio
import collections
import json
import signal
import ssl
import sys

PORT, CA, CONNECTIONS, HOSTS = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4:]
REQUESTS_PER_CONNECTION = 5
CONNECTIONS_PER_CERTIFICATE = 25
PAUSE_SECONDS = 0.05  # between the requests of one client: 200 clients make at most 4,000 a second
DEADLINE_SECONDS = 20

context = ssl.create_default_context(cafile=CA)
done = asyncio.Event()
serials = collections.Counter()
counts = {"requests": 0, "connections": 0, "kept": 0}
errors = []


async def connect(host):
    reader, writer = await asyncio.open_connection("127.0.0.1", PORT, ssl=context, server_hostname=host)
    counts["connections"] += 1
    serial = (host, writer.get_extra_info("peercert")["serialNumber"])
    serials[serial] += 1
    if serials[serial] == CONNECTIONS_PER_CERTIFICATE:
        print("serial", *serial, flush=True)
    return reader, writer


async def ask(reader, writer, host):
    writer.write(b"GET / HTTP/1.1\r\nHost: " + host.encode() + b"\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    fields = dict(line.split(": ", 1) for line in head.decode().lower().split("\r\n")[1:] if line)
    body = await reader.readexactly(int(fields["content-length"]))
    if not head.startswith(b"HTTP/1.1 200 ") or not body or fields.get("connection") == "close":
        raise RuntimeError(f"{head!r}")
    counts["requests"] += 1


async def client(number):
    host = HOSTS[number // 2 % len(HOSTS)]
    keeps = number % 2 == 0
    try:
        while not done.is_set():
            reader, writer = await asyncio.wait_for(connect(host), DEADLINE_SECONDS)
            counts["kept"] += keeps
            left = REQUESTS_PER_CONNECTION
            while not done.is_set() and (keeps or left > 0):
                await asyncio.wait_for(ask(reader, writer, host), DEADLINE_SECONDS)
                left -= 1
                await asyncio.sleep(PAUSE_SECONDS)
            writer.close()
    except Exception as error:
        errors.append(f"client {number}, {host}: {error!r}")


async def main():
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, done.set)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])  # who started us may have blocked it
    await asyncio.gather(*(client(number) for number in range(CONNECTIONS)))
    proved = sum(count >= CONNECTIONS_PER_CERTIFICATE for count in serials.values())
    print(json.dumps(counts | {"serials": proved, "failed": len(errors), "errors": errors[:5]}), flush=True)


asyncio.run(main())
