"""The proxies of the side-by-side benchmark: how each is started, and what it can do."""
import dataclasses
import os
import pathlib
import pwd
import re
import shutil

import machine

# An activator knows a revision by such a name too: revision, namespace, svc, cluster domain.
HOST = "bench.default.svc.localhost"
NAME_OF_HOST = "host-%05d.default.svc.localhost"    # of many in a route table
PORTS = UPSTREAM_PORT, PROXY_PORT, TLS_PORT, H2C_PORT, H2C_UPSTREAM_PORT = 19000, 19001, 19002, 19003, 19004
ADMIN_PORT = 19005


@dataclasses.dataclass
class Setting:
    """What a command may depend on."""
    folder: pathlib.Path    # the candidate's own, empty
    tools: pathlib.Path     # what machine.build_tools built
    martlet: pathlib.Path   # the program
    upstream: str           # of the scenario: "application" (HTTP/1.1) or "h2c"
    entry: str              # of the scenario: "plain", "tls" or "h2c"
    hosts: int = 0          # of the scenario: so many in the route table, and HOST; 0: HOST alone

    @property
    def names_of_hosts(self):
        return [HOST] + [NAME_OF_HOST % number for number in range(self.hosts)]


@dataclasses.dataclass
class Candidate:
    command: object                             # function from Setting to a list; None: the application alone
    entries: dict                               # {entry: port}; it takes part in the scenarios whose entry it has
    upstreams: tuple = ("application", "h2c")   # the protocols it speaks to applications
    shares_upstream: bool = True                # one upstream connection carries many streams
    has_master: bool = False                    # its one worker is a child of the process that is started
    environment: object = lambda setting: {}    # function from Setting to the variables of the process
    starts_application: bool = False            # as its own pod
    keeps_connections_apart: bool = False       # a client connection is an upstream connection: nothing idle to hold
    follows_client: bool = False                # it speaks to the application what the client speaks to it
    routes_by_host: bool = False                # it can have a table of many hosts
    program: object = None                      # function to where it is installed, or None if it may be missing


def relay(setting):
    upstream = H2C_UPSTREAM_PORT if setting.upstream == "h2c" else UPSTREAM_PORT
    return [setting.tools / "relay", PROXY_PORT, upstream]


def nginx(setting):
    template = "nginx-hosts.conf" if setting.hosts else "nginx.conf"
    return [binary("nginx"), "-p", setting.folder, "-c", filled(template, setting)]


def haproxy(setting):
    template = "haproxy-hosts.cfg" if setting.hosts else "haproxy.cfg"
    return [binary("haproxy"), "-db", "-q", "-f", filled(template, setting)]


def envoy_program():
    """Of the wheel that scripts/setup unpacks; None without it."""
    found = sorted((machine.RUN / "wheels/envoy").glob("*/_bin/envoy"))
    return found[0] if found else None


def envoy(setting):
    template = "envoy-hosts.yaml" if setting.hosts else "envoy.yaml"
    return [envoy_program(), "-c", filled(template, setting), "--concurrency", "1", "--disable-hot-restart", "-l",
            "error"]


def h2o(setting):
    return [binary("h2o"), "-c", filled("h2o.conf", setting)]


def nghttpx(setting):
    return [binary("nghttpx"), f"--conf={filled('nghttpx.conf', setting)}"]


def martlet(setting):
    """The application is martlet's own pod, moved to the CPU that the others' application runs on."""
    program = "h2c" if setting.upstream == "h2c" else "application"
    command = ["taskset", "--cpu-list", str(machine.LOAD_CPU), setting.tools / program]
    text = machine.service("bench", command, {"min-scale": 1, "max-scale": 1}, {"TIMES": "off"},
                           is_h2c=setting.upstream == "h2c")
    (setting.folder / "service.yaml").write_text(text)
    arguments = [setting.martlet, "run", setting.folder / "service.yaml", "--workers", 1,
                 "--http", f"127.0.0.1:{PROXY_PORT}", "--access-log", "off", "--domain", "svc.localhost"]
    if setting.entry == "tls":
        arguments += ["--https", f"127.0.0.1:{TLS_PORT}", "--certs", machine.RUN / "certificates",
                      "--no-session-tickets"]
    return arguments


