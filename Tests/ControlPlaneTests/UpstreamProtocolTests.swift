import DataPlane
import EventLoop
import Knative
import Logging
import Primitives
import Testing

@testable import ControlPlane

/// A platform whose pods never get ready: for tests of what is wanted.
private final class IdlePlatform: PodPlatform {
    var started: [String] = []
    var observer: (PodHandle, PodChange) -> Void = { _, _ in }
    var podCount: Int { started.count }

    func start(_ revision: RevisionObject, ordinal: Int) -> PodHandle {
        started.append(revision.name)
        return PodHandle(number: UInt64(started.count))
    }
    func stop(_ pod: PodHandle) {}
    func stopAll(deadline: Instant) {}
    func recheck(_ pod: PodHandle) {}
}

/// From the name of a container port to what workers speak to the pods (Knative's TestProtocols).
@Suite struct UpstreamProtocolTests {
    private func service(_ name: String, port: String) -> String {
        """
        apiVersion: serving.knative.dev/v1
        kind: Service
        metadata: {name: \(name)}
        spec:
          template:
            spec:
              containers:
              - image: example.com/app
                command: [app]
                ports: [{containerPort: 8080\(port.isEmpty ? "" : ", name: \(port)")}]

        """
    }

    private func load(_ text: String) throws -> [ServiceObject] {
        let result = ManifestLoader.load(sources: [("f.yaml", Array(text.utf8))], options: LoadOptions())
        try #require(result.diagnostics.isEmpty, "\(result.diagnostics)")
        return result.services
    }

    private func makePlane(_ platform: IdlePlatform) throws -> ControlPlane {
        let workers = try WorkerGroup(listeners: [], options: WorkerOptions(), log: nil)
        return try ControlPlane(
            loop: try Loop(), workers: workers, platform: platform, options: ControlPlaneOptions(),
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
    }

    private func protocols(of plane: ControlPlane) -> [String: UpstreamProtocol] {
        Dictionary(uniqueKeysWithValues: plane.revisions.values.map { ($0.target.name, $0.target.upstreamProtocol) })
    }

    @Test func thePortsNameDecides() throws {
        let plane = try makePlane(IdlePlatform())
        let text = [("none", ""), ("one", "http1"), ("two", "h2c")].map { service($0.0, port: $0.1) }
        #expect(plane.apply(try load(text.joined(separator: "---\n")), removing: true).isEmpty)
        #expect(protocols(of: plane) == ["none-00001": .http1, "one-00001": .http1, "two-00001": .h2c])
    }

    /// The protocol belongs to the revision: another name makes another revision, and the old one keeps its own.
    @Test func anotherNameIsAnotherRevision() throws {
        let plane = try makePlane(IdlePlatform())
        for port in ["", "h2c", "http1"] {
            #expect(plane.apply(try load(service("app", port: port)), removing: true).isEmpty)
        }
        #expect(protocols(of: plane) == ["app-00001": .http1, "app-00002": .h2c, "app-00003": .http1])
    }

    /// A revision whose pods cannot be started gets a new target, in the same protocol.
    @Test func aFailedRevisionKeepsIt() throws {
        let platform = IdlePlatform()
        let plane = try makePlane(platform)
        #expect(plane.apply(try load(service("app", port: "h2c")), removing: true).isEmpty)
        let before = try #require(plane.revisions.values.first?.target)
        try #require(platform.started == ["app-00001"])
        platform.observer(PodHandle(number: 1), .failedToStart(error: "no", restartAfterMilliseconds: nil))
        let after = try #require(plane.revisions.values.first?.target)
        #expect(after !== before && after.upstreamProtocol == .h2c)
    }
}
