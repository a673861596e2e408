import EventLoop
import Foundation
import Primitives
import StatChannel
import Telemetry
import TestProcess
import Testing

@testable import Activator

/// The real program, with a folder of objects, a stat server on the wire and a played pod.
@Suite struct ActivatorProcessTests {
    private final class Run {
        let loop: Loop
        let process: TestProcess
        private let errors: TestPipe
        private(set) var log = ""

        init(_ arguments: [String], _ environment: [String: String], loop: Loop) throws {
            self.loop = loop
            errors = try TestPipe()
            process = try TestProcess(
                [Self.program, "activator"] + arguments, environment: environment, errors: errors.writeEnd)
            errors.closeWriteEnd()
            let fd = errors.readEnd
            _ = fcntl(fd, F_SETFL, O_NONBLOCK)
            _ = try loop.watch(fd, .readable) { [unowned self] _ in
                var place = [UInt8](repeating: 0, count: 1 << 16)
                let count = read(fd, &place, place.count)
                if count > 0 { log += String(decoding: place[..<count], as: UTF8.self) }
            }
        }

        /// Beside the tests' own program, or where a debug build puts it.
        private static var program: String {
            let own = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
            let beside = URL(fileURLWithPath: own).deletingLastPathComponent().path + "/martlet"
            if FileManager.default.isExecutableFile(atPath: beside) { return beside }
            var root = URL(fileURLWithPath: #filePath)
            for _ in 0..<3 { root.deleteLastPathComponent() }
            return root.path + "/.build/debug/martlet"
        }

        func until<Found>(_ what: String, _ look: () throws -> Found?) throws -> Found {
            let deadline = MonotonicClock.now().adding(milliseconds: ActivatorHarness.patience)
            while true {
                if let found = try look() { return found }
                guard MonotonicClock.now() < deadline else {
                    throw HarnessFailure(description: "not \(what) in time; its log:\n\(log)")
                }
                loop.runOnce(atMostMilliseconds: 20)
            }
        }

        /// Where one of its listeners is.
        func address(_ name: String) throws -> SocketAddress {
            try until("listening") {
                let line = log.split(separator: "\n").first { $0.hasSuffix(" listener=\(name)") }
                return line.flatMap { SocketAddress(String($0.addressPart)) }
            }
        }
    }

    private static func revision(_ name: String) -> String {
        """
        apiVersion: serving.knative.dev/v1
        kind: Revision
        metadata: {name: \(name), namespace: default, labels: {serving.knative.dev/service: hello}}
        spec: {timeoutSeconds: 20, containers: [{image: x}]}
        """
    }

    @Test func wakesServesAndEnds() throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("martlet-activator-\(UUID())")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        try Self.revision("hello-00001").write(
            to: folder.appendingPathComponent("revision.yaml"), atomically: true, encoding: .utf8)
        let pod = try PlayedPod("pod")
        defer { pod.stop() }
        let loop = try Loop()
        let server = try StatChannelServer(loop: loop, address: .loopback(port: 0))
        var told: [(name: String, report: WindowReport)] = []
        server.onMessage = { bytes in
            guard var reader = try? WireStatReader(bytes) else { return }
            while let entry = try? reader.next() { told.append((entry.name.string, entry.stat.report)) }
        }
        let run = try Run(
            ["--cluster", folder.path, "--autoscaler", "\(server.address)", "--workers", "2"]
                + ["--http", "--http2", "--metrics"].flatMap { [$0, "127.0.0.1:0"] },
            ["POD_NAME": "activator-1", "POD_IP": "127.0.0.1", "MARTLET_DRAIN_MILLISECONDS": "10"], loop: loop)
        let address = try run.address("http")
        _ = try run.until("connected") { run.log.contains("the autoscaler is connected") ? true : nil }
        let client = try Client(address)
        try client.ask()
        let first = try run.until("announced") { told.first }
        #expect(first.name == "hello-00001" && first.report == FirstRequestRule.announcement)
        let endpoints = """
            apiVersion: v1
            kind: Endpoints
            metadata: {name: hello-00001-private, namespace: default}
            subsets: [{notReadyAddresses: [{ip: 127.0.0.1}], ports: [{name: http, port: \(pod.address.port)}]}]
            """
        try endpoints.write(to: folder.appendingPathComponent("pods.yaml"), atomically: true, encoding: .utf8)
        #expect(try client.hear().body == "pod")
        _ = try run.until("zero told") { told.count > 2 && told.last?.report.averageConcurrency == 0 ? true : nil }
        run.process.signal(SIGTERM)
        _ = try run.until("ended") { run.process.hasEnded ? true : nil }
        #expect(run.process.waitForEnd() == 0, "\(run.log)")
    }

    /// Everything that is wrong is told at once, and the status says whose fault it is.
    @Test func refusals() throws {
        let loop = try Loop()
        let run = try Run(
            ["--http", "here", "--workers", "0"], ["PROBE_TIMEOUT": "soon", "MARTLET_MESH": "x"], loop: loop)
        _ = try run.until("ended") { run.process.hasEnded ? true : nil }
        loop.runOnce(atMostMilliseconds: 20)
        #expect(run.process.waitForEnd() == 78)
        for name in ["MARTLET_HTTP_LISTEN", "MARTLET_WORKERS", "PROBE_TIMEOUT", "MARTLET_MESH"] {
            #expect(run.log.contains("error: \(name) is "), "\(run.log)")
        }
    }
}

extension Substring {
    /// What stands behind `address=`, up to the next blank.
    fileprivate var addressPart: Substring {
        guard let range = range(of: "address=") else { return "" }
        return self[range.upperBound...].prefix { $0 != " " }
    }
}
