#!/usr/bin/env python3
"""How fast an activator tells the autoscaler of a revision's first request (standard library only).

    announce.py                      200 cold wakes
    announce.py --limit 1            exit 1 if the 99th percentile is a millisecond or more

Each wake is the first request for a revision at zero. The clock runs from before the client hands the request to the
kernel until the frame with the revision's name has been read from the control channel's socket; both ends are here, so
the client's write, two ways through the kernel and this program's wake-up are in the figure. `of that, loopback` is the
same program sending as many bytes to itself over two sockets: what is not the activator's.
"""
import argparse
import base64
import contextlib
import hashlib
import pathlib
import re
import shutil
import socket
import sys
import threading
import time

import machine
import report

ACTIVATOR, STAT = 19041, 19042
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def name(number):
    return f"wake-{number:05}"


def write_objects(folder, revisions):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "revisions.yaml").write_text("".join(
        "---\napiVersion: serving.knative.dev/v1\nkind: Revision\n"
        f"metadata: {{namespace: default, name: {name(number)}}}\n"
        "spec: {containers: [{image: example.com/application}]}\n" for number in range(revisions)))


def accept(listener):
    """The activator's control channel, its handshake done."""
    channel, _ = listener.accept()
    channel.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    head = b""
    while b"\r\n\r\n" not in head:
        head += channel.recv(65536)
    found = re.search(rb"(?i)\r\nsec-websocket-key: *([^\r ]+)", head)
    key = base64.b64encode(hashlib.sha1(found[1] + GUID).digest())
    channel.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    b"Sec-WebSocket-Accept: " + key + b"\r\n\r\n")
    return channel


class Frames:
    """Frames of a client, unmasked; pings are answered."""

    def __init__(self, channel):
        self.channel, self.rest = channel, b""

    def read(self):
        """What one recv brings: the payloads of the binary messages in it, and when it came."""
        part = self.channel.recv(1 << 18)
        arrived = time.monotonic_ns()
        if not part:
            raise ConnectionError("the control channel has ended")
        self.rest += part
        payloads = []
        while len(self.rest) >= 2:
            length, start = self.rest[1] & 127, 2
            if length == 126:
                length, start = int.from_bytes(self.rest[2:4], "big"), 4
            elif length == 127:
                length, start = int.from_bytes(self.rest[2:10], "big"), 10
            if len(self.rest) < start + 4 + length:
                break
            mask, masked = self.rest[start:start + 4], self.rest[start + 4:start + 4 + length]
            payload = bytes(byte ^ mask[index & 3] for index, byte in enumerate(masked))
            kind, self.rest = self.rest[0] & 15, self.rest[start + 4 + length:]
            if kind == 9:
                self.channel.sendall(bytes([0x8A, len(payload)]) + payload)
            elif kind == 2:
                payloads.append(payload)
        return payloads, arrived


def wake(number, client, frames):
    """Nanoseconds from the request to the frame that tells of it."""
    wanted = name(number).encode()
    request = machine.get("/", "wake.example.com", "Knative-Serving-Namespace: default",
                          f"Knative-Serving-Revision: {name(number)}")
    sent = time.monotonic_ns()
    client.sendall(request)
    while True:
        payloads, arrived = frames.read()
        if any(wanted in payload for payload in payloads):
            return arrived - sent


def loopback(rounds):
    """The same two writes and reads without anything between them, by a thread for the activator."""
    first, second = socket.create_server(("127.0.0.1", 0)), socket.create_server(("127.0.0.1", 0))
    client, back = socket.create_connection(first.getsockname()), socket.create_connection(second.getsockname())
    inner, outer = first.accept()[0], second.accept()[0]
    for each in (client, back, inner, outer):
        each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def relay():
        while part := inner.recv(65536):
            back.sendall(part[:80])

    threading.Thread(target=relay, daemon=True).start()
    times = []
    for _ in range(rounds):
        begun = time.monotonic_ns()
        client.sendall(b"x" * 150)
        outer.recv(65536)
        times.append(time.monotonic_ns() - begun)
        time.sleep(0.005)
    for each in (client, back, inner, outer, first, second):
        each.close()
    return times


def measure(options):
    folder = machine.RUN / "announce"
    write_objects(folder, options.wakes + options.warm)
    listener = socket.create_server(("127.0.0.1", STAT))
    command = [options.martlet, "activator", "--cluster", folder, "--workers", options.workers,
               "--autoscaler", f"127.0.0.1:{STAT}", "--http", f"127.0.0.1:{ACTIVATOR}",
               "--http2", "127.0.0.1:19043", "--metrics", "127.0.0.1:19044"]
    with contextlib.ExitStack() as stack:
        stack.enter_context(listener)
        stack.enter_context(machine.running("announce", command, POD_IP="127.0.0.1"))
        frames = Frames(stack.enter_context(accept(listener)))
        machine.wait_for_port(ACTIVATOR)
        times = []
        for number in range(options.wakes + options.warm):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", ACTIVATOR)))
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            time.sleep(options.pause / 1000)
            times.append(wake(number, client, frames))
        return times[options.warm:]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wakes", type=int, default=200)
    parser.add_argument("--warm", type=int, default=5, help="wakes before them that do not count; default 5")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--pause", type=float, default=20, help="milliseconds between wakes; default 20")
    parser.add_argument("--martlet", default=machine.MARTLET)
    parser.add_argument("--json", type=pathlib.Path, help="also append the part of a report to this file")
    parser.add_argument("--limit", type=float, help="exit 1 when the 99th percentile is not below so many milliseconds")
    options = parser.parse_args()
    machine.require_martlet(options.martlet)
    rows, disturbance = [], machine.Disturbance()
    for title, times in [("request to frame", measure(options)), ("of that, loopback", loopback(options.wakes))]:
        micros = sorted(value / 1000 for value in times)
        rows.append([title, len(micros), *(f"{machine.percentile(micros, percent):.0f}" for percent in (50, 90, 99)),
                     f"{micros[-1]:.0f}"])
    report.publish({"id": "announce", "kind": "table", "link": "first request",
                    "title": "The first request of a revision at zero, told to the autoscaler",
                    "text": [disturbance.sentence()],
                    "columns": ["microseconds", "wakes", "p50", "p90", "p99", "worst"], "rows": rows}, options.json)
    if options.limit is not None and float(rows[0][4]) >= options.limit * 1000:
        sys.exit(f"p99 {rows[0][4]} us, {options.limit} ms allowed")


if __name__ == "__main__":
    main()
