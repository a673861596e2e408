import Balancing
import EventLoop
import Knative
import Primitives
import Testing

@testable import Ingress

/// Objects in, requests out: a controller with real workers.
@Suite struct ControllerTests {
    private func running(
        _ options: IngressOptions = IngressOptions(), endpointWait: UInt64 = 1_000, _ body: (World) throws -> Void
    ) throws {
        let world = try World(options, endpointWait: endpointWait)
        defer { world.end() }
        try body(world)
    }

    @Test func requestsReachTheirPods() throws {
        try running { world in
            let (one, two) = (try PlayedPod("one", loop: world.loop), try PlayedPod("two", loop: world.loop))
            let revision = ["Knative-Serving-Revision": "one-00001", "Knative-Serving-Namespace": "default"]
            world.source.tell([
                .applied(
                    .ingress(
                        ingress(
                            "i", hosts: ["a.b"],
                            [
                                path([split("two")], at: "/two"), path([split("one", fields: revision)]),
                            ]))),
                .applied(.endpoints(endpoints("one", [one.address]))),
                .applied(.endpoints(endpoints("two", [two.address]))),
            ])
            world.turn()
            #expect(world.control.generation == 0, "nothing is published before all has been told")
            world.tell(.synced)
            #expect(world.control.generation == 1)
            let answer = try world.get("a.b", "/", "Knative-Serving-Revision: other\r\n")
            #expect(answer.status == 200 && answer.pod == "one")
            #expect(answer.body.contains("Knative-Serving-Revision: one-00001\r\n") && !answer.body.contains("other"))
            #expect(try world.get("a.b", "/two/x").pod == "two")
            #expect(try world.get("b.a").status == 404)
        }
    }

    /// All that comes in one turn is one publication; what changes nothing is none; endpoints alone need none.
    @Test func publications() throws {
        try running { world in
            let pod = try PlayedPod("one", loop: world.loop)
            world.tell(.synced)
            let first = world.control.generation
            world.tell(
                .applied(.ingress(ingress("i", hosts: ["a.b"], [path([split("one")])]))),
                .applied(.ingress(ingress("j", hosts: ["c.d"], [path([split("one")])]))),
                .applied(.endpoints(endpoints("one", [pod.address]))))
            #expect(world.control.generation == first + 1)
            #expect(world.control.backends.count == 1)
            world.tell(
                .applied(.ingress(ingress("i", hosts: ["a.b"], [path([split("one")])]))),
                .applied(.endpoints(endpoints("one", [pod.address, .loopback(port: 9)]))),
                .applied(.endpoints(endpoints("stranger", [pod.address]))), .removed(.ingress, named("nobody")))
            #expect(world.control.generation == first + 1)
            world.tell(.removed(.ingress, named("i")))
            #expect(world.control.generation == first + 2)
            #expect(try world.get("a.b").status == 404 && world.get("c.d").pod == "one")
        }
    }

    /// Of two with one host the older has it; the younger one gets it when the older one goes.
    @Test func clashes() throws {
        try running { world in
            let (one, two) = (try PlayedPod("one", loop: world.loop), try PlayedPod("two", loop: world.loop))
            world.tell(
                .applied(.endpoints(endpoints("one", [one.address]))),
                .applied(.endpoints(endpoints("two", [two.address]))),
                .applied(.ingress(ingress("young", hosts: ["a.b"], [path([split("two")])], createdAt: 20))), .synced)
            #expect(try world.get("a.b").pod == "two")
            world.tell(.applied(.ingress(ingress("old", hosts: ["a.b"], [path([split("one")])], createdAt: 10))))
            #expect(try world.get("a.b").pod == "one")
            world.tell(.removed(.ingress, named("old")))
            #expect(try world.get("a.b").pod == "two")
        }
    }

    @Test func visibility() throws {
        try running { world in
            let pod = try PlayedPod("one", loop: world.loop)
            let local = ingress(
                "i", hosts: ["a.default.svc.cluster.local"], [path([split("one")])], isClusterLocal: true)
            world.tell(
                .applied(.ingress(local)), .applied(.ingress(ingress("j", hosts: ["a.b"], [path([split("one")])]))),
                .applied(.endpoints(endpoints("one", [pod.address]))), .synced)
            for host in ["a.default.svc.cluster.local", "a.default.svc", "a.default"] {
                #expect(try world.get(host).status == 404)
                #expect(try world.get(host, listener: 1).pod == "one")
            }
            #expect(try world.get("a.b").pod == "one" && world.get("a.b", listener: 1).pod == "one")
            #expect(world.control.publicHosts == ["default": ["a.b"]])
        }
    }

