import Primitives
import Testing

@testable import Knative

/// The traffic of a service whose new revisions take over step by step, on a virtual clock.
@Suite struct RolloutTrafficTests {
    static let name = ServiceName(name: "svc")

    /// A store with one service, the clock, and what its platform knows.
    private final class World {
        var store = ServiceStore()
        var now = Instant(nanoseconds: 1_000_000_000)
        var ready: Set<String> = []
        var failed: Set<String> = []
        var traffic = TrafficResolution()

        var main: String { Self.text(traffic.main) }
        static func text(_ shares: [RevisionShare]?) -> String {
            (shares ?? []).map { "\($0.revision.dropFirst(8))=\($0.percent)" }.joined(separator: " ")
        }

        func apply(
            _ image: String, rollout: String? = "10s", _ targets: [TrafficTarget] = [.latest]
        ) throws {
            var service = try ServiceObject.make(name: "svc", command: ["app"])
            service.template.container.image = image
            service.traffic = targets
            service.metadata.annotations["serving.knative.dev/rollout-duration"] = rollout
            let result = store.apply([service], removing: true)
            #expect(result.diagnostics.isEmpty)
            resolve()
        }

        func resolve() {
            traffic = store.resolveTraffic(of: name, isReady: ready.contains, isFailed: failed.contains, now: now)
        }

        func becomeReady(_ revision: Int) {
            ready.insert("svc-0000\(revision)")
            resolve()
        }

        /// The workers have the routes, so long after they were made.
        func takeRoutes(after seconds: Double = 0.01) {
            now = now.adding(seconds: seconds)
            store.routesAreReady(of: name, now: now)
        }

        /// The timer of the next step goes off. False if there is none.
        func nextStep() -> Bool {
            guard let due = store.nextRolloutStep else { return false }
            now = max(now, due)
            resolve()
            return true
        }
    }

    private func serving(rollout: String? = "10s", _ targets: [TrafficTarget] = [.latest]) throws -> World {
        let world = World()
        try world.apply("a", rollout: rollout, targets)
        world.becomeReady(1)
        #expect(!world.traffic.isRollingOut && world.store.nextRolloutStep == nil, "the first is served at once")
        return world
    }

