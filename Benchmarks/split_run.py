"""What `split.py` needs: a split run, its objects as they change, its processes, and loads that count every outcome."""
import collections
import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

import machine

PORT = 19031
PREFIX = "autoscaling.knative.dev/"


def host(name):
    return f"{name}.default.localhost"


def wait(condition, seconds, pause=0.02):
    """Whether it has come true in time."""
    give_up = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < give_up:
        time.sleep(pause)
    return found


class Watch(threading.Thread):
    """The run's objects by (kind, name), and every change with its time by the monotonic clock."""

    def __init__(self, path, kinds):
        super().__init__(daemon=True)
        self.objects, self.changes, self.is_told = {}, [], threading.Event()
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(path))
        self.socket.sendall(json.dumps({"type": "WATCH", "kinds": kinds}).encode() + b"\n")
        self.start()

    def run(self):
        rest = b""
        with contextlib.suppress(OSError):
            while part := self.socket.recv(1 << 18):
                now = time.monotonic_ns()
                *lines, rest = (rest + part).split(b"\n")
                for line in filter(None, lines):
                    self.take(json.loads(line), now)

    def take(self, event, now):
        if event["type"] == "BOOKMARK":
            return self.is_told.set()
        if event["type"] not in ("ADDED", "MODIFIED", "DELETED"):
            return None
        thing = event["object"]
        key = thing["kind"], thing["metadata"]["name"]
        if event["type"] == "DELETED":
            self.objects.pop(key, None)
        else:
            self.objects[key] = thing
        return self.changes.append((now, event["type"], *key, thing))

    def addresses(self, name):
        """Ready addresses of Endpoints."""
        subsets = self.objects.get(("Endpoints", name), {}).get("subsets") or []
        return addresses(subsets)

    def is_proxied(self, revision):
        """Whether requests of the revision go through activators, by its public Endpoints; None if nobody is there."""
        return is_proxied(self.addresses(revision))

    def ready(self, revision):
        return len(self.addresses(f"{revision}-private"))

    def scale(self, revision):
        return self.objects.get(("Scale", revision), {}).get("spec", {}).get("replicas")

    def switches(self, revision, since=0):
        """How often its public Endpoints changed between activators and pods."""
        found = [is_proxied(addresses(thing.get("subsets") or [])) for at, _, kind, name, thing in list(self.changes)
                 if kind == "Endpoints" and name == revision and at >= since]
        return sum(before != after for before, after in zip(found, found[1:]))


def addresses(subsets):
    return [entry["ip"] for subset in subsets for entry in subset.get("addresses") or []]


def is_proxied(found):
    return all(address.split(".")[2] == "254" for address in found) if found else None


