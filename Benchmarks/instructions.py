#!/usr/bin/env python3
"""The gates: instructions and allocations of a request, against the budgets of perf/budgets.json (standard library
only; needs valgrind and h2load).

    instructions.py                     every scenario; status 1 when one costs more than its budget allows
    instructions.py --functions 20      also the functions that cost most
    instructions.py --update            the figures of this run become the budgets
    instructions.py --repeat 10         how much the figures differ from run to run; with --update their medians become
                                        the budgets

The worker's thread is counted under callgrind, in user space, twice: for N requests and for more. The difference,
divided by the difference of requests, is what one costs; the start and the control thread are in no figure. An
allocation is a call of malloc or one of its kin. Load and application share the proxy's CPU and run while it waits,
so that what a wake-up finds is not a matter of speed. Counts hardly depend on the machine: the CPU's newer instructions
are hidden from libc and libcrypto. They do depend on the compiler and on the libraries; `recorded` in the file says
which ones they were.
"""
import argparse
import concurrent.futures
import dataclasses
import json
import os
import pathlib
import platform
import queue
import re
import shutil
import socket
import statistics
import subprocess
import sys

import callgrind
import candidates
import machine
import report

BUDGETS = machine.ROOT / "perf/budgets.json"
FOLDER = machine.RUN / "gates"
ARCHITECTURE = "x86_64"
SHARE_OF_LISTED_FUNCTION = 0.002    # of a request; smaller ones are not in the file
SHORT, LONG = 1_000, 4_000          # requests of the two runs


@dataclasses.dataclass
class Gate:
    """One request at a time on each of so many streams of so many connections."""
    title: str
    candidate: str = "martlet"
    entry: str = "plain"
    upstream: str = "application"
    path: str = "/"
    connections: int = 1
    streams: int = 0                # 0: HTTP/1.1
    has_message: bool = False       # a POST of 128 bytes, as of a unary call of gRPC
    scale: float = 1                # times the number of requests

    @property
    def requests(self):
        return round(SHORT * self.scale), round(LONG * self.scale)


GATES = {
    "S1": Gate("HTTP/1.1 keep-alive, 1 KiB answer; martlet run"),
    "S1q": Gate("the same through martlet-queue, with a limit of 1,000 and statistics", "martlet-queue"),
    "S2": Gate("HTTP/1.1 over TLS 1.3 keep-alive, 1 KiB answer; martlet run", entry="tls"),
    "S3": Gate("HTTP/2 over TLS 1.3, 1 KiB answer, 1 stream; HTTP/1.1 application; martlet run", entry="tls",
               streams=1),
    "S4": Gate("HTTP/2 in cleartext on both sides, unary calls of 128 bytes, 8 streams; martlet run", upstream="h2c",
               path="/h2c/echo", streams=8, has_message=True),
    "S6d": Gate("HTTP/1.1 keep-alive, 100 KiB answer; martlet run", path="/bytes/102400", scale=0.5),
}


# ---------------------------------------------------------------- measuring

def free_ports(count):
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def yielding(command):
    """Never interrupts the proxy when it wakes; gets its share all the same, also on a busy machine."""
    return ["chrt", "--batch", "0", *command]


def martlet_command(gate, program, folder, ports, tools):
    entry, _, _, _ = ports
    text = machine.service("bench", yielding([tools / gate.upstream]), {"min-scale": 1, "max-scale": 1},
                           {"TIMES": "off"}, is_h2c=gate.upstream == "h2c")
    (folder / "service.yaml").write_text(text)
    listeners = ["--http", f"127.0.0.1:{entry}"]
    if gate.entry == "tls":
        listeners = ["--http", f"127.0.0.1:{ports[1]}", "--https", f"127.0.0.1:{entry}", "--certs",
                     machine.RUN / "certificates"]
    return [program, "run", folder / "service.yaml", "--workers", 1, *listeners, "--access-log", "off", "--domain",
            "svc.localhost"]


def queue_environment(gate, ports):
    entry, user, admin, stat = ports
    setting = candidates.Setting(FOLDER, None, None, gate.upstream, gate.entry)
    return candidates.queue_environment(setting) | {
        "QUEUE_SERVING_PORT": str(entry), "USER_PORT": str(user), "MARTLET_ADMIN_LISTEN": f"127.0.0.1:{admin}",
        "MARTLET_STAT_LISTEN": f"127.0.0.1:{stat}", "MARTLET_TLS_LISTEN": "127.0.0.1:0",
        "MARTLET_METRICS_LISTEN": "127.0.0.1:0", "MARTLET_DRAIN_QUIET_MILLISECONDS": "0"}


