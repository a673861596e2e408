#!/usr/bin/env python3
"""What do workers that share a revision cost each other? (Standard library; needs `swift build -c release`.)

    worker_scale.py
    worker_scale.py --pairs 200000 --cpu-per-request 25

Measured: a pair of `RevisionGate.admit` and `release`, by one thread and by two. What two pay above one is what a word
that another CPU wrote costs: the moves of a cache line between CPUs. Simulated from that: N workers, each of which does
its own work for a request and writes the word of one pod when the request begins and once more when it ends; a line can
be at one CPU at a time, and whoever wants it meanwhile waits. Efficiency is the throughput of N workers divided
by N times that of one; 1 is perfect.
"""
import argparse
import heapq
import pathlib
import random
import subprocess

import machine
import report

PROGRAM = machine.ROOT / ".build/release/martlet-gate-cost"
# pods, containerConcurrency, slots that stay taken, slots taken by requests that end by lot: Knative's three policies
# (least of two, first available, round robin). First available has to pass the full pods before the first that is not.
SHAPES = [(1, 0, 0, 0), (10, 0, 0, 0), (100, 0, 0, 0), (100, 10, 0, 0), (100, 1, 0, 0), (100, 1, 50, 0),
          (1000, 1, 900, 0), (40, 1, 0, 32), (100, 1, 0, 60), (1000, 1, 0, 900)]
WORKERS = [1, 2, 4, 16, 64]
LINE_NANOSECONDS = [100, 300]  # between cores of one socket; between sockets


def pair(threads, pods, concurrency, held, changing, pairs, rounds=5):
    """Nanoseconds of admit and release, the smallest of some rounds: what disturbs only adds."""
    command = [PROGRAM, threads, pods, concurrency, pairs, held, changing]
    return min(float(subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True).stdout)
               for _ in range(rounds))


def efficiency(workers, pods, own_nanoseconds, line_nanoseconds, requests=2_000, seed=1):
    """Of N workers, by events: a worker works, waits for its pod's line and moves it, twice a request."""
    dice = random.Random(seed)
    owner, free_at = [None] * pods, [0.0] * pods
    # A request's work is split unevenly around its two writes, so that the workers do not march in step.
    events = [(dice.random() * own_nanoseconds, worker, 0, 0, dice.randrange(pods)) for worker in range(workers)]
    heapq.heapify(events)
    last = 0.0
    while events:
        time, worker, step, done, pod = heapq.heappop(events)
        start = max(time, free_at[pod])
        if owner[pod] != worker:
            start += line_nanoseconds
            owner[pod] = worker
        free_at[pod] = last_use = start
        last = max(last, last_use)
        share = dice.uniform(0.5, 1.5) * own_nanoseconds / 2
        if step == 0:
            heapq.heappush(events, (last_use + share, worker, 1, done, pod))
        elif done + 1 < requests:
            heapq.heappush(events, (last_use + share, worker, 0, done + 1, dice.randrange(pods)))
    return requests * own_nanoseconds / last


def measured(pairs):
    rows = []
    for pods, concurrency, held, changing in SHAPES:
        one, two = (pair(threads, pods, concurrency, held, changing, pairs) for threads in (1, 2))
        rows.append([pods, concurrency, held, changing, f"{one:.0f}", f"{two:.0f}", f"{two - one:+.0f}"])
    columns = ["pods", "containerConcurrency", "slots taken", "slots changing", "ns a pair, one thread", "two threads",
               "more"]
    return {"id": "admission", "kind": "table", "title": "Admission by workers that share a revision",
            "link": "admission", "text": ["`admit` and `release`, the smallest of five rounds."], "columns": columns,
            "rows": rows}


def simulated(own_microseconds):
    rows = []
    for pods in (1, 10, 100):
        for line in LINE_NANOSECONDS:
            cells = [efficiency(count, pods, own_microseconds * 1000, line) for count in WORKERS]
            rows.append([pods, line, *(f"{cell:.2f}" for cell in cells)])
    text = f"Simulated: {own_microseconds:g} µs of own work a request, all workers busy with one revision."
    return {"id": "scale", "kind": "table", "title": "Efficiency of many workers", "link": "many workers",
            "text": [text], "columns": ["pods", "ns to move a line", *(f"{count} workers" for count in WORKERS)],
            "rows": rows}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=1_000_000, help="of each measurement; default 1,000,000")
    parser.add_argument("--cpu-per-request", type=float, default=25, metavar="US",
                        help="a worker's own work for a request, from S1; default 25 µs")
    parser.add_argument("--json", type=pathlib.Path, help="also append the parts of a report to this file")
    options = parser.parse_args()
    report.publish(measured(options.pairs), options.json)
    report.publish(simulated(options.cpu_per_request), options.json)


if __name__ == "__main__":
    main()
