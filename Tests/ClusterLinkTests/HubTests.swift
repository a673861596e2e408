import EventLoop
import Glibc
import Knative
import Primitives
import Testing

@testable import ClusterLink

@Suite struct HubTests {
    /// A hub and its folder.
    private final class Stage {
        let folder = Folder()
        let loop: Loop
        let lines = Lines()
        var hub: ClusterHub?
        var limits = ClusterLimits()
        var path: String { folder.path + "/hub" }

        init(_ limits: ClusterLimits = ClusterLimits()) throws {
            self.limits = limits
            loop = try Loop()
            try open()
        }

        func open() throws { hub = try ClusterHub(path: path, loop: loop, log: lines.log, limits: limits) }

        func close() {
            hub?.close()
            hub = nil
        }

        func source() -> SocketSource { SocketSource(path: path, loop: loop, log: lines.log) }
    }

    @Test func tellsWhatIsThereThenChanges() throws {
        let stage = try Stage(), told = Told()
        stage.hub?.publish(.applied(scale("a", 1)))
        stage.hub?.publish(.applied(.endpoints(endpoints("e", 1))))
        let source = stage.source()
        source.watch([.scale]) { told.hear($0) }
        #expect(told.changes.isEmpty)
        #expect(run(stage.loop) { told.syncs == 1 })
        #expect(told.changes == [.applied(scale("a", 1)), .synced])
        stage.hub?.publish(.applied(scale("a", 1)))
        stage.hub?.publish(.applied(scale("a", 2)))
        stage.hub?.publish(.removed(.scale, name("a")))
        stage.hub?.publish(.removed(.scale, name("a")))
        #expect(run(stage.loop) { told.changes.count == 4 })
        #expect(told.changes[2...] == [.applied(scale("a", 2)), .removed(.scale, name("a"))])
    }

    /// Writes arrive once, in order, with the session; nobody to take them: they are published.
    @Test func writes() throws {
        let stage = try Stage(), told = Told()
        var applied: [ClusterObject] = []
        stage.hub?.onApply = { object, _ in applied.append(object) }
        let source = stage.source()
        source.watch([.scale]) { told.hear($0) }
        source.apply(scale("early", 1))
        source.apply(scale("early", 2))
        #expect(run(stage.loop) { told.syncs == 1 && applied.count == 1 })
        source.apply(scale("late", 3))
        #expect(run(stage.loop) { applied.count == 2 })
        #expect(applied == [scale("early", 2), scale("late", 3)], "the newest of a name that waited")
        #expect(told.store.count == 0)
        stage.hub?.onApply = nil
        source.apply(scale("late", 4))
        #expect(run(stage.loop) { told.store.all() == [scale("late", 4)] })
    }

    /// A lost connection is made again; the difference is told, and what was written is written again.
    @Test func reconnects() throws {
        let stage = try Stage(), told = Told()
        for object in [scale("same", 1), scale("gone", 1), scale("changed", 1)] { stage.hub?.publish(.applied(object)) }
        let source = stage.source()
        source.watch([.scale, .endpoints]) { told.hear($0) }
        source.apply(.endpoints(endpoints("mine", 5)))
        #expect(run(stage.loop) { told.store.count == 4 && told.syncs == 1 })
        stage.close()
        told.changes = []
        #expect(run(stage.loop) { !source.isConnected })
        #expect(told.changes.isEmpty, "a source that has lost its connection says nothing")
        source.apply(scale("written", 9))
        try stage.open()
        for object in [scale("same", 1), scale("changed", 2), scale("new", 1)] { stage.hub?.publish(.applied(object)) }
        #expect(run(stage.loop) { told.syncs == 2 && told.store.count == 5 })
        #expect(told.changes.contains(.removed(.scale, name("gone"))))
        #expect(told.changes.contains(.applied(scale("changed", 2))))
        #expect(!told.changes.contains(.applied(scale("same", 1))), "only the difference")
        #expect(stage.hub?.store.all() == told.store.all())
        #expect(stage.hub?.store[ObjectKey(.scale, name("written"))] == scale("written", 9))
        #expect(stage.hub?.store[ObjectKey(.endpoints, name("mine"))] == .endpoints(endpoints("mine", 5)))
    }

