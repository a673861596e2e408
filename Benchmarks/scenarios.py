"""The scenarios of the side-by-side benchmark. A load returns requests, seconds, errors, p50, p99 and p999
(microseconds);
idle connections return how many stand and what went wrong."""
import contextlib
import dataclasses
import json
import os
import re
import resource
import select
import socket
import subprocess
import time

import machine
from candidates import HOST, NAME_OF_HOST, PROXY_PORT

CONNECTIONS, STREAMS = 64, 100
# Of HTTP/2 each with a hundred streams.
IDLE_CONNECTIONS, IDLE_HTTP2_CONNECTIONS = 10_000, 1_000
# Less where descriptors are few: martlet reserves two for each connection, and some.
IDLE_SHARE_OF_DESCRIPTORS = 0.45
# Of a proxy with an upstream connection for each stream: as many streams as descriptors and local ports allow anywhere.
IDLE_HTTP2_CONNECTIONS_UNSHARED = 150
PACE = 5_000            # requests a second of the scenario with a fixed rate
IDLE_PATIENCE = 120     # seconds, to open all
HELD_PATIENCE = 10      # seconds, without another request reaching the application


@dataclasses.dataclass
class Target:
    """Where a load goes: one entry of one proxy."""
    port: int
    entry: str
    tools: object

    @property
    def has_tls(self):
        return self.entry == "tls"


@dataclasses.dataclass
class Scenario:
    title: str
    entry: str                      # "plain", "tls" or "h2c": which of the proxy's ports
    load: object = None             # function of (Target, seconds)
    upstream: str = "application"   # or "h2c"
    # "load": CPU time of a request; "idle": memory of a held connection; "start": time to the first answer; "paced":
    # latency at a fixed rate
    kind: str = "load"
    streams: int = 0                # open streams of each idle HTTP/2 connection; 0: HTTP/1.1
    hosts: int = 0                  # in the route table, all asked; 0: one
    short: str = ""                 # the title in a few words

    @property
    def speaks_http2(self):
        return self.streams > 0 or self.load in (h2load, unary_call)


# ---------------------------------------------------------------- load for so many seconds

def tool(command, seconds):
    """What a load tool printed. It shares its CPU with the application, never with the proxy."""
    settings = {**os.environ, "OPENSSL_CONF": str(machine.BENCHMARKS / "peers/openssl-client.cnf")}
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=seconds + 30,
                          env=settings, preexec_fn=machine.pin(machine.LOAD_CPU))
    if done.returncode:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {(done.stderr or done.stdout)[-300:]}")
    return done.stdout


def microseconds(text):
    value, unit = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text).groups()
    return float(value) * {"us": 1, "ms": 1e3, "s": 1e6, "m": 6e7}[unit]


def wrk(target, seconds, path="/", connections=CONNECTIONS, script="loopback.lua", arguments=()):
    scheme, name = ("https", HOST) if target.has_tls else ("http", "127.0.0.1")
    printed = tool(["wrk", "-t1", f"-c{connections}", f"-d{seconds}", "--timeout", "10s", "--latency",
                    "-H", f"Host: {HOST}", "-s", machine.BENCHMARKS / "peers" / script,
                    f"{scheme}://{name}:{target.port}{path}", "--", *arguments], seconds)
    counted = re.search(r"(\d+) requests in ([\d.]+\w+),", printed)
    if not counted:
        raise RuntimeError(f"wrk: {printed[-300:]}")
    latency = dict(re.findall(r"(\d+)%\s+([\d.]+[a-z]+)", printed))
    errors = sum(map(int, re.findall(r"(?:connect|read|write|timeout|responses:) (\d+)", printed)))
    return {"requests": int(counted[1]), "seconds": microseconds(counted[2]) / 1e6, "errors": errors,
            "p50": microseconds(latency["50"]), "p99": microseconds(latency["99"]),
            "p999": float(re.search(r"^p999 (\d+) us$", printed, re.M)[1])}


