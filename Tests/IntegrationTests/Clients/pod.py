"""A pod that says exactly what reached it, in HTTP/1.1 and in HTTP/2 by prior knowledge on the same PORT.

  /report      what came, as JSON: protocol, head, bytes and SHA-256 of the body, trailers
  /echo        the body back while it comes, trailers too
  /bytes/N     N bytes
  /flow/N      N pieces of ten bytes; ?ms=PAUSE between them
  /wait?ms=N   200 after so long; counts as cancelled when the client goes first; &early=1: 103 at once
  /stall       never reads its body and never answers
  /early       103, then 200
  /trailers    200 with a body and two trailer fields
  /fields      200 with fields of every kind
  /status/N    that status, no body
  /late        304, whose stream ends in a frame of its own, a little later
  /cut         half a body, then the stream is reset, or the connection closed
  /stats       requests, in flight, most in flight, cancelled, connections by protocol; not counted itself

With BROKEN set it closes every connection at once. It is built on python3-h2, whose validation of what arrives is on.
"""
import asyncio
import hashlib
import json
import os
import signal
from urllib.parse import parse_qs, urlsplit

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions

stats = {"requests": 0, "in_flight": 0, "max_in_flight": 0, "cancelled": 0, "HTTP/1.1": 0, "HTTP/2": 0, "errors": []}
PATTERN = bytes(range(256)) * 256


class Gone(Exception):
    """The client went away, or cancelled."""


class Exchange:
    """One request, whatever carries it."""

    def __init__(self, protocol, line, head):
        self.protocol, self.line, self.head, self.trailers = protocol, line, head, []
        self.gone = asyncio.get_running_loop().create_future()
        self.is_counted = urlsplit("//pod" + (line[1] or "/")).path != "/stats"
        if self.is_counted:
            stats["requests"] += 1
            stats["in_flight"] += 1
            stats["max_in_flight"] = max(stats["max_in_flight"], stats["in_flight"])

    def leave(self, is_cancelled=False):
        stats["in_flight"] -= self.is_counted
        stats["cancelled"] += self.is_counted and is_cancelled
        self.is_counted = False

    @property
    def method(self):
        return self.line[0]

    async def wait(self, seconds):
        done, _ = await asyncio.wait([self.gone], timeout=seconds)
        if done:
            raise Gone

    async def respond(self, status, body=b"", fields=(), trailers=()):
        await self.start(status, [("content-length", str(len(body)))] * (not trailers) + list(fields))
        if body and self.method != "HEAD":
            await self.write(body)
        await self.finish(trailers)


class HTTP1(Exchange):
    def __init__(self, reader, writer, raw, line, head):
        super().__init__("HTTP/1.1", line, head)
        self.reader, self.writer, self.raw, self.is_chunked, self.has_ended = reader, writer, raw, False, False
        self.expects = self.value("expect").lower() == "100-continue"
        self.decoder = self.decode()
        self.watcher = None

    def value(self, name):
        return ", ".join(value for key, value in self.head if key.lower() == name)

    async def decode(self):
        if self.value("transfer-encoding") == "chunked":
            while size := int((await self.reader.readuntil(b"\r\n")).split(b";")[0], 16):
                yield await self.reader.readexactly(size)
                await self.reader.readexactly(2)
            while (line := await self.reader.readline()) != b"\r\n":
                name, _, value = line.decode("latin-1").rstrip("\r\n").partition(":")
                self.trailers.append((name, value.strip()))
        elif left := int(self.value("content-length") or 0):
            while left:
                part = await self.reader.read(min(left, 65536))
                if not part:
                    raise Gone
                left -= len(part)
                yield part

    def agree(self):
        """Says 100 to a client that waits for it."""
        if self.expects:
            self.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.expects = False

    async def part(self):
        self.agree()
        part = await anext(self.decoder, None)
        if part is None and not self.has_ended:
            self.has_ended = True
            self.watch()
        return part

    def watch(self):
        """After the body nothing comes but the end."""

        async def look():
            if not await self.reader.read(1) and not self.gone.done():
                self.gone.set_result(None)

        self.watcher = asyncio.ensure_future(look())

    async def interim(self, status, fields):
        self.lines(f"HTTP/1.1 {status} Early", fields)

    def lines(self, first, fields):
        text = [first] + [f"{name}: {value}" for name, value in fields] + ["", ""]
        self.writer.write("\r\n".join(text).encode("latin-1"))

    async def start(self, status, fields):
        self.agree()
        fields = list(fields)
        has_length = any(name == "content-length" for name, _ in fields)
        self.is_chunked = not has_length and status not in (204, 304)
        if self.is_chunked:
            fields.append(("transfer-encoding", "chunked"))
        if status == 204:
            fields = [pair for pair in fields if pair[0] != "content-length"]
        self.lines(f"HTTP/1.1 {status} Fine", fields)

    async def write(self, data):
        self.writer.write(b"%x\r\n%b\r\n" % (len(data), data) if self.is_chunked else data)
        await self.writer.drain()

    async def finish(self, trailers=()):
        if self.is_chunked and self.method != "HEAD":
            self.lines("0", trailers)
        await self.writer.drain()

    async def cut(self):
        self.writer.transport.abort()

    async def stall(self):
        """Without reading: whether the client has closed its side is asked of the kernel."""
        socket = self.writer.get_extra_info("socket")
        while socket.getsockopt(6, 11, 1) == b"\x01":  # TCP_INFO begins with the state; 1 is ESTABLISHED
            await asyncio.sleep(0.02)
        raise Gone


