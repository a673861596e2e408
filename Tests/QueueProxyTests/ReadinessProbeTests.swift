import Testing

@testable import QueueProxy

/// SERVING_READINESS_PROBE.
@Suite struct ReadinessProbeTests {
    private func probes(_ json: String, isArray: Bool = false) throws -> [ReadinessProbe] {
        let reading = Environments.read([
            "SERVING_READINESS_PROBE": json, "ENABLE_MULTI_CONTAINER_PROBES": "\(isArray)",
        ])
        #expect(reading.problems == [], "\(json)")
        return try #require(reading.configuration).readiness.probes
    }

    private func problems(_ json: String, isArray: Bool = false) -> [String] {
        Environments.read(["SERVING_READINESS_PROBE": json, "ENABLE_MULTI_CONTAINER_PROBES": "\(isArray)"])
            .problems.map { String($0.variable.dropFirst("SERVING_READINESS_PROBE".count)) }
    }

    /// What Knative writes when the user said nothing: the aggressive mode.
    @Test func theDefaultProbe() throws {
        let probe = try probes(#"{"tcpSocket":{"port":8080,"host":"127.0.0.1"},"successThreshold":1}"#)
        #expect(
            probe == [
                ReadinessProbe(
                    handler: .tcp(port: 8080), isAggressive: true, timeoutSeconds: 1, successThreshold: 1)
            ])
        #expect(ReadinessProbe.aggressiveTryMilliseconds == 100 && ReadinessProbe.aggressiveRetryMilliseconds == 50)
        #expect(ReadinessProbe.aggressiveRunMilliseconds == 10_000)
    }