    @Test func fromTheOldToTheNew() throws {
        let world = try serving()
        #expect(world.main == "1=100")
        try world.apply("b")
        #expect(world.main == "1=100" && !world.traffic.isRollingOut)
        world.becomeReady(2)
        let begin = world.now
        #expect(world.main == "1=99 2=1" && world.traffic.isRollingOut && world.traffic.released.isEmpty)
        #expect(world.store.nextRolloutStep == nil, "nothing goes on before the routes are in use")
        #expect(world.store.revisions(of: Self.name).allSatisfy { world.store.routingState(of: $0) == .active })
        world.takeRoutes()
        world.resolve()
        #expect(world.main == "1=99 2=1")
        var last = 1
        while world.nextStep() {
            let share = world.traffic.main.last?.percent ?? 0
            #expect(share > last && world.traffic.main.reduce(0) { $0 + $1.percent } == 100)
            last = share
            if share < 100 { #expect(world.traffic.referenced.count == 2 && world.traffic.released.isEmpty) }
        }
        #expect(world.main == "2=100" && world.traffic.released == ["svc-00001"] && !world.traffic.isRollingOut)
        #expect((9...11).contains(world.now.seconds(since: begin)))
        #expect(world.store.reserveRevisions(of: Self.name).map(\.name) == ["svc-00001"])
    }

    /// Steps that nobody asks for are not made up for: the next is a whole interval later.
    @Test func aLateStep() throws {
        let world = try serving()
        try world.apply("b")
        world.becomeReady(2)
        world.takeRoutes()
        world.now = world.now.adding(seconds: 3_600)
        world.resolve()
        #expect(world.main == "1=88 2=12")
        #expect(world.store.nextRolloutStep == world.now.adding(seconds: 1))
    }

    @Test(arguments: [nil, "0s", ""]) func withoutADuration(rollout: String?) throws {
        let world = try serving(rollout: rollout)
        try world.apply("b", rollout: rollout)
        world.becomeReady(2)
        #expect(world.main == "2=100" && !world.traffic.isRollingOut)
        world.takeRoutes()
        #expect(world.store.nextRolloutStep == nil)
    }

    /// Without the annotation all goes to the newest at once, also in the middle.
    @Test func theAnnotationGoes() throws {
        let world = try serving()
        try world.apply("b")
        world.becomeReady(2)
        world.takeRoutes()
        #expect(world.nextStep() && world.traffic.isRollingOut)
        try world.apply("b", rollout: nil)
        #expect(world.main == "2=100" && world.store.nextRolloutStep == nil)
    }

    /// A pinned share stays what it is, also if it is the rolling revision's; a tag's host moves at its own pace.
    @Test func pinnedSharesAndTags() throws {
        let targets = [
            TrafficTarget(percent: 40, tag: "pinned", revisionName: "svc-00001"), TrafficTarget(percent: 60),
            TrafficTarget(percent: 0, tag: "new"),
        ]
        let world = try serving(targets)
        #expect(world.main == "1=100")
        try world.apply("b", targets)
        world.becomeReady(2)
        #expect(world.main == "1=99 2=1" && World.text(world.traffic.tags["new"]) == "1=99 2=1")
        world.takeRoutes()
        #expect(world.nextStep())
        #expect(world.main == "1=92 2=8" && World.text(world.traffic.tags["new"]) == "1=88 2=12")
        #expect(World.text(world.traffic.tags["pinned"]) == "1=100")
        while world.nextStep() {}
        #expect(world.main == "1=40 2=60" && World.text(world.traffic.tags["new"]) == "2=100")
        #expect(world.traffic.referenced == ["svc-00001", "svc-00002"])
    }

    /// A host with no share of the main one rolls out for its tag alone.
    @Test func onlyATag() throws {
        let targets = [
            TrafficTarget(percent: 100, revisionName: "svc-00001"), TrafficTarget(percent: 0, tag: "new"),
        ]
        let world = try serving(targets)
        try world.apply("b", targets)
        world.becomeReady(2)
        #expect(world.main == "1=100" && World.text(world.traffic.tags["new"]) == "1=99 2=1")
        #expect(world.traffic.isRollingOut)
    }

    /// One that fails on the way keeps what it has, and goes on when it is well; a newer one takes over from there.
    @Test func aFailureHolds() throws {
        let world = try serving()
        try world.apply("b")
        world.becomeReady(2)
        world.takeRoutes()
        #expect(world.nextStep() && world.main == "1=88 2=12")
        world.failed = ["svc-00002"]
        #expect(world.nextStep() && world.main == "1=88 2=12" && world.traffic.isRollingOut)
        #expect(world.traffic.problems.map(\.message) == ["Revision \"svc-00002\" failed to become ready."])
        #expect(world.store.nextRolloutStep == nil, "no timer goes off for nothing")
        world.failed = []
        world.resolve()
        #expect(world.main == "1=77 2=23" && world.store.nextRolloutStep != nil)
        world.failed = ["svc-00002"]
        try world.apply("c")
        #expect(world.main == "1=77 2=23")
        world.becomeReady(3)
        #expect(world.main == "1=77 2=22 3=1" && world.traffic.isCurrent)
        world.takeRoutes()
        #expect(world.nextStep() && world.main == "1=77 2=11 3=12")
        #expect(world.nextStep() && world.main == "1=77 3=23" && world.traffic.released == ["svc-00002"])
        while world.nextStep() {}
        #expect(world.main == "3=100")
    }

    /// What is pinned needs no rollout to end: a way back that works while the newest fails.
    @Test func pinningEndsIt() throws {
        let world = try serving()
        try world.apply("b")
        world.becomeReady(2)
        world.takeRoutes()
        #expect(world.nextStep())
        world.failed = ["svc-00002"]
        try world.apply("b", [TrafficTarget(percent: 100, revisionName: "svc-00001")])
        #expect(world.main == "1=100" && world.traffic.isCurrent && !world.traffic.isRollingOut)
        #expect(world.traffic.released == ["svc-00002"] && world.store.nextRolloutStep == nil)
    }

    /// Revisions with a share are not collected, however many there are.
    @Test func sharesKeepRevisions() throws {
        let world = try serving(rollout: "1000s")
        world.store.maxReserveRevisions = 1
        for (index, steps) in zip(2..., [20, 5, 2, 0]) {
            try world.apply("image\(index)", rollout: "1000s")
            world.becomeReady(index)
            world.takeRoutes()
            for _ in 0..<steps { #expect(world.nextStep()) }
        }
        #expect(world.main == "1=79 2=15 3=3 4=2 5=1")
        #expect(world.store.revisions(of: Self.name).count == 5)
        while world.nextStep() {}
        try world.apply("image6", rollout: "1000s")
        #expect(world.store.revisions(of: Self.name).count < 5, "without a share they are")
    }
}

/// `serving.knative.dev/rollout-duration` in a file.
@Suite struct RolloutAnnotationTests {
    static let key = "metadata.annotations.serving.knative.dev/"

    @Test(arguments: [
        ("rollout-duration: 10s", 10), ("rollout-duration: 2m", 120), ("rollout-duration: \"0\"", 0),
        ("rollout-duration: \"\"", 0), ("rolloutDuration: 1h0m5s", 3_605), ("rollout-duration: 3000ms", 3),
    ])
    func accepted(text: String, seconds: Int) throws {
        let result = load(manifest("annotations: {serving.knative.dev/\(text)}", at: .metadata))
        #expect(result.diagnostics == [])
        #expect(try #require(result.services.first).rolloutSeconds == seconds)
    }

    @Test(arguments: [
        ("rollout-duration: 10", "invalid value: 10: \(key)rollout-duration"),
        ("rollout-duration: ten", "invalid value: ten: \(key)rollout-duration; write a duration such as \"90s\""),
        ("rollout-duration: 100ms", "rollout-duration=100ms is not at second precision: \(key)rollout-duration"),
        ("rolloutDuration: -1s", "rollout-duration=-1s must be positive: \(key)rolloutDuration"),
    ])
    func refused(text: String, problem: String) {
        let quoted = text.replacing(": ", with: ": \"") + "\""
        let found = messages(manifest("annotations: {serving.knative.dev/\(quoted)}", at: .metadata))
        #expect(
            found.count == 1 && found[0].hasPrefix("f.yaml:5:") && found[0].contains("error: " + problem), "\(found)")
    }
}
