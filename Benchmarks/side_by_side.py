#!/usr/bin/env python3
"""Martlet beside other proxies on one machine (standard library only).

    side_by_side.py                                    S1, every candidate, 5 rounds
    side_by_side.py --scenarios S1,S6d --candidates relay,martlet --rounds 3

A round measures every candidate once, in an order that moves by one each round; the table shows medians over the rounds
and the median of the ratios within a round, which cancels a machine that is slow for a while. The proxy is alone on one
CPU with one worker; the load tool and the application share the other. CPU time per request is the primary figure: that
of the proxy's own process, the pods that martlet starts not included. A measurement is repeated when something else on
the machine took more than 15 % of a CPU meanwhile.
"""
import argparse
import collections
import contextlib
import dataclasses
import os
import re
import shutil
import statistics
import subprocess
import sys
import time

import machine

UPSTREAM_PORT, PROXY_PORT = 19000, 19001
HOST = "bench.default.localhost"
FOREIGN_LIMIT = 0.15
ATTEMPTS = 3


# ---------------------------------------------------------------- candidates: commands for (folder, tools, martlet)

def relay(folder, tools, martlet):
    return [tools / "relay", PROXY_PORT, UPSTREAM_PORT]


def nginx(folder, tools, martlet):
    return [binary("nginx"), "-p", folder, "-c", filled("nginx.conf", folder)]


def haproxy(folder, tools, martlet):
    return [binary("haproxy"), "-db", "-q", "-f", filled("haproxy.cfg", folder)]


def martlet(folder, tools, martlet):
    """The application is martlet's own pod, moved to the CPU that the others' application runs on."""
    command = ["taskset", "--cpu-list", str(machine.LOAD_CPU), tools / "application"]
    text = machine.service("bench", command, {"min-scale": 1, "max-scale": 1}, {"TIMES": "off"})
    (folder / "service.yaml").write_text(text)
    return [martlet, "run", folder / "service.yaml", "--workers", 1, "--http", f"127.0.0.1:{PROXY_PORT}",
            "--access-log", "off"]


CANDIDATES = {"relay": relay, "nginx": nginx, "haproxy": haproxy, "martlet": martlet}


def binary(name):
    found = shutil.which(name) or f"/usr/sbin/{name}"
    if not os.path.exists(found):
        raise RuntimeError(f"{name} is not installed: run scripts/setup bench")
    return found


def filled(template, folder):
    values = {"FOLDER": folder, "PORT": PROXY_PORT, "UPSTREAM": UPSTREAM_PORT}
    text = (machine.BENCHMARKS / "peers" / template).read_text()
    (folder / template).write_text(re.sub(r"@([A-Z]+)@", lambda match: str(values[match[1]]), text))
    return folder / template


# ---------------------------------------------------------------- scenarios: load for so many seconds

def microseconds(text):
    value, unit = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text).groups()
    return float(value) * {"us": 1, "ms": 1e3, "s": 1e6, "m": 6e7}[unit]


def wrk(seconds, path="/", connections=64, script=None):
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}", "--timeout", "10s", "--latency", "-H", f"Host: {HOST}"]
    if script:
        command += ["-s", str(machine.BENCHMARKS / "peers" / script)]
    done = subprocess.run([*command, f"http://127.0.0.1:{PROXY_PORT}{path}"], capture_output=True, text=True,
                          timeout=seconds + 30, preexec_fn=machine.pin(machine.LOAD_CPU))
    counted = re.search(r"(\d+) requests in ([\d.]+\w+),", done.stdout)
    if done.returncode or not counted:
        raise RuntimeError(f"wrk: {(done.stderr or done.stdout)[-300:]}")
    latency = dict(re.findall(r"(\d+)%\s+([\d.]+[a-z]+)", done.stdout))
    errors = sum(map(int, re.findall(r"(?:connect|read|write|timeout|responses:) (\d+)", done.stdout)))
    return {"requests": int(counted[1]), "seconds": microseconds(counted[2]) / 1e6, "errors": errors,
            "p50": microseconds(latency["50"]), "p99": microseconds(latency["99"])}


@dataclasses.dataclass
class Scenario:
    title: str
    load: object


SCENARIOS = {
    "S1": Scenario("HTTP/1.1 keep-alive, 1 KiB answer, 64 connections", wrk),
    "S6d": Scenario("100 KiB answer, 64 connections", lambda seconds: wrk(seconds, "/bytes/102400")),
    "S6u": Scenario("1 MiB upload, 16 connections", lambda seconds: wrk(seconds, "/", 16, "upload.lua")),
}


# ---------------------------------------------------------------- measuring

@contextlib.contextmanager
def started(name, tools, martlet_path):
    """The proxy, answering, and the ids of the processes that belong to the measurement."""
    folder = machine.RUN / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with contextlib.ExitStack() as stack:
        known = {os.getpid()}
        if name != "martlet":
            application = machine.running("application", [tools / "application"], machine.LOAD_CPU,
                                          PORT=str(UPSTREAM_PORT), TIMES="off")
            known.add(stack.enter_context(application).pid)
            machine.wait_for_port(UPSTREAM_PORT)
        command = CANDIDATES[name](folder, tools, martlet_path)
        proxy = stack.enter_context(machine.running(name, command, machine.PROXY_CPU))
        machine.wait_for_answer(PROXY_PORT, HOST)
        worker = proxy.pid
        if name == "nginx":  # its one worker is a child of the master
            worker = machine.child_ids(proxy.pid)[0]
        yield worker, known | {proxy.pid, worker} | set(machine.child_ids(proxy.pid))


