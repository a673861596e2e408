#!/usr/bin/env python3
"""Takes 100 ms a request and must never see two at once: a second one gets status 500."""
import http.server
import os
import signal
import threading
import time

busy = threading.Lock()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_GET(self):
        if not busy.acquire(blocking=False):
            return self.answer(500, "two requests at once\n")
        try:
            time.sleep(0.1)
        finally:
            busy.release()  # before the answer leaves: the next request may follow it at once
        self.answer(200, f"answered alone by process {os.getpid()}\n")

    def answer(self, status, text):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, pattern, *arguments):
        print(f"{self.command} {self.path} {arguments[1]}", flush=True)


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


def main():
    server = Server(("", int(os.environ.get("PORT", "8080"))), Handler)
    stop = threading.Thread(target=server.shutdown)
    signal.signal(signal.SIGTERM, lambda *_: stop.start())
    server.serve_forever()


if __name__ == "__main__":
    main()