class HTTP2(Exchange):
    def __init__(self, connection, stream, head):
        values = dict(head)
        super().__init__("HTTP/2", (values.get(":method"), values.get(":path")), head)
        self.connection, self.stream, self.parts = connection, stream, asyncio.Queue()
        self.expects = values.get("expect") == "100-continue"

    async def agree(self):
        expected, self.expects = self.expects, False
        if expected:
            await self.start(100, [])

    async def part(self):
        await self.agree()
        part, flow = await self.parts.get()
        if flow:
            self.connection.do(lambda h2: h2.acknowledge_received_data(flow, self.stream))
        if part is None and self.gone.done():
            raise Gone
        return part

    async def interim(self, status, fields):
        await self.start(status, fields)

    async def start(self, status, fields):
        await self.agree()
        head = [(name.encode(), value.encode("latin-1")) for name, value in [(":status", str(status)), *fields]]
        self.connection.do(lambda h2: h2.send_headers(self.stream, head))

    async def write(self, data):
        while data:
            window = self.connection.h2.local_flow_control_window(self.stream)
            size = min(len(data), window, self.connection.h2.max_outbound_frame_size)
            if size <= 0:
                await self.connection.window(self)
                continue
            part, data = data[:size], data[size:]
            self.connection.do(lambda h2: h2.send_data(self.stream, part))
            await self.connection.writer.drain()

    async def finish(self, trailers=()):
        if trailers:
            self.connection.do(lambda h2: h2.send_headers(self.stream, list(trailers), end_stream=True))
        else:
            self.connection.do(lambda h2: h2.end_stream(self.stream))

    async def stall(self):
        await self.gone
        raise Gone

    async def cut(self):
        self.connection.do(lambda h2: h2.reset_stream(self.stream, h2_errors.INTERNAL_ERROR))


h2_errors = h2.errors.ErrorCodes


