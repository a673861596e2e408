"""HTTP/2 as frames, with python3-h2, against the sidecar and pod.py."""
import os
import signal

from h2kit import Codes, Connection
from kit import case, equal, expect, main


@case()
def settings(options):
    """What Go's server announces, on which peers rely: 250 streams, windows of 1 MiB, frames of 1 MiB."""
    with Connection(options) as connection:
        connection.pump(lambda: any(frame[0] == "SETTINGS" for frame in connection.frames))
        equal(connection.request("/report").status, 200)
        found = connection.h2.remote_settings
        equal(found.max_concurrent_streams, 250)
        expect(found.initial_window_size >= 65_535, found.initial_window_size)
        expect(found.max_frame_size >= 16_384, found.max_frame_size)
        print("measured: settings", {str(code): found[code] for code in Codes if code in found})


@case()
def probes_on_streams(options):
    """Probes and requests share a connection."""
    with Connection(options) as connection:
        kubelet = [("user-agent", "kube-probe/1.30"), ("k-network-probe", "queue")]
        numbers = [connection.start("/any", fields=kubelet) if n % 2 else connection.start(f"/bytes/{n}")
                   for n in range(100)]
        connection.finish(*numbers)
        for n, number in enumerate(numbers):
            found = connection.streams[number]
            equal((found.status, bytes(found.body) if n % 2 else len(found.body)), (200, b"queue" if n % 2 else n))


@case("drain")
def drain(options):
    """SIGTERM: traffic goes on; after the quiet period GOAWAY with NO_ERROR; what is under way ends properly."""
    with Connection(options) as connection:
        slow = connection.start("/wait?ms=2000")
        equal(connection.request("/bytes/10").status, 200)
        os.kill(options.pid, signal.SIGTERM)
        # The signal has not been taken yet when `kill` returns.
        kubelet = [("user-agent", "kube-probe/1"), ("k-network-probe", "queue")]
        while (refused := connection.request("/", fields=kubelet)).status == 200:
            pass
        equal((refused.status, bytes(refused.body)), (503, b"shutting down\n"))
        equal(connection.request("/bytes/10").status, 200)
        connection.pump(lambda: connection.goaways)
        equal(connection.goaways[0][1], "NO_ERROR")
        expect(not connection.streams[slow].is_over, connection.streams[slow])
        found = connection.finish(slow)
        equal((found.status, bytes(found.body), found.reset), (200, b"waited\n", None))
        connection.pump(lambda: connection.is_closed)


if __name__ == "__main__":
    main()
