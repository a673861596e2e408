import Knative
import Testing

@testable import Ingress

/// What an ingress tells of the Ingresses it serves.
@Suite struct StatusTests {
    private func made(_ name: String, _ generation: Int) -> ClusterIngress {
        var made = ingress(name, hosts: ["\(name).b"], [path([split("one")])])
        made.generation = generation
        return made
    }

    private func told(_ ingresses: [ClusterIngress]) -> [String] {
        ingresses.map { ingress in
            let status = ingress.status
            #expect(status?.isReady == true && status?.observedGeneration == ingress.generation && ingress.rules == [])
            return "\(ingress.name.name) \(ingress.generation)"
        }
    }

    /// Told once, when the last worker uses it; a newer generation takes the place of one that waits.
    @Test func whenAllWorkersUseIt() {
        var statuses = IngressStatuses(workers: 2)
        statuses.published(made("i", 1), in: 1)
        statuses.published(made("none", 0), in: 1)
        #expect(statuses.taken(by: 0, 1).isEmpty)
        #expect(told(statuses.taken(by: 1, 1)) == ["i 1"])
        statuses.published(made("i", 1), in: 2)
        statuses.published(made("j", 7), in: 2)
        #expect(statuses.taken(by: 0, 2).isEmpty)
        statuses.published(made("i", 2), in: 3)
        statuses.published(made("j", 7), in: 3)
        #expect(told(statuses.taken(by: 1, 2)) == ["j 7"])
        #expect(statuses.taken(by: 1, 3).isEmpty)
        statuses.published(made("i", 3), in: 4)
        #expect(statuses.taken(by: 0, 3).isEmpty, "generation 2 is of no interest any more")
        #expect(statuses.taken(by: 0, 4).isEmpty)
        #expect(told(statuses.taken(by: 1, 4)) == ["i 3"])
    }

    @Test func whatHasGoneIsForgotten() {
        var statuses = IngressStatuses(workers: 1)
        statuses.published(made("i", 1), in: 1)
        statuses.forget(named("i"))
        #expect(statuses.taken(by: 0, 1).isEmpty)
        statuses.published(made("i", 1), in: 2)
        #expect(told(statuses.taken(by: 0, 2)) == ["i 1"], "it came back")
    }

    /// With real workers: each generation is told when it is served, and what it wrote itself is no change.
    @Test(arguments: [true, false]) func ofAController(writes: Bool) throws {
        var options = IngressOptions()
        options.writesStatus = writes
        let world = try World(options)
        defer { world.end() }
        let pod = try PlayedPod("one", loop: world.loop)
        world.tell(.applied(.endpoints(endpoints("one", [pod.address]))), .applied(.ingress(made("i", 1))), .synced)
        try world.until("told") { !writes || world.source.written.count == 1 }
        #expect(try world.get("i.b").pod == "one")
        let generation = world.control.generation
        if let written = world.source.written.first {
            var back = made("i", 1)
            back.status = written.status
            world.tell(.applied(.ingress(back)))
        }
        #expect(world.control.generation == generation, "a status is no change of the routes")
        world.tell(.applied(.ingress(made("i", 2))), .applied(.ingress(made("j", 1))))
        try world.until("told") { !writes || world.source.written.count == 3 }
        for _ in 0..<10 { world.turn() }
        #expect(told(world.source.written) == (writes ? ["i 1", "i 2", "j 1"] : []))
    }
}
