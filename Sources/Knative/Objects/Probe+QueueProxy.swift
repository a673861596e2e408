/// What the controller tells a queue-proxy of its container's readiness probe (spec/dataplane 1.2).
extension Probe {
    /// The value of SERVING_READINESS_PROBE: the probe as JSON, prepared as Knative does it.
    ///
    /// The host is 127.0.0.1; a command becomes a connection, since the sidecar cannot run it; a period wants a
    /// timeout.
    /// - Parameters:
    ///   - userPort: where the process listens.
    ///   - containerPort: the port that the manifest calls so; a probe of it means `userPort`.
    public func queueProxyJSON(userPort: Int, containerPort: Int) -> String {
        func port(_ stated: Int?) -> JSONTree {
            .integer(stated.map { $0 == containerPort ? userPort : $0 } ?? userPort)
        }
        let host = JSONTree.string("127.0.0.1")
        var fields: [(String, JSONTree?)]
        switch handler {
        case .httpGet(let path, let stated, let scheme, let headers):
            let list = headers.map { JSONTree.object([("name", .string($0.name)), ("value", .string($0.value))]) }
            let get = JSONTree.object([
                ("path", .nonempty(path)), ("port", port(stated)), ("host", host),
                ("scheme", .string(scheme.rawValue)), ("httpHeaders", .nonempty(list)),
            ])
            fields = [("httpGet", get)]
        case .tcpSocket(let stated): fields = [("tcpSocket", .object([("port", port(stated)), ("host", host)]))]
        case .exec: fields = [("tcpSocket", .object([("port", port(nil)), ("host", host)]))]
        case .grpc(let stated, let service):
            fields = [("grpc", .object([("port", port(stated)), ("service", .string(service))]))]
        }
        let timeout = periodSeconds > 0 ? max(1, timeoutSeconds) : timeoutSeconds
        for (key, value) in [
            ("initialDelaySeconds", initialDelaySeconds), ("timeoutSeconds", timeout),
            ("periodSeconds", periodSeconds), ("successThreshold", successThreshold),
            ("failureThreshold", failureThreshold),
        ] where value != 0 {
            fields.append((key, .integer(value)))
        }
        var bytes: [UInt8] = []
        JSONTree.object(fields).write(to: &bytes)
        return String(decoding: bytes, as: UTF8.self)
    }
}
