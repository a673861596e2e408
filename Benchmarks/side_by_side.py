#!/usr/bin/env python3
"""Martlet beside other proxies on one machine (standard library only).

    side_by_side.py                                    S1, every candidate, 5 rounds
    side_by_side.py --scenarios S2,S3 --rounds 3 --seconds 4
    side_by_side.py --scenarios S1,S6d --candidates relay,martlet

A round measures every candidate once, in an order that moves by one each round; the table shows medians over the rounds
and the median of the ratios within a round, which cancels a machine that is slow for a while. The proxy is alone on one
CPU with one worker; the load tool and the application share the other. CPU time per request is the primary figure: that
of the proxy's own process, the pods that martlet starts not included. A measurement is repeated when something else on
the machine, or another machine beside a virtual one, took too much of the CPUs meanwhile; the calmest counts. With idle
connections (S7 and its kin) the primary figure is the growth of the proxy's resident memory for each. A measurement
with a single error counts for nothing and is reported.
"""
import argparse
import collections
import contextlib
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import time

import machine
import report
from candidates import CANDIDATES, H2C_UPSTREAM_PORT, HOST, PORTS, PROXY_PORT, UPSTREAM_PORT, Setting, missing
from scenarios import SCENARIOS, Target, idle_connections, idle_count

# {kind of scenario: (CPUs that others may take, attempts to find such a time)}. Paced load finds calm moments itself.
CALM = {"load": (0.15, 2), "paced": (0.15, 4), "start": (0.03, 4), "idle": (1, 1)}
CALM_REQUESTS = 2_000       # of a paced load at least, for a p99 that means something
DESCRIPTORS = 18_000        # of a proxy with 15,000 upstream connections
WARM_CONNECTIONS = 20       # opened and closed before the memory is read for the first time
SETTLE_SECONDS = 1
IDLE_SECONDS = 3            # over which the CPU time of a program without work is taken


# ---------------------------------------------------------------- measuring

def takes_part(name, scenario):
    candidate = CANDIDATES[name]
    if scenario.entry not in candidate.entries or (candidate.command is None and scenario.kind != "paced"):
        return False
    if scenario.hosts and not candidate.routes_by_host:
        return False
    # One protocol throughout: not HTTP/2 to an application of HTTP/1.1, nor a question in HTTP/1.1 of one of HTTP/2.
    if candidate.follows_client and scenario.speaks_http2 and (scenario.streams or scenario.upstream == "application"):
        return False
    if scenario.kind == "idle":
        return not candidate.keeps_connections_apart
    return scenario.upstream in candidate.upstreams


@contextlib.contextmanager
def started(name, scenario, tools, martlet):
    """The proxy, answering: its worker's id, the ids of the processes that belong to the measurement, and the outcome
    of its start: milliseconds to its first answer, and those of CPU time that its worker and the worker's master have
    used by then. Without a proxy it is the application that answers."""
    folder = machine.RUN / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    candidate = CANDIDATES[name]
    with contextlib.ExitStack() as stack:
        known = {os.getpid()}
        for port in PORTS:
            machine.wait_until_free(port)
        if not candidate.starts_application:
            for program, port in [("application", UPSTREAM_PORT), ("h2c", H2C_UPSTREAM_PORT)]:
                upstream = machine.running(program, [tools / program], machine.LOAD_CPU, PORT=str(port), TIMES="off")
                known.add(stack.enter_context(upstream).pid)
                machine.wait_for_port(port)
        if candidate.command is None:
            yield None, known, {}
            return
        setting = Setting(folder, tools, martlet, scenario.upstream, scenario.entry, scenario.hosts)
        environment = candidate.environment(setting)
        command = candidate.command(setting)
        disturbance, begun = machine.Disturbance(), time.monotonic()
        proxy = stack.enter_context(machine.running(name, command, machine.PROXY_CPU, **environment))
        if candidate.follows_client and scenario.upstream == "h2c":  # nobody behind it speaks HTTP/1.1
            machine.wait_for_port(PROXY_PORT)
        else:
            machine.wait_for_answer(PROXY_PORT, HOST)
        took = (time.monotonic() - begun) * 1e3
        worker = machine.child_ids(proxy.pid)[0] if candidate.has_master else proxy.pid
        used = sum(machine.cpu_seconds(pid) for pid in {proxy.pid, worker}) * 1e3
        if scenario.entry == "tls":
            machine.wait_for_answer(candidate.entries["tls"], HOST, has_tls=True)
        known |= {proxy.pid, worker, *machine.child_ids(proxy.pid)}
        yield worker, known, {"cost": took, "start_cpu_ms": used, **disturbance.so_far(known)}


