#!/usr/bin/env python3
"""Allocations of a role per request in steady state (standard library only).

    allocations.py                                    martlet run, the access log off and on
    allocations.py --mode queue,activator,ingress     roles that run alone, before one application
    allocations.py --mode activator --telemetry       the same with request log, metrics and spans as well

The counter of tools/malloc_count.c is preloaded into the role. The count is read after 2 N requests and after 3 N; the
difference divided by N is what a request costs once everything is warm. The requests go over a fixed number of
keep-alive connections, one at a time on each, all in flight together.
"""
import argparse
import contextlib
import json
import os
import pathlib
import shutil
import socket
import struct
import sys
import time

import machine
import queue_load
import report

PORT, POD, OTHER = 19011, 19012, 19013
HOST = "bench.default.localhost"
# Roles log requests where their access log is on; a queue-proxy has none.
ACCESS_LOGS = {"run": ("off", "envoy"), "queue": ("off",), "activator": ("off", "envoy"), "ingress": ("off", "envoy")}
OBSERVABILITY = {"EnableRequestLog": True, "RequestMetrics": {"protocol": "prometheus"},
                 "Tracing": {"protocol": "stdout"}}
REVISION_FIELDS = ["Knative-Serving-Namespace: default", "Knative-Serving-Revision: bench-00001"]

OBJECTS = f"""---
apiVersion: serving.knative.dev/v1
kind: Revision
metadata: {{namespace: default, name: bench-00001, labels: {{serving.knative.dev/service: bench}}}}
spec: {{containers: [{{image: example.com/application}}]}}
---
apiVersion: v1
kind: Endpoints
metadata: {{namespace: default, name: bench-00001-private}}
subsets: [{{addresses: [{{ip: 127.0.0.1}}], ports: [{{name: http, port: {POD}}}]}}]
---
apiVersion: v1
kind: Endpoints
metadata: {{namespace: default, name: bench-00001}}
subsets: [{{addresses: [{{ip: 127.0.0.1}}], ports: [{{name: http, port: {POD}}}]}}]
---
apiVersion: networking.internal.knative.dev/v1alpha1
kind: Ingress
metadata: {{namespace: default, name: bench}}
spec:
  rules:
  - hosts: [{HOST}]
    visibility: ExternalIP
    http:
      paths:
      - splits: [{{serviceName: bench-00001, serviceNamespace: default, servicePort: 80, percent: 100,
                   appendHeaders: {{Knative-Serving-Revision: bench-00001, Knative-Serving-Namespace: default}}}}]
"""


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


def wait_for_200(request, seconds=15):
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", PORT), timeout=5) as connection:
            connection.sendall(request)
            if machine.read_answer(connection)[0] == 200:
                return
        time.sleep(0.01)
    raise RuntimeError(f"no 200 on port {PORT} within {seconds} s")


def role(mode, options, tools, folder, access_log):
    """The command and the environment of a role before one pod, and the request that reaches the pod."""
    telemetry = {"OBSERVABILITY_CONFIG": json.dumps(OBSERVABILITY)} if options.telemetry else {}
    listen = f"127.0.0.1:{PORT}"
    if mode == "run":
        text = machine.service("bench", [tools / "application"], {"min-scale": 1, "max-scale": 1})
        (folder / "service.yaml").write_text(text)
        command = [options.martlet, "run", folder / "service.yaml", "--workers", 1, "--http", listen,
                   "--access-log", access_log]
        return command, {}, machine.get("/", HOST)
    if mode == "queue":
        settings = queue_load.environment(POD, 1000)
        own = {name: value for name, value in settings.items() if os.environ.get(name) != value}
        listeners = {"MARTLET_QUEUE_LISTEN": listen, "MARTLET_METRICS_LISTEN": f"127.0.0.1:{OTHER}"}
        return [options.queue], own | listeners | telemetry, machine.get("/", HOST)
    (folder / "objects.yaml").write_text(OBJECTS)
    common = ["--cluster", folder, "--workers", 1, "--http", listen, "--access-log", access_log]
    if mode == "ingress":
        return [options.martlet, "ingress", *common], {}, machine.get("/", HOST)
    others = ["--http2", f"127.0.0.1:{OTHER}", "--metrics", f"127.0.0.1:{OTHER + 1}"]
    # Ready pods are used without a question: the application is no queue-proxy.
    settings = {"MARTLET_MESH": "disabled", "POD_IP": "127.0.0.1"} | telemetry
    return [options.martlet, "activator", *common, *others], settings, machine.get("/", HOST, *REVISION_FIELDS)


def measure(mode, options, tools, access_log):
    folder, prefix = machine.RUN / "allocations", machine.RUN / "allocations/count"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    command, settings, request = role(mode, options, tools, folder, access_log)
    with contextlib.ExitStack() as stack:
        if mode != "run":
            stack.enter_context(machine.running("allocations-pod", [tools / "application"], PORT=str(POD), TIMES="off"))
            machine.wait_for_port(POD)
        proxy = stack.enter_context(machine.running(
            "allocations", command, None, LD_PRELOAD=str(tools / "malloc_count.so"), MALLOC_COUNT=str(prefix),
            **settings))
        wait_for_200(request)
        connections = [stack.enter_context(socket.create_connection(("127.0.0.1", PORT), timeout=10))
                       for _ in range(options.connections)]
        for connection in connections:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
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
    parser.add_argument("--mode", default="run", help=f"of {', '.join(ACCESS_LOGS)}; several with commas")
    parser.add_argument("--telemetry", action="store_true",
                        help="queue and activator: request log, metrics and spans of all requests")
    parser.add_argument("--requests", type=int, default=20000, help="N; default 20000")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--martlet", default=machine.MARTLET)
    parser.add_argument("--json", type=pathlib.Path, help="also append the part of a report to this file")
    parser.add_argument("--queue", default=machine.ROOT / ".build/release/martlet-queue")
    parser.add_argument("--limit", type=float, help="exit 1 when a request allocates more often than this")
    options = parser.parse_args()
    modes = options.mode.split(",")
    if unknown := [mode for mode in modes if mode not in ACCESS_LOGS]:
        parser.error(f"--mode {unknown[0]}: expected some of {', '.join(ACCESS_LOGS)}")
    machine.require_martlet(options.martlet)
    tools = machine.build_tools()
    rows, worst = [], 0
    for mode in modes:
        for access_log in ACCESS_LOGS[mode]:
            sent, change, elapsed = measure(mode, options, tools, access_log)
            per_request = change["allocations"] / sent
            worst = max(worst, per_request)
            rows.append([mode, access_log, sent, change["allocations"], f"{per_request:.4f}",
                         f"{change['bytes'] / sent:.1f}", change["allocations"] - change["frees"], f"{elapsed:.1f}"])
    columns = ["mode", "access log", "requests", "allocations", "a request", "bytes a request", "not freed", "seconds"]
    with_telemetry = " Request log, metrics and spans are on." if options.telemetry else ""
    text = (f"One worker, {options.connections} connections. What the control side does every second or two is counted "
            f"too.{with_telemetry}")
    report.publish({"id": "allocations", "kind": "table", "title": "Allocations in steady state", "text": [text],
                    "link": "allocations", "columns": columns, "rows": rows}, options.json)
    if options.limit is not None and worst > options.limit:
        sys.exit(f"{worst:.4f} allocations a request, {options.limit} allowed")


if __name__ == "__main__":
    main()
