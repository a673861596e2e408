"""grpcio against martlet: every kind of call, over h2c and, with --ca, over TLS. Serves grpc_app.py."""
import base64
import collections
import contextlib
import json
import queue
import threading
import time

import grpc

from kit import case, equal, eventually, expect, main

DEADLINE = 20
NO_LIMIT = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


@contextlib.contextmanager
def channel(options, host=None, alone=True):
    """A connection of its own: grpcio shares connections of equal channels unless told otherwise."""
    name, address = host or options.host, f"127.0.0.1:{options.port}"
    settings = NO_LIMIT + [("grpc.use_local_subchannel_pool", 1 if alone else 0), ("grpc.enable_http_proxy", 0)]
    if options.ca:
        with open(options.ca, "rb") as file:
            trust = grpc.ssl_channel_credentials(file.read())
        settings += [("grpc.ssl_target_name_override", name), ("grpc.default_authority", name)]
        made = grpc.secure_channel(address, trust, settings)
    else:
        made = grpc.insecure_channel(address, settings + [("grpc.default_authority", name)])
    with made:
        yield made


def seen(connection):
    return json.loads(connection.unary_unary("/test.Echo/Seen")(b"", timeout=DEADLINE))


def error_of(call):
    try:
        result = call()
        expect(False, "no error but", result)
    except grpc.RpcError as error:
        return error


class Talk:
    """A bidirectional stream, one message after the other."""

    def __init__(self, connection, method="/test.Echo/Chat", **more):
        self.outgoing = queue.SimpleQueue()
        self.call = connection.stream_stream(method)(iter(self.outgoing.get, None), timeout=DEADLINE, **more)

    def say(self, message):
        self.outgoing.put(message)
        return next(self.call)

    def end(self):
        self.outgoing.put(None)
        equal(list(self.call), [])
        equal(self.call.code(), grpc.StatusCode.OK)


@case()
def unary(options):
    with channel(options) as connection:
        call = connection.unary_unary("/test.Echo/Unary")
        for number in range(200):
            text = b"message %d" % number
            equal(call(text, timeout=DEADLINE), text)
        equal(call(b"", timeout=DEADLINE), b"")


@case()
def client_streaming(options):
    with channel(options) as connection:
        answer = connection.stream_unary("/test.Echo/Sum")(iter([b"x" * 1000] * 500), timeout=DEADLINE)
        equal(json.loads(answer), {"messages": 500, "bytes": 500_000})
        equal(json.loads(connection.stream_unary("/test.Echo/Sum")(iter([]), timeout=DEADLINE))["messages"], 0)


@case()
def server_streaming(options):
    with channel(options) as connection:
        request = json.dumps({"count": 1000, "size": 100}).encode()
        answers = list(connection.unary_stream("/test.Echo/Count")(request, timeout=DEADLINE))
        equal([answer[:8] for answer in answers], [b"%08d" % number for number in range(1000)])
        equal({len(answer) for answer in answers}, {108})


@case()
def ping_pong(options):
    with channel(options) as connection:
        talk = Talk(connection)
        for number in range(100):
            equal(talk.say(b"ping %d" % number), b"ping %d" % number)
        talk.end()


@case()
def large_messages(options):
    message = bytes(range(256)) * 12_288  # 3 MiB
    with channel(options) as connection:
        equal(connection.unary_unary("/test.Echo/Unary")(message, timeout=DEADLINE) == message, True)
        answers = list(connection.stream_stream("/test.Echo/Chat")(iter([message] * 3), timeout=DEADLINE))
        equal([answer == message for answer in answers], [True] * 3)


