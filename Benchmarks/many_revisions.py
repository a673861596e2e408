#!/usr/bin/env python3
"""What many revisions cost an activator and an autoscaler: memory of each, and CPU time of a second's statistics
(standard library only).

    many_revisions.py                           1,000 revisions of 10 pods
    many_revisions.py --revisions 5000 --pods 2

Objects come from a folder. All pods are one application, at addresses of their own. Each second one request goes to
every revision, then as many to a single one: the difference is what the statistics of the others cost, connections of
their own to pods included.
"""
import argparse
import contextlib
import os
import pathlib
import selectors
import shutil
import socket
import threading
import time

import machine
import report

ACTIVATOR, POD, STAT = 19031, 19032, 19033
CONNECTIONS, SECONDS, WARM_SECONDS = 16, 8, 4


def address(number):
    """Of loopback, none that anybody else uses."""
    return f"127.{100 + number // 62500}.{number // 250 % 250 + 1}.{number % 250 + 1}"


def name(number):
    return f"many-{number:05}"


def objects_of(number, pods):
    title = f"metadata: {{namespace: default, name: {name(number)}"
    addresses = ", ".join(f"{{ip: {address(number * pods + pod)}}}" for pod in range(pods))
    listed = f"[{{addresses: [{addresses}], ports: [{{name: http, port: {POD}}}]}}]" if pods else "[]"
    tuned = '{autoscaling.knative.dev/target-burst-capacity: "-1"}'
    return f"""---
apiVersion: serving.knative.dev/v1
kind: Revision
{title}}}
spec: {{containerConcurrency: 10, timeoutSeconds: 300, containers: [{{image: example.com/application}}]}}
---
apiVersion: v1
kind: Endpoints
{title}-private}}
subsets: {listed}
---
apiVersion: autoscaling.internal.knative.dev/v1alpha1
kind: PodAutoscaler
{title}, annotations: {tuned}}}
spec: {{containerConcurrency: 10, reachability: Reachable, protocolType: http1,
  scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: {name(number)}-deployment}}}}
"""


def write_objects(folder, revisions, pods):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "first.yaml").write_text(objects_of(99_999, 0))
    for start in range(0, revisions, 50):
        many = range(start, min(start + 50, revisions))
        (folder / f"{name(start)}.yaml").write_text("".join(objects_of(number, pods) for number in many))


class Pods(threading.Thread):
    """Answers every request at once, at every address of this machine."""

    def __init__(self):
        super().__init__(daemon=True)
        self.listener = socket.create_server(("0.0.0.0", POD), backlog=4096)
        self.listener.setblocking(False)

    def run(self):
        poll = selectors.DefaultSelector()
        poll.register(self.listener, selectors.EVENT_READ)
        while True:
            for key, _ in poll.select():
                if key.fileobj is self.listener:
                    with contextlib.suppress(BlockingIOError):
                        connection, _ = self.listener.accept()
                        poll.register(connection, selectors.EVENT_READ)
                    continue
                try:
                    received = key.fileobj.recv(65536)
                except OSError:
                    received = b""
                if received:
                    key.fileobj.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" * received.count(b"\r\n\r\n"))
                else:
                    poll.unregister(key.fileobj)
                    key.fileobj.close()


def drive(names, seconds):
    """One request a second for each name, spread over the second. Says how many failed."""
    connections = [socket.create_connection(("127.0.0.1", ACTIVATOR)) for _ in range(CONNECTIONS)]
    failed, begun = 0, time.monotonic()
    for second in range(seconds):
        for start in range(0, len(names), CONNECTIONS):
            batch = list(zip(connections, names[start:start + CONNECTIONS]))
            for connection, revision in batch:
                connection.sendall(machine.get("/", "many.example.com", "Knative-Serving-Namespace: default",
                                               f"Knative-Serving-Revision: {revision}"))
            for connection, _ in batch:
                failed += machine.read_answer(connection)[0] != 200
            due = begun + second + start / len(names)
            time.sleep(max(0, due - time.monotonic()))
    for connection in connections:
        connection.close()
    return failed


def cpu_seconds(pid):
    fields = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def roles(options, folder):
    environment = {"MARTLET_MESH": "disabled", "POD_IP": "127.0.0.1"}
    autoscaler = [options.martlet, "autoscaler", "--cluster", folder, "--output", folder.parent / "decisions",
                  "--listen", f"127.0.0.1:{STAT}", "--metrics", "off"]
    activator = [options.martlet, "activator", "--cluster", folder, "--workers", 1, "--autoscaler",
                 f"127.0.0.1:{STAT}", "--http", f"127.0.0.1:{ACTIVATOR}", "--http2", "127.0.0.1:19034",
                 "--metrics", "127.0.0.1:19035"]
    with machine.running("many-autoscaler", autoscaler) as second:
        machine.wait_for_port(STAT)
        with machine.running("many-activator", activator, **environment) as first:
            machine.wait_for_port(ACTIVATOR)
            time.sleep(2)   # the objects are read, the first decisions made
            yield first.pid, second.pid


def measure(options, revisions):
    folder = machine.RUN / "many/objects"
    write_objects(folder, revisions, options.pods)
    with roles(options, folder) as pids:
        figures = {"resident": [machine.memory_kib(pid, "VmRSS") for pid in pids]}
        if not revisions:
            return figures
        every = [name(number) for number in range(revisions)]
        for key, names in [("every", every), ("one", every[:1] * revisions)]:
            failed = drive(names, WARM_SECONDS)
            before = [cpu_seconds(pid) for pid in pids]
            failed += drive(names, SECONDS)
            figures[key] = [(cpu_seconds(pid) - start) / SECONDS for pid, start in zip(pids, before)]
            if failed:
                raise SystemExit(f"{failed} requests failed")
        figures["after"] = [machine.memory_kib(pid, "VmRSS") for pid in pids]
        return figures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--revisions", type=int, default=1_000)
    parser.add_argument("--pods", type=int, default=10)
    parser.add_argument("--martlet", default=machine.MARTLET, help="the program; default .build/release/martlet")
    parser.add_argument("--json", type=pathlib.Path, help="also append the part of a report to this file")
    options = parser.parse_args()
    Pods().start()
    empty, full = measure(options, 0), measure(options, options.revisions)
    rows, bars = [], []
    for index, role in enumerate(["activator", "autoscaler"]):
        resident = [figures[index] / 1024 for figures in (empty["resident"], full["resident"], full["after"])]
        grown = (full["after"][index] - empty["resident"][index]) / options.revisions
        cpu = [full[key][index] * 1e3 for key in ("every", "one")]
        rows.append([role, *(f"{value:.1f}" for value in [*resident, grown, *cpu])])
        bars.append({"name": role, "value": grown, "is_ours": True, "note": f"{resident[2]:.1f} MiB with all"})
    columns = ["role", "MiB resident without", "with all", "after requests to all", "KiB a revision", "CPU ms a second",
               "of that with one revision"]
    title = f"{options.revisions:,} revisions of {options.pods} pods, one request a second to each"
    chart = {"title": "KiB a revision", "unit": "KiB", "digits": 1, "bars": bars}
    report.publish({"id": "many revisions", "kind": "table", "title": title, "link": "many revisions",
                    "columns": columns, "rows": rows, "charts": [chart], "data": {"empty": empty, "full": full}},
                   options.json)


if __name__ == "__main__":
    main()
