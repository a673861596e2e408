#!/usr/bin/env python3
"""How many starts from zero a second martlet's own parts manage, when pods cost nothing (standard library only).

    wake_cost.py                    2,500 and 10,000 services, three rounds each
    wake_cost.py --services 2500 --rounds 1

`martlet-wake-cost` is the worker and the control thread of `martlet run`, with its log, over a platform whose pods are
ready as soon as they are asked for: all are one application that runs already. Every service is at zero, and one
request goes to each, over keep-alive connections in a closed loop; each is a start. Then the same requests once more,
warm (each finds the upstream connection that its start left), and a load of the same size straight at the application,
which says what the load side can do.

"A second by CPU" is what the CPU time of worker and control thread allows, as they share a CPU: on a machine that does
other work too, it is the figure to read. A round counts only if every answer was 200, no pod was there before, and
every service was started exactly once.
"""
import argparse
import contextlib
import json
import os
import pathlib
import re
import signal
import statistics
import subprocess
import sys
import time

import machine
import report

APPLICATION, PORT = 19061, 19062
WAKE_COST = machine.ROOT / ".build/release/martlet-wake-cost"
BAR = 2_500         # wake-ups a second, one worker
REST_SECONDS = 4    # two decisions of the autoscaler
COLUMNS = ["services, round", "a second", "p50 µs", "p99 µs", "worker µs", "control µs", "a second by CPU",
           "client µs", "others", "stolen"]


def said(word, number, seconds=300):
    """What the program said in its line `word {…}` number so and so, from 0."""
    log, give_up = machine.RUN / "wake-cost.log", time.monotonic() + seconds
    while time.monotonic() < give_up:
        lines = re.findall(rf"^{word} (\{{.*\}})$", log.read_text(), re.M)
        if len(lines) > number:
            return json.loads(lines[number])
        time.sleep(0.02)
    raise RuntimeError(f"no line `{word}` number {number} in {log} after {seconds} s")


def thread_microseconds(pid):
    """(worker, control): CPU time of the threads; the control thread is the main one."""
    times = [0.0, 0.0]
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            times[task.name == str(pid)] += int((task / "schedstat").read_text().split()[0]) / 1e3
    return times


class Round:
    """One martlet-wake-cost with so many services, from its start to its end."""

    def __init__(self, services, options, process, application):
        self.services, self.options, self.process = services, options, process
        self.known = {process.pid, application.pid}
        self.asked = 0
        self.problems = []

    def counts(self):
        self.process.send_signal(signal.SIGUSR1)
        self.asked += 1
        return said("counts", self.asked - 1)

    def expect(self, when, **expected):
        found = self.counts()
        if found != expected:
            self.problems.append(f"{self.services} services, {when}: {found} instead of {expected}")

    def load(self, port, tools):
        """The figures of one request to every host."""
        command = [tools / "wake", port, "wake-", ".default.localhost", self.services, self.options.connections]
        before, disturbance = thread_microseconds(self.process.pid), machine.Disturbance()
        client = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, text=True,
                                  preexec_fn=machine.pin(machine.LOAD_CPU))
        output, _ = client.communicate()
        disturbed = disturbance.so_far(self.known | {client.pid})
        if client.returncode:
            raise RuntimeError("the client failed")
        figures = json.loads(output) | disturbed
        times = thread_microseconds(self.process.pid)
        figures["worker"], figures["control"] = ((end - start) / self.services for start, end in zip(before, times))
        if figures["errors"]:
            self.problems.append(f"{self.services} services: {figures['errors']} requests without a good answer")
        return figures

    def at_rest(self):
        """Milliseconds of CPU a second of (worker, control), everything awake and no request."""
        before, begun = thread_microseconds(self.process.pid), time.monotonic()
        time.sleep(REST_SECONDS)
        wall = time.monotonic() - begun
        return [(end - start) / 1e3 / wall for start, end in zip(before, thread_microseconds(self.process.pid))]


def measure(services, options, tools):
    """One round: {load: figures}, and problems."""
    with machine.running("wake-application", [tools / "application"], machine.LOAD_CPU, PORT=str(APPLICATION),
                         TIMES="off") as application:
        machine.wait_for_port(APPLICATION)
        command = [options.program, PORT, APPLICATION, services]
        with machine.running("wake-cost", command, machine.PROXY_CPU) as process:
            apply_seconds = said("ready", 0)["apply_seconds"]
            part = Round(services, options, process, application)
            part.expect("before", pods=0, woken=0, most_starts=0)
            found = {"from zero": part.load(PORT, tools)}
            part.expect("after the starts", pods=services, woken=services, most_starts=1)
            found["warm"] = part.load(PORT, tools)
            found["rest"] = part.at_rest()
            part.expect("at the end", pods=services, woken=services, most_starts=1)
            found["straight at the application"] = part.load(APPLICATION, tools)
            found["apply"] = apply_seconds
            return found, part.problems


def row(name, figures, has_proxy):
    rate = figures["requests"] / figures["seconds"]
    own = [f"{figures['worker']:.1f}", f"{figures['control']:.1f}",
           f"{1e6 / (figures['worker'] + figures['control']):.0f}"] if has_proxy else ["–"] * 3
    return [name, f"{rate:.0f}", figures["p50"], figures["p99"], *own, f"{figures['cpu_us']:.1f}",
            f"{figures['foreign']:.2f}", f"{figures['stolen']:.2f}"]


def summary(services, rounds):
    """The part of a report."""
    rows = []
    for title in ["from zero", "warm", "straight at the application"]:
        has_proxy = title != "straight at the application"
        rows += [row(f"{title}, {number}", found[title], has_proxy) for number, found in enumerate(rounds, 1)]
    rate = statistics.median(found["from zero"]["requests"] / found["from zero"]["seconds"] for found in rounds)
    rest = [statistics.median(found["rest"][index] for found in rounds) for index in (0, 1)]
    costs = statistics.median(found["from zero"]["worker"] + found["from zero"]["control"] for found in rounds)
    applying = statistics.median(found["apply"] for found in rounds)
    text = (f"Wake-ups a second, median: {rate:.0f} (bar: {BAR:,}); their CPU time alone allows {1e6 / costs:.0f}. "
            f"At rest, all awake: CPU ms a second {rest[0]:.2f} of the worker, {rest[1]:.2f} of the control thread. "
            f"Applying the services took {applying:.2f} s of CPU.")
    return {"id": f"wake {services}", "kind": "table", "link": f"{services:,} woken", "columns": COLUMNS, "rows": rows,
            "title": f"{services:,} services woken, pods that cost nothing",
            "text": ["Times are the client's, CPU µs are a request's.", text]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--services", default="2500,10000", help="how many, one table each; default 2500,10000")
    parser.add_argument("--connections", type=int, default=64, help="keep-alive connections of the client; default 64")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=pathlib.Path, help="also append the parts of a report to this file")
    parser.add_argument("--program", default=WAKE_COST, help="default .build/release/martlet-wake-cost")
    options = parser.parse_args()
    machine.require_martlet(options.program)
    tools, problems = machine.build_tools(), []
    for services in map(int, options.services.split(",")):
        machine.raise_descriptor_limit(services + 1_000)  # the upstream connections
        rounds = []
        for _ in range(options.rounds):
            found, failed = measure(services, options, tools)
            problems += failed
            if not failed:
                rounds.append(found)
        if rounds:
            report.publish(summary(services, rounds), options.json)
    for problem in problems:
        print(f"failed: {problem}", file=sys.stderr)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
