import Knative
import Primitives
import Scaling
import Testing

@testable import Autoscaler

/// An autoscaler that takes over what another one left: windows are lost, pods are not.
@Suite struct RestartTests {
    @Test func podsStayForAWindow() {
        let world = World()
        world.load = { _ in 300 }
        world.start()
        world.run(to: 200)
        #expect(world.history.last?.replicas == 5)
        world.kill()
        world.clock.advance(to: 205)
        let writes = world.history.count
        world.load = { _ in 20 }
        world.start()
        world.run(to: 264)
        #expect(world.history.count == writes, "in panic since the start: \(world.history)")
        world.run(to: 400)
        #expect(world.history.last?.replicas == 1)
    }

    @Test func loadThatGrewMeanwhileIsSeen() {
        let world = World()
        world.load = { _ in 300 }
        world.start()
        world.run(to: 200)
        world.kill()
        world.load = { _ in 1_000 }
        world.clock.advance(to: 203)
        world.start()
        world.run(to: 215)
        #expect(world.history.last?.replicas == 15)
    }

    @Test func aRevisionAtZeroStaysThereAndIsWokenAtOnce() {
        let world = World()
        world.start()
        world.run(to: 100)
        world.kill()
        let writes = world.source.written.count
        world.start()
        world.run(to: 120)
        #expect(world.source.written.count == writes, "\(world.source.written.dropFirst(writes))")
        #expect(world.engine?.awakeCount == 0)
        world.push(RequestStat(averageConcurrency: 1, requestCount: 1))
        #expect(world.history.last?.replicas == 1 && world.history.last?.seconds == world.clock.seconds)
    }

    /// Killed in the middle of a start: the pods that were asked for are still wanted.
    @Test func aStartUnderWayGoesOn() {
        let world = World()
        world.start()
        world.run(to: 100)
        world.startSeconds = 20
        world.load = { _ in 300 }
        world.run(to: 104)
        let wanted = world.history.last?.replicas
        #expect(wanted ?? 0 >= 1)
        world.kill()
        world.clock.advance(to: 106)
        let writes = world.history.count
        world.start()
        world.run(to: 108)
        #expect(world.history.dropFirst(writes).allSatisfy { $0.replicas >= wanted ?? 0 }, "\(world.history)")
        world.run(to: 140)
        #expect(world.history.last?.replicas == 5)
    }

    /// In the grace period the status says 0 while the pod is there: zero is still to be written.
    @Test func inTheGracePeriod() {
        let world = World(["target-burst-capacity": "0"])
        world.start()
        world.run(to: 75)
        #expect(world.source.statuses.last?.desiredScale == 0 && world.history.map(\.replicas) == [1])
        world.kill()
        world.clock.advance(to: 78)
        world.start()
        world.run(to: 140)
        #expect(world.history.map(\.replicas) == [1, 0])
    }

    /// Pods that cannot be asked after a restart: nothing is known, so nothing goes, and requests pass activators.
    @Test func withoutDataNothingGoes() {
        let world = World()
        world.load = { _ in 300 }
        world.start()
        world.run(to: 200)
        world.kill()
        let writes = world.history.count
        world.podsAnswer = false
        world.load = { _ in 0 }
        world.start()
        world.run(to: 400)
        #expect(world.history.count == writes)
        #expect(world.modes.last?.isProxy == true)
    }

    @Test func aSecondRestartRightAfterTheFirst() {
        let world = World()
        world.load = { _ in 200 }
        world.start()
        world.run(to: 200)
        let before = world.history.last?.replicas
        for second in stride(from: 201.0, to: 230, by: 1) {
            world.kill()
            world.clock.advance(to: second)
            world.start()
        }
        world.run(to: 260)
        #expect(world.history.last?.replicas == before)
    }
}
