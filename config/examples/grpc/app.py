#!/usr/bin/env python3
"""A small gRPC server that knows nothing of Martlet: it reads PORT, echoes what it gets, and tells its health.

Messages are bytes, without generated code: `/example.Echo/Say` answers one message, `/example.Echo/Chat` each of a
stream, and `/grpc.health.v1.Health/Check` says whether the server serves.
"""
import concurrent.futures
import os
import signal
import threading

import grpc

SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"  # HealthCheckResponse, as protobuf writes it
stopping = threading.Event()


def say(request, context):
    print(f"Say {len(request)} bytes", flush=True)
    return request


def chat(requests, context):
    for request in requests:
        yield request


def check(request, context):
    if request:  # a service by name: only the empty name, the server as a whole, is known here
        context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
    return NOT_SERVING if stopping.is_set() else SERVING


class Methods(grpc.GenericRpcHandler):
    handlers = {
        "/example.Echo/Say": grpc.unary_unary_rpc_method_handler(say),
        "/example.Echo/Chat": grpc.stream_stream_rpc_method_handler(chat),
        "/grpc.health.v1.Health/Check": grpc.unary_unary_rpc_method_handler(check),
    }

    def service(self, call):
        return self.handlers.get(call.method)


def main():
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(max_workers=16))
    server.add_generic_rpc_handlers((Methods(),))
    port = server.add_insecure_port(f"[::]:{os.environ.get('PORT', '8080')}")
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    server.start()
    print(f"listening on port {port}", flush=True)
    stopping.wait()
    server.stop(grace=10).wait()  # calls under way are finished


if __name__ == "__main__":
    main()
