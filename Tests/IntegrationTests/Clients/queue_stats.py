"""The statistics of a queue-proxy: GET /metrics answers with a Stat of CONCURRENCY requests in flight.

usage: queue_stats.py ADDRESS CONCURRENCY [SERVICE]
Prints its port, then a line for each new connection. With SERVICE it stands behind a mesh: who does not ask for that
service gets 503.
"""

import http.server
import struct
import sys


class Stats(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self):
        super().setup()
        print("connection", flush=True)

    def do_GET(self):
        wanted = self.path == "/metrics" and self.headers["Accept"] == "application/protobuf"
        body = b"\x0a\x05pod-a" + b"\x11" + struct.pack("<d", float(sys.argv[2])) + b"\x21" + struct.pack("<d", 5.0)
        is_barred = len(sys.argv) > 3 and self.headers["Host"] != "%s:%d" % (sys.argv[3], server.server_port)
        self.send_response(503 if is_barred else 200 if wanted else 400)
        self.send_header("Content-Type", "application/protobuf")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


server = http.server.ThreadingHTTPServer((sys.argv[1], 0), Stats)
print("port", server.server_port, flush=True)
server.serve_forever()
