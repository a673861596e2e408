#!/usr/bin/env python3
"""What martlet adds to a start from zero (standard library only).

    cold_start.py                   200 cold starts, one after the other
    cold_start.py --together 500    500 services at zero, one request to each at once

Every service starts at zero (initial-scale 0), so the first request to it is a cold start. The application accepts as
soon as it runs and stamps its answers with the time it listened and the time it read the first byte of the request;
martlet says the rest in its log, one line a cold start:

    request to spawn    first byte of the request seen, to the spawn call          (martlet's log)
    spawn to ready      the application's own start, and noticing it               (martlet's log)
    accepts to request  the application listens, to the request is on its socket   (the application's stamps)
    ready to dispatch   noticed, to the request being written                      (martlet's log)
    whole               request sent, to the answer read                           (this program)
"""
import argparse
import contextlib
import json
import pathlib
import re
import selectors
import socket
import sys
import time

import machine
import report

PORT = 19021
PHASES = ["request_to_spawn_us", "spawn_to_ready_us", "ready_to_dispatch_us"]


def host(number):
    return f"cold-{number:03}.default.localhost"


@contextlib.contextmanager
def martlet_with(count, options, tools):
    folder = machine.RUN / "cold-start"
    folder.mkdir(parents=True, exist_ok=True)
    annotations = {"initial-scale": 0, "max-scale": 1}
    names = [f"cold-{number:03}" for number in range(count)] + ["ready"]
    services = [machine.service(name, [tools / "application"], annotations) for name in names]
    (folder / "services.yaml").write_text("---\n".join(services))
    command = [options.martlet, "run", folder / "services.yaml", "--http", f"127.0.0.1:{PORT}", "--log", "json",
               "--allow-zero-initial-scale", "--access-log", "off"]
    with machine.running("cold-start", command) as process:
        machine.wait_for_answer(PORT, "ready.default.localhost")  # one more service, so that the others stay at zero
        yield process


def logged_phases():
    """What martlet's log says of each cold start: [{phase: microseconds}]. Reads its JSON and its text form."""
    found = []
    for line in (machine.RUN / "cold-start.log").read_text().splitlines():
        if "cold start" not in line or "request_to_spawn_us" not in line:
            continue
        try:
            fields = json.loads(line)
        except ValueError:
            fields = dict(re.findall(r"(\w+)=\"?([\w.\-]+)", line))
        if not fields.get("revision", "").startswith("ready-"):
            found.append({phase: float(fields[phase]) for phase in PHASES if phase in fields})
    return found


def stamped(fields):
    """Microseconds from listening to the request, by the application's own clock."""
    return (int(fields["x-request-ns"]) - int(fields["x-listen-ns"])) / 1e3


def one_after_the_other(count):
    whole, accepted = [], []
    for number in range(count):
        with socket.create_connection(("127.0.0.1", PORT), timeout=30) as connection:
            begun = time.perf_counter()
            connection.sendall(machine.get("/", host(number)))
            status, fields, _ = machine.read_answer(connection)
            whole.append((time.perf_counter() - begun) * 1e6)
        if status != 200:
            raise RuntimeError(f"{host(number)}: status {status}")
        accepted.append(stamped(fields))
    return whole, accepted


def all_together(count):
    """Sends one request to each service as fast as one thread can; returns the times and how many failed."""
    whole, accepted, failed, selector = [], [], 0, selectors.DefaultSelector()
    connections = [socket.create_connection(("127.0.0.1", PORT), timeout=30) for _ in range(count)]
    begun = time.perf_counter()
    for number, connection in enumerate(connections):
        connection.sendall(machine.get("/", host(number)))
        selector.register(connection, selectors.EVENT_READ)
    while selector.get_map():
        ready = selector.select(60)
        if not ready:
            return whole, accepted, failed + len(selector.get_map()), time.perf_counter() - begun
        for key, _ in ready:
            selector.unregister(key.fileobj)
            try:
                status, fields, _ = machine.read_answer(key.fileobj)
                whole.append((time.perf_counter() - begun) * 1e6)
                accepted.append(stamped(fields))
                failed += status != 200
            except (OSError, KeyError, ValueError):
                failed += 1
            key.fileobj.close()
    return whole, accepted, failed, time.perf_counter() - begun


def wait_for_log(count):
    """The log lines may come after the answers."""
    give_up = time.monotonic() + 5
    while len(phases := logged_phases()) < count and time.monotonic() < give_up:
        time.sleep(0.05)
    return phases


def series(phases, accepted, whole):
    """{phase: microseconds of every start}"""
    return {"request to spawn": [phase[PHASES[0]] for phase in phases if PHASES[0] in phase],
            "spawn to ready": [phase[PHASES[1]] for phase in phases if PHASES[1] in phase],
            "accepts to request": accepted,
            "ready to dispatch": [phase[PHASES[2]] for phase in phases if PHASES[2] in phase],
            "whole, as the client sees it": whole}


def part(title, text, by_phase):
    """Of a report."""
    shares = (50, 90, 99, 99.9, 100)
    rows = [[name, len(values), *(percentile_text(values, share) for share in shares)]
            for name, values in by_phase.items()]
    bars = []
    for name, values in by_phase.items():
        if values:
            half, most = machine.percentile(values, 50), machine.percentile(values, 99)
            bars.append({"name": name.partition(",")[0], "value": half, "low": half, "high": most,
                         "is_ours": name.startswith("whole")})
    chart = {"title": "µs at p50; the line goes to p99", "unit": "µs", "digits": 0, "range": "p50 to p99",
             "bars": bars}
    return {"id": f"cold starts {title.split()[0]}", "kind": "phases", "title": title, "text": [text],
            "link": "woken at once" if "at once" in title else "cold starts",
            "columns": ["phase, µs", "count", "p50", "p90", "p99", "p99.9", "max"], "rows": rows, "charts": [chart],
            "data": by_phase}


def percentile_text(values, percent):
    return f"{machine.percentile(values, percent):.0f}" if values else "–"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", type=int, default=200, help="cold starts one after the other; default 200")
    parser.add_argument("--together", type=int, metavar="N", help="wake N services at once instead")
    parser.add_argument("--martlet", default=machine.MARTLET)
    parser.add_argument("--json", type=pathlib.Path, help="also append the part of a report to this file")
    options = parser.parse_args()
    machine.require_martlet(options.martlet)
    tools, disturbance = machine.build_tools(), machine.Disturbance()
    if options.together:
        with martlet_with(options.together, options, tools):
            whole, accepted, failed, seconds = all_together(options.together)
            phases = wait_for_log(options.together)
        title = f"{options.together} services woken at once"
        summary = f"{len(whole) / seconds:.0f} cold starts a second ({seconds:.2f} s in all), {failed} failed."
    else:
        with martlet_with(options.starts, options, tools):
            whole, accepted = one_after_the_other(options.starts)
            phases, failed = wait_for_log(options.starts), 0
        title = f"{options.starts} cold starts, one after the other"
        summary = "The application accepts as soon as it runs. Budget: 1000 µs at p50, for request to spawn and for " \
            "accepts to request each."
    report.publish(part(title, f"{summary} {disturbance.sentence()}", series(phases, accepted, whole)), options.json)
    if failed or not phases:
        sys.exit("some cold starts failed" if failed else "martlet logged no cold start")


if __name__ == "__main__":
    main()