def measure_load(worker, known, scenario, target, seconds):
    scenario.load(target, 1)  # warm-up: connections, caches, allocator
    disturbance, cpu, begun = machine.Disturbance(), cpu_seconds(worker), time.monotonic()
    outcome = scenario.load(target, seconds)
    cpu, wall = cpu_seconds(worker) - cpu, time.monotonic() - begun
    requests = max(outcome["requests"], 1)
    return {**outcome, **disturbance.so_far(known), "rate": outcome["requests"] / outcome["seconds"],
            "cost": cpu / requests * 1e6, "busy": cpu / wall,
            "rss_mib": machine.memory_kib(worker, "VmRSS") / 1024 if worker else 0}


def cpu_seconds(worker):
    return machine.cpu_seconds(worker) if worker else 0


def measure_start(worker, start):
    """Of a proxy with a master the worker's memory counts."""
    time.sleep(SETTLE_SECONDS)
    cpu, begun = machine.cpu_seconds(worker), time.monotonic()
    time.sleep(IDLE_SECONDS)
    busy = (machine.cpu_seconds(worker) - cpu) / (time.monotonic() - begun)
    program = os.path.getsize(f"/proc/{worker}/exe")
    return {**start, "errors": 0, "requests": 1, "idle_permille": busy * 1e3,
            "rss_mib": machine.memory_kib(worker, "VmRSS") / 1024,
            "anonymous_mib": machine.memory_kib(worker, "RssAnon") / 1024, "program_mib": program / 2**20}


def resident_kib(worker):
    return machine.memory_kib(worker, "VmRSS"), machine.memory_kib(worker, "Pss", "smaps_rollup")


def measure_idle(worker, scenario, target, shares_upstream):
    """Memory is not disturbed by a busy machine, so such a measurement is never repeated."""
    count = idle_count(scenario, shares_upstream)
    with idle_connections(target, WARM_CONNECTIONS, scenario.streams, shares_upstream):
        pass
    time.sleep(SETTLE_SECONDS)
    rss, pss = resident_kib(worker)
    with idle_connections(target, count, scenario.streams, shares_upstream):
        time.sleep(SETTLE_SECONDS)
        rss_held, pss_held = resident_kib(worker)
    return {"errors": 0, "foreign": 0, "stolen": 0, "connections": count, "cost": (rss_held - rss) / count,
            "pss_kib": (pss_held - pss) / count, "before_mib": rss / 1024, "held_mib": rss_held / 1024}


def measure(name, scenario, seconds, tools, martlet):
    with started(name, scenario, tools, martlet) as (worker, known, start):
        target = Target(CANDIDATES[name].entries[scenario.entry], scenario.entry, tools)
        if scenario.kind == "start":
            return measure_start(worker, start)
        if scenario.kind == "idle":
            return measure_idle(worker, scenario, target, CANDIDATES[name].shares_upstream)
        return measure_load(worker, known, scenario, target, seconds)


def measure_quietly(name, scenario, options, tools):
    limit, most = CALM[scenario.kind]
    attempts = []
    while len(attempts) < most and not (attempts and taken(attempts[-1]) <= limit):
        attempts.append(measure(name, scenario, options.seconds, tools, options.martlet))
    return min(attempts, key=taken)


def taken(outcome):
    """CPUs that were not there for the measurement. A paced load says itself whether there were calm moments."""
    is_short = outcome.get("calm", CALM_REQUESTS) < CALM_REQUESTS
    return outcome["foreign"] + (os.cpu_count() * is_short if "calm" in outcome else outcome["stolen"])


def run_rounds(key, names, options, tools):
    """{candidate: [outcome of each round]}; one that failed has `failure` instead of figures."""
    outcomes = collections.defaultdict(list)
    for number in range(options.rounds):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            try:
                outcome = measure_quietly(name, SCENARIOS[key], options, tools)
                print(f"{key} round {number + 1} {name}: {outcome['cost']:.2f} {unit(key)}", file=sys.stderr)
            except (RuntimeError, OSError, ValueError, subprocess.SubprocessError) as failure:
                outcome = {"failure": " ".join(str(failure).split())}
                print(f"{key} round {number + 1} {name}: failed: {failure}", file=sys.stderr)
            outcomes[name].append(outcome)
    if SCENARIOS[key].kind == "paced":
        add_latency(outcomes)
    return outcomes


