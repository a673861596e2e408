"""What the benchmarks share: processes and their CPU time, ports, tools, martlet with a generated Service."""
import contextlib
import datetime
import math
import os
import pathlib
import platform
import re
import resource
import signal
import socket
import ssl
import subprocess
import sys
import time

BENCHMARKS = pathlib.Path(__file__).resolve().parent
ROOT = BENCHMARKS.parent
RUN = BENCHMARKS / "run"  # built tools, generated files, logs; not in git
MARTLET = ROOT / ".build/release/martlet"
LOAD_CPU, PROXY_CPU = 0, 1
TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")


# ---------------------------------------------------------------- processes

def process_ids():
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


def cpu_seconds(pid):
    """User and system time of this process alone, its living threads summed; of its children nothing, reaped or not."""
    nanoseconds, is_known = 0, False
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that just ended
            nanoseconds += int((task / "schedstat").read_text().split()[0])
            is_known = True
    if is_known:
        return nanoseconds / 1e9
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()  # a kernel without schedstat
    return (int(fields[11]) + int(fields[12])) * TICK_SECONDS


def ticks_by_process():
    """{pid: CPU ticks of it and of the children it has reaped}; tells how much the rest of the machine was doing."""
    ticks = {}
    for pid in process_ids():
        with contextlib.suppress(OSError):
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks[pid] = sum(map(int, fields[11:15]))
    return ticks


def stolen_ticks():
    """Of all CPUs, the time in which they had work and the hypervisor gave them to others. 0 on hardware."""
    total = pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()
    return int(total[8]) if len(total) > 8 else 0


class Disturbance:
    """What takes CPUs from the processes of a measurement while it runs."""

    def __init__(self):
        self.ticks, self.stolen, self.begun = ticks_by_process(), stolen_ticks(), time.monotonic()

    def so_far(self, known=()):
        """In CPUs: `foreign`, what everything but the known processes and this one used, and `stolen`. A process that
        reaps a child gets the time of its whole life at once, so no more than there are CPUs."""
        wall = time.monotonic() - self.begun
        own = {os.getpid(), *known}
        ticks = sum(count - self.ticks.get(pid, 0) for pid, count in ticks_by_process().items() if pid not in own)
        return {"foreign": min(ticks * TICK_SECONDS / wall, os.cpu_count()),
                "stolen": (stolen_ticks() - self.stolen) * TICK_SECONDS / wall}

    def sentence(self):
        """Of a report, where there is no column for it."""
        return f"CPUs stolen meanwhile: {self.so_far()['stolen']:.2f}."


def memory_kib(pid, key, file="status"):
    """`VmRSS` of status, `Pss` of smaps_rollup, and the like."""
    match = re.search(rf"^{key}:\s+(\d+) kB", pathlib.Path(f"/proc/{pid}/{file}").read_text(), re.M)
    return int(match[1]) if match else 0


def raise_descriptor_limit(needed):
    """As many descriptors as we may have, for us and everything we start."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and hard < needed:
        sys.exit(f"{needed} file descriptors are needed and {hard} are allowed: see ulimit -Hn")


def child_ids(pid):
    found = []
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            found += map(int, (task / "children").read_text().split())
    return found


def wait_for_end_of_group(group, seconds=10):
    """A killed worker holds its ports until its memory is given back; it is nobody's child that we could wait for."""
    def is_alive(pid):
        with contextlib.suppress(OSError):
            state, _, own = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:3]
            return int(own) == group and state not in "ZX"
        return False

    give_up = time.monotonic() + seconds
    while any(map(is_alive, process_ids())) and time.monotonic() < give_up:
        time.sleep(0.01)


def pin(cpu):
    """For Popen's preexec_fn. On a machine with one CPU everything shares it."""
    return lambda: os.sched_setaffinity(0, {cpu} if cpu in os.sched_getaffinity(0) else os.sched_getaffinity(0))


def stop_when_asked():
    """SIGTERM ends this program by way of what it has to clean up, as an interrupt does."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))


@contextlib.contextmanager
def running(name, command, cpu=None, patience=10, **settings):
    """A process with its output in run/<name>.log. It is asked to stop at the end, and killed when it does not within
    so many seconds.

    A group of its own, so that what it starts ends with it, but no session: Linux gives each session one share of a CPU
    (`sched_autogroup`), and the application that martlet starts would share martlet's where the others' has its own."""
    RUN.mkdir(exist_ok=True)
    log = RUN / f"{name}.log"
    with open(log, "w") as output:
        process = subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL, stdout=output,
                                   stderr=output, env={**os.environ, **settings}, process_group=0,
                                   preexec_fn=pin(cpu) if cpu is not None else None)
    try:
        yield process
        if process.poll() is not None:
            raise RuntimeError(f"{name} ended with status {process.returncode}; see {log}")
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        wait_for_end_of_group(process.pid)


# ---------------------------------------------------------------- HTTP

def get(path, host, *fields):
    return "\r\n".join([f"GET {path} HTTP/1.1", f"Host: {host}", *fields, "", ""]).encode()


def read_answer(connection, received=b""):
    """(status, {lower-case name: value}, body) of an answer with Content-Length."""
    while b"\r\n\r\n" not in received:
        part = connection.recv(65536)
        if not part:
            raise ConnectionError(f"connection ended after {received[:80]!r}")
        received += part
    head, _, body = received.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    while len(body) < int(fields.get("content-length", 0)):
        part = connection.recv(65536)
        if not part:
            raise ConnectionError("connection ended inside a body")
        body += part
    return int(lines[0].split()[1]), fields, body


def connected(port, host, has_tls):
    """A connection to 127.0.0.1. TLS is 1.3, and the certificate is not checked."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=5)
    if not has_tls:
        return connection
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        return context.wrap_socket(connection, server_hostname=host)
    except OSError:
        connection.close()
        raise