def many_hosts(count):
    """Each request for another host of so many."""
    return lambda target, seconds: wrk(target, seconds, script="hosts.lua", arguments=[count, NAME_OF_HOST])


def h2load(target, seconds, path="/", arguments=()):
    log = machine.RUN / "h2load.log"
    log.unlink(missing_ok=True)
    scheme = "https" if target.has_tls else "http"
    printed = tool(["h2load", "-t1", "-c16", "-m32", f"-D{seconds}", f"--log-file={log}", *arguments,
                    f"--connect-to=127.0.0.1:{target.port}", "-H", f":authority: {HOST}",
                    f"{scheme}://{HOST}:{target.port}{path}"], seconds)
    if not re.search(r"Application protocol: h2c?\b", printed):
        raise RuntimeError(f"h2load: not HTTP/2: {printed[-300:]}")
    found = re.findall(r"(\d+) (failed|errored|timeout|[1-5]xx)", printed)
    counts = {name: int(count) for count, name in found}
    took = [int(line.split("\t")[2]) for line in log.read_text().splitlines()]
    log.unlink()
    if not counts.get("2xx"):
        raise RuntimeError(f"h2load: not one good answer: {printed[-300:]}")
    others = sum(counts[name] for name in ["failed", "errored", "timeout", "3xx", "4xx", "5xx"])
    return {"requests": counts["2xx"], "seconds": float(seconds), "errors": others,
            "p50": machine.percentile(took, 50), "p99": machine.percentile(took, 99),
            "p999": machine.percentile(took, 99.9)}


def unary_call(target, seconds):
    """As gRPC: a POST of 128 bytes in one frame, 128 bytes back, and a trailer. h2load does not look at trailers, so a
    call before it makes sure that they come."""
    message = machine.RUN / "message"
    message.write_bytes(bytes([0, 0, 0, 0, 123]) + b"m" * 123)
    call = ["-d", message, "-H", "content-type: application/grpc", "-H", "te: trailers"]
    printed = tool(["nghttp", "-v", *call, "-H", f":authority: {HOST}", f"http://127.0.0.1:{target.port}/h2c/echo"], 5)
    if "grpc-status: 0" not in printed:
        raise RuntimeError(f"the trailer was lost: {printed[-300:]}")
    return h2load(target, seconds, "/h2c/echo", call)


def handshakes(target, seconds):
    outcome = json.loads(tool([target.tools / "handshakes", target.port, HOST, 32, seconds], seconds))
    if outcome["resumed"]:
        raise RuntimeError(f"{outcome['resumed']} of the handshakes were not full")
    return outcome


def paced(target, seconds):
    """So many seconds in which nothing is stolen; it may take five times as long to find them."""
    return json.loads(tool([target.tools / "open_loop", target.port, HOST, CONNECTIONS, PACE, seconds], 5 * seconds))


# ---------------------------------------------------------------- idle connections

def line_of(process, patience):
    """A line of JSON that the process prints."""
    ready, _, _ = select.select([process.stdout], [], [], patience)
    line = process.stdout.readline() if ready else ""
    if not line:
        raise RuntimeError(f"idle said nothing within {patience} s" if not ready else "idle ended early")
    return json.loads(line)


def wait_until_held(path, count):
    """The application must have that many unanswered requests; it is asked through the proxy, over HTTP/1.1."""
    moved, held = time.monotonic(), 0
    while time.monotonic() < moved + HELD_PATIENCE:
        with socket.create_connection(("127.0.0.1", PROXY_PORT), timeout=30) as connection:
            connection.sendall(machine.get(path, HOST, "Connection: close"))
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        found = re.search(rb'"in_flight": ?(\d+)', answer)
        before, held = held, int(found[1]) - 1 if found else 0    # without the question itself
        if held >= count:
            return
        if held > before:
            moved = time.monotonic()
        time.sleep(0.1)
    raise RuntimeError(f"the application holds {held} requests instead of {count}")


