#!/usr/bin/env python3
"""A small HTTP server that knows nothing of Martlet: it reads PORT and answers a greeting."""
import http.server
import os
import signal
import threading

GREETING = f"Hello {os.environ.get('TARGET', 'World')}!\n".encode()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keep-alive
    wbufsize = -1  # head and body leave in one write

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(GREETING)))
        self.end_headers()
        self.wfile.write(GREETING)

    def log_message(self, pattern, *arguments):
        print(f"{self.command} {self.path} {arguments[1]}", flush=True)


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 1024  # connections that may wait to be accepted; Python's default is 5
    daemon_threads = True


def main():
    server = Server(("", int(os.environ.get("PORT", "8080"))), Handler)
    stop = threading.Thread(target=server.shutdown)
    signal.signal(signal.SIGTERM, lambda *_: stop.start())
    print(f"listening on port {server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