    /// A prober gets the version that Knative computes, whoever answers.
    @Test func version() throws {
        try running { world in
            let pod = try PlayedPod("one", loop: world.loop)
            var object = ingress("i", hosts: ["a.b"], [path([split("one")])])
            world.tell(
                .applied(.ingress(object)), .applied(.endpoints(endpoints("one", [pod.address]))), .synced)
            let probe = "K-Network-Probe: probe\r\nK-Network-Hash: override\r\n"
            #expect(try world.get("a.b", "/healthz", probe).body.contains("K-Network-Hash: \(object.version)\r\n"))
            object.rules[0].paths[0].appendHeaders = ["Foo": "bar"]
            world.tell(.applied(.ingress(object)))
            #expect(try world.get("a.b", "/healthz", probe).body.contains("K-Network-Hash: \(object.version)\r\n"))
        }
    }

    /// Shares are exact, and stay so when something else changes meanwhile.
    @Test func shares() throws {
        try running { world in
            let pods = try ["one", "two", "three"].map { try PlayedPod($0, loop: world.loop) }
            let shares = path([split("one", 10), split("two", 30), split("three", 60)])
            for pod in pods { world.source.tell([.applied(.endpoints(endpoints(pod.name, [pod.address])))]) }
            world.tell(.applied(.ingress(ingress("i", hosts: ["a.b"], [shares]))), .synced)
            let client = try world.client()
            for turn in 0..<100 {
                client.ask("a.b")
                #expect(try world.answer(of: client).status == 200)
                guard turn % 10 == 0 else { continue }
                world.tell(.applied(.ingress(ingress("aa\(turn)", hosts: ["x\(turn)"], [path([split("one")])]))))
            }
            #expect(pods.map(\.requests) == [10, 30, 60])
        }
    }

    /// What leaves finishes what it has; the request after it goes elsewhere, and its connection is closed at the end.
    @Test func endpointsThatLeaveFinish() throws {
        try running { world in
            let (old, new) = (try PlayedPod("old", loop: world.loop), try PlayedPod("new", loop: world.loop))
            world.tell(
                .applied(.ingress(ingress("i", hosts: ["a.b"], [path([split("one")])]))),
                .applied(.endpoints(endpoints("one", [old.address]))), .synced)
            old.holdsRequests = true
            let client = try world.client()
            client.ask("a.b")
            try world.until("held") { old.requests == 1 }
            world.tell(.applied(.endpoints(endpoints("one", [new.address]))))
            #expect(try world.get("a.b").pod == "new")
            #expect(world.control.finishing.count == 1)
            old.answerAll()
            #expect(try world.answer(of: client).pod == "old")
            try world.until("forgotten") { world.control.finishing.isEmpty && old.connectionCount == 0 }
            world.tell(.removed(.ingress, named("i")))
            try world.until("gone") { world.control.backends.isEmpty && new.connectionCount == 0 }
        }
    }

    /// Pods, activators, pods again, while clients ask all the time: nobody sees more than another name.
    @Test func swapsUnderLoad() throws {
        try running { world in
            let (pod, activator) = (try PlayedPod("pod", loop: world.loop), try PlayedPod("act", loop: world.loop))
            world.tell(
                .applied(.ingress(ingress("i", hosts: ["a.b"], [path([split("one")])]))),
                .applied(.endpoints(endpoints("one", [pod.address]))), .synced)
            let clients = try (0..<16).map { _ in try world.client() }
            for client in clients { client.ask("a.b") }
            var (answered, wrong, swaps) = (0, 0, 0)
            var seen: Set<String> = []
            try world.until("done") {
                for client in clients {
                    guard let answer = client.takeAnswer() else { continue }
                    answered += 1
                    if answer.status != 200 { wrong += 1 }
                    seen.insert(answer.pod)
                    client.ask("a.b")
                }
                if answered / 100 > swaps {
                    swaps = answered / 100
                    let next = swaps % 2 == 1 ? activator : pod
                    // Now and then there is nobody for a moment.
                    if swaps % 5 == 0 { world.source.tell([.applied(.endpoints(endpoints("one", [])))]) }
                    if swaps % 5 == 0 { world.turn() }
                    world.source.tell([.applied(.endpoints(endpoints("one", [next.address])))])
                }
                return answered >= 3_000
            }
            #expect(wrong == 0 && seen == ["pod", "act"] && clients.allSatisfy { !$0.hasEnded })
        }
    }