def queue(setting):
    return [pathlib.Path(setting.martlet).parent / "martlet-queue"]


def queue_environment(setting):
    """As Knative's controller would: with a limit, and counted."""
    return {
        "CONTAINER_CONCURRENCY": "1000", "QUEUE_SERVING_PORT": str(PROXY_PORT), "QUEUE_SERVING_TLS_PORT": str(TLS_PORT),
        "USER_PORT": str(H2C_UPSTREAM_PORT if setting.upstream == "h2c" else UPSTREAM_PORT),
        "REVISION_TIMEOUT_SECONDS": "300", "SERVING_LOGGING_CONFIG": "", "SERVING_LOGGING_LEVEL": "error",
        "SERVING_NAMESPACE": "default", "SERVING_SERVICE": "bench", "SERVING_CONFIGURATION": "bench",
        "SERVING_REVISION": "bench-00001", "SERVING_POD": "bench-00001-pod", "SERVING_POD_IP": "127.0.0.1",
        "MARTLET_CERTIFICATE_DIRECTORY": str(machine.RUN / "certificates") if setting.entry == "tls" else "/nowhere",
        "MARTLET_ADMIN_LISTEN": "127.0.0.1:19022", "MARTLET_STAT_LISTEN": "127.0.0.1:19090"}


def activator(setting):
    """A revision of one pod, the application; with no mesh it is not asked whether it is a queue-proxy."""
    objects = setting.folder / "objects"
    objects.mkdir()
    port = H2C_UPSTREAM_PORT if setting.upstream == "h2c" else UPSTREAM_PORT
    (objects / "bench.yaml").write_text(f"""
apiVersion: serving.knative.dev/v1
kind: Revision
metadata: {{namespace: default, name: bench}}
spec: {{containerConcurrency: 1000, timeoutSeconds: 300, containers: [{{image: example.com/application}}]}}
---
apiVersion: v1
kind: Endpoints
metadata: {{namespace: default, name: bench-private}}
subsets: [{{addresses: [{{ip: 127.0.0.1}}], ports: [{{name: http, port: {port}}}]}}]
""")
    return [setting.martlet, "activator", "--cluster", objects, "--workers", 1, "--http", f"127.0.0.1:{PROXY_PORT}",
            "--http2", f"127.0.0.1:{H2C_PORT}", "--metrics", "127.0.0.1:19091"]


def activator_environment(setting):
    return {"CLUSTER_DOMAIN": "localhost", "MARTLET_MESH": "disabled"}


def ingress(setting):
    """All hosts lead to one service of one endpoint, the application, each by an Ingress of its own."""
    objects = setting.folder / "objects"
    objects.mkdir()
    port, name = (H2C_UPSTREAM_PORT, "h2c") if setting.upstream == "h2c" else (UPSTREAM_PORT, "http")
    (objects / "bench.yaml").write_text(f"""
apiVersion: v1
kind: Endpoints
metadata: {{namespace: default, name: bench}}
subsets: [{{addresses: [{{ip: 127.0.0.1}}], ports: [{{name: {name}, port: {port}}}]}}]
""")
    names = setting.names_of_hosts
    for start in range(0, len(names), 1000):
        (objects / f"hosts-{start:05}.yaml").write_text("---\n".join(map(ingress_object, names[start:start + 1000])))
    arguments = [setting.martlet, "ingress", "--cluster", objects, "--workers", 1, "--http", f"127.0.0.1:{PROXY_PORT}",
                 "--access-log", "off"]
    if setting.entry == "tls":
        arguments += ["--https", f"127.0.0.1:{TLS_PORT}", "--certs", machine.RUN / "certificates",
                      "--no-session-tickets"]
    return arguments


