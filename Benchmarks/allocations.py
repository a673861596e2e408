#!/usr/bin/env python3
"""Allocations of martlet per request in steady state (standard library only).

The counter of tools/malloc_count.c is preloaded into martlet. The count is read after 2 N requests and after 3 N; the
difference divided by N is what a request costs once everything is warm. The requests go over a fixed number of
keep-alive connections, one at a time on each, all in flight together.
"""
import argparse
import contextlib
import pathlib
import socket
import struct
import sys
import time

import machine
import report

PORT = 19011
HOST = "bench.default.localhost"


def counts(prefix, pid):
    allocations, frees, size, _ = struct.unpack("4Q", open(f"{prefix}.{pid}", "rb").read(32))
    return {"allocations": allocations, "frees": frees, "bytes": size}


def settled_counts(prefix, pid):
    """Once the work that follows the last answer (counting, logging, recycling) is done."""
    before = None
    while (now := counts(prefix, pid)) != before:
        before = now
        time.sleep(0.02)
    return now


def send(connections, requests, request):
    """So many requests, or a few more: whole turns over all connections."""
    turns = -(-requests // len(connections))
    for _ in range(turns):
        for connection in connections:
            connection.sendall(request)
        for connection in connections:
            status = machine.read_answer(connection)[0]
            if status != 200:
                raise RuntimeError(f"status {status}")
    return turns * len(connections)


def measure(options, tools, access_log):
    folder, prefix = machine.RUN / "allocations", machine.RUN / "allocations/count"
    folder.mkdir(parents=True, exist_ok=True)
    text = machine.service("bench", [tools / "application"], {"min-scale": 1, "max-scale": 1})
    (folder / "service.yaml").write_text(text)
    command = [options.martlet, "run", folder / "service.yaml", "--workers", 1, "--http", f"127.0.0.1:{PORT}",
               "--access-log", access_log]
    with machine.running("allocations", command, None, LD_PRELOAD=str(tools / "malloc_count.so"),
                         MALLOC_COUNT=str(prefix)) as proxy, contextlib.ExitStack() as stack:
        machine.wait_for_answer(PORT, HOST)
        connections = [stack.enter_context(socket.create_connection(("127.0.0.1", PORT), timeout=10))
                       for _ in range(options.connections)]
        for connection in connections:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        request = machine.get("/", HOST)
        send(connections, 2 * options.requests, request)
        first = settled_counts(prefix, proxy.pid)
        begun = time.monotonic()
        sent = send(connections, options.requests, request)
        second = settled_counts(prefix, proxy.pid)
        elapsed = time.monotonic() - begun
    change = {key: second[key] - first[key] for key in first}
    return sent, change, elapsed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=20000, help="N; default 20000")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--martlet", default=machine.MARTLET)
    parser.add_argument("--json", type=pathlib.Path, help="also append the part of a report to this file")
    parser.add_argument("--limit", type=float, help="exit 1 when a request allocates more often than this")
    options = parser.parse_args()
    machine.require_martlet(options.martlet)
    tools = machine.build_tools()
    rows, worst = [], 0
    for access_log in ("off", "envoy"):
        sent, change, elapsed = measure(options, tools, access_log)
        per_request = change["allocations"] / sent
        worst = max(worst, per_request)
        rows.append([access_log, sent, change["allocations"], f"{per_request:.4f}", f"{change['bytes'] / sent:.1f}",
                     change["allocations"] - change["frees"], f"{elapsed:.1f}"])
    columns = ["access log", "requests", "allocations", "a request", "bytes a request", "not freed", "seconds"]
    text = (f"One worker, {options.connections} connections. What the control side does every second or two is counted "
            "too.")
    report.publish({"id": "allocations", "kind": "table", "title": "Allocations in steady state", "text": [text],
                    "link": "allocations", "columns": columns, "rows": rows}, options.json)
    if options.limit is not None and worst > options.limit:
        sys.exit(f"{worst:.4f} allocations a request, {options.limit} allowed")


if __name__ == "__main__":
    main()