class Run:
    """`martlet run --split` with these Services."""

    def __init__(self, name, services, options, *flags, kinds=("Endpoints", "Scale", "Pod")):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="martlet-split-"))
        self.port, self.log = options.port, machine.RUN / f"split-{name}-{options.port}.log"
        machine.RUN.mkdir(exist_ok=True)
        (self.folder / "services.yaml").write_text("---\n".join(services))
        command = [options.martlet, "run", "--split", self.folder / "services.yaml", "--http",
                   f"127.0.0.1:{self.port}", "--allow-zero-initial-scale", "--access-log", "off",
                   "--config-autoscaler", "scale-to-zero-grace-period=6s", *flags]
        machine.wait_until_free(self.port)
        with open(self.log, "w") as output:
            self.process = subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL, stdout=output,
                                            stderr=output, start_new_session=True,
                                            env={**os.environ, "XDG_RUNTIME_DIR": str(self.folder)})
        self.martlet, self.socket = options.martlet, self.folder / f"martlet/hub-{self.process.pid}.sock"
        if not wait(self.socket.exists, 15):
            raise RuntimeError(f"no cluster socket; see {self.log}")
        self.watch = Watch(self.socket, list(kinds))
        if not self.watch.is_told.wait(15):
            raise RuntimeError(f"the cluster socket tells nothing; see {self.log}")
        machine.wait_for_port(self.port)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(45)
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def ids(self, word=""):
        """Processes of the run whose command contains the word, the supervisor not among them."""
        found = []
        for pid in machine.child_ids(self.process.pid):
            with contextlib.suppress(OSError):
                command = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
                if word in command:
                    found.append(pid)
        return sorted(found)

    def kill(self, word, number=signal.SIGKILL):
        """Signals the first of them, and waits until another stands in its place. Returns how long that took."""
        victim, begun = self.ids(word)[0], time.monotonic()
        count = len(self.ids(word))
        os.kill(victim, number)
        if not wait(lambda: victim not in (now := self.ids(word)) and len(now) == count, 60):
            raise RuntimeError(f"{word} did not come back; see {self.log}")
        return time.monotonic() - begun

    def ask(self, name, path="/", seconds=30):
        """(status, fields, body) on a connection of its own."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as connection:
            connection.sendall(machine.get(path, host(name), "Connection: close"))
            return machine.read_answer(connection)

    def hops(self, name):
        """Proxies that a request passes: 3 with the activator, 2 without."""
        _, _, body = self.ask(name, "/headers")
        return re.search(rb"^X-Forwarded-For: (.*)$", body, re.M | re.I)[1].count(b",") + 1

    def explain(self, revision):
        """What `martlet explain` says of a revision, in one line."""
        command = [self.martlet, "explain", revision, "--run", self.socket]
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=10)
        return "; ".join(" ".join(line.split()) for line in (done.stdout + done.stderr).splitlines()).replace("|", "/")

    def await_serving(self, *names):
        for name in names:
            machine.wait_for_answer(self.port, host(name))


def is_alive(pid):
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


class Load:
    """Clients in a closed loop; counts what became of each request. `keeps` connections, or a new one a request."""

    def __init__(self, run, name, path, clients, keeps=True):
        self.place, self.outcomes, self.failures = ("127.0.0.1", run.port), collections.Counter(), []
        self.request = machine.get(path, host(name), *([] if keeps else ["Connection: close"]))
        self.keeps, self.is_over = keeps, threading.Event()
        self.threads = [threading.Thread(target=self.client, daemon=True) for _ in range(clients)]
        for thread in self.threads:
            thread.start()

    def client(self):
        connection, is_fresh = None, True
        while not self.is_over.is_set():
            if connection is None:
                try:
                    connection, is_fresh = socket.create_connection(self.place, timeout=60), True
                except OSError:
                    self.count("refused")
                    time.sleep(0.01)
                    continue
            outcome, goes_on = self.exchange(connection, is_fresh)
            self.count(outcome)
            is_fresh = False
            if not goes_on:
                connection.close()
                connection = None

    def exchange(self, connection, is_fresh):
        part = b""
        try:
            connection.sendall(self.request)
            part = connection.recv(65536)
            if not part:
                raise ConnectionResetError
            status, fields, _ = machine.read_answer(connection, part)
        except TimeoutError:
            return "timeout", False
        except (OSError, ValueError, IndexError):
            return "cut in the answer" if part else f"closed unanswered, {'new' if is_fresh else 'kept'}", False
        return str(status), self.keeps and fields.get("connection", "").lower() != "close"

    def count(self, outcome):
        self.outcomes[outcome] += 1
        if outcome != "200":
            self.failures.append((time.monotonic_ns(), outcome))

    @property
    def bad(self):
        return sum(self.outcomes.values()) - self.outcomes["200"]

    @property
    def rate(self):
        return self.outcomes["200"] / max(1, sum(self.outcomes.values()))

    def stop(self, seconds=60):
        self.is_over.set()
        for thread in self.threads:
            thread.join(seconds)
        return self

    def __str__(self):
        others = [f"{count} {outcome}" for outcome, count in sorted(self.outcomes.items()) if outcome != "200"]
        return ", ".join([f"{self.outcomes['200']} times 200", *others])


class Wrk:
    """wrk in the background: answers that are 2xx, those that are not, connections lost."""

    def __init__(self, run, name, path, clients, seconds):
        command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "10s", "-H", f"Host: {host(name)}",
                   f"http://127.0.0.1:{run.port}{path}"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def result(self):
        """(requests, bad)"""
        text, _ = self.process.communicate()
        if not (total := re.search(r"(\d+) requests in", text)):
            raise RuntimeError(f"wrk: {text}")
        bad = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
        lost = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
        return int(total[1]), (int(bad[1]) if bad else 0) + (sum(map(int, lost.groups())) if lost else 0)
