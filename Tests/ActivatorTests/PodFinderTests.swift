import Balancing
import Primitives
import Testing

@testable import Activator

/// A finder whose steps can stand in an expectation.
final class Finder {
    private var core: PodFinder

    init(_ settings: PodFinder.Settings) { core = PodFinder(settings) }

    var deadline: Instant { core.deadline }

    func list(
        _ pods: [(address: EndpointAddress, isReady: Bool)], cluster: EndpointAddress?, now: Instant
    ) -> [PodFinder.Action] { core.list(pods, cluster: cluster, now: now) }

    func probed(_ question: PodFinder.Question, _ outcome: PodFinder.Outcome, now: Instant) -> [PodFinder.Action] {
        core.probed(question, outcome, now: now)
    }

    func suspect(_ address: EndpointAddress, now: Instant) -> [PodFinder.Action] { core.suspect(address, now: now) }
    func doubt(_ address: EndpointAddress, now: Instant) -> [PodFinder.Action] { core.doubt(address, now: now) }
    func use(_ slice: PodSlice) { core.slice = slice }
    func timeout(now: Instant) -> [PodFinder.Action] { core.timeout(now: now) }
}

/// The rules of spec/dataplane 3.6, one by one.
@Suite struct PodFinderTests {
    typealias Action = PodFinder.Action

    static func pod(_ number: UInt32) -> EndpointAddress { EndpointAddress(ipv4: 0x0A00_0000 | number, port: 8012) }
    static let cluster = EndpointAddress(ipv4: 0x0A60_0001, port: 80)

    static func at(_ milliseconds: UInt64) -> Instant {
        Instant(nanoseconds: 1_000_000_000).adding(milliseconds: milliseconds)
    }

