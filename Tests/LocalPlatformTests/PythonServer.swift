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
                            print("got", line.decode(), flush=True)
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
}
