"""What the client scripts share: options, cases with a verdict each, a place to connect to.

A script prints one line a case, `ok NAME SECONDS` or `FAILED NAME: why`, and exits 0 when none failed.
"""
import argparse
import contextlib
import signal
import socket
import ssl
import sys
import time
import traceback

CASE_SECONDS = 25
_cases = {}


class Mismatch(Exception):
    pass


def case(group="all"):
    """Marks a function that takes the options. A group needs a martlet of its own, and is run by its name."""

    def mark(function):
        _cases[function.__name__] = (group, function)
        return function

    return mark


def expect(condition, *shown):
    if not condition:
        line = sys._getframe(1).f_lineno
        raise Mismatch(f"line {line}: " + " | ".join(f"{value!r}"[:3000] for value in shown))


def equal(found, wanted, *shown):
    if found != wanted:
        line = sys._getframe(1).f_lineno
        more = "".join(f" | {value!r}"[:3000] for value in shown)
        raise Mismatch(f"line {line}: found {found!r}"[:3000] + f", wanted {wanted!r}"[:3000] + more)


def eventually(condition, seconds=10, *shown):
    """Waits until `condition()` is true, and returns its value."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            line = sys._getframe(1).f_lineno
            raise Mismatch(f"line {line}: not within {seconds} s: {value!r} {shown!r}"[:3000])
        time.sleep(0.01)


class Options:
    """Where to connect, and as whom.

    `port` of martlet; `host` is the name of the service; `ca` is the file of the trusted authority and means TLS.
    """

    def __init__(self, parsed):
        self.port, self.host, self.ca, self.pid = parsed.port, parsed.host, parsed.ca, parsed.pid
        self.more = dict(pair.split("=", 1) for pair in parsed.set)

    @property
    def scheme(self):
        return "https" if self.ca else "http"

    def connect(self, *protocols, host=None):
        """A connected socket, with TLS and these protocols in ALPN when there is an authority."""
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=CASE_SECONDS)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not self.ca:
            return plain
        context = ssl.create_default_context(cafile=self.ca)
        if protocols:
            context.set_alpn_protocols(protocols)
        secure = context.wrap_socket(plain, server_hostname=host or self.host)
        if protocols:
            equal(secure.selected_alpn_protocol(), protocols[0])
        return secure


def _alarm(_signal, _frame):
    raise Mismatch(f"not done within {CASE_SECONDS} s:\n" + "".join(traceback.format_stack(limit=8)))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", default="app.default.localhost")
    parser.add_argument("--ca")
    parser.add_argument("--pid", type=int)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("names", nargs="*", help="cases or groups; default: the group `all`")
    parsed = parser.parse_args()
    options = Options(parsed)
    wanted = parsed.names or ["all"]
    chosen = [(name, run) for name, (group, run) in _cases.items() if name in wanted or group in wanted]
    if not chosen:
        sys.exit(f"no case is called {wanted}")
    signal.signal(signal.SIGALRM, _alarm)
    failed = 0
    for name, run in chosen:
        begin = time.monotonic()
        signal.alarm(CASE_SECONDS)
        try:
            run(options)
            print(f"ok {name} {time.monotonic() - begin:.2f}", flush=True)
        except BaseException as error:
            failed += 1
            if not isinstance(error, Mismatch):
                traceback.print_exc()
            text = " ".join(f"{type(error).__name__} {error}".split())
            print(f"FAILED {name}: {text}", flush=True)
        finally:
            signal.alarm(0)
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    sys.exit(1 if failed else 0)
