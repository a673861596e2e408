import Activator
import Admission
import ClusterLink
import Knative
import Primitives
import Telemetry

/// One activator: a throttler for each revision, and the stats it sends to the autoscaler.
///
/// Its worker and its control thread exchange messages that take a moment, in order.
final class SimulatedActivator {
    let number: Int
    let ip: UInt32
    /// How many may wait over all revisions.
    let budget: WaitBudget
    private(set) var isAlive = true
    /// It was told to stop: it serves on until nobody sends it anything.
    private(set) var isDraining = false
    private(set) var acceptsRequests = true
    private(set) var throttlers: [SimulatedThrottler] = []
    /// Which autoscaler it is connected to, as it believes.
    private(set) var connection: Int?
    /// Requests it has.
    private(set) var open: Set<Int> = []
    unowned let world: SystemSimulation
    private var book = StatBook()
    private var clockRuns = false
    private var windowBegan = Instant(nanoseconds: 0)
    private var lastMail = Instant(nanoseconds: 0)
    private var watcher: SystemWatcher?
    /// What it told may not add up since.
    private var wasUnheard = false
    /// Requests counted and told since the beginning, and how many windows in a row a known revision was not told.
    private var counted: [Double], told: [Double]
    private var isKnown: [Bool]
    /// What really came to each revision and no report has told.
    private var untold: [TrueLoad.Peak]
    /// An announcement was sent: the next report leaves its request out.
    private var isAnnounced: [Bool]

    init(_ number: Int, in world: SystemSimulation) {
        self.number = number
        self.world = world
        ip = SystemSimulation.activatorIPs + UInt32(number)
        budget = WaitBudget(limit: world.plan.budget)
        let count = world.revisions.count
        (counted, told) = (Array(repeating: 0, count: count), Array(repeating: 0, count: count))
        (isKnown, isAnnounced) = (Array(repeating: false, count: count), Array(repeating: false, count: count))
        untold = Array(repeating: TrueLoad.Peak(), count: count)
        throttlers = world.revisions.map { SimulatedThrottler($0, of: self) }
        let watcher = SystemWatcher([.pods, .path]) { [weak self] in self?.take($0) }
        self.watcher = watcher
        world.objects.add(watcher)
        world.clock.after(world.delay(500)) { [weak self] in self?.connect() }
    }

    /// Whether the revisions' public endpoints may name it.
    var isListed: Bool { isAlive && !isDraining && connection != nil && watcher?.isSynced == true }
    /// Whether what it says is heard.
    var isHeard: Bool { connection != nil && connection == world.autoscaler.generation }

    private func take(_ change: ClusterChange) {
        switch change {
        case .applied(.endpoints(let endpoints)):
            for throttler in throttlers {
                if endpoints.name == throttler.revision.name { throttler.setActivators(endpoints) }
                if endpoints.name == throttler.revision.name.with(suffix: "-private") { throttler.list(endpoints) }
            }
        case .synced: world.pathsChanged()
        case .applied, .removed: break
        }
    }

    /// From its worker to its control thread, or back.
    func mail(_ action: @escaping () -> Void) {
        lastMail = max(lastMail, world.clock.now.adding(nanoseconds: world.delay(world.plan.delays.mail)))
        world.clock.at(lastMail) { [weak self] in if self?.isAlive == true { action() } }
    }

    // MARK: End

    func drain() {
        isDraining = true
        world.tell("activator \(number) drains \(open.count)")
        world.pathsChanged()
        world.clock.after((2 * world.plan.delays.watch + 1_000) * 1_000_000) { [weak self] in
            self?.acceptsRequests = false
            self?.endIfIdle()
        }
    }

    private func endIfIdle() { if isAlive, !acceptsRequests, open.isEmpty { end() } }

    /// It dies with all it has.
    func crash() {
        world.tell("activator \(number) dies with \(open.count)")
        let cut = open.sorted()
        end()
        for id in cut { world.activatorDied(with: id) }
        open = []
    }

    private func end() {
        isAlive = false
        acceptsRequests = false
        watcher?.isOver = true
        world.activatorGone(self)
    }

    // MARK: Requests

    /// A request comes in.
    func receive(_ id: Int) {
        open.insert(id)
        let throttler = throttlers[world.requests[id].revision]
        throttler.load.enter()
        throttler.receive(id)
    }

    /// A request is over.
    func leave(_ id: Int) {
        open.remove(id)
        let throttler = throttlers[world.requests[id].revision]
        throttler.counts.leave(now: world.clock.now)
        throttler.load.leave()
        endIfIdle()
    }

    // MARK: Stats

    /// The worker has seen the first request of a revision.
    func arrived(_ throttler: SimulatedThrottler) {
        let number = throttler.revision.number
        throttler.counts.seen()
        if book.arrived(UInt64(number)) {
            isKnown[number] = true
            announce(number)
        }
        guard !clockRuns else { return }
        clockRuns = true
        windowBegan = world.clock.now
        armClock()
    }

    private func announce(_ number: Int) {
        let isSent = send(FirstRequestRule.announcement, of: number, atMost: TrueLoad.Peak(concurrency: 1, arrivals: 1))
        isAnnounced[number] = isSent
        told[number] += 1
        if !isSent { wasUnheard = true }
        book.announced(UInt64(number), wasSent: isSent)
    }

    private func armClock() {
        world.clock.at(windowBegan.adding(milliseconds: 1_000)) { [weak self] in self?.windowEnds() }
    }