    /// A role may come before the hub, which it finds within the longest wait.
    @Test func rolesComeFirst() throws {
        let stage = try Stage(), told = Told()
        stage.close()
        let source = stage.source()
        source.watch([.scale]) { told.hear($0) }
        #expect(run(stage.loop) { !stage.lines.all.isEmpty })
        try stage.open()
        let begin = MonotonicClock.now()
        #expect(run(stage.loop) { told.syncs == 1 })
        #expect(MonotonicClock.now().nanoseconds(since: begin) < 5_000_000_000)
        #expect(stage.lines.all.filter { $0.contains("no connection") }.count == 1, "told once: \(stage.lines.all)")
    }

    /// Registrations of several roles under one name are one object, and vanish with their connections.
    @Test func registrations() throws {
        let stage = try Stage(), told = Told()
        var registered: [ClusterEndpoints] = []
        stage.hub?.onRegistration = { registered.append($0) }
        let first = stage.source(), second = stage.source(), reader = stage.source()
        for source in [first, second] { source.watch([]) { _ in } }
        reader.watch([.endpoints]) { told.hear($0) }
        let key = ObjectKey(.endpoints, name("activator-service"))
        func hears(_ ips: Set<UInt32>) -> Bool {
            guard case .endpoints(let object)? = told.store[key] else { return ips.isEmpty && told.syncs > 0 }
            return Set(object.addresses.map(\.ip)) == ips
        }
        first.apply(.endpoints(endpoints("activator-service", 1)))
        second.apply(.endpoints(endpoints("activator-service", 2)))
        #expect(run(stage.loop) { hears([1, 2]) })
        second.apply(.endpoints(endpoints("activator-service", 3, 1)))
        #expect(run(stage.loop) { hears([1, 3]) })
        second.close()
        #expect(run(stage.loop) { hears([1]) })
        first.close()
        #expect(run(stage.loop) { hears([]) && told.store[key] == nil })
        #expect(registered.last == ClusterEndpoints(name: key.name))
    }