def measure(name, scenario, seconds, tools, martlet_path):
    with started(name, tools, martlet_path) as (proxy, known):
        scenario.load(1)  # warm-up: connections, caches, allocator
        others, cpu, begun = machine.ticks_by_process(), machine.cpu_seconds(proxy), time.monotonic()
        outcome = scenario.load(seconds)
        cpu, wall = machine.cpu_seconds(proxy) - cpu, time.monotonic() - begun
        foreign = machine.foreign_share(others, machine.ticks_by_process(), known, wall)
        requests = max(outcome["requests"], 1)
        return {**outcome, "rate": outcome["requests"] / outcome["seconds"], "cpu_us": cpu / requests * 1e6,
                "busy": cpu / wall, "foreign": foreign, "rss_mib": machine.status_kib(proxy, "VmRSS") / 1024}


def measure_quietly(name, scenario, options, tools):
    """Again while the machine is disturbed; the calmest attempt counts."""
    attempts = []
    while len(attempts) < ATTEMPTS and not (attempts and attempts[-1]["foreign"] < FOREIGN_LIMIT):
        attempts.append(measure(name, scenario, options.seconds, tools, options.martlet))
    return min(attempts, key=lambda attempt: attempt["foreign"])


def run_rounds(key, names, options, tools):
    """{candidate: [outcome of each round]}; None where a measurement failed."""
    outcomes = collections.defaultdict(list)
    for number in range(options.rounds):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            try:
                outcome = measure_quietly(name, SCENARIOS[key], options, tools)
                print(f"{key} round {number + 1} {name}: {outcome['cpu_us']:.2f} us", file=sys.stderr)
            except (RuntimeError, OSError, subprocess.SubprocessError) as failure:
                outcome = None
                print(f"{key} round {number + 1} {name}: failed: {failure}", file=sys.stderr)
            outcomes[name].append(outcome)
    return outcomes


# ---------------------------------------------------------------- report

def ratio(outcomes, name, reference):
    pairs = zip(outcomes[name], outcomes.get(reference, []))
    ratios = [own["cpu_us"] / base["cpu_us"] for own, base in pairs if own and base and base["cpu_us"]]
    return f"{statistics.median(ratios):.2f}" if ratios else "–"


def row(outcomes, name):
    good = [outcome for outcome in outcomes[name] if outcome]
    if not good:
        return [name, "failed"] + [""] * 10

    def median(key):
        return statistics.median(outcome[key] for outcome in good)

    values = [outcome["cpu_us"] for outcome in good]
    spread = (max(values) - min(values)) / (statistics.median(values) or 1)
    return [name, f"{median('cpu_us'):.2f}", f"{min(values):.2f}", f"{spread:.0%}", ratio(outcomes, name, "relay"),
            ratio(outcomes, name, "nginx"), f"{median('rate'):.0f}", f"{median('p50'):.0f}", f"{median('p99'):.0f}",
            f"{median('rss_mib'):.1f}", sum(outcome["errors"] for outcome in good),
            f"{max(outcome['foreign'] for outcome in good):.0%}"]


def report(key, outcomes, options):
    columns = ["proxy", "CPU µs/request", "best", "spread", "x relay", "x nginx", "requests/s", "p50 µs", "p99 µs",
               "RSS MiB", "errors", "others, at most"]
    rows = [row(outcomes, name) for name in outcomes]
    rows.sort(key=lambda cells: float(cells[1]) if cells[1] != "failed" else float("inf"))
    method = f"Median of {options.rounds} interleaved rounds of {options.seconds} s, one worker each."
    return f"### {key}: {SCENARIOS[key].title}\n\n{method}\n\n{machine.table(columns, rows)}\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenarios", default="S1", help=f"comma-separated, of {', '.join(SCENARIOS)}; default S1")
    parser.add_argument("--candidates", default=",".join(CANDIDATES), help="comma-separated; default all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4, help="length of one measurement; default 4")
    parser.add_argument("--martlet", default=machine.MARTLET, help="the program; default .build/release/martlet")
    options = parser.parse_args()
    names, keys = options.candidates.split(","), options.scenarios.split(",")
    if unknown := [name for name in names if name not in CANDIDATES] + [key for key in keys if key not in SCENARIOS]:
        parser.error(f"unknown: {', '.join(unknown)}")
    if "martlet" in names:
        machine.require_martlet(options.martlet)
    tools = machine.build_tools()
    results = {key: run_rounds(key, names, options, tools) for key in keys}
    for key, outcomes in results.items():
        print(report(key, outcomes, options))
    failed = any(outcome is None for outcomes in results.values() for rounds in outcomes.values() for outcome in rounds)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
