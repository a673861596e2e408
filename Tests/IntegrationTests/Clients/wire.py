"""Performs requests that a test describes, over a protocol that the test chooses, and tells all that came back.

It listens on loopback and prints `listening PORT`. A test connects, sends one line of JSON and reads one line of JSON;
as many such connections as wanted may be open at a time. It ends when it is killed, or after LIFE_SECONDS.

  way       h1       HTTP/1.1, written by hand: every field is sent as it is
            h2c      HTTP/2 by prior knowledge
            upgrade  HTTP/1.1 with Upgrade: h2c, the answer on stream 1
            tls1     TLS, ALPN http/1.1
            tls2     TLS, ALPN h2
            bare2    TLS without ALPN, and the preface of HTTP/2
  port, method, path, host, fields [[name, value]], body (text, or {"size": N}), trailers [[name, value]], seconds
  more      how many further requests of the same kind go at once over the same connection (h2c, tls2, bare2)
  cancel    milliseconds after which the client goes away: RST_STREAM, or the connection closed

The answer: status, fields, body (up to 64 KiB, in latin-1), count, sha256, trailers, interim [[status, fields]], ended
(the message came to its proper end), reset (the code of RST_STREAM), goaways, seconds, tls (version), statuses (of all
requests when there were `more`), or error (in words).
"""
import hashlib
import json
import socket
import ssl
import sys
import threading
import time
import traceback

import h2.config
import h2.connection
import h2.errors
import h2.events

LIFE_SECONDS = 120
BODY_BYTES = 65536
PATTERN = bytes(range(256)) * 64


class Answer:
    def __init__(self):
        self.status, self.fields, self.trailers, self.interim = None, [], [], []
        self.digest, self.count, self.kept = hashlib.sha256(), 0, b""
        self.has_ended, self.reset = False, None

    def add(self, data):
        self.digest.update(data)
        self.count += len(data)
        self.kept += data[:max(0, BODY_BYTES - len(self.kept))]

    def found(self):
        return {"status": self.status, "fields": self.fields, "body": self.kept.decode("latin-1"),
                "count": self.count, "sha256": self.digest.hexdigest(), "trailers": self.trailers,
                "interim": self.interim, "ended": self.has_ended, "reset": self.reset}