def wait_for_answer(port, host, path="/", seconds=15, has_tls=False):
    """Asks until the answer is 200."""
    give_up, last = time.monotonic() + seconds, "nobody listens"
    while time.monotonic() < give_up:
        try:
            with connected(port, host, has_tls) as connection:
                connection.sendall(get(path, host, "Connection: close"))
                status = read_answer(connection)[0]
            if status == 200:
                return
            last = f"status {status}"
        except (OSError, ValueError, IndexError) as failure:
            last = str(failure)
        time.sleep(0.0002)
    raise RuntimeError(f"no answer on port {port} within {seconds} s: {last}")


def wait_until_free(port, seconds=15):
    """The threads of a killed worker may hold its port longer than the worker itself is seen."""
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up:
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            probe.listen(1)
            return
        time.sleep(0.01)
    raise RuntimeError(f"port {port} is still taken after {seconds} s")


def wait_for_port(port, seconds=15):
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.002)
    raise RuntimeError(f"nobody listens on port {port} after {seconds} s")


# ---------------------------------------------------------------- tools

def build_tools():
    """Compiles the C programs into run/bin. The application is linked statically: what its own start costs should be as
    little as possible and the same everywhere."""
    folder = RUN / "bin"
    folder.mkdir(parents=True, exist_ok=True)
    tools = BENCHMARKS / "tools"
    application = sorted((ROOT / "Tests/TestServer").glob("*.c"))
    client, libraries = [tools / "client.c"], ["-lnghttp2", "-lssl", "-lcrypto"]
    for name, sources, flags in [("relay", [tools / "relay.c"], []),
                                 ("malloc_count.so", [tools / "malloc_count.c"], ["-shared", "-fPIC"]),
                                 ("h2c", [tools / "h2c.c"], ["-lnghttp2"]),
                                 ("handshakes", [tools / "handshakes.c", *client], libraries),
                                 ("idle", [tools / "idle.c", *client], libraries),
                                 ("open_loop", [tools / "open_loop.c", *client], libraries),
                                 ("wake", [tools / "wake.c", *client], libraries),
                                 ("application", application, ["-static"])]:
        target = folder / name
        if not target.exists() or any(source.stat().st_mtime > target.stat().st_mtime for source in sources):
            subprocess.run(["gcc", "-O2", "-Wall", "-Wextra", "-o", target, *sources, *flags], check=True)
    return folder


def make_certificate(host):
    """A P-256 certificate for `host` in run/certificates, and with its key in one file in run/bench.pem. Made once."""
    folder = RUN / "certificates"
    certificate, key, both = folder / "tls.crt", folder / "tls.key", RUN / "bench.pem"
    if both.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-days", "3650", "-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}",
                    "-keyout", key, "-out", certificate], check=True, capture_output=True)
    both.write_text(certificate.read_text() + key.read_text())


def require_martlet(path):
    if not pathlib.Path(path).exists():
        sys.exit(f"{path} is missing: run `make build` first")
    return pathlib.Path(path)


def service(name, command, annotations=(), environment=(), concurrency=0, is_h2c=False):
    """One Knative Service as YAML. `annotations` without their common prefix. `is_h2c`: the application speaks HTTP/2
    by prior knowledge."""
    lines = ["apiVersion: serving.knative.dev/v1", "kind: Service", "metadata:", f"  name: {name}", "spec:",
             "  template:", "    metadata:", "      annotations:"]
    lines += [f'        autoscaling.knative.dev/{key}: "{value}"' for key, value in dict(annotations).items()]
    lines += ["    spec:", f"      containerConcurrency: {concurrency}", "      containers:",
              "        - image: example.com/application", "          command:"]
    lines += [f'            - "{part}"' for part in command]
    if is_h2c:
        lines += ["          ports:", "            - name: h2c", "              containerPort: 8080"]
    if environment:
        lines.append("          env:")
        for key, value in dict(environment).items():
            lines += [f"            - name: {key}", f'              value: "{value}"']
    return "\n".join(lines) + "\n"


# ---------------------------------------------------------------- report

def commit():
    def git(*arguments):
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True).stdout.strip()

    changed = "-changed" if git("status", "--porcelain", "--untracked-files=no") else ""
    return (git("rev-parse", "--short=10", "HEAD") or "unknown") + changed


def description():
    """What a result must be read with: the commit, the day, the machine."""
    model = re.search(r"^model name\s*: (.*)$", pathlib.Path("/proc/cpuinfo").read_text(), re.M)
    day = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    return {"commit": commit(), "day": day, "cpus": os.cpu_count(), "model": model[1] if model else platform.machine(),
            "kernel": platform.release()}


def heading(of):
    """A description in a line."""
    return f"Commit {of['commit']}, {of['day']}, {of['cpus']} CPUs ({of['model']}), Linux {of['kernel']}."


def table(columns, rows):
    """Markdown, numbers to the right."""
    lines = ["| " + " | ".join(columns) + " |", "|---|" + "---:|" * (len(columns) - 1)]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows])


def percentile(values, percent):
    """The smallest value that at least so many percent of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, math.ceil(len(ordered) * percent / 100) - 1))]
