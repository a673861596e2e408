"""HTTP/2 as frames, with python3-h2, against martlet and pod.py (over either protocol of the pod)."""
import base64
import hashlib
import os
import signal
import struct

import h2.settings

from h2kit import Codes, Connection, Errors, resident_kib
from kit import case, equal, eventually, expect, main


def stats(connection):
    return connection.request("/stats").json()


def idle(connection):
    """What the pod has counted, when it has nothing to do."""
    return eventually(lambda: (found := stats(connection))["in_flight"] == 0 and found)


@case()
def requests(options):
    with Connection(options) as connection:
        for method in ["GET", "DELETE", "OPTIONS", "PATCH"]:
            equal(connection.request("/report", method).json()["line"][0], method)
        body = os.urandom(300_000)
        found = connection.request("/report", "POST", body=body).json()
        equal((found["bytes"], found["sha256"]), (300_000, hashlib.sha256(body).hexdigest()))
        head = connection.request("/bytes/1234", "HEAD")
        expect(head.status == 200 and head.has_ended and not head.body, head)
        equal(head.value("content-length"), ["1234"])
        for status in [204, 304, 404, 500]:
            found = connection.request(f"/status/{status}")
            expect(found.status == status and found.has_ended and not found.body, found)
        equal(len(connection.request("/bytes/1000000").body), 1_000_000)
        expect(not connection.goaways and not connection.is_closed, connection.goaways)


@case()
def many_streams(options):
    """As many streams at once as the server allows, 1,000 in all."""
    with Connection(options) as connection:
        connection.pump(lambda: ("SETTINGS", 0, 0) in connection.frames)
        limit = connection.h2.remote_settings.max_concurrent_streams
        expect(limit >= 100, limit)
        limit = min(limit, 250)
        for start in range(0, 1000, limit):
            numbers = [connection.start(f"/bytes/{start + n}") for n in range(min(limit, 1000 - start))]
            connection.finish(*numbers)
            for n, number in enumerate(numbers):
                equal(len(connection.streams[number].body), start + n, connection.streams[number])


@case()
def eager_client(options):
    """More streams than allowed before the limit could be known: what is too much is refused, for another try."""
    with Connection(options) as connection:
        numbers = [connection.start("/wait?ms=500") for _ in range(300)]
        connection.finish(*numbers)
        served = [number for number in numbers if connection.streams[number].status == 200]
        resets = {connection.streams[number].reset for number in numbers if number not in served}
        expect(len(served) >= 100 and resets <= {"REFUSED_STREAM"}, len(served), resets, connection.goaways)
        expect(not connection.goaways, connection.goaways)
        equal(connection.request("/report").status, 200)


@case()
def too_many_streams(options):
    """More streams than allowed by a client that knows: an error, of the streams or the connection (section 5.1.2)."""
    with Connection(options) as connection:
        connection.pump(lambda: ("SETTINGS", 0, 0) in connection.frames)
        limit = connection.h2.remote_settings.max_concurrent_streams
        connection.h2.remote_settings.max_concurrent_streams = 100_000
        connection.h2.remote_settings.acknowledge()
        numbers = [connection.start("/wait?ms=700") for _ in range(limit + 5)]
        connection.pump(lambda: connection.goaways or all(connection.streams[n].is_over for n in numbers))
        if connection.goaways:
            equal(connection.goaways[-1][1], "PROTOCOL_ERROR")
        else:
            refused = [number for number in numbers if connection.streams[number].reset]
            equal(refused, numbers[-5:])
            expect({connection.streams[n].reset for n in refused} <= {"REFUSED_STREAM", "PROTOCOL_ERROR"})
    with Connection(options) as other:
        idle(other)


@case()
def cancellation(options):
    """Streams that the client cancels end in the pod too; their neighbours do not notice."""
    with Connection(options) as connection:
        before = idle(connection)
        kept = connection.start("/wait?ms=500")
        numbers = [connection.start("/wait") for _ in range(20)]
        eventually(lambda: stats(connection)["in_flight"] == before["in_flight"] + 21)
        for number in numbers:
            connection.reset(number)
        eventually(lambda: stats(connection)["cancelled"] == before["cancelled"] + 20, 10, stats(connection))
        equal(connection.finish(kept).status, 200)


@case()
def lost_connection(options):
    with Connection(options) as watcher:
        before = idle(watcher)
        with Connection(options) as connection:
            for _ in range(10):
                connection.start("/wait")
            eventually(lambda: stats(watcher)["in_flight"] == before["in_flight"] + 10)
        eventually(lambda: stats(watcher)["cancelled"] == before["cancelled"] + 10, 10, stats(watcher))