def body_of(wanted):
    body = wanted.get("body")
    if isinstance(body, dict):
        size = body["size"]
        return (PATTERN * (size // len(PATTERN) + 1))[:size]
    return None if body is None else body.encode("latin-1")


def connect(wanted):
    plain = socket.create_connection(("127.0.0.1", wanted["port"]), timeout=wanted.get("seconds", 25))
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if wanted["way"] in ("h1", "h2c", "upgrade"):
        return plain
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    alpn = {"tls1": ["http/1.1"], "tls2": ["h2"]}.get(wanted["way"])
    if alpn:
        context.set_alpn_protocols(alpn)
    secure = context.wrap_socket(plain, server_hostname="data-plane.knative.dev")
    if alpn and secure.selected_alpn_protocol() != alpn[0]:
        raise ValueError(f"ALPN chose {secure.selected_alpn_protocol()}")
    return secure


# ---------------------------------------------------------------- HTTP/1.1


class Reader:
    """What comes over a connection of HTTP/1.1."""

    def __init__(self, connection):
        self.connection, self.pending = connection, b""

    def more(self):
        data = self.connection.recv(65536)
        self.pending += data
        return data

    def until(self, mark):
        while mark not in self.pending:
            if not self.more():
                raise EOFError(f"the connection ended after {self.pending[:200]!r}")
        found, self.pending = self.pending.split(mark, 1)
        return found

    def head(self):
        lines = self.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        pairs = [line.partition(":") for line in lines[1:]]
        return int(lines[0].split(" ")[1]), [[name, value.strip()] for name, _, value in pairs]

    def some(self, limit):
        if not self.pending:
            self.more()
        found, self.pending = self.pending[:limit], self.pending[limit:]
        return found

    def body(self, answer, method):
        values = {name.lower(): value for name, value in answer.fields}
        if method == "HEAD" or answer.status in (204, 304) or answer.status < 200:
            answer.has_ended = True
        elif values.get("transfer-encoding") == "chunked":
            self.chunks(answer)
        elif "content-length" in values:
            left = int(values["content-length"])
            while left and (data := self.some(left)):
                answer.add(data)
                left -= len(data)
            answer.has_ended = left == 0
        else:
            while data := self.some(65536):
                answer.add(data)
            answer.has_ended = True

    def chunks(self, answer):
        try:
            while left := int(self.until(b"\r\n").split(b";")[0], 16):
                while left:
                    data = self.some(left)
                    if not data:
                        return
                    answer.add(data)
                    left -= len(data)
                self.until(b"\r\n")
            while line := self.until(b"\r\n").decode("latin-1"):
                name, _, value = line.partition(":")
                answer.trailers.append([name, value.strip()])
            answer.has_ended = True
        except (EOFError, ConnectionError):
            return


def head1(wanted, extra=()):
    fields = [["Host", wanted.get("host", "app.default.example.com")]] * (wanted.get("host", "") is not None)
    body = body_of(wanted)
    if wanted.get("trailers"):
        fields.append(["Transfer-Encoding", "chunked"])
    elif body is not None:
        fields.append(["Content-Length", str(len(body))])
    lines = [f"{wanted.get('method', 'GET')} {wanted.get('path', '/')} {wanted.get('version', 'HTTP/1.1')}"]
    lines += [f"{name}: {value}" for name, value in fields + wanted.get("fields", []) + list(extra)]
    return "\r\n".join(lines + ["", ""]).encode("latin-1")


def send_body1(connection, wanted):
    body = body_of(wanted)
    if wanted.get("trailers"):
        lines = "".join(f"{name}: {value}\r\n" for name, value in wanted["trailers"]).encode("latin-1")
        connection.sendall(b"%x\r\n%b\r\n0\r\n%b\r\n" % (len(body), body, lines))
    elif body:
        connection.sendall(body)


def exchange1(connection, wanted):
    answer, reader, expects = Answer(), Reader(connection), False
    expects = any(name.lower() == "expect" for name, _ in wanted.get("fields", []))
    connection.sendall(head1(wanted))
    if "cancel" in wanted:
        threading.Event().wait(wanted["cancel"] / 1000)
        return answer
    if not expects:
        send_body1(connection, wanted)
    while True:
        status, fields = reader.head()
        if status // 100 != 1 or status == 101:
            break
        answer.interim.append([status, fields])
        if status == 100 and expects:
            send_body1(connection, wanted)
    answer.status, answer.fields = status, fields
    try:
        reader.body(answer, wanted.get("method", "GET"))
    except ConnectionError as error:
        answer.reset = f"{error}"
    return answer


# ---------------------------------------------------------------- HTTP/2


class Session:
    def __init__(self, connection, wanted):
        self.connection, self.wanted, self.streams, self.goaways = connection, wanted, {}, []
        config = h2.config.H2Configuration(client_side=True, header_encoding="latin-1", validate_outbound_headers=False)
        self.h2 = h2.connection.H2Connection(config)
        self.deadline = time.monotonic() + wanted.get("seconds", 25)

    def flush(self):
        self.connection.sendall(self.h2.data_to_send())

    def begin(self):
        self.h2.initiate_connection()
        self.flush()

    def upgrade(self):
        settings = self.h2.initiate_upgrade_connection()
        extra = [["Connection", "Upgrade, HTTP2-Settings"], ["Upgrade", "h2c"],
                 ["HTTP2-Settings", settings.decode("ascii")]]
        self.connection.sendall(head1(self.wanted, extra))
        send_body1(self.connection, self.wanted)
        reader = Reader(self.connection)
        status, fields = reader.head()
        self.streams[1] = answer = Answer()
        if status != 101:
            answer.status, answer.fields = status, fields
            reader.body(answer, self.wanted.get("method", "GET"))
            return answer
        self.flush()
        if reader.pending:
            self.receive(reader.pending)
        self.pump(lambda: self.is_over(1))
        return answer

    def start(self):
        wanted, number = self.wanted, self.h2.get_next_available_stream_id()
        self.streams[number] = Answer()
        scheme = "http" if wanted["way"] == "h2c" else "https"
        head = [(":method", wanted.get("method", "GET")), (":scheme", scheme), (":path", wanted.get("path", "/"))]
        if wanted.get("host", "") is not None:
            head.insert(2, (":authority", wanted.get("host", "app.default.example.com")))
        head += [(name.lower(), value) for name, value in wanted.get("fields", [])]
        body, trailers = body_of(wanted), wanted.get("trailers")
        if body is not None and not trailers:
            head.append(("content-length", str(len(body))))
        self.h2.send_headers(number, head, end_stream=body is None and not trailers)
        self.flush()
        return number

    def send_body(self, number):
        body, trailers, sent = body_of(self.wanted), self.wanted.get("trailers"), 0
        if body is None and not trailers:
            return
        body = body or b""
        if any(name.lower() == "expect" for name, _ in self.wanted.get("fields", [])):
            self.pump(lambda: self.streams[number].interim or self.streams[number].status)
        while sent < len(body) and not self.is_over(number):
            size = min(self.h2.local_flow_control_window(number), self.h2.max_outbound_frame_size, len(body) - sent)
            if size <= 0:
                self.pump(lambda: self.h2.local_flow_control_window(number) > 0 or self.is_over(number))
                continue
            self.h2.send_data(number, body[sent:sent + size])
            self.flush()
            sent += size
        if self.is_over(number):
            return
        if trailers:
            self.h2.send_headers(number, [(name.lower(), value) for name, value in trailers], end_stream=True)
        else:
            self.h2.end_stream(number)
        self.flush()

    def is_over(self, number):
        return self.streams[number].has_ended or self.streams[number].reset is not None

    def pump(self, until):
        while not until():
            left = self.deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("nothing more came")
            self.connection.settimeout(left)
            data = self.connection.recv(262144)
            if not data:
                raise EOFError("the connection ended")
            self.receive(data)

    def receive(self, data):
        for event in self.h2.receive_data(data):
            self.take(event)
        self.flush()

    def take(self, event):
        answer = self.streams.get(getattr(event, "stream_id", None))
        if isinstance(event, h2.events.ConnectionTerminated):
            self.goaways.append([event.last_stream_id or 0, int(event.error_code)])
        elif answer is None:
            return
        elif isinstance(event, h2.events.InformationalResponseReceived):
            pairs = [list(pair) for pair in event.headers]
            answer.interim.append([int(pairs[0][1]), pairs[1:]])
        elif isinstance(event, h2.events.ResponseReceived):
            pairs = [list(pair) for pair in event.headers]
            answer.status, answer.fields = int(pairs[0][1]), pairs[1:]
        elif isinstance(event, h2.events.DataReceived):
            answer.add(event.data)
            if event.flow_controlled_length:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            answer.trailers = [list(pair) for pair in event.headers]
        elif isinstance(event, h2.events.StreamEnded):
            answer.has_ended = True
        elif isinstance(event, h2.events.StreamReset):
            answer.reset = h2.errors.ErrorCodes(event.error_code).name


def exchange2(connection, wanted):
    session = Session(connection, wanted)
    if wanted["way"] == "upgrade":
        answer = session.upgrade()
        return answer, session
    session.begin()
    number = session.start()
    if "cancel" in wanted:
        threading.Event().wait(wanted["cancel"] / 1000)
        session.h2.reset_stream(number, h2.errors.ErrorCodes.CANCEL)
        session.flush()
        return session.streams[number], session
    session.send_body(number)
    others = [session.start() for _ in range(wanted.get("more", 0))]
    session.pump(lambda: all(session.is_over(one) for one in [number, *others]))
    return session.streams[number], session


# ---------------------------------------------------------------- the test's side


def perform(wanted):
    begin = time.monotonic()
    found = {"goaways": []}
    with connect(wanted) as connection:
        found["tls"] = connection.version() if isinstance(connection, ssl.SSLSocket) else None
        if wanted["way"] in ("h1", "tls1"):
            answer = exchange1(connection, wanted)
        else:
            answer, session = exchange2(connection, wanted)
            found["goaways"] = session.goaways
            found["statuses"] = [one.status for one in session.streams.values()]
    return {**found, **answer.found(), "seconds": time.monotonic() - begin}


def serve(peer):
    with peer, peer.makefile("rwb") as file:
        line = file.readline()
        if not line:
            return
        begin = time.monotonic()
        try:
            found = perform(json.loads(line))
        except Exception as error:
            if not isinstance(error, (OSError, EOFError, ValueError)):
                traceback.print_exc()
            found = {"error": f"{type(error).__name__}: {error}", "seconds": time.monotonic() - begin}
        try:
            file.write(json.dumps(found).encode() + b"\n")
        except OSError:
            pass  # the test has gone


def main():
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    print("listening", listener.getsockname()[1], flush=True)
    listener.settimeout(1)
    end = time.monotonic() + LIFE_SECONDS
    while time.monotonic() < end:
        try:
            peer, _ = listener.accept()
        except TimeoutError:
            continue
        peer.settimeout(None)
        threading.Thread(target=serve, args=(peer,), daemon=True).start()
    sys.exit("nobody stopped it")


main()