class Connection2:
    """The streams of one HTTP/2 connection."""

    def __init__(self, reader, writer):
        self.reader, self.writer, self.streams, self.opened = reader, writer, {}, asyncio.Event()
        config = h2.config.H2Configuration(client_side=False, header_encoding="latin-1")
        self.h2 = h2.connection.H2Connection(config)

    def do(self, action):
        try:
            action(self.h2)
        except h2.exceptions.StreamClosedError:
            raise Gone from None
        self.writer.write(self.h2.data_to_send())

    async def window(self, exchange):
        self.opened.clear()
        waiting = asyncio.ensure_future(self.opened.wait())
        await asyncio.wait([waiting, exchange.gone], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if exchange.gone.done():
            raise Gone

    def lose(self, exchange):
        exchange.leave(is_cancelled=True)  # now: its task hears of it after what has come with that has begun
        if not exchange.gone.done():
            exchange.gone.set_result(None)
        exchange.parts.put_nowait((None, 0))

    def take(self, event):
        exchange = self.streams.get(getattr(event, "stream_id", None))
        if isinstance(event, h2.events.RequestReceived):
            exchange = HTTP2(self, event.stream_id, event.headers)
            self.streams[event.stream_id] = exchange
            asyncio.ensure_future(serve(exchange))
        elif isinstance(event, h2.events.DataReceived):
            exchange.parts.put_nowait((event.data, event.flow_controlled_length))
        elif isinstance(event, h2.events.TrailersReceived):
            exchange.trailers = event.headers
        elif isinstance(event, h2.events.StreamEnded):
            exchange.parts.put_nowait((None, 0))
        elif isinstance(event, h2.events.StreamReset):
            self.lose(exchange)
        elif isinstance(event, (h2.events.WindowUpdated, h2.events.RemoteSettingsChanged)):
            self.opened.set()

    async def run(self, data):
        self.h2.initiate_connection()
        self.h2.increment_flow_control_window(1 << 24)  # a stream that is not read does not stop the others
        self.writer.write(self.h2.data_to_send())
        try:
            while data:
                for event in self.h2.receive_data(data):
                    self.take(event)
                self.writer.write(self.h2.data_to_send())
                data = await self.reader.read(262144)
        except h2.exceptions.ProtocolError as error:
            stats["errors"].append(f"{type(error).__name__}: {error}")
            self.writer.write(self.h2.data_to_send())
        finally:
            for exchange in self.streams.values():
                self.lose(exchange)


async def report(exchange):
    digest, count = hashlib.sha256(), 0
    while (part := await exchange.part()) is not None:
        digest.update(part)
        count += len(part)
    found = {"protocol": exchange.protocol, "line": exchange.line, "head": exchange.head, "bytes": count,
             "sha256": digest.hexdigest(), "trailers": exchange.trailers, "raw": getattr(exchange, "raw", None)}
    await exchange.respond(200, json.dumps(found).encode(), [("content-type", "application/json")])


async def echo(exchange):
    length = dict((name.lower(), value) for name, value in exchange.head).get("content-length")
    await exchange.start(200, [("content-length", length)] if length else [])
    while (part := await exchange.part()) is not None:
        await exchange.write(part)
    await exchange.finish(exchange.trailers)


async def answer(exchange, path, query):
    number = int(path.rpartition("/")[2]) if path.startswith(("/bytes/", "/status/", "/flow/")) else 0
    if path == "/bytes/" + str(number):
        await exchange.start(200, [("content-length", str(number))])
        for start in range(0, number if exchange.method != "HEAD" else 0, len(PATTERN)):
            await exchange.write(PATTERN[:min(len(PATTERN), number - start)])
        await exchange.finish()
    elif path == "/status/" + str(number):
        await exchange.respond(number)
    elif path == "/flow/" + str(number):
        await exchange.start(200, [])
        for _ in range(number):
            await exchange.write(b"0123456789")
            await exchange.wait(int(query.get("ms", ["0"])[0]) / 1000)
        await exchange.finish()
    elif path == "/wait":
        if "early" in query:
            await exchange.interim(103, [("link", "</begun>")])
        await exchange.wait(int(query.get("ms", ["60000"])[0]) / 1000)
        await exchange.respond(200, b"waited\n")
    elif path == "/stall":
        await exchange.stall()
    elif path == "/early":
        await exchange.interim(103, [("link", "</style.css>; rel=preload")])
        await exchange.respond(200, b"then\n")
    elif path == "/trailers":
        await exchange.respond(200, b"body\n", trailers=[("x-sum", "5"), ("x-end", "yes")])
    elif path == "/fields":
        fields = [("set-cookie", "a=1; Path=/"), ("set-cookie", "b=2"), ("x-empty", ""), ("x-bytes", "caf\xe9")]
        hop = [("connection", "x-hop"), ("x-hop", "1"), ("keep-alive", "timeout=5")]
        await exchange.respond(200, b"fields\n", fields + hop * (exchange.protocol == "HTTP/1.1"))
    elif path == "/late":
        await exchange.start(304, [])
        await exchange.wait(0.1)
        await exchange.finish()
    elif path == "/cut":
        await exchange.start(200, [("content-length", "1000")])
        await exchange.write(b"x" * 500)
        await exchange.wait(0.05)
        await exchange.cut()
    else:
        await exchange.respond(404, b"no such path\n")


async def serve(exchange):
    """Answers one request. Returns whether the connection may go on."""
    parts = urlsplit("//pod" + (exchange.line[1] or "/"))
    if parts.path == "/stats":
        # Its connection ends, as its body is not looked for; whoever would use it again must be told.
        ending = [("connection", "close")] * (exchange.protocol == "HTTP/1.1")
        await exchange.respond(200, json.dumps(stats).encode(), ending)
        return False
    try:
        if parts.path in ("/report", "/echo"):
            await {"/report": report, "/echo": echo}[parts.path](exchange)
        else:
            if parts.path != "/stall":
                while await exchange.part() is not None:
                    pass
            await answer(exchange, parts.path, parse_qs(parts.query))
        return True
    except (Gone, ConnectionError, asyncio.IncompleteReadError):
        exchange.leave(is_cancelled=True)
        return False
    finally:
        exchange.leave()


async def serve1(reader, writer, data):
    while True:
        if b"\r\n\r\n" not in data:
            try:
                data += await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                return
        raw, rest = data.split(b"\r\n\r\n", 1)
        reader._buffer[:0] = rest  # read with the head, belongs to the body
        lines = raw.decode("latin-1").split("\r\n")
        head = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines[1:])]
        exchange = HTTP1(reader, writer, raw.decode("latin-1"), lines[0].split(" "), head)
        goes_on = await serve(exchange)
        if exchange.watcher:
            exchange.watcher.cancel()
            await asyncio.wait([exchange.watcher])
        if not goes_on or not exchange.has_ended or exchange.gone.done():
            return
        data = b""


async def accept(reader, writer):
    try:
        if os.environ.get("BROKEN"):
            return
        data = await reader.read(3)
        while data and len(data) < 3:
            data += await reader.read(3 - len(data))
        if data == b"PRI":
            stats["HTTP/2"] += 1
            await Connection2(reader, writer).run(data)
        elif data:
            stats["HTTP/1.1"] += 1
            await serve1(reader, writer, data)
    except ConnectionError:
        pass
    finally:
        writer.close()


async def main():
    server = await asyncio.start_server(accept, "127.0.0.1", int(os.environ["PORT"]), limit=1 << 18)
    print("listening", server.sockets[0].getsockname()[1], flush=True)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()


asyncio.run(main())