    /// A new revision takes over and the old one goes at once, again and again.
    @Test func updatesUnderLoad() throws {
        try running { world in
            var pods = [try PlayedPod("r0", loop: world.loop)]
            func object(_ number: Int) -> ClusterChange {
                let fields = ["Knative-Serving-Revision": "r\(number)"]
                return .applied(
                    .ingress(ingress("i", hosts: ["a.b"], [path([split("r\(number)", fields: fields)])])))
            }
            world.tell(object(0), .applied(.endpoints(endpoints("r0", [pods[0].address]))), .synced)
            let clients = try (0..<8).map { _ in try world.client() }
            for client in clients { client.ask("a.b") }
            var (answered, wrong, number) = (0, 0, 0)
            try world.until("done") {
                for client in clients {
                    guard let answer = client.takeAnswer() else { continue }
                    answered += 1
                    let isRight = answer.body.contains("Knative-Serving-Revision: \(answer.pod)\r\n")
                    if answer.status != 200 || !isRight { wrong += 1 }
                    client.ask("a.b")
                }
                if answered / 50 > number, let next = try? PlayedPod("r\(number + 1)", loop: world.loop) {
                    number += 1
                    pods.append(next)
                    // Both in one turn: whoever has the old route still gets an answer.
                    world.source.tell([
                        .removed(.endpoints, named("r\(number - 1)")), object(number),
                        .applied(.endpoints(endpoints(next.name, [next.address]))),
                    ])
                }
                return number >= 20
            }
            #expect(wrong == 0 && answered >= 1_000)
            try world.until("only one") { world.control.finishing.isEmpty && world.control.backends.count == 1 }
        }
    }

    @Test func noEndpoints() throws {
        try running(endpointWait: 30) { world in
            world.tell(.applied(.ingress(ingress("i", hosts: ["a.b"], [path([split("one")])]))), .synced)
            let answer = try world.get("a.b")
            #expect(answer.status == 503 && answer.body == "no healthy upstream")
        }
    }

    /// Requests wait for the first endpoint, whatever protocol it turns out to speak in; a pod that refuses is tried
    /// until it takes connections again.
    @Test func endpointsThatComeBack() throws {
        try running(endpointWait: 10_000) { world in
            world.tell(.applied(.ingress(ingress("i", hosts: ["a.b"], [path([split("one")])]))), .synced)
            let client = try world.client()
            client.ask("a.b")
            try world.until("waiting") { world.control.budget.waiting == 1 }
            let pod = try PlayedPod("pod", loop: world.loop)
            world.tell(.applied(.endpoints(endpoints("one", [pod.address]))))
            #expect(try world.answer(of: client).pod == "pod")
            pod.stop()
            client.ask("a.b")
            try world.until("waiting") { world.control.budget.waiting == 1 }
            let again = try PlayedPod("again", loop: world.loop, port: pod.address.port)
            #expect(try world.answer(of: client).pod == "again")
            again.stop()
        }
    }
}

@Suite struct BookTests {
    /// Everybody's answer counts, in order.
    @Test func rounds() {
        var rounds = WorkerRounds(workers: 2)
        var done: [Int] = []
        rounds.begin { done.append(1) }
        rounds.begin { done.append(2) }
        func answer(_ worker: Int) { for action in rounds.takeAnswer(of: worker) { action() } }
        answer(0)
        answer(0)
        #expect(done.isEmpty && rounds.count == 2)
        answer(1)
        #expect(done == [1])
        rounds.begin { done.append(3) }
        answer(1)
        answer(1)
        #expect(done == [1, 2] && rounds.count == 1)
        answer(0)
        #expect(done == [1, 2, 3] && rounds.count == 0)
    }
}
