"""The four combinations of client's and pod's protocol: what the pod saw is exactly what was to be expected.

With `--set pod=h2c` the service's port is named h2c, else it has no name. The service is pod.py.
"""
import contextlib
import hashlib
import json
import socket

from h2kit import Connection
from kit import case, equal, eventually, expect, main

# Fields that martlet adds, and those of one connection, which must not pass.
OURS = {"x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "forwarded", "x-request-id"}
HOP_BY_HOP = {"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "http2-settings", "x-hop"}


class Client1:
    """HTTP/1.1, one connection a request, the bytes as given."""

    version = "1.1"

    def __init__(self, options):
        self.options = options

    def raw(self, data):
        """Everything that comes until the end of the connection."""
        with self.options.connect() as connection:
            connection.sendall(data)
            answer = b""
            with contextlib.suppress(ConnectionResetError, socket.timeout):
                while part := connection.recv(65536):
                    answer += part
        return answer

    def ask(self, path, method="GET", fields=(), body=None, trailers=None):
        """(status, fields, body, trailers)"""
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self.options.host}", *(f"{k}: {v}" for k, v in fields)]
        data = b""
        if trailers:
            lines.append("Transfer-Encoding: chunked")
            data = b"%x\r\n%b\r\n0\r\n" % (len(body), body)
            data += "".join(f"{k}: {v}\r\n" for k, v in trailers).encode("latin-1") + b"\r\n"
        elif body is not None:
            lines.append(f"Content-Length: {len(body)}")
            data = body
        if not any(k.lower() == "connection" for k, _ in fields):
            lines.append("Connection: close")
        return self.parse(self.raw("\r\n".join([*lines, "", ""]).encode("latin-1") + data), method)

    @staticmethod
    def parse(answer, method="GET"):
        while True:
            head, separator, rest = answer.partition(b"\r\n\r\n")
            expect(separator, "no answer", answer)
            first, *lines = head.decode("latin-1").split("\r\n")
            status = int(first.split(" ")[1])
            if status >= 200:
                break
            answer = rest
        fields = [(k.lower(), v.strip()) for k, _, v in (line.partition(":") for line in lines)]
        if dict(fields).get("transfer-encoding") != "chunked" or method == "HEAD":
            return status, fields, rest, []
        body = b""
        while True:
            line, rest = rest.split(b"\r\n", 1)
            size = int(line, 16)
            if size == 0:
                break
            body, rest = body + rest[:size], rest[size + 2:]
        lines = [line for line in rest.decode("latin-1").split("\r\n") if line]
        return status, fields, body, [(k.lower(), v.strip()) for k, _, v in (line.partition(":") for line in lines)]


class Client2:
    version = "2"

    def __init__(self, options):
        self.options = options

    def ask(self, path, method="GET", fields=(), body=None, trailers=None):
        with Connection(self.options) as connection:
            fields = [(k.lower(), v) for k, v in fields]
            found = connection.request(path, method, fields, body, trailers)
            expect(found.has_ended, found)
            plain = [(k, v) for k, v in found.head if not k.startswith(":")]
            return found.status, plain, bytes(found.body), list(found.trailers or [])


def clients(options):
    return [Client1(options), Client2(options)]


def seen(answer):
    status, _, body, _ = answer
    equal(status, 200, body)
    return json.loads(body)


def check_protocol(options, report):
    equal(report["protocol"], "HTTP/2" if options.more.get("pod") == "h2c" else "HTTP/1.1")


def fields_of(report):
    """The fields as the client meant them: lower case, without pseudo-fields, host and ours."""
    pairs = [(k.lower(), v) for k, v in report["head"]]
    return [(k, v) for k, v in pairs if not k.startswith(":") and k not in OURS | {"host"}]


def count(options):
    return json.loads(Client1(options).ask("/stats")[2])["requests"]


@case()
def plain_request(options):
    """Line, host and the client's fields in their order, nothing added but what is documented."""
    fields = [("User-Agent", "test/1"), ("Accept", "*/*"), ("X-One", "1"), ("X-Two", "a, b"), ("X-One", "again"),
              ("X-Empty", ""), ("X-Latin", "caf\xe9"), ("X-Odd", "a\tb \"c\" {}|~"), ("Authorization", "Basic eDp5")]
    path = "/report?x=%2F%20&&y=a;b=c'()*!"
    for client in clients(options):
        report = seen(client.ask(path, fields=fields))
        check_protocol(options, report)
        equal(report["line"][:2], ["GET", path], client.version)
        equal(fields_of(report), [(k.lower(), v) for k, v in fields], client.version)
        head = dict((k.lower(), v) for k, v in report["head"])
        if report["protocol"] == "HTTP/2":
            pseudo = [(k, v) for k, v in report["head"] if k.startswith(":")]
            wanted = [(":authority", options.host), (":method", "GET"), (":path", path), (":scheme", "http")]
            equal(sorted(pseudo), wanted, client.version)
            expect("host" not in head, report)
        else:
            equal([v for k, v in report["head"] if k.lower() == "host"], [options.host], client.version)
        scheme = "https" if options.ca else "http"
        equal(head["x-forwarded-for"], "127.0.0.1")
        equal((head["x-forwarded-proto"], head["x-forwarded-host"]), (scheme, options.host))
        expect(f"proto={scheme}" in head["forwarded"] and len(head["x-request-id"]) == 36, head)


@case()
def forwarding_is_not_believed(options):
    forged = [("X-Forwarded-For", "1.2.3.4"), ("X-Forwarded-Proto", "ftp"), ("X-Forwarded-Host", "evil"),
              ("Forwarded", "for=6.6.6.6"), ("X-Real-Ip", "1.2.3.4"), ("K-Proxy-Request", "activator"),
              ("Knative-Serving-Revision", "other"), ("K-Original-Host", "evil")]
    for client in clients(options):
        report = seen(client.ask("/report", fields=forged))
        text = json.dumps(report)
        expect(not any(word in text for word in ("1.2.3.4", "evil", "6.6.6.6", "activator", "ftp", "other")), report)


@case()
def cookies(options):
    """The crumbs of HTTP/2 are one field in HTTP/1.1 (RFC 9113 section 8.2.3)."""
    report = seen(Client2(options).ask("/report", fields=[("cookie", "a=1"), ("x-mid", "m"), ("cookie", "b=2; c=3")]))
    found = [v for k, v in fields_of(report) if k == "cookie"]
    expect("; ".join(found) == "a=1; b=2; c=3", report)
    if report["protocol"] == "HTTP/1.1":
        equal(len(found), 1, report)
    report = seen(Client1(options).ask("/report", fields=[("Cookie", "a=1; b=2")]))
    equal("; ".join(v for k, v in fields_of(report) if k == "cookie"), "a=1; b=2")


@case()
def connection_fields(options):
    """Those of the client's connection stay there, and so do the pod's."""
    hop = [("Connection", "close, x-hop"), ("X-Hop", "1"), ("Keep-Alive", "timeout=5"), ("Proxy-Connection", "close"),
           ("TE", "gzip;q=0.5"), ("X-Kept", "yes")]
    report = seen(Client1(options).ask("/report", fields=hop))
    equal([pair for pair in fields_of(report) if pair[0] != "connection"], [("x-kept", "yes")])
    for client in clients(options):
        status, fields, body, _ = client.ask("/fields")
        names = [k for k, _ in fields]
        equal((status, body), (200, b"fields\n"))
        left = set(names) & (HOP_BY_HOP - {"connection"} if client.version == "1.1" else HOP_BY_HOP)
        expect(not left, left, fields)
        equal([v for k, v in fields if k == "set-cookie"], ["a=1; Path=/", "b=2"])
        equal((dict(fields)["x-empty"], dict(fields)["x-bytes"]), ("", "caf\xe9"))
        equal([v for k, v in fields if k == "content-length"], ["7"])


@case()
def te_trailers(options):
    """`te: trailers` is said to the pod in its protocol's way, when the client said it, and only then."""
    for client in clients(options):
        fields = [("TE", "trailers")] + ([("Connection", "TE, close")] if client.version == "1.1" else [])
        report = seen(client.ask("/report", fields=fields))
        pairs = [(k.lower(), v) for k, v in report["head"]]
        expect(("te", "trailers") in pairs, client.version, report)
        if report["protocol"] == "HTTP/1.1":
            expect("te" in dict(pairs).get("connection", "").lower(), client.version, report)
        expect("te" not in dict(seen(client.ask("/report"))["head"]), client.version)


@case()
def bodies(options):
    """With a length, without one, empty; each arrives as what it was."""
    for client in clients(options):
        for body in [b"", b"x", b"12345" * 20_000]:
            for length in [True, False]:
                if client.version == "2":
                    fields = [("content-length", str(len(body)))] if length else []
                    report = seen(client.ask("/report", "POST", fields, body))
                elif length:
                    report = seen(client.ask("/report", "POST", body=body))
                else:
                    chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
                    head = f"POST /report HTTP/1.1\r\nHost: {options.host}\r\nConnection: close\r\n"
                    answer = client.raw(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n" + chunk + b"0\r\n\r\n")
                    report = seen(client.parse(answer))
                equal((report["bytes"], report["sha256"]), (len(body), hashlib.sha256(body).hexdigest()))
                head = {k.lower(): v for k, v in report["head"]}
                framing = (head.get("content-length"), head.get("transfer-encoding"))
                wanted = [(str(len(body)), None)] if length else [(None, "chunked"), (None, None), ("0", None)]
                expect(framing in (wanted if not length or body else wanted + [(None, None)]), framing, report)
                expect(length or not body or head.get("content-length") is None, report)
                if report["protocol"] == "HTTP/2":
                    equal(framing[1], None)


@case()
def trailers(options):
    sent = [("x-check", "abc"), ("x-more", "1, 2")]
    for client in clients(options):
        report = seen(client.ask("/report", "POST", body=b"12345", trailers=sent))
        equal(([(k.lower(), v) for k, v in report["trailers"]], report["bytes"]), (sent, 5), client.version)
        fields = [("TE", "trailers")] + ([("Connection", "TE, close")] if client.version == "1.1" else [])
        status, _, body, back = client.ask("/trailers", fields=fields)
        equal((status, body, back), (200, b"body\n", [("x-sum", "5"), ("x-end", "yes")]), client.version)


@case()
def responses_without_body(options):
    for client in clients(options):
        status, fields, body, _ = client.ask("/bytes/1234", "HEAD")
        equal((status, dict(fields).get("content-length"), body), (200, "1234", b""), client.version)
        for wanted in [204, 304]:
            status, _, body, _ = client.ask(f"/status/{wanted}")
            equal((status, body), (wanted, b""), client.version)


@case()
def expectation(options):
    """The 100 is the pod's own."""
    with Connection(options) as connection:
        number = connection.start("/report", "POST", [("expect", "100-continue"), ("content-length", "3")], end=False)
        connection.pump(lambda: connection.streams[number].interim)
        connection.send(number, b"abc", end=True)
        equal(connection.finish(number).json()["bytes"], 3)
    with options.connect() as connection:
        head = f"POST /report HTTP/1.1\r\nHost: {options.host}\r\nConnection: close\r\n"
        connection.sendall(head.encode() + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        expect(connection.recv(65536).startswith(b"HTTP/1.1 100"))
        connection.sendall(b"abc")
        answer = b""
        while part := connection.recv(65536):
            answer += part
    equal(seen(Client1.parse(answer))["bytes"], 3)


@case()
def targets(options):
    """Every form of a target arrives as one host and one path."""
    one = Client1(options)
    absolute = f"GET http://{options.host}/report?q HTTP/1.1\r\nHost: {options.host}\r\nConnection: close\r\n\r\n"
    report = seen(one.parse(one.raw(absolute.encode())))
    equal(report["line"][:2], ["GET", "/report?q"])
    report = seen(one.ask("/report?a=/../b"))
    equal(report["line"][1], "/report?a=/../b")
    with Connection(options) as connection:
        # Without :authority, with host alone (RFC 9113 section 8.3.1).
        head = [(":method", "GET"), (":scheme", options.scheme), (":path", "/report"), ("host", options.host)]
        report = connection.finish(connection.start_raw(head)).json()
        names = {k.lower(): v for k, v in report["head"]}
        equal(names.get(":authority", names.get("host")), options.host, report)
        report = connection.request("/report", fields=[("host", options.host)]).json()
        found = [v for k, v in report["head"] if k.lower() in ("host", ":authority")]
        equal(found, [options.host], report)


def bad_heads(connection):
    good = connection.head("/report")
    path = [pair for pair in good if pair[0] != ":path"]
    return {
        "line feed in a value": good + [("x-bad", "a\nx-injected: 1")],
        "carriage return in a value": good + [("x-bad", "a\r\nx-injected: 1")],
        "NUL in a value": good + [("x-bad", "a\0b")],
        "space around a value": good + [("x-bad", " a")],
        "upper case name": good + [("X-Bad", "1")],
        "colon in a name": good + [("x:bad", "1")],
        "space in a name": good + [("x bad", "1")],
        "empty name": good + [("", "1")],
        "transfer-encoding": good + [("transfer-encoding", "chunked")],
        "connection": good + [("connection", "x-hop")],
        "upgrade": good + [("upgrade", "websocket")],
        "te other than trailers": good + [("te", "gzip")],
        "host differs from authority": good + [("host", "other.default.localhost")],
        "two hosts": good + [("host", connection.host), ("host", "other.default.localhost")],
        "pseudo-field twice": [(":method", "GET"), *good],
        "pseudo-field late": path + [("x-a", "1"), (":path", "/report")],
        "unknown pseudo-field": [(":other", "1"), *good],
        "no path": path,
        "empty path": path + [(":path", "")],
        "path without a slash": path + [(":path", "report")],
        "line feed in the path": path + [(":path", "/report\nx-injected: 1")],
        "space in the path": path + [(":path", "/report HTTP/1.1\r\nX-Injected: 1\r\nx:")],
        "space in the method": [pair for pair in good if pair[0] != ":method"] + [(":method", "GET /report HTTP/1.1")],
        "userinfo in the authority": connection.head("/report", authority=f"x@{connection.host}"),
        "lengths that differ": good + [("content-length", "1"), ("content-length", "2")],
        "length with a sign": good + [("content-length", "+0")],
    }


@case()
def malformed_heads(options):
    """Nothing of them reaches the pod, whatever its protocol; the client is told, and others are not disturbed."""
    before = count(options)
    with Connection(options) as connection:
        heads = bad_heads(connection)
    for name, head in heads.items():
        head = sorted(head, key=lambda pair: not pair[0].startswith(":")) if "late" not in name else head
        with Connection(options) as connection:
            number = connection.start_raw(head)
            found = connection.streams[number]
            connection.pump(lambda: found.is_over or connection.goaways or connection.is_closed)
            refused = found.reset or connection.goaways or (found.status and 400 <= found.status < 500)
            expect(refused, name, found, connection.frames)
        equal(count(options), before, name)


@case()
def length_against_data(options):
    """More or less DATA than content-length says is an error of the stream; the pod gets no whole request of it."""
    for sent, said in [(5, 10), (10, 5), (3, 0), (0, 3)]:
        with Connection(options) as connection:
            head = connection.head("/report", "POST", [("content-length", str(said))])
            number = connection.start_raw(head, end=False)
            connection.send_raw(0, 1, number, b"x" * sent)
            found = connection.streams[number]
            connection.pump(lambda: found.is_over or connection.goaways or connection.is_closed)
            refused = found.reset or connection.goaways or (found.status and 400 <= found.status < 500)
            # A request without a body is whole with its head: its answer may have begun when the DATA comes.
            expect(refused and (found.status != 200 or (said == 0 and found.reset)), (sent, said), found,
                   connection.frames)
    one = Client1(options)
    eventually(lambda: json.loads(one.ask("/stats")[2])["in_flight"] == 0)


@case()
def bad_trailers(options):
    """Trailers that frame, route or forge are not passed on."""
    for name, value in [("content-length", "0"), ("transfer-encoding", "chunked"), ("host", "evil"), (":path", "/x"),
                        ("x-forwarded-for", "6.6.6.6"), ("X-Upper", "1"), ("x-bad", "a\nb: c")]:
        with Connection(options) as connection:
            number = connection.start("/report", "POST", end=False)
            connection.send(number, b"abc")
            encoded = b"".join(b"\0" + bytes([len(text)]) + text.encode() for text in (name, value))
            connection.send_raw(1, 5, number, encoded)
            found = connection.streams[number]
            connection.pump(lambda: found.is_over or connection.goaways or connection.is_closed)
            if found.status == 200 and found.has_ended:
                equal(json.loads(found.body)["trailers"], [], name)
            else:
                expect(found.reset or connection.goaways or 400 <= (found.status or 0) < 500, name, found)


if __name__ == "__main__":
    main()
