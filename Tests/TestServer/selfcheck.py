#!/usr/bin/env python3
"""Checks martlet-test-server itself, so that a failing test elsewhere is never its fault.

Usage: selfcheck.py PATH_TO_SERVER. Prints one line and exits 0, or stops at the first failure.
"""
import base64
import contextlib
import hashlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys


@contextlib.contextmanager
def server(binary, **settings):
    environment = {"PATH": "/bin", "PORT": "0", "LEFT": "right", **settings}
    process = subprocess.Popen([binary], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        line = process.stdout.readline()
        yield process, int(line.rpartition(":")[2]) if line else 0
    finally:
        process.kill()
        process.communicate()


def connect(port):
    connection = socket.create_connection(("127.0.0.1", port), timeout=5)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def exchange(port, request):
    """Sends the request and returns everything up to the end of the connection."""
    with connect(port) as connection:
        connection.sendall(request)
        received = b""
        with contextlib.suppress(ConnectionResetError):
            while part := connection.recv(65536):
                received += part
        return received


def get(port, path, *fields, method="GET", body=b""):
    lines = [f"{method} {path} HTTP/1.1", "Host: test", "Connection: close", *fields, "", ""]
    head, _, answer = exchange(port, "\r\n".join(lines).encode() + body).partition(b"\r\n\r\n")
    return int(head.split()[1]) if head else 0, head.decode(), answer


def expect(condition, *shown):
    if not condition:
        sys.exit(f"martlet-test-server: line {sys._getframe(1).f_lineno} of selfcheck.py failed: {shown!r}")


def check_answers(port):
    expect(get(port, "/")[::2] == (200, b"Hello tests!\n"))
    expect(get(port, "/bytes/70000")[2] == b"x" * 70000)
    expect(get(port, "/bytes/10", method="HEAD")[2] == b"")
    expect(get(port, "/chunked/7?chunk=3&ms=2")[2] == b"3\r\nxxx\r\n3\r\nxxx\r\n1\r\nx\r\n0\r\n\r\n")
    expect(get(port, "/slow?ms=5")[0] == 200)
    expect([get(port, f"/status/{code}")[0] for code in (204, 404, 503)] == [204, 404, 503])
    expect(get(port, "/headers", "X-Odd:  kept ")[2].endswith(b"X-Odd:  kept \r\n\r\n"))
    expect(b"\nLEFT=right\n" in b"\n" + get(port, "/env")[2])
    expect(f"folder={os.getcwd()}\n".encode() in get(port, "/process")[2])
    expect(get(port, "/healthz")[0] == 200)
    expect(get(port, "/health?ok=0")[0] == 200 and get(port, "/healthz")[0] == 503)
    expect(get(port, "/health?ok=1")[0] == 200 and get(port, "/nowhere")[0] == 404)
    expect("103 Early Hints" in get(port, "/103")[1])
    expect(b"0\r\nX-Checksum: 1d2f\r\n" in get(port, "/trailers")[2])
    head = get(port, "/times")[1]
    expect(all(name in head for name in ("X-Listen-Ns: ", "X-Request-Ns: ", "X-Pod: ", "X-Revision: rev-1")), head)


def check_bodies(port):
    body = bytes(range(256)) * 2000
    length = f"Content-Length: {len(body)}"
    expect(get(port, "/echo", length, method="POST", body=body)[2] == body)
    chunks = b"5\r\nhello\r\n6;note=1\r\n world\r\n0\r\nX-End: yes\r\n\r\n"
    echoed = get(port, "/echo", "Transfer-Encoding: chunked", method="POST", body=chunks)[2]
    expect(echoed == b"5\r\nhello\r\n6\r\n world\r\n0\r\nX-End: yes\r\n\r\n", echoed)
    hashed = 0xCBF29CE484222325
    for byte in body[:1000]:
        hashed = (hashed ^ byte) * 0x100000001B3 % 2**64
    answer = json.loads(get(port, "/upload", "Content-Length: 1000", method="PUT", body=body[:1000])[2])
    expect(answer == {"bytes": 1000, "fnv1a": f"{hashed:016x}"}, answer)
    expect(b"100 Continue" in exchange(port, b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx"))
    with connect(port) as connection:            # the answer comes before the body is sent
        connection.sendall(b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n")
        expect(connection.recv(9999).endswith(b"early\n"))
        connection.sendall(b"bodyGET /status/204 HTTP/1.1\r\nHost: a\r\n\r\n")
        expect(b" 204 " in connection.recv(9999))


def check_connections(port):
    pipelined = b"GET /slow?ms=5 HTTP/1.1\r\n\r\nGET /bytes/2 HTTP/1.1\r\n\r\nGET / HTTP/1.0\r\n\r\n"
    answers = exchange(port, pipelined)
    expect(answers.index(b"slow\n") < answers.index(b"\r\n\r\nxx") < answers.index(b"Hello tests!"))
    expect(b"Connection: close" in exchange(port, b"GET /close HTTP/1.1\r\n\r\n"))
    expect(b"Connection: close" not in exchange(port, b"GET /drop HTTP/1.1\r\n\r\n"))
    half = exchange(port, b"GET /half HTTP/1.1\r\n\r\n").partition(b"\r\n\r\n")
    expect(b"Content-Length: 1000" in half[0] and len(half[2]) == 500)
    expect(exchange(port, b"GET /half?at=start HTTP/1.1\r\n\r\n") == b"")
    with connect(port) as connection:
        connection.sendall(b"GET /reset HTTP/1.1\r\n\r\n")
        try:
            while connection.recv(9999):
                pass
            expect(False, "no reset")
        except ConnectionResetError:
            pass
    expect(not exchange(port, b"GET /garbage HTTP/1.1\r\n\r\n").startswith(b"HTTP"))
    expect(b" 400 " in exchange(port, b"GET nonsense\r\n\r\n"))
    expect(b" 431 " in exchange(port, b"GET / HTTP/1.1\r\nX: " + b"y" * 1_200_000))


def check_overlap(port):
    with connect(port) as first, connect(port) as second:
        first.sendall(b"GET /overlap?ms=200 HTTP/1.1\r\n\r\n")
        while json.loads(get(port, "/stats")[2])["in_flight"] < 2:     # itself and the first
            pass
        second.sendall(b"GET /overlap HTTP/1.1\r\n\r\n")
        expect(b" 500 " in second.recv(999) and b" 200 " in first.recv(999))
    before = json.loads(get(port, "/stats")[2])
    expect(before["overlaps"] == 1 and before["max_in_flight"] >= 2, before)
    with connect(port) as connection:
        connection.sendall(b"GET /hang HTTP/1.1\r\n\r\n")
    while json.loads(get(port, "/stats")[2])["aborted"] == before["aborted"]:
        pass


def check_upgrades(port):
    with connect(port) as connection:
        connection.sendall(b"GET /tunnel HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nfirst")
        received = b""
        while not received.endswith(b"first"):
            received += connection.recv(999)
        expect(b" 101 " in received)
    key = base64.b64encode(bytes(16))
    proof = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    with connect(port) as connection:
        connection.sendall(b"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\nSec-WebSocket-Key: " + key + b"\r\n\r\n")
        expect(proof in connection.recv(999))
        for size in (5, 300, 100_000):
            payload, mask = bytes(i % 251 for i in range(size)), b"\1\2\3\4"
            count = bytes([0x80 | size]) if size < 126 else b"\xfe" + struct.pack(">H", size) if size < 65536 \
                else b"\xff" + struct.pack(">Q", size)
            connection.sendall(b"\x82" + count + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload)))
            wanted, received = b"\x82" + bytes([count[0] & 127]) + count[1:] + payload, b""
            while len(received) < len(wanted):
                received += connection.recv(65536)
            expect(received == wanted, size)
        connection.sendall(b"\x89\x82\0\0\0\0hi\x88\x82\0\0\0\0\x03\xe8")
        received = b""
        while part := connection.recv(999):
            received += part
        expect(received == b"\x8a\x02hi\x88\x02\x03\xe8", received)


def check_life(binary):
    with server(binary) as (process, port), connect(port) as idle, connect(port) as busy:
        idle.sendall(b"GET /status/204 HTTP/1.1\r\n\r\n")
        idle.recv(999)
        busy.sendall(b"GET /slow?ms=100 HTTP/1.1\r\n\r\n")
        while json.loads(get(port, "/stats")[2])["in_flight"] < 2:
            pass
        process.send_signal(signal.SIGTERM)
        expect(idle.recv(999) == b"")
        answer = busy.recv(999)
        expect(b" 200 " in answer and b"Connection: close" in answer, answer)
        expect(process.wait(5) == 0 and process.stdout.read().startswith("stopped after "))
    with server(binary) as (process, port):
        expect(get(port, "/exit?code=7")[0] == 0 and process.wait(5) == 7)
    with server(binary, START_EXIT="3") as (process, port):
        expect(port == 0 and process.wait(5) == 3)
    with server(binary, IDLE_MS="10") as (process, port), connect(port) as connection:
        expect(connection.recv(9) == b"")
    with server(binary, TIMES="off") as (process, port):
        expect(len(get(port, "/")[2]) == 1024 and "X-" not in get(port, "/")[1])
        get(port, "/log?line=seen")
        expect(process.stdout.readline() == "seen\n")
        expect(get(port, "/unlisten")[0] == 200)
        with contextlib.suppress(ConnectionRefusedError):
            expect(connect(port) is None)


def main():
    binary = os.path.abspath(sys.argv[1])
    with server(binary, TARGET="tests", K_REVISION="rev-1") as (process, port):
        for check in (check_answers, check_bodies, check_connections, check_overlap, check_upgrades):
            check(port)
        expect(process.poll() is None)
        process.send_signal(signal.SIGTERM)
        errors = process.communicate(timeout=5)[1]
        expect(process.returncode == 0 and not errors, errors)
    check_life(binary)
    print("martlet-test-server: all endpoints behave")


if __name__ == "__main__":
    main()