def add_latency(outcomes):
    """What each proxy adds to the latency without one, in the same round."""
    for name, rounds in outcomes.items():
        for outcome, alone in zip(rounds, outcomes.get("direct", [])):
            if is_valid(outcome) and is_valid(alone):
                outcome |= {f"added_{share}": outcome[share] - alone[share] for share in ["p50", "p99", "p999"]}


# ---------------------------------------------------------------- report

def complaint(outcome):
    """Why an outcome counts for nothing; None if it counts."""
    if "failure" in outcome:
        return outcome["failure"]
    if outcome.get("calm", CALM_REQUESTS) < CALM_REQUESTS:
        return f"only {outcome['calm']} requests in calm moments"
    return f"{outcome['errors']} errors in {outcome['requests']} requests" if outcome["errors"] else None


def is_valid(outcome):
    return complaint(outcome) is None


def unit(key):
    return {"idle": "KiB", "start": "ms"}.get(SCENARIOS[key].kind, "µs")


def ratio(outcomes, name, reference):
    pairs = zip(outcomes[name], outcomes.get(reference, []))
    ratios = [own["cost"] / base["cost"] for own, base in pairs if is_valid(own) and is_valid(base) and base["cost"]]
    return f"{statistics.median(ratios):.2f}" if ratios else "–"


def spread_of(outcomes, name):
    """Median, best and worst of the primary figure; None without a good round."""
    values = [outcome["cost"] for outcome in outcomes[name] if is_valid(outcome)]
    return (statistics.median(values), min(values), max(values)) if values else None


def references(outcomes):
    return [reference for reference in ["relay", "nginx"] if reference in outcomes]


def primary_cells(outcomes, name):
    """Median, best and spread of the primary figure, and the ratios to nginx and, where it takes part, to the relay."""
    median, best, worst = spread_of(outcomes, name)
    ratios = [ratio(outcomes, name, reference) for reference in references(outcomes)]
    return [f"{median:.2f}", f"{best:.2f}", f"{(worst - best) / (median or 1):.0%}", *ratios]


def row(outcomes, name, figures):
    good = [outcome for outcome in outcomes[name] if is_valid(outcome)]
    if not good:
        return [name, "failed"] + [""] * (2 + len(references(outcomes)) + len(figures))
    medians = [f"{statistics.median(outcome.get(figure, 0) for outcome in good):.{digits}f}"
               for figure, digits in figures]
    return [name, *primary_cells(outcomes, name), *medians]


LOAD_FIGURES = {"requests/s": ("rate", 0), "p50 µs": ("p50", 0), "p99 µs": ("p99", 0), "p99.9 µs": ("p999", 0),
                "RSS MiB": ("rss_mib", 1), "busy": ("busy", 2), "others": ("foreign", 2), "stolen": ("stolen", 2)}
IDLE_FIGURES = {"PSS KiB": ("pss_kib", 2), "connections": ("connections", 0), "RSS before, MiB": ("before_mib", 1),
                "RSS held, MiB": ("held_mib", 1)}
START_FIGURES = {"CPU ms": ("start_cpu_ms", 1), "RSS MiB": ("rss_mib", 1), "anonymous MiB": ("anonymous_mib", 1),
                 "program MiB": ("program_mib", 1), "idle CPU ‰": ("idle_permille", 2), "stolen": ("stolen", 2)}
PACED_FIGURES = {"added p50 µs": ("added_p50", 0), "added p99 µs": ("added_p99", 0),
                 "added p99.9 µs": ("added_p999", 0),
                 "p50 µs": ("p50", 0), "p99 µs": ("p99", 0), "p99.9 µs": ("p999", 0), "busy": ("busy", 2),
                 "others": ("foreign", 2), "stolen": ("stolen", 2), "calm": ("calm", 0)}
# {kind of scenario: (primary figure, its unit, other columns)}
TABLES = {"load": ("CPU µs/request", "µs a request", LOAD_FIGURES), "idle": ("KiB/connection", "KiB a connection",
          IDLE_FIGURES), "start": ("ms to the first answer", "ms", START_FIGURES),
          "paced": ("CPU µs/request", "µs a request", PACED_FIGURES)}