    static let handlers: [(String, ReadinessProbe.Handler)] = [
        (#"{"tcpSocket":{"port":"3000"}}"#, .tcp(port: 3000)),
        (#"{"TCPSocket":{"Port":3000,"extra":{}}}"#, .tcp(port: 3000)),
        (#"{"httpGet":{"port":80}}"#, .http(target: "/", port: 80, isTLS: false, headers: [])),
        (
            #"{"httpGet":{"path":"health","port":80,"scheme":"HTTPS"}}"#,
            .http(target: "/health", port: 80, isTLS: true, headers: [])
        ),
        (
            #"{"httpGet":{"path":"/a b?x=ü c&y=%zz#part","port":80,"scheme":""}}"#,
            .http(target: "/a%20b?x=%C3%BC%20c&y=%zz", port: 80, isTLS: false, headers: [])
        ),
        (#"{"httpGet":{"path":"//x%2Fy","port":80}}"#, .http(target: "//x%2Fy", port: 80, isTLS: false, headers: [])),
        (
            #"{"httpGet":{"port":80,"httpHeaders":[{"name":"A","value":"1"},{"name":"Host"},{"name":"a"}]}}"#,
            .http(
                target: "/", port: 80, isTLS: false,
                headers: [.init(name: "A", value: "1"), .init(name: "a", value: "")])
        ),
        (#"{"grpc":{"port":9000}}"#, .grpc(port: 9000, service: "")),
        (#"{"grpc":{"port":9000,"service":"s"}}"#, .grpc(port: 9000, service: "s")),
        (#"{"grpc":{"port":9000,"service":null},"exec":{"command":["x"]}}"#, .grpc(port: 9000, service: "")),
        (#"{"httpGet":null,"tcpSocket":{"port":1}}"#, .tcp(port: 1)),
        (#"{"tcpSocket":{"port":1},"httpGet":{"port":2}}"#, .http(target: "/", port: 2, isTLS: false, headers: [])),
        (#"{"tcpSocket":{"port":1},"tcpSocket":{"host":"localhost"}}"#, .tcp(port: 1)),
        (#"{"exec":{"command":["/bin/true",null]}}"#, .failing("exec probe not supported")),
        ("{}", .failing("no probe found")),
    ]

    @Test(arguments: handlers) func eachKind(json: String, handler: ReadinessProbe.Handler) throws {
        #expect(try probes(json).map(\.handler) == [handler])
    }

    @Test func timing() throws {
        let rows: [(String, Bool, Int, Int)] = [
            ("", true, 1, 1), (#","periodSeconds":0,"timeoutSeconds":7"#, true, 7, 1),
            (#","periodSeconds":3,"timeoutSeconds":2,"successThreshold":5"#, false, 2, 5),
            (#","periodSeconds":3"#, false, 1, 1), (#","periodSeconds":3,"timeoutSeconds":-1"#, false, 1, 1),
            (#","successThreshold":-3,"periodSeconds":null"#, true, 1, 1),
            (#","initialDelaySeconds":9,"failureThreshold":3,"terminationGracePeriodSeconds":4000000000"#, true, 1, 1),
        ]
        for (fields, isAggressive, timeout, threshold) in rows {
            let probe = try #require(try probes(#"{"tcpSocket":{"port":1}\#(fields)}"#).first)
            #expect(probe.isAggressive == isAggressive && probe.timeoutSeconds == timeout, "\(fields)")
            #expect(probe.successThreshold == threshold, "\(fields)")
        }
    }

    @Test func arrays() throws {
        let both = #"[{"tcpSocket":{"port":1}},{"grpc":{"port":2}}]"#
        #expect(try probes(both, isArray: true).map(\.handler) == [.tcp(port: 1), .grpc(port: 2, service: "")])
        #expect(try probes(#"[null,{"tcpSocket":{"port":1}}]"#, isArray: true).map(\.handler) == [.tcp(port: 1)])
        for json in ["[]", "null", "[null]"] { #expect(try probes(json, isArray: true).isEmpty) }
        #expect(try probes("null").isEmpty)
        #expect(problems("{}", isArray: true) == [""] && problems("[]") == [""])
        #expect(problems(#"[{"tcpSocket":{"port":1}},{"tcpSocket":{}}]"#, isArray: true) == ["[1].tcpSocket.port"])
    }

    static let wrong: [(String, [String])] = [
        (#"{"tcpSocket":{}}"#, [".tcpSocket.port"]), (#"{"tcpSocket":{"port":0}}"#, [".tcpSocket.port"]),
        (#"{"tcpSocket":{"port":"http"}}"#, [".tcpSocket.port"]),
        (#"{"tcpSocket":{"port":70000}}"#, [".tcpSocket.port"]),
        (#"{"tcpSocket":{"port":1,"host":"db"}}"#, [".tcpSocket.host"]),
        (#"{"tcpSocket":8080}"#, [".tcpSocket", ".tcpSocket.port"]),
        (#"{"tcpSocket":{"port":1},"periodSeconds":"3"}"#, [".periodSeconds"]),
        (#"{"tcpSocket":{"port":1},"periodSeconds":1.0}"#, [".periodSeconds"]),
        (#"{"tcpSocket":{"port":1},"timeoutSeconds":2147483648}"#, [".timeoutSeconds"]),
        (#"{"tcpSocket":{"port":1},"failureThreshold":true}"#, [".failureThreshold"]),
        (#"{"grpc":{"port":"9000"}}"#, [".grpc.port", ".grpc.port"]),
        (#"{"grpc":{"port":1,"service":5}}"#, [".grpc.service"]),
        (#"{"httpGet":{"port":1,"path":"/%zz"}}"#, [".httpGet.path"]),
        (#"{"httpGet":{"port":1,"path":"/\n"}}"#, [".httpGet.path"]),
        (#"{"httpGet":{"port":1,"scheme":"ftp","host":"x"}}"#, [".httpGet.host", ".httpGet.scheme"]),
        (#"{"httpGet":{"port":1,"httpHeaders":[{"name":"a b","value":""}]}}"#, [".httpGet.httpHeaders[0]"]),
        (#"{"httpGet":{"port":1,"httpHeaders":[{"name":"A","value":"\r\n"}]}}"#, [".httpGet.httpHeaders[0]"]),
        (#"{"httpGet":{"port":1,"httpHeaders":{}}}"#, [".httpGet.httpHeaders"]),
        (#"{"exec":{"command":"true"}}"#, [".exec.command"]), ("true", [""]),
    ]

    @Test(arguments: wrong) func whatIsWrongIsNamed(json: String, paths: [String]) {
        #expect(problems(json) == paths)
    }
}