@case()
def trailers(options):
    with Connection(options) as connection:
        found = connection.request("/trailers", fields=[("te", "trailers")])
        expect(found.body == b"body\n" and dict(found.trailers or []) == {"x-sum": "5", "x-end": "yes"}, found)
        sent = [("x-check", "abc"), ("x-more", "1")]
        report = connection.request("/report", "POST", body=b"12345", trailers=sent).json()
        equal((report["bytes"], [(k.lower(), v) for k, v in report["trailers"]]), (5, sent))
        back = connection.request("/echo", "POST", body=b"12345", trailers=sent)
        expect(back.body == b"12345" and [(k.lower(), v) for k, v in back.trailers or []] == sent, back)


@case()
def interim_responses(options):
    with Connection(options) as connection:
        found = connection.request("/early")
        expect(found.status == 200 and found.body == b"then\n" and len(found.interim) == 1, found)
        equal(dict(found.interim[0]).get("link"), "</style.css>; rel=preload")
        equal(dict(found.interim[0])[":status"], "103")
        number = connection.start("/report", "POST", [("expect", "100-continue"), ("content-length", "3")], end=False)
        connection.pump(lambda: connection.streams[number].interim or connection.streams[number].is_over)
        equal(dict(connection.streams[number].interim[0])[":status"], "100")
        connection.send(number, b"abc", end=True)
        equal(connection.finish(number).json()["bytes"], 3)


@case()
def both_ways_at_once(options):
    with Connection(options) as connection:
        number = connection.start("/echo", "POST", end=False)
        for part in [b"first", b"second", b"third" * 1000]:
            before = len(connection.streams[number].body)
            connection.send(number, part)
            connection.pump(lambda: len(connection.streams[number].body) == before + len(part))
            equal(bytes(connection.streams[number].body[before:]), part)
        connection.send(number, b"", end=True)
        expect(connection.finish(number).has_ended, connection.streams[number])


@case()
def gone_at_the_head(options):
    """Clients that go when they have the head, while the pod's end of the stream is on its way: nothing is left."""
    for path in ["/status/304"] * 50 + ["/status/204", "/bytes/10", "/late"] * 5:
        with Connection(options) as connection:
            number = connection.start(path)
            connection.pump(lambda: connection.streams[number].head)
    with Connection(options) as connection:
        idle(connection)


@case()
def broken_response(options):
    """A response that the pod cuts short is reset, not ended; the connection goes on."""
    with Connection(options) as connection:
        found = connection.request("/cut")
        expect(found.status == 200 and found.reset and not found.has_ended, found)
        equal(connection.request("/report").status, 200)


@case()
def small_windows(options):
    """A client that takes one byte a time, then more by SETTINGS."""
    with Connection(options, settings={Codes.INITIAL_WINDOW_SIZE: 1}) as connection:
        equal(len(connection.request("/bytes/200").body), 200)
        number = connection.start("/bytes/30000")
        connection.acknowledges = False
        connection.pump(lambda: len(connection.streams[number].body) == 1)
        connection.h2.update_settings({Codes.INITIAL_WINDOW_SIZE: 65_535})
        connection.flush()
        equal(len(connection.finish(number).body), 30_000)


@case()
def frames_to_be_ignored(options):
    """PRIORITY, unknown frames, padding, PING, unknown settings."""
    with Connection(options) as connection:
        connection.send_raw(2, 0, 1, struct.pack(">IB", 0, 15))  # PRIORITY of an idle stream
        connection.send_raw(0x10, 0, 0, struct.pack(">I", 1) + b"u=1")  # PRIORITY_UPDATE
        connection.send_raw(0xEE, 0xFF, 0, b"unknown")
        connection.send_raw(4, 0, 0, struct.pack(">HI", 0xF0F0, 7))
        connection.h2.ping(b"12345678")
        number = connection.start("/report", "POST", end=False)
        for _ in range(10):
            connection.h2.send_data(number, b"abc", pad_length=200)
            connection.flush()
        connection.h2.end_stream(number)
        connection.flush()
        equal(connection.finish(number).json()["bytes"], 30)
        connection.pump(lambda: connection.pongs == 1)
        expect(not connection.goaways, connection.goaways)


@case()
def refused_connect(options):
    with Connection(options) as connection:
        before = stats(connection)["requests"]
        heads = [
            [(":method", "CONNECT"), (":authority", connection.host + ":80")],
            [*connection.head("/report", "CONNECT"), (":protocol", "connect-udp")],
        ]
        for head in heads:
            found = connection.finish(connection.start_raw(sorted(head), end=False))
            refused = found.reset is not None or (found.status or 0) in (400, 403, 405, 501)
            expect(refused and found.status != 200, found)
        equal(stats(connection)["requests"], before)
        expect(not connection.goaways, connection.goaways)


