import Admission
import DataPlane
import EventLoop
import Knative
import Logging
import Primitives
import Testing

@testable import ControlPlane

/// A platform whose pods are ready when the test says so.
private final class ToldPlatform: PodPlatform {
    var started: [PodHandle] = []
    var observer: (PodHandle, PodChange) -> Void = { _, _ in }
    var podCount: Int { started.count }

    func start(_ revision: RevisionObject, ordinal: Int) -> PodHandle {
        started.append(PodHandle(number: UInt64(started.count + 1)))
        return started[started.count - 1]
    }
    func stop(_ pod: PodHandle) {}
    func stopAll(deadline: Instant) {}
    func recheck(_ pod: PodHandle) {}

    /// All pods become ready, as several do within one wake-up of the control thread.
    func makeReady(at now: Instant) {
        for pod in started { observer(pod, .ready(port: 1, at: now)) }
    }
}

/// How often routes are worked out anew: that costs as much as there are services.
@Suite struct PublicationTests {
    private let loop: Loop
    private let platform = ToldPlatform()
    private let plane: ControlPlane

    init() throws {
        loop = try Loop()
        var options = ControlPlaneOptions()
        options.scaling.allowsZeroInitialScale = true
        let workers = try WorkerGroup(listeners: [], options: WorkerOptions(), log: nil)
        plane = try ControlPlane(
            loop: loop, workers: workers, platform: platform, options: options,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
    }

    private func apply(_ names: [String], initialScale: Int, image: String = "example.com/app") throws {
        let text = names.map { name in
            """
            apiVersion: serving.knative.dev/v1
            kind: Service
            metadata: {name: \(name)}
            spec:
              template:
                metadata: {annotations: {autoscaling.knative.dev/initial-scale: "\(initialScale)"}}
                spec: {containers: [{image: \(image), command: [app]}]}

            """
        }
        var options = LoadOptions()
        options.defaults.allowZeroInitialScale = true
        let source = ("f.yaml", Array(text.joined(separator: "---\n").utf8))
        let result = ManifestLoader.load(sources: [source], options: options)
        try #require(result.diagnostics.isEmpty, "\(result.diagnostics)")
        #expect(plane.apply(result.services, removing: true).isEmpty)
    }

    /// Revisions that become ready together are published together, and soon.
    @Test func revisionsReadyTogetherArePublishedOnce() throws {
        let names = (0..<20).map { "svc-\($0)" }
        try apply(names, initialScale: 1)
        let before = plane.generation
        platform.makeReady(at: loop.now)
        loop.runOnce(atMostMilliseconds: 100)
        let waiting = plane.revisions.values.filter { !$0.isRoutable }
        #expect(waiting.isEmpty)
        #expect(plane.generation == before + 1)
        // The next ones are published again.
        try apply(names, initialScale: 1, image: "example.com/other")
        let applied = plane.generation
        platform.makeReady(at: loop.now)
        loop.runOnce(atMostMilliseconds: 100)
        #expect(plane.generation == applied + 1)
        let routed = try #require(plane.store.latestReadyRevision(of: ServiceName(name: "svc-7")))
        #expect(routed == "svc-7-00002")
    }

    /// A start from zero changes no route, so it publishes nothing.
    @Test func aStartFromZeroPublishesNothing() throws {
        try apply(["one", "two"], initialScale: 0)
        let before = plane.generation
        let controller = try #require(plane.revisions.values.first { $0.object.service == "two" })
        var view = EndpointView()
        let outcome = controller.target.gate.admit(Waiter(worker: 0, token: 1), view: &view, random: 0)
        guard case .queued = outcome else {
            Issue.record("\(outcome)")
            return
        }
        controller.demanded()
        #expect(platform.podCount == 1)
        platform.makeReady(at: loop.now)
        loop.runOnce(atMostMilliseconds: 100)
        #expect(controller.target.gate.waiting == 0)
        #expect(plane.generation == before)
    }
}
