#!/usr/bin/env python3
"""Does `martlet run --split` do what Knative's end-to-end tests ask of a data plane? (Standard library; needs wrk.)

    split.py                              all scenarios, about 10 minutes
    split.py --scenarios overload,burst

After the tests of Knative (test/e2e, test/ha) that need no cluster. One row a check: what was asked, what was found.
Exit status 1 if a check failed. The runs' output is in run/split-SCENARIO-PORT.log.
"""
import argparse
import collections
import datetime
import json
import math
import os
import random
import signal
import socket
import sys
import threading
import time
import traceback

import cold_start
import machine
import queue_load
import split_run
from split_run import Load, Run, Wrk, host, is_alive, wait

FAST = {"window": "6s"}


class Report:
    """The rows of the table, printed as they are found."""

    def __init__(self):
        self.has_failed = False

    def check(self, scenario, asked, found, is_met):
        """`is_met` None: there is nothing to meet, the figure is told."""
        self.has_failed |= is_met is False
        verdict = {True: "pass", False: "**fail**", None: "–"}[is_met]
        print(f"| {scenario} | {asked} | {found} | {verdict} |", flush=True)


def service(options, name, annotations=(), concurrency=0, environment=()):
    return machine.service(name, [options.application], {**FAST, **dict(annotations)}, dict(environment), concurrency)


# ---------------------------------------------------------------- capacity