@case()
def metadata(options):
    with channel(options) as connection:
        sent = (("plain", "text"), ("twice", "1"), ("twice", "2"), ("raw-bin", b"\x00\x01\xff"), ("long", "v" * 4000))
        answer, call = connection.unary_unary("/test.Echo/Metadata").with_call(b"", timeout=DEADLINE, metadata=sent)
        found = collections.defaultdict(list)
        for key, value in json.loads(answer)["metadata"]:
            found[key].append(value)
        equal(found["plain"] + found["long"], ["text", "v" * 4000])
        equal(", ".join(found["twice"]), "1, 2")
        equal(base64.b64decode(found["raw-bin"][0]), b"\x00\x01\xff")
        expect("grpc-python" in found["user-agent"][0], found)
        scheme = [] if "sidecar" in options.more else ["https" if options.ca else "http"]  # the gateway's to say
        equal(found["x-forwarded-proto"], scheme)
        initial, trailing = dict(call.initial_metadata()), dict(call.trailing_metadata())
        equal((initial.get("first"), initial.get("first-bin")), ("1", b"\x01\x00\xfe"), initial)
        equal((trailing.get("last"), trailing.get("last-bin")), ("2", b"\x02\x00\xfd"), trailing)
        expect("last" not in initial and "first" not in trailing, initial, trailing)


@case()
def error_status(options):
    with channel(options) as connection:
        for code in ["INVALID_ARGUMENT", "NOT_FOUND", "UNAVAILABLE", "UNAUTHENTICATED", "DATA_LOSS"]:
            request = json.dumps({"code": code, "message": f"100 % wrong: {code} \u00e9"}).encode()
            error = error_of(lambda: connection.unary_unary("/test.Echo/Fail")(request, timeout=DEADLINE))
            equal((error.code().name, error.details()), (code, f"100 % wrong: {code} \u00e9"))
            trailing = dict(error.trailing_metadata())
            equal((trailing.get("why"), trailing.get("raw-bin")), ("because", b"\x00\xff"))
        unknown = error_of(lambda: connection.unary_unary("/test.Echo/Nothing")(b"", timeout=DEADLINE))
        equal(unknown.code(), grpc.StatusCode.UNIMPLEMENTED)


@case()
def error_after_messages(options):
    with channel(options) as connection:
        request = json.dumps({"code": "ABORTED", "message": "enough"}).encode()
        call = connection.unary_stream("/test.Echo/FailLate")(request, timeout=DEADLINE)
        equal(next(call), b"first")
        error = error_of(lambda: next(call))
        equal((error.code().name, error.details()), ("ABORTED", "enough"))
        equal(dict(error.trailing_metadata()).get("why"), "because")