    private func windowEnds() {
        guard isAlive else { return }
        guard book.count > 0 else {
            clockRuns = false
            return
        }
        let window = world.clock.now.nanoseconds(since: windowBegan)
        windowBegan = world.clock.now
        let marks = throttlers.map(\.counts.mark)
        mail { [self] in
            let sums = throttlers.map { $0.counts.report(now: world.clock.now) }
            let peaks = throttlers.map { $0.load.take() }
            mail { [self] in close(sums, peaks, marks, window) }
        }
        armClock()
    }

    private func close(_ sums: [WindowSums?], _ peaks: [TrueLoad.Peak], _ marks: [UInt64], _ window: UInt64) {
        for (number, sums) in sums.enumerated() {
            untold[number].concurrency = max(untold[number].concurrency, peaks[number].concurrency)
            untold[number].arrivals += peaks[number].arrivals
            guard let sums else { continue }
            counted[number] += Double(sums.requests)
            book.take(UInt64(number), sums)
        }
        var forgotten: Set<Int> = []
        let lines = book.close(windowNanoseconds: window, isHeard: connection != nil) { id in
            let isForgotten = throttlers[Int(id)].counts.forget(since: marks[Int(id)])
            if isForgotten { forgotten.insert(Int(id)) }
            return isForgotten
        }
        if connection == nil { wasUnheard = true }
        for line in lines {
            let number = Int(line.id)
            told[number] += line.report.requestCount
            var most = untold[number]
            untold[number] = TrueLoad.Peak()
            if isAnnounced[number] { most.removeAnnounced() }
            isAnnounced[number] = false
            _ = send(line.report, of: number, atMost: most)
            world.expect(
                wasUnheard || told[number] == counted[number],
                "activator \(self.number) told of \(told[number]) requests of \(number), not \(counted[number])")
        }
        for number in isKnown.indices where isKnown[number] {
            let line = lines.first { $0.id == UInt64(number) }
            // Only a first window may be left open: it began after the worker was asked.
            let isSilent = line == nil && (sums[number] != nil || forgotten.contains(number))
            world.expect(!isSilent, "activator \(self.number) says nothing of revision \(number)")
            guard forgotten.contains(number) else { continue }
            world.expect(
                line?.report.averageConcurrency == 0 || wasUnheard,
                "activator \(self.number) forgets revision \(number) without a zero")
            isKnown[number] = false
        }
    }

    /// False if it was not sent. What is sent may be lost all the same.
    private func send(_ report: WindowReport, of number: Int, atMost most: TrueLoad.Peak) -> Bool {
        guard let connection else { return false }
        let isLost = connection != world.autoscaler.generation || chance(world.faults.lostStat, &world.random)
        world.tell("activator \(self.number) tells of \(number): \(report.averageConcurrency)\(isLost ? ", lost" : "")")
        if isLost {
            world.disturbed()
            wasUnheard = wasUnheard || connection != world.autoscaler.generation
            return true
        }
        let message = StatText.message(revision: throttlers[number].revision.name, report)
        world.clock.after(world.delay(world.plan.delays.stat)) { [world] in
            guard connection == world.autoscaler.generation else { return world.disturbed() }
            world.revisions[number].counted.pushed(
                concurrency: Double(most.concurrency), requests: Double(most.arrivals), now: world.clock.now)
            world.autoscaler.receive(message)
        }
        return true
    }

    private func connect() {
        guard isAlive, connection == nil else { return }
        guard let generation = world.autoscaler.generation else {
            world.clock.after(world.delay(500)) { [weak self] in self?.connect() }
            return
        }
        connection = generation
        world.tell("activator \(number) is connected")
        for id in book.reconnected() { announce(Int(id)) }
        world.pathsChanged()
    }

    /// The autoscaler has gone; it takes a while to see that.
    func autoscalerGone() {
        let former = connection
        world.clock.after(world.delay(1_000)) { [weak self] in
            guard let self, isAlive, connection == former else { return }
            connection = nil
            wasUnheard = true
            connect()
        }
    }
}

/// The bytes of a stat message.
private enum StatText {
    static func message(revision: ObjectName, _ report: WindowReport) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: 512) { memory, count in
            var writer = ByteWriter(UnsafeMutableRawBufferPointer(memory))
            var (namespace, name) = (revision.namespace, revision.name)
            namespace.withUTF8 { namespace in
                name.withUTF8 { name in
                    _ = WireStatMessage(
                        namespace: ByteView(UnsafeRawBufferPointer(namespace)),
                        name: ByteView(UnsafeRawBufferPointer(name)),
                        stat: StatMessage(podName: .empty, report: report)
                    ).write(to: &writer)
                }
            }
            count = writer.count
        }
    }
}

/// What a worker counts of one revision, and whether its control thread knows that somebody came: `ArrivalMark`.
struct ArrivalCounts {
    private var stats: RequestStats
    private var isListed = false
    private(set) var mark: UInt64 = 0

    init(now: Instant) { stats = RequestStats(now: now) }

    /// A request came. True if the control thread is to be told.
    mutating func arrive(now: Instant) -> Bool {
        var isNews = false
        if !isListed {
            isListed = true
            stats.resume(now: now)
            isNews = mark & 1 == 0
            mark &+= 2
        }
        stats.arrive(now: now, proxied: false)
        return isNews
    }

    mutating func leave(now: Instant) { stats.leave(now: now, proxied: false) }
    mutating func seen() { mark |= 1 }

    mutating func forget(since earlier: UInt64) -> Bool {
        guard mark == earlier else { return false }
        mark &= ~1
        return true
    }

    /// The window's sums; nil if there was nothing.
    mutating func report(now: Instant) -> WindowSums? {
        guard isListed else { return nil }
        isListed = stats.concurrency > 0
        return stats.report(now: now)
    }
}