def overload(options, report):
    """TestActivatorOverload, from zero and again while warm. /overlap answers 500 if a process has two at once."""
    annotations = {"initial-scale": 0, "max-scale": 10, "target-burst-capacity": -1, "window": "60s"}
    with Run("overload", [service(options, "app", annotations, 1)], options) as run:
        for wave in ["from zero", "again, warm", "and again"]:
            answers, begun = [], time.monotonic()
            threads = [threading.Thread(target=lambda: answers.append(answer_of(run, "app", "/overlap?ms=300")))
                       for _ in range(100)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            statuses = collections.Counter(status for status, _ in answers)
            pods = len({pod for _, pod in answers})
            report.check("overload", f"100 at once of 300 ms, limit 1, at most 10 pods, {wave}: all 200",
                         f"{dict(statuses)} from {pods} pods in {time.monotonic() - begun:.1f} s",
                         statuses == {200: 100} and pods <= 10)


def answer_of(run, name, path):
    try:
        status, fields, _ = run.ask(name, path, 60)
        return status, fields.get("x-pod")
    except (OSError, ValueError) as failure:
        return type(failure).__name__, None


def updown(options, report):
    """TestAutoscaleUpDownUp: the activator in the path (its counts) and out of it (the pods' counts)."""
    ways = {"proxied": -1, "direct": 0}
    services = [service(options, name, {"target": 2, "max-scale": 10, "target-burst-capacity": capacity})
                for name, capacity in ways.items()]
    with Run("updown", services, options) as run:
        run.await_serving(*ways)
        for clients in [7, 1, 7]:
            wanted = math.ceil(round(clients / (2 * 0.7), 6))
            loads = {name: Load(run, name, "/slow?ms=100", clients) for name in ways}
            time.sleep(16)
            counts = {name: [] for name in ways}
            for _ in range(16):
                time.sleep(0.25)
                for name in ways:
                    counts[name].append(run.watch.ready(f"{name}-00001"))
            for name, load in loads.items():
                load.stop()
                low, high = min(counts[name]), max(counts[name])
                is_met = wanted - 1 <= low and high <= wanted + 1 and load.rate >= 0.999
                report.check("updown", f"{name}: {clients} clients, 2 a pod, 70 %: {wanted} ± 1 pods, 99.9 %",
                             f"{low} to {high} pods; {load}", is_met)


def burst(options, report):
    """TestTargetBurstCapacity, …Zero, …MinusOne: excess = 10 × ready − in flight − capacity; below 0 is Proxy."""
    capacities = {"zero": 0, "always": -1, "between": 6}
    # A panic window of one second sees now and then nothing, in Knative too: it is read before all have told of it.
    bounds = {"target": 10, "max-scale": 4, "min-scale": 1, "panic-window-percentage": 50}
    services = [service(options, name, {**bounds, "target-burst-capacity": capacity})
                for name, capacity in capacities.items()]
    with Run("burst", services, options) as run:
        run.await_serving(*capacities)
        totals = {name: collections.Counter() for name in capacities}
        for clients, pods in [(1, 1), (6, 1), (12, 2), (6, 1), (1, 1)]:
            expected = {"zero": False, "always": True, "between": 10 * pods - clients - 6 < 0}
            loads = {name: Load(run, name, "/slow?ms=100", clients) for name in capacities}
            began = time.monotonic_ns()
            is_settled = wait(lambda: all(run.watch.is_proxied(f"{name}-00001") == expected[name]
                                          and run.watch.ready(f"{name}-00001") == pods for name in capacities), 40)
            seconds = (time.monotonic_ns() - began) / 1e9
            explained = "" if is_settled else f": not settled; {run.explain('between-00001')}"
            time.sleep(3)
            hops = {name: run.hops(name) for name in capacities}
            found = {name: run.watch.is_proxied(f"{name}-00001") for name in capacities}
            for name, load in loads.items():
                totals[name] += load.stop().outcomes
            text = ", ".join(f"{name} {'in' if found[name] else 'out'} ({hops[name]} hops)" for name in capacities)
            asked = ", ".join(f"{name} {'in' if expected[name] else 'out'}" for name in capacities)
            report.check("burst", f"{clients} in flight, {pods} pods; the activator: {asked}",
                         f"{text} after {seconds:.1f} s{explained}",
                         bool(is_settled) and found == expected
                         and all(hops[name] == 2 + expected[name] for name in hops))
        for name, total in totals.items():
            report.check("burst", f"{name}: no request fails", f"{dict(total)}, "
                         f"{run.watch.switches(f'{name}-00001')} switches", set(total) == {"200"})


# ---------------------------------------------------------------- to zero and back

def zero(options, report):
    """Each service to zero and back, woken by requests at random moments around its pod's end."""
    rng, count, rounds = random.Random(options.seed), options.zero_services, options.zero_rounds
    names = [f"zero-{number:02}" for number in range(count)]
    delays = {name: [rng.choice([0, 0, rng.uniform(0, 0.02), rng.uniform(0, 0.7), rng.uniform(0, 2)])
                     for _ in range(rounds)] for name in names}
    outcomes, slow = collections.Counter(), []
    with Run("zero", [service(options, name) for name in names], options) as run:
        def wake(name):
            for number, delay in enumerate(delays[name]):
                outcomes[str(answer_of(run, name, "/")[0])] += 1
                if not wait(lambda: run.watch.scale(f"{name}-00001") == 0, 60, 0.001):
                    outcomes["not scaled to zero"] += 1
                time.sleep(delay)
                begun = time.monotonic()
                status, _ = answer_of(run, name, "/")
                outcomes[str(status)] += 1
                slow.append(time.monotonic() - begun)
                if status != 200 or slow[-1] > 0.5:
                    now = datetime.datetime.now(datetime.timezone.utc)
                    print(f"{now:%T.%f}: {name}, round {number}, {delay * 1e3:.0f} ms after the scale of 0: {status} "
                          f"after {slow[-1] * 1e3:.0f} ms", file=sys.stderr)

        threads = [threading.Thread(target=wake, args=[name]) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    report.check("zero", f"{count} services, {rounds} times to zero and back each (seed {options.seed}): no error",
                 f"{dict(outcomes)}; {len(slow)} wake-ups, p50 {machine.percentile(slow, 50) * 1e3:.0f} ms, "
                 f"max {max(slow) * 1e3:.0f} ms", set(outcomes) == {"200"})


# ---------------------------------------------------------------- roles that go

def autoscaler(options, report):
    """TestAutoscalerHA: killed twice under load."""
    for way, capacity in [("proxied", -1), ("direct", 0)]:
        annotations = {"target": 10, "max-scale": 10, "target-burst-capacity": capacity}
        with Run("autoscaler", [service(options, "app", annotations)], options) as run:
            run.await_serving("app")
            load = Wrk(run, "app", "/slow?ms=50", 28, 30)
            wait(lambda: run.watch.ready("app-00001") == 4, 15)
            time.sleep(3)
            before, counts, back = run.watch.ready("app-00001"), [], []
            for _ in range(2):
                back.append(run.kill("martlet autoscaler"))
                for _ in range(80):
                    time.sleep(0.05)
                    counts.append(run.watch.ready("app-00001"))
            requests, bad = load.result()
        report.check("autoscaler", f"{way}: killed -9 twice under load: no error, pods stay",
                     f"{requests} requests, {bad} failed; {before} pods before, {min(counts)} to {max(counts)} after; "
                     f"back in {', '.join(f'{one * 1e3:.0f} ms' for one in back)}", bad == 0 and min(counts) >= before)


def activator(options, report):
    """TestActivatorHAGraceful (no error) and …NonGraceful (90 %), with two activators and with one."""
    for count in [2, 1]:
        for word, number in [("SIGTERM", signal.SIGTERM), ("SIGKILL", signal.SIGKILL)]:
            annotations = {"min-scale": 2, "target-burst-capacity": -1}
            with Run(f"activator-{count}-{word}", [service(options, "app", annotations)], options, "--activators",
                     count) as run:
                run.await_serving("app")
                time.sleep(1)
                wrk = Wrk(run, "app", "/", 16, 9)
                kept, fresh = Load(run, "app", "/slow?ms=20", 4), Load(run, "app", "/slow?ms=20", 4, keeps=False)
                back = []
                for _ in range(2):
                    time.sleep(1.5)
                    back.append(run.kill("martlet activator", number))
                requests, bad = wrk.result()
                kept.stop(), fresh.stop()
            requests += sum(kept.outcomes.values()) + sum(fresh.outcomes.values())
            bad += kept.bad + fresh.bad
            limit = 1 if word == "SIGTERM" else 0.9
            report.check("activator", f"one of {count}, {word} twice under load: {limit:.0%} answered",
                         f"{requests} requests, {bad} failed ({1 - bad / requests:.4%}); kept: {kept}; new: {fresh}; "
                         f"back in {', '.join(f'{one:.1f} s' for one in back)}", 1 - bad / requests >= limit)


def user(options, report):
    """A container killed: what was in it may fail with 502; everything else is answered."""
    for way, capacity in [("proxied", -1), ("direct", 0)]:
        annotations = {"min-scale": 3, "target-burst-capacity": capacity}
        with Run("user", [service(options, "app", annotations)], options) as run:
            run.await_serving("app")
            wait(lambda: run.watch.ready("app-00001") == 3, 10)
            time.sleep(3)
            load = Load(run, "app", "/slow?ms=20", 12)
            time.sleep(1)
            for _ in range(3):
                run.kill(str(options.application))
                wait(lambda: run.watch.ready("app-00001") == 3, 40)
                time.sleep(0.5)
            load.stop()
        # At most those in flight in the pod at each of three kills: a third of 12, and what balancing makes of it.
        allowed = 3 * 12
        is_met = set(load.outcomes) <= {"200", "502"} and load.bad <= allowed
        report.check("user", f"{way}: one of 3 user processes killed -9, three times, 12 clients: 200 or 502, "
                     f"at most {allowed} of these", str(load), is_met)


# ---------------------------------------------------------------- cold starts

def cold(options, report):
    """One cold start after the other, with the moments that can be seen from outside."""
    names = [f"cold-{number:03}" for number in range(options.starts)]
    annotations = {"initial-scale": 0, "max-scale": 1, "window": "60s"}
    services = [service(options, name, annotations) for name in [*names, "ready"]]
    with Run("cold", services, options, "--log", "json", kinds=("Endpoints", "Pod")) as run:
        run.await_serving("ready")
        used = used_seconds(run)
        moments = [cold_moments(run, name) for name in names]
        used = (used_seconds(run) - used) / len(names)
        changes, memory = list(run.watch.changes), memory_text(run)
    bad = sum(status != 200 for _, status, *_ in moments)
    report.check("cold", f"{len(names)} cold starts, one after the other: all 200", f"{bad} failed; "
                 f"{used * 1e3:.1f} ms of CPU each; {memory}", bad == 0)
    seen, decided, series = first_moments(changes), decisions(run.log), collections.defaultdict(list)
    for name, _, begun, listens, asked, ended in moments:
        listed, ready = seen[name]
        series["request sent, to the autoscaler's decision in its log (whole ms)"].append(decided[name] - begun)
        series["request sent, to the pod listed, processes started"].append(listed - begun)
        series["request sent, to the application listening"].append(listens - begun)
        series["application listening, to the pod ready for kubelet"].append(ready - listens)
        series["application listening, to the request in it"].append(asked - listens)
        series["pod listed, to the request in it"].append(asked - listed)
        series["request in it, to the answer read"].append(ended - asked)
        series["whole, as the client sees it"].append(ended - begun)
    series["alone: the application, from its start to listening"] = alone = application_alone(options)
    series["alone: martlet-queue, from its start to accepting"] = queue_alone(options)
    own = machine.percentile(alone, 50)
    series["whole less the application's own start (p50)"] = [value - own for value in series[
        "whole, as the client sees it"]]
    for phase, values in series.items():
        report.check("cold", f"{phase}, µs", phases_text(values), None)


def cold_moments(run, name):
    """(name, status, sent, listening, request in the application, answered); by the monotonic clock, in ns"""
    with socket.create_connection(("127.0.0.1", run.port), timeout=30) as connection:
        begun = time.monotonic_ns()
        connection.sendall(machine.get("/", host(name)))
        status, fields, _ = machine.read_answer(connection)
        ended = time.monotonic_ns()
    return name, status, begun, int(fields.get("x-listen-ns", 0)), int(fields.get("x-request-ns", 0)), ended


def first_moments(changes):
    """{service: when its pod was listed, when it was told to be ready}"""
    found = collections.defaultdict(lambda: [0, 0])
    for at, _, kind, name, thing in changes:
        entry = found[name.split("-00001")[0]]
        if kind == "Endpoints" and name.endswith("-private") and thing.get("subsets"):
            entry[0] = entry[0] or at
        elif kind == "Pod" and any(one.get("type") == "Ready" and one.get("status") == "True"
                                   for one in thing.get("status", {}).get("conditions", [])):
            entry[1] = entry[1] or at
    return found


def decisions(log):
    """{service: when the autoscaler decided to wake it}; its log has whole milliseconds of the wall clock."""
    offset, found = time.time_ns() - time.monotonic_ns(), {}
    for line in log.read_text().splitlines():
        if not line.startswith("autoscaler | {"):
            continue
        fields = json.loads(line.split(" | ", 1)[1])
        if fields.get("message") == "scale" and fields.get("desired") != "0":
            name = fields["revision"].split("/")[1].removesuffix("-00001")
            at = datetime.datetime.fromisoformat(fields["time"].replace("Z", "+00:00")).timestamp()
            found.setdefault(name, round(at * 1e9) - offset)
    return found


def phases_text(nanoseconds):
    figures = [f"p{percent} {machine.percentile(nanoseconds, percent) / 1e3:.0f}" for percent in (50, 90, 99)]
    return ", ".join([*figures, f"max {max(nanoseconds) / 1e3:.0f}"])


def application_alone(options):
    """From its start to listening, without martlet, in nanoseconds."""
    found = []
    for _ in range(50):
        reading, writing = os.pipe()
        begun = time.monotonic_ns()
        pid = os.posix_spawn(options.application, [str(options.application)], {"PORT": "0"},
                             file_actions=[(os.POSIX_SPAWN_DUP2, writing, 1)])
        os.close(writing)
        port = int(os.read(reading, 200).decode().rsplit(":", 1)[1])
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(machine.get("/", "x"))
            found.append(int(machine.read_answer(connection)[1]["x-listen-ns"]) - begun)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(reading)
    return found


def queue_alone(options):
    """From its start to its port being open, without anything else, in nanoseconds."""
    queue, found = options.martlet.parent / "martlet-queue", []
    environment = queue_load.environment(1, 0) | {"MARTLET_QUEUE_LISTEN": f"127.0.0.1:{options.port}"}
    for _ in range(50):
        machine.wait_until_free(options.port)
        begun = time.monotonic_ns()
        pid = os.posix_spawn(queue, [str(queue)], environment, file_actions=[
            (os.POSIX_SPAWN_OPEN, descriptor, "/dev/null", os.O_RDWR, 0) for descriptor in (1, 2)])
        machine.wait_for_port(options.port)
        found.append(time.monotonic_ns() - begun)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return found


def used_seconds(run):
    """CPU time of everything that runs now."""
    return sum(machine.cpu_seconds(pid) for pid in [run.process.pid, *run.ids()])


def memory_text(run):
    parts = [f"supervisor {machine.memory_kib(run.process.pid, 'VmRSS') >> 10} MiB"]
    for word in ["ingress", "activator", "autoscaler"]:
        sizes = [machine.memory_kib(pid, "VmRSS") for pid in run.ids(f"martlet {word}")]
        parts.append(f"{word} {sum(sizes) >> 10} MiB")
    queues = run.ids("martlet-queue")
    if queues:
        sizes = [machine.memory_kib(pid, "Pss", "smaps_rollup") for pid in queues]
        parts.append(f"{len(queues)} queue-proxies of {sum(sizes) / len(sizes) / 1024:.1f} MiB (PSS)")
    return ", ".join(parts)


def together(options, report):
    """Every service at zero, one request to each at once."""
    count = options.together
    annotations = {"initial-scale": 0, "max-scale": 1, "window": "60s"}
    services = [service(options, f"cold-{number:03}", annotations) for number in range(count)]
    with Run("together", [*services, service(options, "ready", annotations)], options, kinds=("Scale", "Pod")) as run:
        run.await_serving("ready")
        cold_start.PORT, used = run.port, used_seconds(run)
        whole, _, failed, seconds = cold_start.all_together(count)
        used, memory = (used_seconds(run) - used) / count, memory_text(run)
    figures = [f"p{percent} {machine.percentile(whole, percent) / 1e6:.2f} s" for percent in (50, 99)] if whole else []
    is_met = failed == 0 and len(whole) == count
    report.check("together", f"{count} services woken at once: all 200",
                 f"{failed} failed, {len(whole) / seconds:.0f} wake-ups a second ({seconds:.2f} s in all), "
                 f"{', '.join(figures)}, {used * 1e3:.1f} ms of CPU each; {memory}", is_met)


# ---------------------------------------------------------------- the end

def end(options, report):
    """SIGTERM of the whole run under load; then SIGKILL of the supervisor."""
    for way, capacity in [("proxied", -1), ("direct", 0)]:
        with Run(f"end-{way}", [service(options, "app", {"min-scale": 2, "target-burst-capacity": capacity})],
                 options) as run:
            run.await_serving("app")
            time.sleep(1)
            kept, fresh = Load(run, "app", "/slow?ms=20", 8), Load(run, "app", "/slow?ms=20", 8, keeps=False)
            answers = []
            threads = [threading.Thread(target=lambda: answers.append(answer_of(run, "app", "/slow?ms=3000")[0]))
                       for _ in range(10)]
            for thread in threads:
                thread.start()
            time.sleep(1)
            ids, begun = run.ids(), time.monotonic()
            run.process.terminate()
            status = run.process.wait(60)
            seconds, left = time.monotonic() - begun, [pid for pid in ids if is_alive(pid)]
            for thread in threads:
                thread.join()
            kept.stop(), fresh.stop()
        lost = {name: count for load in [kept, fresh] for name, count in load.outcomes.items()
                if name not in ("200", "refused", "closed unanswered, kept")}
        report.check("end", f"{way}: SIGTERM under load: no accepted request fails, exit status 0, no process left",
                     f"10 of 3 s: {dict(collections.Counter(answers))}; kept: {kept}; new: {fresh}; "
                     f"status {status} after {seconds:.1f} s, {len(left)} of {len(ids)} left",
                     answers == [200] * 10 and not lost and status == 0 and not left)
    with Run("end-killed", [service(options, "app", {"min-scale": 3})], options) as run:
        run.await_serving("app")
        load = Wrk(run, "app", "/slow?ms=20", 16, 3)
        time.sleep(1)
        ids, begun = run.ids(), time.monotonic()
        run.process.kill()
        gone = wait(lambda: not any(map(is_alive, ids)), 5)
        seconds = time.monotonic() - begun
        load.process.wait()
        report.check("end", "SIGKILL of the supervisor under load: no process left after 5 s",
                     f"{sum(map(is_alive, ids))} of {len(ids)} left after {seconds:.2f} s", bool(gone))


SCENARIOS = {function.__name__: function for function in [
    overload, updown, burst, zero, autoscaler, activator, user, cold, together, end]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenarios", default=",".join(SCENARIOS), help=f"some of {','.join(SCENARIOS)}; default all")
    parser.add_argument("--repeat", type=int, default=1, help="times each; default 1")
    parser.add_argument("--zero-services", type=int, default=10, help="of the scenario zero; default 10")
    parser.add_argument("--zero-rounds", type=int, default=5, help="of each of them; default 5")
    parser.add_argument("--starts", type=int, default=200, help="cold starts one after the other; default 200")
    parser.add_argument("--together", type=int, default=500, help="services woken at once; default 500")
    parser.add_argument("--seed", type=int, default=1, help="of the scenario zero; default 1")
    parser.add_argument("--port", type=int, default=split_run.PORT)
    parser.add_argument("--martlet", default=machine.MARTLET, help="martlet-queue must lie beside it")
    options = parser.parse_args()
    if unknown := set(options.scenarios.split(",")) - set(SCENARIOS):
        sys.exit(f"unknown scenarios: {', '.join(sorted(unknown))}; there are {', '.join(SCENARIOS)}")
    options.martlet = machine.require_martlet(options.martlet)
    machine.raise_descriptor_limit(4096)
    options.application = machine.build_tools() / "application"
    report = Report()
    print("| scenario | asked | found | |\n|---|---|---|---|", flush=True)
    for name in options.scenarios.split(","):
        for _ in range(options.repeat):
            try:
                SCENARIOS[name](options, report)
            except (RuntimeError, OSError, KeyError, IndexError) as failure:
                traceback.print_exc()
                report.check(name, "runs to its end", f"{type(failure).__name__}: {failure}", False)
    sys.exit(1 if report.has_failed else 0)


if __name__ == "__main__":
    main()