def load(gate, port, requests, cpu):
    """h2load, so many requests exactly. Each must be answered with 200."""
    scheme = "https" if gate.entry == "tls" else "http"
    protocol = ["-m", gate.streams] if gate.streams else ["--h1"]
    if gate.has_message:
        message = FOLDER / "message"
        message.write_bytes(bytes([0, 0, 0, 0, 123]) + b"m" * 123)
        protocol += ["-d", message, "-H", "content-type: application/grpc", "-H", "te: trailers"]
    command = [*on(cpu), *yielding(["h2load"]), "-t1", "-c", gate.connections, *protocol, "-n", requests,
               f"--connect-to=127.0.0.1:{port}", f"{scheme}://{candidates.HOST}:{port}{gate.path}"]
    settings = {**os.environ, "OPENSSL_CONF": str(machine.BENCHMARKS / "peers/openssl-client.cnf")}
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=settings,
                          timeout=callgrind.PATIENCE)
    good = re.search(r"status codes: (\d+) 2xx", done.stdout)
    if done.returncode or not good or int(good[1]) != requests:
        raise RuntimeError(f"h2load: not {requests} good answers: {(done.stderr + done.stdout)[-400:]}")


def on(cpu):
    return ["taskset", "--cpu-list", str(cpu)]


def counted(key, programs, tools, requests, cpu):
    """{thread: profile} of a run that served so many requests, its start included."""
    gate = GATES[key]
    name = f"gate-{key}-{requests}"
    folder = FOLDER / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    ports = free_ports(4)
    for stale in FOLDER.glob(f"{name}.out*"):
        stale.unlink()
    output, settings = FOLDER / f"{name}.out", dict(callgrind.PLAIN_CPU)
    if gate.candidate == "martlet-queue":
        settings |= queue_environment(gate, ports)
        application = [*on(cpu), *yielding([tools / gate.upstream])]
        with machine.running(f"{name}-application", application, PORT=str(ports[1]), TIMES="off"):
            serve(name, gate, [programs["martlet-queue"]], output, settings, ports[0], requests, cpu)
    else:
        command = martlet_command(gate, programs["martlet"], folder, ports, tools)
        serve(name, gate, command, output, settings, ports[0], requests, cpu)
    return callgrind.threads(output)


def serve(name, gate, program, output, settings, port, requests, cpu):
    command = [*on(cpu), *callgrind.command(program, output)]
    with machine.running(name, command, patience=callgrind.PATIENCE, **settings):
        machine.wait_for_answer(port, candidates.HOST, has_tls=gate.entry == "tls", seconds=callgrind.PATIENCE)
        load(gate, port, requests, cpu)


def measure(key, programs, tools, cpus):
    """Instructions and allocations of a request, and instructions by function. Takes a CPU for itself meanwhile."""
    short, long = GATES[key].requests
    cpu = cpus.get()
    first, second = (counted(key, programs, tools, requests, cpu) for requests in (short, long))
    cpus.put(cpu)
    slopes = [first[thread].slope(second[thread], long - short) for thread in first.keys() & second.keys()]
    slope = max(slopes, key=lambda slope: slope.total)      # the worker's: it alone does more when there is more to do
    names, functions = callgrind.demangled(slope.costs), {}
    for name, cost in slope.costs.items():
        functions[names[name]] = functions.get(names[name], 0) + cost
    return {"instructions": round(slope.total, 1), "allocations": round(slope.allocations, 3), "functions": functions}


def measure_all(keys, options):
    """{scenario: figures}. As many at a time as there are CPUs: counts do not suffer."""
    programs = {name: callgrind.without_debug_information(pathlib.Path(options.martlet).parent / name, FOLDER)
                for name in ("martlet", "martlet-queue")}
    tools = machine.build_tools()
    machine.make_certificate(candidates.HOST)
    cpus = queue.SimpleQueue()
    for cpu in os.sched_getaffinity(0):
        cpus.put(cpu)
    with concurrent.futures.ThreadPoolExecutor(cpus.qsize()) as pool:
        running = {key: pool.submit(measure, key, programs, tools, cpus) for key in keys}
        return {key: future.result() for key, future in running.items()}


# ---------------------------------------------------------------- budgets

