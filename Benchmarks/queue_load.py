#!/usr/bin/env python3
"""A million requests through martlet-queue: the limit is never exceeded, no slot is lost, every request is counted.

For containerConcurrency 1, 10 and 100, four times as many clients each: h2load sends an exact number of requests, wrk
loads for a while before and after. The application counts how many requests it had at once; the statistics are read
each second as the autoscaler does and their sum must be what was sent. Then 1 GiB goes up and down at once.
Prints a table; exit status 1 if anything is not exact. Standard library only; needs h2load, wrk and curl.
"""
import argparse
import contextlib
import http.client
import json
import os
import pathlib
import re
import struct
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
PATIENCE = 20


def environment(user_port, concurrency):
    names = {
        "CONTAINER_CONCURRENCY": concurrency, "QUEUE_SERVING_PORT": 8012, "QUEUE_SERVING_TLS_PORT": 8112,
        "USER_PORT": user_port, "REVISION_TIMEOUT_SECONDS": 300, "SERVING_LOGGING_CONFIG": "",
        "SERVING_LOGGING_LEVEL": "", "SERVING_NAMESPACE": "default", "SERVING_CONFIGURATION": "load",
        "SERVING_REVISION": "load-00001", "SERVING_POD": "load-pod", "SERVING_POD_IP": "127.0.0.1",
        "MARTLET_DRAIN_QUIET_MILLISECONDS": 0,
    }
    names |= {f"MARTLET_{listener}_LISTEN": "127.0.0.1:0" for listener in ["QUEUE", "TLS", "ADMIN", "STAT", "METRICS"]}
    return os.environ | {name: str(value) for name, value in names.items()}


def match(path, pattern):
    """The number that a program writes into its output when it is ready."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if found := re.search(pattern, path.read_text()):
            return int(found.group(1))
        time.sleep(0.01)
    sys.exit(f"{path.name} is not ready:\n{path.read_text()}")


@contextlib.contextmanager
def running(command, output, **more):
    with open(output, "wb") as file, subprocess.Popen(command, stdout=file, stderr=file, **more) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                sys.exit(f"{command[0]} does not end")


@contextlib.contextmanager
def pod(options, concurrency):
    """An application and its sidecar: the sidecar's process, the ports of both and that of the statistics."""
    with tempfile.TemporaryDirectory() as folder:
        app_log, log = pathlib.Path(folder, "app"), pathlib.Path(folder, "queue")
        with running([options.application], app_log, env=os.environ | {"PORT": "0", "TIMES": "off"}):
            app = match(app_log, r"listening on 127.0.0.1:(\d+)\n")
            with running([options.queue], log, env=environment(app, concurrency)) as process:
                place = r'"listener":"%s","address":"127\.0\.0\.1:(\d+)"'
                ports = [match(log, place % name) for name in ["queue", "stat"]]
                yield process, app, *ports
                process.terminate()
                if process.wait(PATIENCE) != 0:
                    sys.exit(f"martlet-queue ended with {process.returncode}")