# {kind of scenario: charts beside that of the primary figure: (figure, title, unit, digits)}
MORE_CHARTS = {"start": [("rss_mib", "Resident memory at rest, MiB", "MiB", 1)],
               "paced": [("added_p99", "Latency added at p99, µs", "µs", 0)]}
MEMORY_CHART = ("rss_mib", "Resident memory after the load, MiB", "MiB", 1)


def bars(outcomes, figure):
    """Median and whisker of a figure for each proxy, the cheapest first."""
    found = []
    for name, rounds in outcomes.items():
        values = [outcome[figure] for outcome in rounds if is_valid(outcome) and figure in outcome]
        if values and not (name == "direct" and figure != "p99"):
            ratios = [f"{ratio(outcomes, name, reference)} x {reference}" for reference in references(outcomes)]
            bar = {"name": name, "value": max(0, statistics.median(values)), "low": max(0, min(values)),
                   "high": max(0, max(values)), "note": ", ".join(ratios) if figure == "cost" else ""}
            found.append(bar)
    return sorted(found, key=lambda bar: bar["value"])


def part(key, outcomes, options):
    """Of a report."""
    scenario = SCENARIOS[key]
    primary, measure_of, figures = TABLES[scenario.kind]
    ratios = [f"x {reference}" for reference in references(outcomes)]
    rows = [row(outcomes, name, figures.values()) for name in outcomes]
    rows.sort(key=lambda cells: float(cells[1]) if cells[1] != "failed" else float("inf"))
    rounds = f"Median of {options.rounds} interleaved rounds" if options.rounds > 1 else "One round"
    length = f" of {options.seconds} s" if scenario.kind in ("load", "paced") else ""
    lost = [f"{name}, round {number}: {complaint(outcome)}" for name in outcomes
            for number, outcome in enumerate(outcomes[name], 1) if complaint(outcome)]
    charts = [("cost", primary, measure_of, 2), *MORE_CHARTS.get(scenario.kind, []),
              *([MEMORY_CHART] if scenario.hosts else [])]
    return {"id": key, "kind": scenario.kind, "title": scenario.title, "short": scenario.short,
            "text": [f"{rounds}{length}, one worker each."], "columns": ["proxy", primary, "best", "spread", *ratios,
            *figures], "rows": rows, "lost": lost, "data": outcomes,
            "charts": [{"title": title, "unit": unit_of, "digits": digits, "bars": bars(outcomes, figure)}
                       for figure, title, unit_of, digits in charts]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenarios", default="S1", help=f"comma-separated, of {', '.join(SCENARIOS)}; default S1")
    parser.add_argument("--candidates", default=",".join(CANDIDATES), help="comma-separated; default all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4, help="length of one measurement; default 4")
    parser.add_argument("--martlet", default=machine.MARTLET, help="the program; default .build/release/martlet")
    parser.add_argument("--json", type=pathlib.Path, help="also append the parts of a report to this file")
    options = parser.parse_args()
    names, keys = options.candidates.split(","), options.scenarios.split(",")
    if unknown := [name for name in names if name not in CANDIDATES] + [key for key in keys if key not in SCENARIOS]:
        parser.error(f"unknown: {', '.join(unknown)}")
    for name in missing(names):
        print(f"{name} is not installed and left out; scripts/setup bench installs it", file=sys.stderr)
        names.remove(name)
    if any(name.startswith("martlet") for name in names):
        machine.require_martlet(options.martlet)
    machine.stop_when_asked()
    machine.raise_descriptor_limit(DESCRIPTORS if any(SCENARIOS[key].kind == "idle" for key in keys) else 0)
    tools = machine.build_tools()
    machine.make_certificate(HOST)
    results = {}
    for key in keys:
        if chosen := [name for name in names if takes_part(name, SCENARIOS[key])]:
            results[key] = run_rounds(key, chosen, options, tools)
            report.publish(part(key, results[key], options), options.json)
    outcomes = [outcome for by_name in results.values() for rounds in by_name.values() for outcome in rounds]
    sys.exit(0 if outcomes and all(map(is_valid, outcomes)) else 1)


if __name__ == "__main__":
    main()