def versions():
    """Of what the counts depend on."""
    def first_line(*command):
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            return (done.stdout or done.stderr).splitlines()[0].strip()
        except (OSError, subprocess.CalledProcessError, IndexError):
            return "unknown"

    swift = re.search(r"Swift version (\S+)", first_line(os.environ.get("SWIFT", "swift"), "--version"))
    nghttp2 = first_line("pkg-config", "--modversion", "libnghttp2")
    return {"architecture": platform.machine(), "swift": swift[1] if swift else "unknown",
            "libc": " ".join(platform.libc_ver()), "openssl": first_line("pkg-config", "--modversion", "openssl"),
            "nghttp2": nghttp2, "valgrind": first_line("valgrind", "--version")}


def listed(functions, total):
    """What the file keeps of them: a line each, the dearest first."""
    ordered = sorted(functions.items(), key=lambda entry: (-entry[1], entry[0]))
    return {name: round(cost, 1) for name, cost in ordered if cost >= total * SHARE_OF_LISTED_FUNCTION}


def update(found):
    """Tolerances and reasons stay as they are."""
    budgets = json.loads(BUDGETS.read_text())
    budgets["recorded"] = versions()
    for key, figures in found.items():
        entry = budgets["scenarios"].setdefault(key, {"why": "", "tolerance": 0.01, "allocations_tolerance": 0.01})
        entry |= {"title": GATES[key].title, "instructions": round(figures["instructions"]),
                  "allocations": round(figures["allocations"], 2),
                  "functions": listed(figures["functions"], figures["instructions"])}
    BUDGETS.write_text(json.dumps(budgets, indent=1, ensure_ascii=False) + "\n")


def complaints(figures, budget):
    """What of a scenario exceeds its budget."""
    found = []
    allowed = budget["instructions"] * (1 + budget["tolerance"])
    if figures["instructions"] > allowed:
        found.append(f"{figures['instructions']:.0f} instructions a request, {allowed:.0f} allowed "
                     f"({budget['instructions']} and {budget['tolerance']:.1%})")
    allowed = budget["allocations"] + budget["allocations_tolerance"]
    if figures["allocations"] > allowed:
        found.append(f"{figures['allocations']:.3f} allocations a request, {allowed:.2f} allowed")
    return found


def growths(functions, budget, count):
    """The functions that cost more than in the file, those that grew most first. What the file does not list was
    below its threshold: as much as that may be nothing new."""
    before, unlisted = budget["functions"], budget["instructions"] * SHARE_OF_LISTED_FUNCTION
    change = {name: functions.get(name, 0) - before.get(name, unlisted) for name in functions.keys() | before.keys()}
    ordered = sorted(change, key=lambda name: -change[name])[:count]
    return [(name, before.get(name), functions.get(name, 0), change[name]) for name in ordered if change[name] > 0.5]


def growth_table(rows):
    cells = [[f"`{name}`", "–" if before is None else f"{before:.0f}", f"{now:.0f}", f"+{change:.0f}"]
             for name, before, now, change in rows]
    return machine.table(["function", "before", "now", "more"], cells)


def verdicts(found, budgets):
    """Prints what is wrong with each scenario. Returns whether anything is."""
    is_over = False
    for key, figures in found.items():
        budget = budgets["scenarios"].get(key)
        problems = complaints(figures, budget) if budget else ["it has no budget: run with --update"]
        for problem in problems:
            print(f"{key}: {problem}", file=sys.stderr)
        if budget and problems:
            rows = growths(figures["functions"], budget, 10)
            print(f"\nWhat grew in {key}:\n\n{growth_table(rows)}\n", file=sys.stderr)
        elif budget and figures["instructions"] < budget["instructions"] * (1 - budget["tolerance"]):
            print(f"{key}: cheaper than its budget; Benchmarks/instructions.py --update keeps it so", file=sys.stderr)
        is_over = is_over or bool(problems)
    now = versions()
    if is_over and (other := [name for name, value in budgets["recorded"].items() if now[name] != value]):
        print("The budgets were recorded with " + ", ".join(f"{name} {budgets['recorded'][name]} (here {now[name]})"
                                                            for name in other), file=sys.stderr)
    return is_over


# ---------------------------------------------------------------- report

def again(found, budgets, options):
    """What exceeds its budget is measured once more, and the lower figure counts: a busy machine interrupts the worker
    between its steps, so that some requests take a wake-up more."""
    over = [key for key, figures in found.items()
            if (budget := budgets["scenarios"].get(key)) and complaints(figures, budget)]
    if over:
        for key, figures in measure_all(over, options).items():
            found[key] = min(found[key], figures, key=lambda one: one["instructions"])