@case()
def large_head(options):
    with Connection(options) as connection:
        connection.start("/report", fields=[("x-large", "v" * 20_000)])  # several frames, allowed
        equal(connection.finish(1).status, 200)
        before = stats(connection)["requests"]
        number = connection.start("/report", fields=[(f"x-{n}", "w" * 1000) for n in range(90)])
        connection.pump(lambda: connection.streams[number].is_over or connection.is_closed or connection.goaways)
        found = connection.streams[number]
        expect(found.reset or found.status == 431 or connection.goaways, found)
        with Connection(options) as other:
            equal(stats(other)["requests"], before)


@case("cleartext")
def upgrade(options):
    """Upgrade: h2c, its answer on stream 1, then more requests."""

    def ask(state):
        settings = state.initiate_upgrade_connection()
        socket = options.connect()
        lines = ["GET /report?upgraded HTTP/1.1", f"Host: {options.host}", "Connection: Upgrade, HTTP2-Settings",
                 "Upgrade: h2c", f"HTTP2-Settings: {settings.decode()}", "X-Kept: yes", "", ""]
        socket.sendall("\r\n".join(lines).encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            part = socket.recv(65536)
            expect(part, "closed after", answer)
            answer += part
        head, rest = answer.split(b"\r\n\r\n", 1)
        expect(head.startswith(b"HTTP/1.1 101"), head)
        expect(b"upgrade: h2c" in head.lower() and b"connection: upgrade" in head.lower(), head)
        return socket, rest

    with Connection(options, upgraded=ask) as connection:
        first = connection.finish(1).json()
        equal(first["line"][:2], ["GET", "/report?upgraded"])
        names = {name.lower() for name, _ in first["head"]}
        expect("x-kept" in names and not names & {"upgrade", "http2-settings", "connection"}, first)
        equal(connection.request("/report", "POST", body=b"abc").json()["bytes"], 3)


@case("tls")
def preface_without_alpn(options):
    with Connection(options, alpn=()) as connection:
        equal(connection.request("/report").json()["bytes"], 0)


@case("single")
def cancelled_stream_frees_the_slot(options):
    """containerConcurrency is 1: what waits is served as soon as what runs is cancelled."""
    with Connection(options) as connection, Connection(options) as other:
        running = connection.start("/wait?early=1")
        connection.pump(lambda: connection.streams[running].interim)
        waiting = [connection.start("/report"), other.start("/report")]
        cancelled = connection.start("/report")
        connection.reset(cancelled)
        for each in [connection, other]:  # what was sent before a PING is known when it comes back
            each.h2.ping(b"12345678")
            each.flush()
            each.pump(lambda: each.pongs)
        equal([connection.streams[waiting[0]].is_over, other.streams[waiting[1]].is_over], [False, False])
        connection.reset(running)
        connection.finish(waiting[0], seconds=5)
        other.finish(waiting[1], seconds=5)
        # The pod may hear of the cancellation after it has seen the next request, but of no third one before.
        found = stats(connection)
        equal((found["requests"], found["cancelled"]), (3, 1), found)
        expect(found["max_in_flight"] <= 2, found)


@case("drain")
def drain(options):
    """SIGTERM: GOAWAY, and every stream is answered. The streams are longer than any quiet time before it."""
    with Connection(options) as connection, Connection(options) as idle:
        equal(idle.request("/report").status, 200)
        before = stats(connection)["in_flight"]
        numbers = [connection.start("/wait?ms=1500") for _ in range(20)]
        slow = connection.start("/echo", "POST", end=False)
        with Connection(options) as watcher:
            eventually(lambda: stats(watcher)["in_flight"] == before + 21)
        os.kill(options.pid, signal.SIGTERM)
        connection.pump(lambda: connection.goaways)
        last, code, _ = connection.goaways[0]
        equal(code, "NO_ERROR")
        expect(last >= slow, connection.goaways)
        # What was sent before the client could know of it is served too, or refused so that it may be sent again.
        late = connection.start("/report")
        connection.send(slow, b"still there", end=True)
        connection.finish(*numbers, slow)
        equal({connection.streams[number].status for number in numbers}, {200})
        equal((connection.streams[slow].status, bytes(connection.streams[slow].body)), (200, b"still there"))
        connection.pump(lambda: connection.streams[late].is_over or connection.is_closed)
        found = connection.streams[late]
        is_told = any(last < late for last, _, _ in connection.goaways)
        expect(found.status == 200 or found.reset == "REFUSED_STREAM" or is_told, found, connection.goaways)
        connection.pump(lambda: connection.is_closed)
        idle.pump(lambda: idle.is_closed)
        equal([code for _, code, _ in idle.goaways[:1]], ["NO_ERROR"], idle.frames)


@case("stall")
def stalled_downloads(options):
    """30 streams of 10 MB that are never acknowledged cost a bounded buffer each; the others go on."""
    with Connection(options) as connection, Connection(options) as other:
        equal(connection.request("/bytes/1000000").status, 200)
        cancelled, before = idle(other)["cancelled"], resident_kib(options.pid)
        connection.acknowledges = False
        stalled = [connection.start("/bytes/10000000") for _ in range(30)]
        connection.pump(lambda: all(connection.streams[n].head for n in stalled))
        for _ in range(20):
            equal(len(other.request("/bytes/100000").body), 100_000)
            equal(len(connection.request("/bytes/60000").body), 60_000)
        connection.pump(lambda: all(len(connection.streams[n].body) == 65_535 for n in stalled))
        grown = resident_kib(options.pid) - before
        expect(grown < 30 * 400, f"{grown} KiB more for 30 stalled streams")
        for number in stalled:
            connection.reset(number)
        equal(idle(other)["cancelled"] - cancelled, 30)


@case("stall")
def stalled_uploads(options):
    """Bodies that the pod does not read are not taken from the client; the connection's other streams go on."""
    with Connection(options) as connection:
        before = resident_kib(options.pid)
        stalled = [connection.start("/stall", "POST", end=False) for _ in range(5)]
        sent, data = dict.fromkeys(stalled, 0), b"u" * 16_384

        def push():
            for number in stalled:
                sent[number] += connection.send(number, data, wait=False)
            connection.pump(lambda: True)
            return all(connection.h2.streams[number].outbound_flow_control_window == 0 for number in stalled)

        for _ in range(3000):
            if push():
                break
        answer = connection.request("/report", "POST", body=b"x" * 1_000_000)
        equal(answer.json()["bytes"], 1_000_000)
        expect(max(sent.values()) < 8_000_000, sent)
        grown = resident_kib(options.pid) - before
        expect(grown < 8_000, f"{grown} KiB more for 5 stalled uploads", sent)
        for number in stalled:
            connection.reset(number)
        idle(connection)


def masked(opcode, payload, final=True):
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else bytes([0xFE]) + struct.pack(">H", size)
    mask = b"\x01\x02\x03\x04"
    return bytes([final << 7 | opcode]) + length + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(payload))