def ingress_object(host):
    fields = "{Knative-Serving-Namespace: default, Knative-Serving-Revision: bench-00001}"
    return f"""apiVersion: networking.internal.knative.dev/v1alpha1
kind: Ingress
metadata: {{namespace: default, name: {host.split('.')[0]}}}
spec:
  rules:
  - hosts: [{host}]
    visibility: ExternalIP
    http: {{paths: [{{splits: [{{serviceName: bench, servicePort: 80, percent: 100, appendHeaders: {fields}}}]}}]}}
"""


SAME = {"plain": PROXY_PORT, "tls": TLS_PORT, "h2c": PROXY_PORT}  # cleartext HTTP/2 is told apart by its first bytes

CANDIDATES = {
    "direct": Candidate(None, {"plain": UPSTREAM_PORT}),
    "relay": Candidate(relay, {"plain": PROXY_PORT, "h2c": PROXY_PORT}, keeps_connections_apart=True,
                       follows_client=True),
    "nginx": Candidate(nginx, {**SAME, "h2c": H2C_PORT}, shares_upstream=False, has_master=True,
                       routes_by_host=True),
    "haproxy": Candidate(haproxy, SAME, routes_by_host=True),
    "h2o": Candidate(h2o, SAME, upstreams=("application",), shares_upstream=False),
    "nghttpx": Candidate(nghttpx, SAME, has_master=True),
    "envoy": Candidate(envoy, SAME, routes_by_host=True, program=envoy_program),
    "martlet": Candidate(martlet, SAME, starts_application=True),
    "martlet-activator": Candidate(activator, {"plain": PROXY_PORT, "h2c": PROXY_PORT}, follows_client=True,
                                   environment=activator_environment),
    "martlet-ingress": Candidate(ingress, SAME, routes_by_host=True),
    "martlet-queue": Candidate(queue, SAME, environment=queue_environment, follows_client=True),
}


def binary(name):
    found = shutil.which(name) or f"/usr/sbin/{name}"
    if not os.path.exists(found):
        raise RuntimeError(f"{name} is not installed: run scripts/setup bench")
    return found


def missing(names):
    """Those that are not installed and may be."""
    return [name for name in names if CANDIDATES[name].program and not CANDIDATES[name].program()]


def virtual_hosts(setting):
    clusters = "{clusters: [{name: application, weight: 100}]}"
    route = f"{{match: {{prefix: /}}, route: {{timeout: 0s, weighted_clusters: {clusters}}}}}"
    lines = [f"{{name: {name}, domains: [{name}, '{name}:*'], routes: [{route}]}}" for name in setting.names_of_hosts]
    return "\n".join(f"            - {line}" for line in lines)


def filled(template, setting):
    """The template of peers/ with its places filled in, in the candidate's folder; beside it a map of hosts when the
    scenario has many (nginx ends its lines with a semicolon)."""
    certificates = machine.RUN / "certificates"
    values = {"FOLDER": setting.folder, "PORT": PROXY_PORT, "TLS": TLS_PORT, "H2C": H2C_PORT, "ADMIN": ADMIN_PORT,
              "UPSTREAM": UPSTREAM_PORT, "H2C_UPSTREAM": H2C_UPSTREAM_PORT, "USER": pwd.getpwuid(os.getuid()).pw_name,
              "CERTIFICATE": certificates / "tls.crt", "KEY": certificates / "tls.key",
              "BOTH": machine.RUN / "bench.pem", "VIRTUAL_HOSTS": virtual_hosts(setting)}
    if setting.hosts:
        end = ";" if template.startswith("nginx") else ""
        lines = [f"{name} application{end}" for name in setting.names_of_hosts]
        (setting.folder / "hosts.map").write_text("\n".join(lines) + "\n")
    text = (machine.BENCHMARKS / "peers" / template).read_text()
    (setting.folder / template).write_text(re.sub(r"@([A-Z0-9_]+)@", lambda match: str(values[match[1]]), text))
    return setting.folder / template
