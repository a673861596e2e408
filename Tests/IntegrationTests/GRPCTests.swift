import Foundation
import Testing

/// grpcio, the C core's client and server, with martlet between them.
@Suite struct GRPCTests {
    /// Every kind of call, metadata, status, deadline, cancellation; see Clients/grpc_client.py.
    @Test func cleartext() throws {
        let manifest = Foreign.grpc()
        try Martlet.serving(manifest) { martlet throws in
            try martlet.expectCases("grpc_client.py", host: manifest.host)
        }
    }

    @Test func encrypted() throws {
        let manifest = Foreign.grpc(), certificates = try ForeignCertificates()
        try Martlet.serving(manifest, certificates.flags) { martlet throws in
            try martlet.expectCases("grpc_client.py", host: manifest.host, certificates: certificates)
        }
    }

    /// Calls and streams that meet no process wait for one. Its readiness is asked in gRPC.
    @Test func coldStart() throws {
        let manifest = Foreign.grpc {
            $0.annotations.append(("initial-scale", "0"))
            $0.environment = [("START_DELAY_MS", "300")]
            $0.container += ["readinessProbe:", "  grpc: {}"]
        }
        try Martlet.serving(manifest, ColdStartTests.flags) { martlet throws in
            #expect(martlet.pods("grpc_app.py").isEmpty, "a process runs before the first call")
            try martlet.expectCases("grpc_client.py", ["cold"], host: manifest.host)
            #expect(martlet.log.ranges(of: "cold start").count == 1, "one wake-up is one line:\n\(martlet.tail)")
        }
    }

    /// Streams are balanced one by one: all come over one connection.
    @Test func balance() throws {
        let manifest = Foreign.grpc {
            $0.annotations = [("min-scale", "3"), ("initial-scale", "3"), ("max-scale", "3")]
        }
        try Martlet.serving(manifest) { martlet throws in
            #expect(wait { martlet.pods("grpc_app.py").count == 3 }, "\(martlet.tail)")
            try martlet.expectCases("grpc_client.py", ["balance"], host: manifest.host)
        }
    }

    /// Open streams are load: one process becomes three.
    @Test func scaleUp() throws {
        let manifest = Foreign.grpc {
            $0.annotations = [("target", "2"), ("max-scale", "3"), ("window", "6s")]
        }
        try Martlet.serving(manifest) { martlet throws in
            try martlet.expectCases("grpc_client.py", ["scale"], host: manifest.host)
        }
    }

    /// Errors that are martlet's own are statuses of gRPC.
    @Test func ownErrors() throws {
        let limited = Foreign.grpc { $0.revision = ["timeoutSeconds: 1"] }
        try Martlet.serving(limited) { martlet throws in
            try martlet.expectCases("grpc_client.py", ["timeout"], host: limited.host)
        }
        let broken = Foreign.reporter(portName: "h2c") { $0.environment = [("BROKEN", "1")] }
        try Martlet.serving(broken) { martlet throws in
            try martlet.expectCases("grpc_client.py", ["broken"], host: broken.host)
        }
    }

    /// SIGTERM in the middle of a stream: the stream goes on to its end.
    @Test func drain() throws {
        let manifest = Foreign.grpc()
        try Martlet.serving(manifest) { martlet throws in
            try martlet.expectCases("grpc_client.py", ["drain"], host: manifest.host)
            #expect(martlet.waitForEnd() == 0, "\(martlet.tail)")
        }
    }
}
