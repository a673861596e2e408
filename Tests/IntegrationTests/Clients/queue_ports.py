"""The sidecar alone in a network of its own: the ports that Knative gives it, on every address.

Run as `unshare -rn … queue_ports.py PROGRAM PORT`; the environment is the sidecar's.
"""
import http.client
import socket
import subprocess
import sys
import time


def answer(address, port, path, fields):
    connection = http.client.HTTPConnection(address, port, timeout=10)
    connection.request("GET", path, headers=fields)
    found = connection.getresponse()
    return found.status, found.read(), found.getheader("Content-Type")


def equal(found, wanted):
    if found != wanted:
        sys.exit(f"found {found}, wanted {wanted}")


def check(port):
    queue = {"User-Agent": "kube-probe/1.30", "K-Network-Probe": "queue"}
    for address in ["127.0.0.1", "::1"]:
        equal(answer(address, port, "/", queue)[:2], (200, b"queue"))
        equal(answer(address, 9090, "/metrics", {})[::2], (200, "application/protobuf"))
        equal(answer(address, 8022, "/", {})[0], 404)
    for closed in [8112, 9091, 8008, {8012: 8013, 8013: 8012}[port]]:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", closed)) == 0:
                sys.exit(f"{closed} is open")


def main():
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    program, port = sys.argv[1], int(sys.argv[2])
    with subprocess.Popen([program]) as sidecar:
        try:
            deadline = time.monotonic() + 20
            while socket.socket().connect_ex(("127.0.0.1", port)) and sidecar.poll() is None:
                if time.monotonic() > deadline:
                    sys.exit("it does not listen")
                time.sleep(0.01)
            check(port)
        finally:
            sidecar.kill()
    print("all listeners answer")


main()