def application_counts(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    connection.request("GET", "/stats")
    return json.loads(connection.getresponse().read())


class Statistics(threading.Thread):
    """What the autoscaler would read; every second once."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.seconds, self.is_over = port, [], threading.Event()
        self.start()

    def run(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        while not self.is_over.wait(0.1):
            connection.request("GET", "/metrics")
            found = self.decode(connection.getresponse().read())
            if not self.seconds or self.seconds[-1] != found:
                self.seconds.append(found)

    @staticmethod
    def decode(data):
        found, place = {}, 2 + data[1]  # after the name, which is shorter than 128 bytes
        while place < len(data):
            found[data[place] >> 3] = struct.unpack_from("<d", data, place + 1)[0]
            place += 9
        return found

    def settle(self):
        """Waits for a second in which nothing was in the pod."""
        start, deadline = len(self.seconds), time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if any(not one.get(2) and not one.get(4) for one in self.seconds[start + 1:]):
                break
            time.sleep(0.05)
        self.is_over.set()
        self.join()
        uptimes = [one.get(6, 0) for one in self.seconds]
        missed = sum(later - before > 1.5 for before, later in zip(uptimes, uptimes[1:]))
        return sum(one.get(4, 0) for one in self.seconds), missed, self.seconds[-1].get(2, 0)


def resident(pid, name):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(rf"{name}:\s+(\d+)", text).group(1))


def h2load(port, requests, clients):
    command = ["h2load", "--h1", "-n", requests, "-c", clients, "-t", 1, f"http://127.0.0.1:{port}/slow?ms=1"]
    text = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=True).stdout
    return int(re.search(r"status codes: (\d+) 2xx", text).group(1)), float(re.search(r"([\d.]+) req/s", text).group(1))


def wrk(port, seconds, clients):
    command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", f"http://127.0.0.1:{port}/slow?ms=1"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return "Socket errors" not in text and "Non-2xx" not in text, text


def limit_row(options, concurrency, requests):
    with pod(options, concurrency) as (process, app, port, stat):
        clients, problems = 4 * concurrency, []
        is_clean, text = wrk(port, options.seconds, clients)
        if not is_clean:
            problems.append(text)
        time.sleep(0.2)  # what wrk left behind is cancelled
        before = application_counts(app)
        statistics = Statistics(stat)
        time.sleep(2.2)  # wrk's last second is over
        statistics.seconds.clear()
        answered, rate = h2load(port, requests, clients)
        after = application_counts(app)
        counted, missed, left = statistics.settle()
        if after["max_in_flight"] != concurrency:
            problems.append(f"{after['max_in_flight']} at once")
        if answered != requests or after["requests"] - before["requests"] != requests + 1:
            problems.append(f"{answered} answered, {after['requests'] - before['requests'] - 1} arrived")
        if counted != requests and not missed:
            problems.append(f"{counted} counted")
        if left or after["in_flight"] != 1:
            problems.append(f"something is left: {left}, {after}")
        print(f"cc {concurrency:>3}, {clients:>3} clients: {requests} sent, {answered} answered, at most "
              f"{after['max_in_flight']} at once, {counted:.0f} counted{' (a second missed)' * bool(missed)}, "
              f"{rate:.0f} requests/s, {resident(process.pid, 'VmRSS')} KiB resident", flush=True)
        return problems


def bodies_row(options):
    with pod(options, 0) as (process, _, port, _), tempfile.NamedTemporaryFile() as file:
        file.truncate(options.body)
        before = resident(process.pid, "VmHWM")
        place, quiet = f"http://127.0.0.1:{port}", ["curl", "-sS", "--max-time", "300"]
        down = subprocess.Popen(quiet + ["-o", "/dev/null", "-w", "%{http_code} %{size_download}",
                                         f"{place}/bytes/{options.body}"], stdout=subprocess.PIPE, text=True)
        up = subprocess.run(quiet + ["-H", "Expect:", "-T", file.name, f"{place}/upload"], capture_output=True,
                            text=True)
        answer, after = down.communicate()[0], resident(process.pid, "VmHWM")
        print(f"{options.body >> 20} MiB up and down at once: resident at most {before} KiB before, {after} KiB after")
        is_whole = answer == f"200 {options.body}" and f'"bytes":{options.body}' in up.stdout
        problems = [] if is_whole else [answer, up.stdout]
        return problems + [f"{after} KiB"] * (after - before > 8192)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queue", default=ROOT / ".build/release/martlet-queue")
    parser.add_argument("--application", default=ROOT / ".build/release/martlet-test-server")
    parser.add_argument("--requests", type=int, default=1_000_000, help="in all; default 1000000")
    parser.add_argument("--seconds", type=int, default=5, help="of wrk before each row; default 5")
    parser.add_argument("--body", type=int, default=1 << 30, help="bytes each way; default 1 GiB")
    options = parser.parse_args()
    problems = []
    for concurrency, share in [(1, 0.1), (10, 0.4), (100, 0.5)]:
        problems += limit_row(options, concurrency, int(options.requests * share))
    problems += bodies_row(options)
    for problem in problems:
        print(f"FAILED {problem}")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