def part(found, budgets):
    columns = ["scenario", "instructions", "budget", "change", "tolerance", "allocations", "budget of allocations"]
    rows, bars = [], []
    for key, figures in found.items():
        budget = budgets["scenarios"].get(key, {})
        recorded = budget.get("instructions")
        change = f"{figures['instructions'] / recorded - 1:+.2%}" if recorded else "–"
        rows.append([f"{key}: {GATES[key].title}", f"{figures['instructions']:,.0f}",
                     f"{recorded:,}" if recorded else "–", change, f"{budget.get('tolerance', 0):.1%}",
                     f"{figures['allocations']:.2f}", f"{budget.get('allocations', 0):.2f}"])
        bars.append({"name": key, "value": figures["instructions"], "is_ours": True, "note": GATES[key].title})
    texts = ["One worker in user space, under callgrind; the start and the control thread are not in it."]
    chart = {"title": "Instructions a request", "unit": "instructions", "digits": 0, "bars": bars}
    data = {key: {"candidate": GATES[key].candidate, "instructions": figures["instructions"],
                  "allocations": figures["allocations"]} for key, figures in found.items()}
    return {"id": "gates", "kind": "gates", "title": "Instructions and allocations of a request", "text": texts,
            "columns": columns, "rows": rows, "charts": [chart], "data": data}


def print_functions(found, count):
    for key, figures in found.items():
        total = figures["instructions"]
        ordered = sorted(figures["functions"].items(), key=lambda entry: -entry[1])[:count]
        rows = [[f"`{name}`", f"{cost:.0f}", f"{cost / total:.1%}"] for name, cost in ordered]
        table = machine.table(["function", "a request", "share"], rows)
        print(f"#### {key}: where {total:,.0f} instructions go\n\n{table}\n")


def print_repeats(keys, options):
    runs = []
    for number in range(options.repeat):
        runs.append(measure_all(keys, options))
        figures = (f"{key} {found['instructions']:.1f} ({found['allocations']:.3f})" for key, found in runs[-1].items())
        print(f"run {number + 1}: " + ", ".join(figures), flush=True)
    rows = []
    for key in keys:
        values = sorted(run[key]["instructions"] for run in runs)
        allocations = sorted(run[key]["allocations"] for run in runs)
        median = statistics.median(values)
        rows.append([key, f"{median:.1f}", f"{values[0]:.1f}", f"{values[-1]:.1f}",
                     f"{(values[-1] - values[0]) / median:.3%}", f"{allocations[0]:.3f}", f"{allocations[-1]:.3f}"])
    columns = ["scenario", "median", "least", "most", "spread", "allocations, least", "most"]
    print(f"\n{options.repeat} runs:\n\n{machine.table(columns, rows)}")
    return runs


def middle(runs):
    """Of each scenario the run that is in the middle."""
    def in_order(key):
        return sorted((run[key] for run in runs), key=lambda figures: figures["instructions"])

    return {key: in_order(key)[(len(runs) - 1) // 2] for key in runs[0]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenarios", default=",".join(GATES), help="comma-separated; default all")
    parser.add_argument("--martlet", default=machine.MARTLET, help="the program; martlet-queue is beside it")
    parser.add_argument("--functions", type=int, default=0, metavar="COUNT", help="print the dearest ones of each")
    parser.add_argument("--update", action="store_true", help="make the figures of this run the budgets")
    parser.add_argument("--repeat", type=int, default=0, metavar="COUNT", help="measure so often, print the spread")
    parser.add_argument("--json", type=pathlib.Path, help="also append the part of a report to this file")
    options = parser.parse_args()
    keys = options.scenarios.split(",")
    if unknown := [key for key in keys if key not in GATES]:
        parser.error(f"unknown: {', '.join(unknown)}")
    if platform.machine() != ARCHITECTURE:
        print(f"no gates: the budgets are of {ARCHITECTURE}, and this is {platform.machine()}", file=sys.stderr)
        return
    machine.require_martlet(options.martlet)
    machine.stop_when_asked()
    if options.repeat:
        found = middle(print_repeats(keys, options))
        if options.update:
            update(found)
        return
    found = measure_all(keys, options)
    if options.update:
        update(found)
    budgets = json.loads(BUDGETS.read_text())
    again(found, budgets, options)
    report.publish(part(found, budgets), options.json)
    if options.functions:
        print_functions(found, options.functions)
    if verdicts(found, budgets):
        sys.exit(1)


if __name__ == "__main__":
    main()