    private func question(_ actions: [Action], _ address: EndpointAddress) throws -> PodFinder.Question {
        try #require(
            actions.compactMap { action -> PodFinder.Question? in
                guard case .ask(let question) = action, question.address == address else { return nil }
                return question
            }.last)
    }

    private func asked(_ actions: [Action]) -> [EndpointAddress] {
        actions.compactMap { if case .ask(let question) = $0 { question.address } else { nil } }
    }

    private func updates(_ actions: [Action]) -> [RevisionBackends] {
        actions.compactMap { if case .update(let backends) = $0 { backends } else { nil } }
    }

    private func finder(_ change: (inout PodFinder.Settings) -> Void = { _ in }) -> Finder {
        var settings = PodFinder.Settings()
        change(&settings)
        return Finder(settings)
    }

    /// Asked the moment it is listed; used the moment it answers, ready or not; never asked again while listed.
    @Test(arguments: [true, false]) func askedAndUsed(isReady: Bool) throws {
        let finder = finder()
        var actions = finder.list([(Self.pod(1), isReady)], cluster: nil, now: Self.at(0))
        #expect(asked(actions) == [Self.pod(1)] && updates(actions).isEmpty)
        #expect(finder.deadline == .distantFuture, "the question is held open")
        actions = finder.probed(try question(actions, Self.pod(1)), .ready, now: Self.at(3))
        #expect(actions == [.update(.pods([Self.pod(1)]))])
        #expect(finder.list([(Self.pod(1), true)], cluster: nil, now: Self.at(4)).isEmpty)
        #expect(finder.timeout(now: Self.at(100_000)).isEmpty && finder.deadline == .distantFuture)
    }

    /// Without the optimisation a pod that is not ready is left alone.
    @Test func notEarly() throws {
        let finder = finder { $0.allowsEarlyPods = false }
        #expect(finder.list([(Self.pod(1), false)], cluster: nil, now: Self.at(0)).isEmpty)
        var actions = finder.list([(Self.pod(1), true)], cluster: nil, now: Self.at(5))
        #expect(asked(actions) == [Self.pod(1)])
        actions = finder.probed(try question(actions, Self.pod(1)), .ready, now: Self.at(6))
        #expect(updates(actions) == [.pods([Self.pod(1)])])
        actions = finder.list([(Self.pod(1), false)], cluster: nil, now: Self.at(7))
        #expect(actions == [.update(.pods([]))])
    }

    /// 1, 2, 4 … 50 ms, then 50, and 200 when it is no longer young.
    @Test func pauses() throws {
        let finder = finder()
        var now = Self.at(0)
        var actions = finder.list([(Self.pod(1), false)], cluster: nil, now: now)
        var pauses: [UInt64] = []
        while pauses.count < 250 {
            #expect(finder.probed(try question(actions, Self.pod(1)), .unready, now: now).isEmpty)
            pauses.append(finder.deadline.milliseconds(since: now))
            #expect(finder.timeout(now: Instant(nanoseconds: finder.deadline.nanoseconds - 1)).isEmpty)
            now = finder.deadline
            actions = finder.timeout(now: now)
        }
        #expect(pauses.prefix(8) == [1, 2, 4, 8, 16, 32, 50, 50])
        #expect(pauses.last == 200 && pauses.count { $0 == 50 } > 150)
        // When Kubernetes says that it is ready, it is asked at once.
        _ = finder.probed(try question(actions, Self.pod(1)), .unready, now: now)
        #expect(asked(finder.list([(Self.pod(1), true)], cluster: nil, now: now)) == [Self.pod(1)])
    }

    /// Ready, then not ready: out of use at once, and asked again.
    @Test func fallen() throws {
        let finder = finder()
        var actions = finder.list([(Self.pod(1), true), (Self.pod(2), true)], cluster: nil, now: Self.at(0))
        let first = try question(actions, Self.pod(1)), second = try question(actions, Self.pod(2))
        _ = finder.probed(first, .ready, now: Self.at(1))
        actions = finder.probed(second, .ready, now: Self.at(1))
        #expect(updates(actions) == [.pods([Self.pod(1), Self.pod(2)])])
        actions = finder.list([(Self.pod(1), false), (Self.pod(2), true)], cluster: nil, now: Self.at(2))
        #expect(updates(actions) == [.pods([Self.pod(2)])] && asked(actions) == [Self.pod(1)])
        #expect(finder.probed(first, .ready, now: Self.at(3)).isEmpty, "an old answer counts for nothing")
        actions = finder.probed(try question(actions, Self.pod(1)), .ready, now: Self.at(4))
        #expect(updates(actions) == [.pods([Self.pod(1), Self.pod(2)])])
    }

    @Test func delisted() throws {
        let finder = finder()
        let actions = finder.list([(Self.pod(1), true), (Self.pod(2), true)], cluster: nil, now: Self.at(0))
        let first = try question(actions, Self.pod(1)), second = try question(actions, Self.pod(2))
        _ = finder.probed(first, .ready, now: Self.at(1))
        #expect(finder.list([], cluster: nil, now: Self.at(2)) == [.cancel(second), .update(.pods([]))])
        #expect(finder.probed(second, .ready, now: Self.at(3)).isEmpty)
        #expect(finder.suspect(Self.pod(1), now: Self.at(3)).isEmpty)
    }

    /// A refused connection: it stays listed (the gate has suspended it), is asked at once, and resumes.
    @Test func suspected() throws {
        let finder = finder()
        var actions = finder.list([(Self.pod(1), true)], cluster: Self.cluster, now: Self.at(0))
        _ = finder.probed(try question(actions, Self.pod(1)), .ready, now: Self.at(1))
        actions = finder.suspect(Self.pod(1), now: Self.at(2))
        #expect(asked(actions) == [Self.pod(1)] && updates(actions).isEmpty)
        #expect(finder.suspect(Self.pod(1), now: Self.at(2)).isEmpty, "once")
        #expect(finder.probed(try question(actions, Self.pod(1)), .unreachable, now: Self.at(3)).isEmpty)
        actions = finder.timeout(now: Self.at(4))
        actions = finder.probed(try question(actions, Self.pod(1)), .ready, now: Self.at(5))
        #expect(actions == [.resume(Self.pod(1))])
    }

    // MARK: Meshes

    /// All pods fail as behind a mesh: the service's address is asked and used; when a pod answers, the pods are.
    @Test func fallBackAndReturn() throws {
        let finder = finder()
        var actions = finder.list([(Self.pod(1), true), (Self.pod(2), true)], cluster: Self.cluster, now: Self.at(0))
        let second = try question(actions, Self.pod(2))
        #expect(asked(finder.probed(try question(actions, Self.pod(1)), .unreachable, now: Self.at(1))).isEmpty)
        actions = finder.probed(second, .unreachable, now: Self.at(2))
        #expect(asked(actions) == [Self.cluster])
        actions = finder.probed(try question(actions, Self.cluster), .ready, now: Self.at(3))
        #expect(updates(actions) == [.cluster(Self.cluster, readyPods: 2)])
        actions = finder.list([(Self.pod(1), true), (Self.pod(2), false)], cluster: Self.cluster, now: Self.at(4))
        #expect(updates(actions) == [.cluster(Self.cluster, readyPods: 1)])
        actions = finder.timeout(now: Self.at(100))
        actions += finder.probed(try question(actions, Self.pod(1)), .unreachable, now: Self.at(101))
        #expect(finder.deadline.milliseconds(since: Self.at(0)) <= 5_101)
        actions = finder.timeout(now: Self.at(6_000))
        actions = finder.probed(try question(actions, Self.pod(1)), .ready, now: Self.at(6_001))
        #expect(updates(actions) == [.pods([Self.pod(1)])])
    }

    @Test func noFallBack() throws {
        // An answer that no mesh gives.
        var finder = finder()
        var actions = finder.list([(Self.pod(1), true)], cluster: Self.cluster, now: Self.at(0))
        #expect(asked(finder.probed(try question(actions, Self.pod(1)), .unready, now: Self.at(1))).isEmpty)
        // Nobody is ready: the service leads nowhere.
        finder = self.finder()
        actions = finder.list([(Self.pod(1), false)], cluster: Self.cluster, now: Self.at(0))
        #expect(asked(finder.probed(try question(actions, Self.pod(1)), .unreachable, now: Self.at(1))).isEmpty)
        // It is said that there is no mesh.
        finder = self.finder { $0.mesh = .disabled }
        actions = finder.list([(Self.pod(1), false), (Self.pod(2), true)], cluster: Self.cluster, now: Self.at(0))
        #expect(updates(actions) == [.pods([Self.pod(2)])], "ready pods need no question")
        #expect(asked(actions) == [Self.pod(1)])
        actions = finder.list([(Self.pod(1), true), (Self.pod(2), true)], cluster: Self.cluster, now: Self.at(0))
        #expect(updates(actions) == [.pods([Self.pod(1), Self.pod(2)])])
    }

    /// With a mesh only the service's address is asked.
    @Test func onlyTheService() throws {
        let finder = finder { $0.mesh = .enabled }
        var actions = finder.list([(Self.pod(1), true)], cluster: Self.cluster, now: Self.at(0))
        #expect(asked(actions) == [Self.cluster])
        #expect(finder.probed(try question(actions, Self.cluster), .unreachable, now: Self.at(1)).isEmpty)
        actions = finder.timeout(now: Self.at(201))
        actions = finder.probed(try question(actions, Self.cluster), .ready, now: Self.at(202))
        #expect(updates(actions) == [.cluster(Self.cluster, readyPods: 1)])
        actions = finder.suspect(Self.cluster, now: Self.at(203))
        #expect(updates(actions) == [.pods([])] && asked(actions) == [Self.cluster])
        #expect(updates(finder.list([], cluster: Self.cluster, now: Self.at(204))).isEmpty)
    }
}