    /// One that does not read costs little, gets the newest when it reads again, and is cut if it never does.
    @Test func slowReaders() throws {
        var limits = ClusterLimits()
        limits.stallMilliseconds = 300
        let stage = try Stage(limits), told = Told()
        guard case .connected(let deaf) = Socket.connect(toUnixPath: stage.path) else { return #expect(Bool(false)) }
        let line = LinkMessage.watch([.scale]).line
        #expect(line.withUnsafeBytes { deaf.send(ByteView($0)) } == .bytes(line.count))
        let source = stage.source()
        source.watch([.scale]) { told.hear($0) }
        #expect(run(stage.loop) { stage.hub?.sessionsConnected == 2 && told.syncs == 1 })
        // The well-behaved one hears all of it meanwhile.
        for round in 1...200 {
            for index in 0..<50 { stage.hub?.publish(.applied(scale("s\(index)", round))) }
            stage.loop.runOnce(atMostMilliseconds: 0)
        }
        #expect(run(stage.loop) { told.store.all() == stage.hub?.store.all() })
        #expect(run(stage.loop) { stage.hub?.sessionsConnected == 1 }, "the deaf one is cut")
        #expect(source.isConnected)
        _ = deaf.fd
    }

    /// A burst larger than what is kept for a slow reader ends with the newest of every object.
    @Test func burstsEndWithTheNewest() throws {
        var limits = ClusterLimits()
        limits.outboundBytes = 4_096
        let stage = try Stage(limits), told = Told()
        let source = stage.source()
        source.watch([.scale]) { told.hear($0) }
        #expect(run(stage.loop) { told.syncs == 1 })
        var random = SeededRandom(seed: 7)
        for round in 1...20_000 {
            let index = Int(random.next() % 300)
            if random.next() % 4 == 0 {
                stage.hub?.publish(.removed(.scale, name("s\(index)")))
            } else {
                stage.hub?.publish(.applied(scale("s\(index)", round)))
            }
        }
        #expect(run(stage.loop) { told.store.all() == stage.hub?.store.all() })
        #expect(told.changes.count < 20_000, "some were overtaken: \(told.changes.count)")
    }

    /// Lines that are no requests are answered, and the connection goes on; one that is too long ends it.
    @Test func badLines() throws {
        var limits = ClusterLimits()
        limits.lineBytes = 1_000
        let stage = try Stage(limits)
        guard case .connected(let socket) = Socket.connect(toUnixPath: stage.path) else { return #expect(Bool(false)) }
        let peer = try LinkConnection(socket, loop: stage.loop, limits: ClusterLimits())
        var heard: [LinkMessage?] = [], end = ""
        peer.onLine = { line in heard.append(try? LinkMessage(line: line)) }
        peer.onEnd = { end = $0 }
        stage.hub?.onExplain = { .lines(["asked for \($0)", "second line"]) }
        for text in ["{\"type\":\"APPLY\"}", "garbage", "{\"type\":\"BOOKMARK\"}", "{\"type\":\"NEW\"}"] {
            peer.send(Array(text.utf8) + [10])
        }
        peer.send(LinkMessage.explain("ns/rev").line)
        #expect(run(stage.loop) { heard.contains(.text(["asked for ns/rev", "second line"])) })
        #expect(heard.count == 5 && end.isEmpty, "\(heard)")
        stage.hub?.onExplain = { .refused("no revision \($0)\nknown: none") }
        peer.send(LinkMessage.explain("ns/other").line)
        #expect(run(stage.loop) { heard.last == .error("no revision ns/other\nknown: none") }, "\(heard)")
        peer.send([UInt8](repeating: UInt8(ascii: "x"), count: 2_000))
        #expect(run(stage.loop) { !end.isEmpty })
        #expect(stage.hub?.sessionsConnected == 0)
    }

    @Test func tooManyRoles() throws {
        var limits = ClusterLimits()
        limits.sessions = 2
        let stage = try Stage(limits)
        let sources = (0..<3).map { _ in stage.source() }
        let told = sources.map { _ in Told() }
        for (source, told) in zip(sources, told) { source.watch([.scale]) { told.hear($0) } }
        #expect(run(stage.loop) { stage.lines.all.contains { $0.contains("refused") } })
        #expect(run(stage.loop) { told.filter { $0.syncs > 0 }.count == 2 })
        #expect(stage.hub?.sessionsConnected == 2)
        // Room is made: the third gets in by itself.
        for (source, told) in zip(sources, told) where told.syncs > 0 {
            source.close()
            break
        }
        #expect(run(stage.loop) { told.allSatisfy { $0.syncs > 0 } })
    }

    /// How long a change takes from `publish` to an observer in another thread; printed.
    @Test func latency() throws {
        let stage = try Stage()
        let times = try Mailbox<UInt64>()
        let path = stage.path
        let reader = try WorkerThread(name: "reader") {
            guard let loop = try? Loop() else { return }
            let source = SocketSource(path: path, loop: loop, log: Lines().log)
            source.watch([.endpoints]) { change in
                times.post(MonotonicClock.now().nanoseconds(since: Instant(nanoseconds: 0)))
                if case .removed = change { loop.stop() }
            }
            loop.run()
            source.close()
        }
        #expect(run(stage.loop) { !times.takeAll().isEmpty })
        var samples: [UInt64] = []
        for round in 1...2_000 as ClosedRange<UInt32> {
            var object = endpoints("hello-00001-private", round)
            object.addresses[0].podName = "hello-00001-7f0001"
            let begin = MonotonicClock.now().nanoseconds(since: Instant(nanoseconds: 0))
            stage.hub?.publish(.applied(.endpoints(object)))
            var heard: [UInt64] = []
            while heard.isEmpty { heard = times.takeAll() }
            samples.append(heard[0] - begin)
        }
        stage.hub?.publish(.removed(.endpoints, name("hello-00001-private")))
        reader.join()
        samples.sort()
        print("publish to observer: median \(samples[1_000] / 1_000) µs, 99th \(samples[1_980] / 1_000) µs")
        #expect(samples[1_000] < 50_000_000)
    }
}
