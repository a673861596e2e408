@testable import LocalPlatform

/// Debian's gRPC for Python as a foreign peer. Its handlers take and give raw bytes: no generated code, no protobuf.
enum GRPCServer {
    /// A server on PORT that answers `grpc.health.v1.Health/Check` by the service asked for, and prints what it got.
    ///
    /// The empty service is what the file `status` in its folder says, SERVING without one. `down` does not serve,
    /// `slow` takes 10 s, others are not known.
    /// - Parameter hasHealth: Whether the health service is registered.
    static func spec(hasHealth: Bool = true) -> PodSpec {
        let program = """
            import concurrent.futures, grpc, os, time

            def check(request, context):
                name = request[2:].decode() if request else ""
                fields = {key: value for key, value in context.invocation_metadata()}
                print("check", name or "all", fields.get("user-agent", "?"), flush=True)
                if name == "down":
                    return b"\\x08\\x02"
                if name == "slow":
                    time.sleep(10)
                if name not in ("", "up"):
                    context.abort(grpc.StatusCode.NOT_FOUND, "no service " + name)
                try:
                    return bytes([8, int(open("status").read())])
                except FileNotFoundError:
                    return b"\\x08\\x01"

            class Health(grpc.GenericRpcHandler):
                def service(self, call):
                    if call.method == "/grpc.health.v1.Health/Check":
                        return grpc.unary_unary_rpc_method_handler(check)

            server = grpc.server(concurrent.futures.ThreadPoolExecutor(4))
            if \(hasHealth ? "True" : "False"):
                server.add_generic_rpc_handlers((Health(),))
            server.add_insecure_port("127.0.0.1:" + os.environ["PORT"])
            server.start()
            print("serving", flush=True)
            server.wait_for_termination()
            """
        var spec = PodSpec(revision: "grpc-00001", command: ["/usr/bin/python3", "-c", program])
        spec.service = "grpc"
        spec.graceSeconds = 0
        spec.speaksHTTP2 = true
        return spec
    }
}
