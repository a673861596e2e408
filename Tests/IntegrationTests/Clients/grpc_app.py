"""A gRPC server as a pod: generic handlers of grpcio, messages are raw bytes.

Service /test.Echo/ with the methods Unary, Sum, Count, Chat, Fail, FailLate, Slow, SlowStream, Metadata, Pod and Seen.
"""
import base64
import json
import os
import signal
import threading
import time
from concurrent import futures

import grpc

lock = threading.Lock()
seen = {"started": 0, "cancelled": 0, "finished": 0, "time_left": None, "calls": 0}
going = threading.Event()


def count(name):
    with lock:
        seen[name] += 1


def unary(request, context):
    return request


def total(requests, context):
    sizes = [len(request) for request in requests]
    return json.dumps({"messages": len(sizes), "bytes": sum(sizes)}).encode()


def messages(request, context):
    wanted = json.loads(request)
    for number in range(wanted["count"]):
        yield b"%08d" % number + b"x" * wanted.get("size", 0)


def chat(requests, context):
    yield from requests


def fail(request, context):
    wanted = json.loads(request)
    context.set_trailing_metadata((("why", "because"), ("raw-bin", b"\x00\xff")))
    context.abort(grpc.StatusCode[wanted["code"]], wanted["message"])


def fail_late(request, context):
    yield b"first"
    fail(request, context)


def wait_for_end(context):
    ended = threading.Event()
    if not context.add_callback(ended.set):
        ended.set()
    count("started")
    with lock:
        seen["time_left"] = context.time_remaining()
    count("cancelled" if ended.wait(30) else "finished")


def slow(request, context):
    wait_for_end(context)
    return b"late"


def slow_stream(request, context):
    yield b"first"
    wait_for_end(context)


def metadata(request, context):
    pairs = [[key, base64.b64encode(value).decode() if isinstance(value, bytes) else value]
             for key, value in context.invocation_metadata()]
    context.send_initial_metadata((("first", "1"), ("first-bin", b"\x01\x00\xfe")))
    context.set_trailing_metadata((("last", "2"), ("last-bin", b"\x02\x00\xfd")))
    return json.dumps({"metadata": pairs, "peer": context.peer()}).encode()


def pod(request, context):
    return str(os.getpid()).encode()


def pods(requests, context):
    """One answer a message: which process this stream is in."""
    for _ in requests:
        yield str(os.getpid()).encode()


def report(request, context):
    with lock:
        return json.dumps(seen).encode()


def health(request, context):
    return b"\x08\x01"  # grpc.health.v1.HealthCheckResponse, SERVING


METHODS = {
    "/test.Echo/Unary": grpc.unary_unary_rpc_method_handler(unary),
    "/test.Echo/Sum": grpc.stream_unary_rpc_method_handler(total),
    "/test.Echo/Count": grpc.unary_stream_rpc_method_handler(messages),
    "/test.Echo/Chat": grpc.stream_stream_rpc_method_handler(chat),
    "/test.Echo/Fail": grpc.unary_unary_rpc_method_handler(fail),
    "/test.Echo/FailLate": grpc.unary_stream_rpc_method_handler(fail_late),
    "/test.Echo/Slow": grpc.unary_unary_rpc_method_handler(slow),
    "/test.Echo/SlowStream": grpc.unary_stream_rpc_method_handler(slow_stream),
    "/test.Echo/Metadata": grpc.unary_unary_rpc_method_handler(metadata),
    "/test.Echo/Pod": grpc.unary_unary_rpc_method_handler(pod),
    "/test.Echo/Pods": grpc.stream_stream_rpc_method_handler(pods),
    "/test.Echo/Seen": grpc.unary_unary_rpc_method_handler(report),
    "/grpc.health.v1.Health/Check": grpc.unary_unary_rpc_method_handler(health),
}


class Methods(grpc.GenericRpcHandler):
    def service(self, details):
        return METHODS.get(details.method)


def main():
    time_to_start = int(os.environ.get("START_DELAY_MS", "0")) / 1000
    time.sleep(time_to_start)
    limits = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1), ("grpc.so_reuseport", 0)]
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=100), handlers=[Methods()], options=limits)
    if server.add_insecure_port(f"127.0.0.1:{os.environ['PORT']}") == 0:
        raise SystemExit("PORT is taken")
    server.start()
    print("listening", os.environ["PORT"], flush=True)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    stop.wait()
    server.stop(grace=10).wait()


main()
