import DataPlane
import EventLoop
import Foundation
import Knative
import Logging
import Primitives
import TLS
import TestProcess
import Testing

@testable import Activator

/// TLS to pods, and the files it goes by (spec/dataplane 3.4).
@Suite struct CertificateTests {
    /// A folder that goes with the test.
    private final class Folder {
        let path = FileManager.default.temporaryDirectory.path + "/martlet-activator-\(UUID())"
        init() throws { try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true) }
        func write(_ name: String, _ bytes: [UInt8]) throws {
            try Data(bytes).write(to: URL(fileURLWithPath: "\(path)/\(name)"))
        }
        deinit { try? FileManager.default.removeItem(atPath: path) }
    }

    private static let now = Int64(Date().timeIntervalSince1970)

    private static func authority() throws -> LocalAuthority {
        try LocalAuthority.create(commonName: "tests", now: now - 86_400)
    }

    @Test func files() throws {
        let folder = try Folder()
        let nothing = try ActivatorCertificates(folder: folder.path)
        #expect(nothing.set == nil && nothing.trust == nil && nothing.security("default") == nil)
        let authority = try Self.authority()
        let pair = try authority.issue(names: ["kn-routing"], now: Self.now)
        try folder.write("tls.crt", pair.certificate)
        let failure = #expect(throws: ActivatorCertificates.Failure.self) {
            try ActivatorCertificates(folder: folder.path)
        }
        #expect(failure?.problems.count == 1 && failure?.problems[0].contains("tls.key") == true)
        try folder.write("tls.key", pair.key)
        try folder.write("ca.crt", authority.pem.certificate + pair.certificate)
        let all = try ActivatorCertificates(folder: folder.path)
        #expect(all.set != nil && all.trust?.count == 1, "the first certificate of ca.crt counts")
        #expect(all.security("a") === all.security("a") && all.security("a") !== all.security("b"))
        #expect(all.security("Team")?.identity.requiredNames == ["kn-user-team"])
        #expect(try all.look() == ActivatorCertificates.Change())
        // A broken file changes nothing, and is told once.
        try folder.write("ca.crt", Array("nonsense".utf8))
        #expect(throws: ActivatorCertificates.Failure.self) { try all.look() }
        #expect(try all.look() == ActivatorCertificates.Change() && all.trust?.count == 1)
        try folder.write("ca.crt", try Self.authority().pem.certificate)
        try folder.write("bundle.crt", authority.pem.certificate)
        let change = try all.look()
        #expect(change.trustsAnew && !change.servesAnew && all.trust?.count == 2)
    }

    /// A running activator renews the keys of session tickets in time, again and again: the ring's deadline moves.
    @Test func ticketKeysAreRenewed() throws {
        let certificates = try ActivatorCertificates(folder: "", ticketMilliseconds: 20)
        var configuration = ActivatorConfiguration()
        for listener in [\ActivatorConfiguration.Listeners.http, \.http2, \.tls, \.metrics] {
            configuration.listeners[keyPath: listener] = .loopback(port: 0)
        }
        configuration.workers = 1
        let loop = try Loop(), desk = QuestionDesk(), sink = NoSink()
        let workers = try WorkerGroup(
            listeners: Activator.listeners(for: configuration),
            options: Activator.options(for: configuration, desk: desk, files: 4_096), log: nil)
        let activator = try Activator(
            configuration, loop: loop, workers: workers, desk: desk, sink: sink,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        activator.use(certificates)
        var deadlines = [certificates.tickets.deadline]
        let end = MonotonicClock.now().adding(milliseconds: 10_000)
        while deadlines.count < 4, MonotonicClock.now() < end {
            loop.runOnce(atMostMilliseconds: 50)
            let next = certificates.tickets.deadline
            if deadlines.last != next { deadlines.append(next) }
        }
        #expect(deadlines.count == 4 && deadlines == deadlines.sorted())
        _ = activator
    }

    private final class NoSink: StatSink {
        var isConnected: Bool { true }
        func send(_ message: [UInt8]) -> Bool { true }
    }

    /// A pod that can prove whose it is gets the request over TLS; one of another namespace gets none. Probes are
    /// plain.
    @Test(arguments: ["kn-user-default", "kn-user-other"]) func podsOverTLS(name: String) throws {
        let folder = try Folder(), authority = try Self.authority()
        try folder.write("ca.crt", authority.pem.certificate)
        let pair = try authority.issue(names: ["data-plane.knative.dev", name], now: Self.now)
        try folder.write("pod.crt", pair.certificate)
        try folder.write("pod.key", pair.key)
        let output = try TestPipe()
        let server = try TestProcess(
            ["python3", "-u", "-c", Self.server, folder.path], output: output.writeEnd)
        defer { server.signal(SIGKILL) }
        output.closeWriteEnd()
        let port = try #require(UInt16(output.readLine()))
        let probed = try PlayedPod("plain")
        defer { probed.stop() }
        let path = folder.path
        let harness = try ActivatorHarness { $0.certificates = path }
        defer { harness.finish() }
        var address = ActivatorHarness.address(probed, isReady: true)
        address.ports["https"] = port
        let pods = ActivatorHarness.revision.with(suffix: "-private")
        harness.tell(
            ActivatorHarness.revision(), .applied(.endpoints(ClusterEndpoints(name: pods, addresses: [address]))),
            .synced)
        let client = try harness.client()
        try client.ask()
        let answer = try client.hear()
        if name == "kn-user-default" {
            #expect(answer.status == 200)
            #expect(answer.body == "TLSv1.3 data-plane.knative.dev None 127.0.0.1:\(port)")
        } else {
            #expect(answer.status == 502)
        }
        #expect(probed.requests.isEmpty && !probed.probes.isEmpty)
    }

    /// Says what it saw of the handshake: version, the name asked for, the protocol, and the host of the request.
    private static let server = """
        import http.server, ssl, sys
        names = {}
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'
            def do_GET(self):
                tls = self.connection
                seen = [tls.version(), names.get(id(tls.context), ''), str(tls.selected_alpn_protocol()),
                        self.headers['Host']]
                body = ' '.join(seen).encode()
                self.send_response(200)
                self.send_header('Content-Length', str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            def log_message(self, *arguments): pass
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[1] + '/pod.crt', sys.argv[1] + '/pod.key')
        context.sni_callback = lambda tls, name, context: names.__setitem__(id(context), name)
        server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        print(server.server_address[1])
        server.serve_forever()
        """
}
