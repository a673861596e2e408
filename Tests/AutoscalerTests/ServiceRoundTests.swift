import Knative
import Primitives
import Scaling
import Testing

@testable import Autoscaler

/// Asking through the private Service: which pods count, when it ends, and when it is done: spec/autoscaling 4.1.
@Suite struct ServiceRoundTests {
    private func stat(_ value: Double) -> RequestStat { RequestStat(averageConcurrency: value, requestCount: value) }

    private func answer(_ pod: String, uptime: Double = 60, _ value: Double = 1) -> ScrapeAnswer {
        ScrapeAnswer(podName: pod, uptimeSeconds: uptime, stat: stat(value))
    }

    private func value(_ outcome: ServiceRound.Outcome) -> Double? {
        guard case .complete(let stat) = outcome else { return nil }
        return stat.averageConcurrency
    }

    /// Sample sizes as Knative's tables have them; the mean of the sample stands for all pods.
    @Test func asManyAskAsTheSample() {
        let sizes = [(1, 1), (2, 2), (3, 3), (4, 4), (5, 4), (8, 6), (10, 7), (20, 9), (100, 14), (1_000, 16)]
        for (pods, sample) in sizes {
            var round = ServiceRound(podCount: pods, window: 60)
            #expect(round.sampleSize == sample)
            for asker in 0..<sample - 1 { #expect(round.answered(answer("p\(asker)", 3), asker: asker) == .waiting) }
            let sum = value(round.answered(answer("last", 3), asker: sample - 1)) ?? -1
            #expect(abs(sum - 3 * Double(pods)) < 1e-9, "\(pods): \(sum)")
            #expect(round.answered(answer("late"), asker: 0) == .over && round.failed(.timedOut, asker: 0) == .over)
        }
        #expect(ServiceRound(podCount: 0, window: 60).sampleSize == 0)
    }

    /// The same pod again is asked past, ten questions at most.
    @Test func podsMustBeDistinct() {
        var round = ServiceRound(podCount: 2, window: 60)
        #expect(round.answered(answer("a"), asker: 0) == .waiting)
        for _ in 1..<ServiceRound.triesLimit { #expect(round.answered(answer("a"), asker: 1) == .askAgain) }
        #expect(round.answered(answer("a"), asker: 1) == .failed(.repeated))
        var lucky = ServiceRound(podCount: 2, window: 60)
        #expect(lucky.answered(answer("a", 1), asker: 0) == .waiting)
        for _ in 1..<ServiceRound.triesLimit { #expect(lucky.answered(answer("a"), asker: 1) == .askAgain) }
        #expect(value(lucky.answered(answer("b", 5), asker: 1)) == 6)
    }

    /// Ten failures of one asker end the round without a sample, whatever the others met.
    @Test func failuresAreTriedAgain() {
        var round = ServiceRound(podCount: 2, window: 60)
        for _ in 1..<ServiceRound.triesLimit { #expect(round.failed(.status(503), asker: 0) == .askAgain) }
        #expect(round.failed(.timedOut, asker: 0) == .waiting)
        #expect(round.answered(answer("a"), asker: 1) == .failed(.timedOut))
    }

    /// Young pods stand in for old ones that are not met, and only then.
    @Test func youngPodsAreFiller() {
        var round = ServiceRound(podCount: 3, window: 60)
        #expect(round.answered(answer("y1", uptime: 59.9, 100), asker: 0) == .askAgain)
        #expect(round.answered(answer("y2", uptime: 0, 200), asker: 0) == .askAgain)
        #expect(round.answered(answer("o1", 1), asker: 0) == .waiting)
        #expect(round.answered(answer("o2", 2), asker: 1) == .waiting)
        #expect(value(round.answered(answer("o3", 3), asker: 2)) == 6, "three old ones: no young one counts")
        var mixed = ServiceRound(podCount: 3, window: 60)
        #expect(mixed.answered(answer("y1", uptime: 1, 100), asker: 0) == .askAgain)
        #expect(mixed.answered(answer("y2", uptime: 1, 200), asker: 1) == .askAgain)
        #expect(mixed.answered(answer("o1", 1), asker: 2) == .waiting)
        // Everybody there is has been met: the others ask in vain to their end, and that is no failure.
        for asker in 0...1 {
            for _ in 2..<ServiceRound.triesLimit { #expect(mixed.answered(answer("o1"), asker: asker) == .askAgain) }
            let outcome = mixed.answered(answer("y1", uptime: 1), asker: asker)
            #expect(asker == 0 ? outcome == .waiting : value(outcome) == 301)
        }
        // Without room for one more young pod its asker is done.
        var full = ServiceRound(podCount: 1, window: 60)
        #expect(full.answered(answer("y1", uptime: 1, 4), asker: 0) == .askAgain)
        #expect(value(full.answered(answer("y2", uptime: 1, 5), asker: 0)) == 4)
        // An uptime that is no number is young.
        var strange = ServiceRound(podCount: 1, window: 60)
        #expect(strange.answered(answer("n", uptime: .nan), asker: 0) == .askAgain)
    }

    /// Any order of answers ends within the limit on questions, and a sample never counts a pod twice.
    @Test func seededRounds() {
        var complete = 0
        for seed in UInt64(0)..<500 {
            var random = SeededRandom(seed: seed)
            let pods = Int.random(in: 1...12, using: &random)
            let meetable = Int.random(in: 1...pods, using: &random)
            var round = ServiceRound(podCount: pods, window: 60)
            var asking = Array(0..<round.sampleSize), questions = 0, end: ServiceRound.Outcome?
            while let asker = asking.randomElement(using: &random) {
                questions += 1
                let outcome: ServiceRound.Outcome
                if Int.random(in: 0..<8, using: &random) == 0 {
                    outcome = round.failed(.status(503), asker: asker)
                } else {
                    // Each pod reports a power of two: what is counted twice shows.
                    let pod = Int.random(in: 0..<meetable, using: &random)
                    outcome = round.answered(
                        answer("p\(pod)", uptime: pod % 3 == 0 ? 1 : 99, Double(1 << pod)), asker: asker)
                }
                switch outcome {
                case .askAgain: continue
                case .waiting: asking.removeAll { $0 == asker }
                case .complete, .failed, .over:
                    end = outcome
                    asking = []
                }
            }
            #expect(questions <= round.sampleSize * ServiceRound.triesLimit, "seed \(seed)")
            guard let end else {
                Issue.record("seed \(seed) has no end")
                continue
            }
            guard let sum = value(end) else {
                guard case .failed = end else { Issue.record("seed \(seed): \(end)"); continue }
                continue
            }
            complete += 1
            let counted = (sum * Double(round.sampleSize) / Double(pods)).rounded()
            #expect(Int(counted).nonzeroBitCount == round.sampleSize, "seed \(seed): \(counted)")
        }
        #expect((100...450).contains(complete), "\(complete) of 500 rounds gave a sample")
    }

    // MARK: When it is done

    /// A revision with three pods in a cluster whose mesh answers as `mesh` says, for 20 s.
    private func world(
        _ mode: MeshMode, addressable: Bool = false, hasService: Bool = true,
        _ mesh: @escaping (ScrapeQuestion) -> Result<ScrapeAnswer, ScrapeFailure>
    ) -> World {
        let world = World(["min-scale": "3"])
        world.options.meshMode = mode
        world.options.isPodAddressable = addressable
        world.mesh = mesh
        world.start()
        var service = ClusterService(name: World.name.with(suffix: "-private"))
        service.clusterIP = 0x0A60_0001
        if hasService { world.source.tell(.applied(.service(service))) }
        world.run(to: 20)
        return world
    }

    private static let service = ScrapeQuestion.service(World.name.with(suffix: "-private"), clusterIP: 0x0A60_0001)

    /// A service that names its pods in turn, and pods that only a mesh reaches.
    private func meshed() -> (ScrapeQuestion) -> Result<ScrapeAnswer, ScrapeFailure> {
        var turn = 0
        return { question in
            guard question == Self.service else { return .failure(.status(turn % 2 == 0 ? 502 : 503)) }
            turn += 1
            return .success(self.answer("pod-\(turn % 3)", uptime: 99, 7))
        }
    }

    @Test func enabledAsksOnlyTheService() {
        let world = world(.enabled, meshed())
        #expect(world.questions.count > 30 && world.questions.allSatisfy { $0 == Self.service })
        #expect(world.engine?.scrapes.complete ?? 0 > 10 && world.engine?.scrapes.failed == 0)
        #expect(world.engine?.revisions[World.name]?.core.record?.averages?.stable == 21)
    }

    @Test func disabledAsksOnlyPods() {
        let world = world(.disabled, meshed())
        #expect(!world.questions.isEmpty && !world.questions.contains(Self.service))
        #expect(world.engine?.scrapes.complete == 0 && world.engine?.scrapes.overService == 0)
    }

    /// Pods first; when all of them have failed like behind a mesh, the service, from then on.
    @Test func autoFallsBackAndRemembers() throws {
        let world = world(.auto, meshed())
        let first = try #require(world.questions.firstIndex(of: Self.service))
        #expect(first >= 1 && first <= 3, "\(world.questions.prefix(8))")
        #expect(world.questions[first...].allSatisfy { $0 == Self.service })
        #expect(world.engine?.scrapes.complete ?? 0 > 10 && world.engine?.scrapes.failed == 0)
        #expect(world.engine?.revisions[World.name]?.core.record?.averages?.stable == 21)
    }

    /// What is no mesh's doing does not lead to the service: another status, no connection, one pod that answers.
    @Test(arguments: [ScrapeFailure.status(500), .status(404), .unreachable("refused"), .timedOut])
    func autoStaysWithPods(failure: ScrapeFailure) {
        let world = world(.auto) { $0 == Self.service ? .success(self.answer("p")) : .failure(failure) }
        #expect(!world.questions.isEmpty && !world.questions.contains(Self.service))
        #expect(world.engine?.scrapes.failed ?? 0 > 5)
    }

    @Test func aServiceThatFailsIsNotRemembered() {
        let world = world(.auto) { _ in .failure(.status(503)) }
        let pods = world.questions.count { $0 != Self.service }
        #expect(pods > 20 && world.questions.contains(Self.service), "each second pods are asked first")
        #expect(world.engine?.scrapes.complete == 0)
    }

    /// Without an address of the service nothing is asked in its place, and it is found out anew each second.
    @Test func noService() {
        let world = world(.auto, hasService: false, meshed())
        #expect(!world.questions.isEmpty && !world.questions.contains(Self.service))
        #expect(world.engine?.revisions[World.name]?.knownFailure == "noService")
        world.source.tell(
            .applied(.service(ClusterService(name: World.name.with(suffix: "-private"), clusterIP: 0x0A60_0001))))
        world.run(to: 30)
        #expect(world.questions.last == Self.service)
        world.source.tell(.removed(.service, World.name.with(suffix: "-private")))
        world.run(to: 35)
        #expect(world.engine?.revisions[World.name]?.knownFailure == "noService")
    }

    /// With addressable pods the mesh is told whose pod it is, and nothing falls back.
    @Test func addressablePods() {
        let world = world(.auto, addressable: true, meshed())
        let service = World.name.with(suffix: "-private")
        #expect(!world.questions.isEmpty)
        for question in world.questions {
            guard case .podOfMesh(_, service) = question else {
                Issue.record("\(question)")
                return
            }
        }
        #expect(world.engine?.scrapes.overService == 0)
    }
}
