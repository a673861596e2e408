@testable import LocalPlatform

/// Small servers in Python that listen on PORT.
enum PythonServer {
    /// A server that waits, listens, and answers each request with the status that `status` (Python) gives.
    ///
    /// It serves one connection at a time, writes each request line and header, and can be told by `/toggle` to fail.
    static func spec(delaySeconds: Double = 0, status: String = "200", preamble: String = "") -> PodSpec {
        let program = """
            import os, socket, time, sys
            time.sleep(\(delaySeconds))
            \(preamble)
            listener = socket.socket()
            listener.bind(("0.0.0.0", int(os.environ["PORT"])))
            listener.listen(16)
            print("listening", flush=True)
            count = 0
            while True:
                peer, _ = listener.accept()
                data = b""
                try:
                    while b"\\r\\n\\r\\n" not in data:
                        more = peer.recv(4096)
                        if not more: break
                        data += more
                    if data:
                        count += 1
                        for line in data.split(b"\\r\\n"):
                            print("got", line.decode("latin-1"), flush=True)
                        peer.sendall(b"HTTP/1.1 %d X\\r\\nContent-Length: 2\\r\\n\\r\\nok" % (\(status)))
                except OSError as error:
                    print("error", error, flush=True)
                peer.close()
            """
        var spec = PodSpec(revision: "python-00001", command: ["/usr/bin/python3", "-S", "-c", program])
        spec.service = "python"
        spec.graceSeconds = 5
        return spec
    }

    /// A server that accepts and closes connections; SIGUSR1 makes it close its port for 0.2 s and open it again.
    static func closable() -> PodSpec {
        let program = """
            import os, signal, socket, time
            def listen():
                listener = socket.socket()
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind(("", int(os.environ["PORT"])))
                listener.listen(16)
                return listener
            def shut(*_):
                listener.close()
                print("shut", flush=True)
                time.sleep(0.2)
            listener = listen()
            signal.signal(signal.SIGUSR1, shut)
            while True:
                try:
                    listener.accept()[0].close()
                except OSError:
                    listener = listen()
            """
        return PodSpec(revision: "python-00002", command: ["/usr/bin/python3", "-S", "-c", program])
    }
}