def idle_count(scenario, shares_upstream):
    """How many connections a proxy is asked to hold."""
    if scenario.streams:
        return IDLE_HTTP2_CONNECTIONS if shares_upstream else IDLE_HTTP2_CONNECTIONS_UNSHARED
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return min(IDLE_CONNECTIONS, int(descriptors * IDLE_SHARE_OF_DESCRIPTORS))


@contextlib.contextmanager
def idle_connections(target, count, streams, shares_upstream):
    """Opens them, yields while they are held, and fails unless every one stood to the end."""
    command = [target.tools / "idle"] + (["--tls"] if target.has_tls else [])
    prefix = "/h2c" if shares_upstream else ""
    if streams:
        command += ["--http2", streams, f"{prefix}/hang"]
    process = subprocess.Popen([str(part) for part in [*command, target.port, HOST, count]], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True, preexec_fn=machine.pin(machine.LOAD_CPU))
    try:
        outcome = line_of(process, IDLE_PATIENCE)
        if outcome["failed"]:
            raise RuntimeError(f"{outcome['failed']} of {count} connections failed")
        if streams:
            wait_until_held(f"{prefix}/stats", count * streams)
        yield
        process.stdin.close()
        lost = line_of(process, IDLE_PATIENCE)
        if any(lost.values()):
            raise RuntimeError(f"lost while idle: {lost}")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


# ---------------------------------------------------------------- all of them

SCENARIOS = {
    "S1": Scenario("HTTP/1.1 keep-alive, 1 KiB answer, 64 connections", "plain", wrk, short="HTTP/1.1"),
    "S2": Scenario("HTTP/1.1 over TLS 1.3 (P-256) keep-alive, 1 KiB answer, 64 connections", "tls", wrk,
                   short="HTTP/1.1 over TLS"),
    "S3": Scenario("HTTP/2 over TLS 1.3, 1 KiB answer, 16 connections of 32 streams; HTTP/1.1 application", "tls",
                   h2load, short="HTTP/2 over TLS"),
    "S4": Scenario("HTTP/2 in cleartext on both sides, unary calls of 128 bytes with a trailer, 16 connections of 32 "
                   "streams", "h2c", unary_call, upstream="h2c", short="gRPC-like calls"),
    "S5": Scenario("a full TLS 1.3 handshake for every request, 32 at a time", "tls", handshakes,
                   short="full handshakes"),
    "S6d": Scenario("100 KiB answer, 64 connections", "plain",
                    lambda target, seconds: wrk(target, seconds, "/bytes/102400"), short="100 KiB answers"),
    "S6u": Scenario("1 MiB upload, 16 connections", "plain",
                    lambda target, seconds: wrk(target, seconds, "/", 16, "upload.lua"), short="1 MiB uploads"),
    "S7": Scenario("idle HTTP/1.1 connections", "plain", kind="idle", short="idle HTTP/1.1"),
    "S7t": Scenario("idle HTTP/1.1 connections over TLS 1.3", "tls", kind="idle", short="idle HTTP/1.1 over TLS"),
    "S7h": Scenario("idle HTTP/2 connections in cleartext, 100 unanswered requests on each", "h2c", upstream="h2c",
                    kind="idle", streams=STREAMS, short="idle HTTP/2"),
    "S7ht": Scenario("idle HTTP/2 connections over TLS 1.3, 100 unanswered requests on each", "tls", upstream="h2c",
                     kind="idle", streams=STREAMS, short="idle HTTP/2 over TLS"),
    "S8": Scenario("from the start of the program to its first answer, then idle for a second", "plain", kind="start",
                   short="start to first answer"),
    "S9": Scenario(f"HTTP/1.1, {PACE} requests a second whatever the answers do, {CONNECTIONS} connections", "plain",
                   paced, kind="paced", short="at a fixed rate"),
    "R1k": Scenario("as S1, 1,000 hosts in the route table, each request for another one", "plain", many_hosts(1_000),
                    hosts=1_000, short="1,000 hosts"),
    "R10k": Scenario("as S1, 10,000 hosts in the route table, each request for another one", "plain",
                     many_hosts(10_000), hosts=10_000, short="10,000 hosts"),
}