@case("websocket")
def extended_connect(options):
    """RFC 8441: a WebSocket on a stream, beside ordinary streams. The service is ws_app.py."""
    with Connection(options) as connection:
        connection.pump(lambda: ("SETTINGS", 0, 0) in connection.frames)
        equal(connection.h2.remote_settings.get(h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL), 1)

        def open_socket(path="/echo"):
            head = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", options.scheme),
                    (":path", path), (":authority", connection.host), ("sec-websocket-version", "13"),
                    ("sec-websocket-protocol", "chat, echo"), ("origin", "http://example.com")]
            number = connection.start("", head=head, end=False)
            connection.pump(lambda: connection.streams[number].head or connection.streams[number].is_over)
            return number, connection.streams[number]

        number, stream = open_socket()
        expect(stream.status == 200 and not stream.has_ended, stream)
        equal(stream.value("sec-websocket-protocol"), ["echo"])
        expect(not stream.value("upgrade") and not stream.value("sec-websocket-accept"), stream)
        second, other = open_socket()
        for text in [b"hello", b"x" * 60_000, b"again"]:
            before = len(stream.body)
            connection.send(number, masked(2, text))
            connection.send(second, masked(2, b"two"))
            size = len(text) + (2 if len(text) < 126 else 4)
            connection.pump(lambda: len(stream.body) == before + size)
            equal(bytes(stream.body[-len(text):]), text)
        connection.pump(lambda: len(other.body) == 15)
        # Close of one: answered by the pod, the stream ends, the other one goes on.
        connection.send(number, masked(8, struct.pack(">H", 1000)))
        connection.finish(number)
        equal(bytes(stream.body[-4:]), b"\x88\x02" + struct.pack(">H", 1000))
        connection.send(second, masked(2, b"two"))
        connection.pump(lambda: len(other.body) == 20)
        connection.reset(second)
        # What the pod refuses is answered with its status.
        _, refused = open_socket("/refuse")
        equal(refused.status, 403, refused)


if __name__ == "__main__":
    main()