@case()
def deadline(options):
    with channel(options) as connection:
        before = seen(connection)
        begin = time.monotonic()
        error = error_of(lambda: connection.unary_unary("/test.Echo/Slow")(b"", timeout=0.4))
        equal(error.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
        expect(time.monotonic() - begin < 5, time.monotonic() - begin)
        # The server has heard of the deadline, and of the end.
        after = eventually(lambda: (now := seen(connection))["cancelled"] > before["cancelled"] and now)
        expect(after["started"] == before["started"] + 1 and 0 < after["time_left"] < 0.6, after)


@case()
def cancellation(options):
    with channel(options) as connection:
        before = seen(connection)
        unary = connection.unary_unary("/test.Echo/Slow").future(b"", timeout=DEADLINE)
        stream = connection.unary_stream("/test.Echo/SlowStream")(b"", timeout=DEADLINE)
        equal(next(stream), b"first")
        eventually(lambda: seen(connection)["started"] == before["started"] + 2)
        unary.cancel()
        stream.cancel()
        eventually(lambda: seen(connection)["cancelled"] == before["cancelled"] + 2)
        equal(stream.code(), grpc.StatusCode.CANCELLED)


@case()
def lost_connection_cancels(options):
    with channel(options) as watcher:
        before = seen(watcher)
        with channel(options) as connection:
            stream = connection.unary_stream("/test.Echo/SlowStream")(b"", timeout=DEADLINE)
            equal(next(stream), b"first")
            eventually(lambda: seen(watcher)["started"] == before["started"] + 1)
        eventually(lambda: seen(watcher)["cancelled"] == before["cancelled"] + 1)


@case()
def many_channels(options):
    """20 connections at once, 10 calls each at once."""
    with contextlib.ExitStack() as stack:
        calls = []
        for number in range(20):
            unary = stack.enter_context(channel(options)).unary_unary("/test.Echo/Unary")
            calls += [(unary.future(b"%d-%d" % (number, call), timeout=DEADLINE), number, call) for call in range(10)]
        for future, number, call in calls:
            equal(future.result(), b"%d-%d" % (number, call))


@case()
def many_streams(options):
    """100 bidirectional streams of one connection, all open at the same time."""
    with channel(options) as connection:
        talks = [Talk(connection) for _ in range(100)]
        for round in range(3):
            for number, talk in enumerate(talks):
                equal(talk.say(b"%d-%d" % (round, number)), b"%d-%d" % (round, number))
        for talk in talks:
            talk.end()


@case()
def no_route(options):
    """An error of martlet's own is a gRPC status. A sidecar has one route, which every host takes."""
    if "sidecar" in options.more:
        return
    host = "nobody.default.localhost"
    with channel(options, host) as connection:
        error = error_of(lambda: connection.unary_unary("/test.Echo/Unary")(b"", timeout=DEADLINE))
        equal(error.code(), grpc.StatusCode.UNIMPLEMENTED, error.details())
        stream = connection.stream_stream("/test.Echo/Chat")(iter([b"x"]), timeout=DEADLINE)
        equal(error_of(lambda: next(stream)).code(), grpc.StatusCode.UNIMPLEMENTED)


@case("timeout")
def revision_timeout(options):
    """The revision's timeoutSeconds is 1: 504 before the answer has begun, an error after."""
    with channel(options) as connection:
        error = error_of(lambda: connection.unary_unary("/test.Echo/Slow")(b"", timeout=DEADLINE))
        equal(error.code(), grpc.StatusCode.UNAVAILABLE, error.details())
        stream = connection.unary_stream("/test.Echo/SlowStream")(b"", timeout=DEADLINE)
        equal(next(stream), b"first")
        late = error_of(lambda: next(stream))
        expect(late.code() != grpc.StatusCode.OK, late)
        eventually(lambda: seen(connection)["cancelled"] == 2)


@case("broken")
def broken_pod(options):
    """A pod that closes every connection: 502 or 503, so UNAVAILABLE."""
    with channel(options) as connection:
        error = error_of(lambda: connection.unary_unary("/test.Echo/Unary")(b"", timeout=DEADLINE))
        equal(error.code(), grpc.StatusCode.UNAVAILABLE, error.details())


@case("cold")
def cold_start(options):
    """20 calls to a service at zero, streams among them: all wait for the pod, none fails."""
    with channel(options) as connection:
        futures = [connection.unary_unary("/test.Echo/Unary").future(b"%d" % n, timeout=DEADLINE) for n in range(19)]
        talk = Talk(connection)
        equal(talk.say(b"first"), b"first")
        equal([future.result() for future in futures], [b"%d" % n for n in range(19)])
        talk.end()


@case("balance")
def streams_are_balanced(options):
    """One connection, 30 streams held open: every one of the three pods has its part of them."""
    with channel(options) as connection:

        def spread():
            talks = [Talk(connection, "/test.Echo/Pods") for _ in range(30)]
            counts = collections.Counter(talk.say(b"?") for talk in talks)
            for talk in talks:
                talk.end()
            return counts

        counts = eventually(lambda: (found := spread()) and len(found) == 3 and found, 15)
        # With three pods there, the split is even.
        counts = spread()
        expect(len(counts) == 3 and min(counts.values()) >= 7, counts)


@case("scale")
def scales_up(options):
    """Streams that stay open are load: one pod becomes three, and new streams reach all of them."""
    with channel(options) as connection:
        held = [Talk(connection, "/test.Echo/Pods") for _ in range(9)]
        first = {talk.say(b"?") for talk in held}
        pods = set(first)

        def more():
            pods.add(connection.unary_unary("/test.Echo/Pod")(b"", timeout=DEADLINE))
            return len(pods) >= 3

        eventually(more, 20, pods)
        # The old streams are where they were, and alive.
        equal({talk.say(b"?") for talk in held}, first)
        for talk in held:
            talk.end()


@case("drain")
def drain(options):
    """SIGTERM while a stream talks: it goes on to its end; a new connection is not needed for it."""
    import os
    import signal

    with channel(options) as connection:
        talk = Talk(connection)
        equal(talk.say(b"before"), b"before")
        os.kill(options.pid, signal.SIGTERM)
        for number in range(20):
            equal(talk.say(b"after %d" % number), b"after %d" % number)
        talk.end()


if __name__ == "__main__":
    main()
