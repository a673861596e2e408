import ClusterLink
import EventLoop
import Knative
import Logging
import Primitives
import Scaling

/// The autoscaler of a cluster: every PodAutoscaler that the source tells of, decided on every two seconds and whenever
/// something pokes, and what follows written back.
///
/// Lives on the control thread. Decisions are made in `RevisionAutoscaler`; this moves facts in and wishes out, and
/// spreads the work of many revisions over their periods.
public final class AutoscalerEngine {
    /// One revision with its timers.
    final class Revision {
        let name: ObjectName
        var core: RevisionAutoscaler
        /// The next round of asking pods, and the next tick; `.none` at rest.
        var scrapeTimer = TimerHandle.none, tickTimer = TimerHandle.none
        var nextScrape = Instant(nanoseconds: 0), nextTick = Instant(nanoseconds: 0)
        var recheckTimer = TimerHandle.none, settleTimer = TimerHandle.none, statusTimer = TimerHandle.none
        var isAwake = false
        var lastPoke: Instant?
        var round: ScrapeRound?
        /// The round over its private service; at most one of the two.
        var serviceRound: ServiceRound?
        /// Its pods answer at their addresses, as far as is known: `auto` does not try them again after a mesh was met.
        var arePodsReached = true
        /// Which round it is: answers of an older one are passed over.
        var roundNumber: UInt64 = 0
        var roundBegan = Instant(nanoseconds: 0)
        /// What its rounds have failed with last: the log says each thing once.
        var knownFailure: String?
        var lastFailure: ScrapeFailure?

        init(_ name: ObjectName, _ core: RevisionAutoscaler) {
            self.name = name
            self.core = core
        }
    }

    let options: AutoscalerOptions
    let source: any ClusterSource
    let clock: any AutoscalerClock
    let pods: any PodReader
    let activators: any ActivatorPathProbe
    let target: any ScaleTarget
    let logger: Logger
    var random: SeededRandom
    var view = ClusterView()
    var revisions: [ObjectName: Revision] = [:]
    var collector = StatCollector()
    /// What became of rounds of asking pods.
    public internal(set) var scrapes = ScrapeCounts()
    /// Objects told before all were: a revision is begun when its pods are known.
    private var unbegun: [ObjectName: PodAutoscaler] = [:]
    /// Whether the source has told all there is.
    public private(set) var isSynced = false
    private var isStopped = false
    private var begun: UInt64 = 0

    /// An autoscaler that does nothing before `start`.
    public init(
        options: AutoscalerOptions, source: any ClusterSource, clock: any AutoscalerClock, pods: any PodReader,
        activators: any ActivatorPathProbe, target: (any ScaleTarget)? = nil, logger: Logger
    ) {
        self.options = options
        self.source = source
        self.clock = clock
        self.pods = pods
        self.activators = activators
        self.target = target ?? ClusterScaleTarget(source)
        self.logger = logger
        random = SeededRandom(seed: options.seed)
    }

    /// Begins to watch the source. Nothing is decided before it has told all there is.
    public func start() {
        var kinds: Set<ObjectKind> = [.podAutoscaler, .pod, .endpoints, .serverlessService, .scale, .revision]
        if options.meshMode != .disabled { kinds.insert(.service) }
        source.watch(kinds) { [weak self] in self?.take($0) }
    }

    /// Decides nothing any more.
    public func stop() {
        isStopped = true
        for revision in revisions.values { cancelTimers(of: revision) }
        revisions = [:]
    }

    /// How many revisions are scaled.
    public var revisionCount: Int { revisions.count }
    /// How many of them are not at rest at zero.
    public var awakeCount: Int { revisions.values.reduce(0) { $0 + ($1.isAwake ? 1 : 0) } }
    /// What became of pushed stats.
    public var statCounts: StatCounts { collector.counts }

    /// What has been counted of a revision within its stable window; nil if it is not scaled.
    public func counted(_ revision: ObjectName) -> MetricTotals? {
        revisions[revision]?.core.scaler.counted(now: clock.now)
    }

    // MARK: Objects

    private func take(_ change: ClusterChange) {
        guard !isStopped else { return }
        switch change {
        case .applied(.podAutoscaler(let object)): take(object)
        case .applied(let object):
            let (revision, concern) = view.apply(object)
            changed(revision, concern)
        case .removed(.podAutoscaler, let name): forget(name)
        case .removed(let kind, let name):
            let (revision, concern) = view.remove(kind, name)
            changed(revision, concern)
        case .synced:
            guard !isSynced else { return }
            isSynced = true
            for object in unbegun.values.sorted(by: { $0.name < $1.name }) { begin(object) }
            unbegun = [:]
            logger.info("all objects are known", metadata: ["revisions": "\(revisions.count)"])
        }
    }

    private func take(_ object: PodAutoscaler) {
        guard isSynced else {
            unbegun[object.name] = object
            return
        }
        guard let revision = revisions[object.name] else { return begin(object) }
        guard isOurs(object) else { return forget(object.name) }
        let known = revision.core.object
        guard known.containerConcurrency == object.containerConcurrency else {
            forget(object.name)
            return begin(object)
        }
        let isSame = known.annotations == object.annotations && known.isReachable == object.isReachable
        revision.core.update(object, annotations: isSame ? ScalingAnnotations() : annotations(of: object))
        if !isSame { decide(revision, .reconcile) }
    }

    private func isOurs(_ object: PodAutoscaler) -> Bool {
        let named = object.annotations[ScalingAnnotations.keyPrefix + "class"] ?? options.scaling.podAutoscalerClass
        return named == ScalingAnnotations.kpaClass
    }

    /// Problems were refused when the object was made; what got through all the same reads as absent, and is told.
    private func annotations(of object: PodAutoscaler) -> ScalingAnnotations {
        var problems: [ScalingProblem] = []
        let parsed = ScalingAnnotations(parsing: object.annotations, config: options.scaling, problems: &problems)
        for problem in problems {
            logger.warning(
                "annotation is passed over",
                metadata: [
                    "revision": "\(object.name)", "problem": "\(problem.rendered(under: "metadata.annotations"))",
                ])
        }
        return parsed
    }

    private func begin(_ object: PodAutoscaler) {
        guard isOurs(object) else { return }
        guard revisions.count < options.revisionLimit else {
            return logger.error(
                "revision is not scaled: there are too many",
                metadata: ["revision": "\(object.name)", "limit": "\(options.revisionLimit)"])
        }
        let now = clock.now
        let counts = view.pods[object.name]?.counts ?? PodCounts()
        var core = RevisionAutoscaler(
            object, annotations: annotations(of: object), config: options.scaling, counts: counts,
            scale: view.scales[object.name], now: now)
        core.update(view.services[object.name], now: now, unixSeconds: clock.unixSeconds)
        let revision = Revision(object.name, core)
        revisions[object.name] = revision
        decide(revision, .reconcile, wakes: false)
        guard revision.core.isAwake else { return }
        // Revisions that begin together must not be decided on together ever after: steps of the golden ratio.
        begun &+= 1
        let phase = begun &* 1_236_067_977 % Period.tick
        let scrape = now.adding(nanoseconds: phase % Period.scrape)
        // After a restart nothing is decided before there is a second or two of figures.
        wake(revision, scrapeAt: scrape, tickAt: now.adding(nanoseconds: Period.tick + phase + Period.tickAfterScrape))
    }

    private func forget(_ name: ObjectName) {
        unbegun[name] = nil
        guard let revision = revisions.removeValue(forKey: name) else { return }
        cancelTimers(of: revision)
        (revision.round, revision.serviceRound) = (nil, nil)
        revision.roundNumber &+= 1
    }

    private func changed(_ name: ObjectName, _ concern: ClusterView.Concern) {
        guard let revision = revisions[name] else { return }
        switch concern {
        case .nothing: return
        case .pods: break
        case .scale: view.scales[name].map { revision.core.update(scale: $0) }
        case .service:
            revision.core.update(view.services[name], now: clock.now, unixSeconds: clock.unixSeconds)
        }
        // Pods of a big revision change by the dozen: gathered, then acted upon once.
        guard revision.settleTimer == .none else { return }
        revision.settleTimer = clock.at(clock.now.adding(nanoseconds: Period.settle)) { [weak self, weak revision] in
            guard let self, let revision else { return }
            revision.settleTimer = .none
            decide(revision, .reconcile)
        }
    }

    // MARK: Stats

    /// Takes a message of an activator: a `WireStatMessages`. A revision at zero is decided on before this returns.
    public func receive(_ message: ByteView) {
        guard !isStopped else { return }
        var collector = self.collector  // `take` touches the rest of this object
        collector.receive(message, unixSeconds: clock.unixSeconds) { take($0) }
        self.collector = collector
    }

    private func take(_ entry: StatCollector.Entry) -> StatCollector.Use {
        guard let revision = revisions[entry.revision] else { return .unknown }
        let now = clock.now
        let window = UInt64(revision.core.scaler.spec.stableWindowSeconds)
        guard entry.ageSeconds <= window else { return .late }
        let age = UInt64(entry.ageSeconds) * 1_000_000_000
        let isPoke = revision.core.record(
            entry.stat, at: Instant(nanoseconds: now.nanoseconds - min(age, now.nanoseconds)))
        guard isPoke, revision.lastPoke.map({ now.nanoseconds(since: $0) >= Period.poke }) ?? true else {
            return .taken
        }
        revision.lastPoke = now
        decide(revision, .tick)
        return .taken
    }

    // MARK: Decisions

    func decide(_ revision: Revision, _ cause: RevisionAutoscaler.Cause, wakes: Bool = true) {
        let now = clock.now
        revision.core.update(view.pods[revision.name]?.counts ?? PodCounts())
        let wishes = revision.core.decide(cause, now: now)
        // First: a request may be waiting for it.
        if let scale = wishes.scale { target.scale(scale) }
        if let service = wishes.service { source.apply(.serverlessService(service)) }
        if wishes.asksActivator { askActivator(for: revision) }
        writeStatus(of: revision)
        schedule(revision, recheckAt: wishes.recheckAt)
        if wakes { settleRest(revision) }
        if wishes.scale != nil { log(wishes.record, of: revision) }
    }

    private func log(_ record: DecisionRecord, of revision: Revision) {
        logger.info(
            "scale",
            metadata: [
                "revision": "\(revision.name)", "desired": "\(record.desired)", "ready": "\(record.ready)",
                "why": "\(record.explanation)",
            ])
    }

    private func writeStatus(of revision: Revision) {
        let (write, again) = revision.core.takeStatus(now: clock.now)
        if let write { source.apply(.podAutoscaler(write)) }
        guard let again, revision.statusTimer == .none else { return }
        revision.statusTimer = clock.at(again) { [weak self, weak revision] in
            guard let self, let revision else { return }
            revision.statusTimer = .none
            writeStatus(of: revision)
        }
    }

    private func askActivator(for revision: Revision) {
        let addresses = (view.publicEndpoints[revision.name]?.addresses ?? []).filter(\.isReady).compactMap { address in
            (address.ports["http"] ?? address.ports["http2"]).map { SocketAddress(ipv4: address.ip, port: $0) }
        }
        activators.ask(revision.name, at: addresses) { [weak self, weak revision] isAnswered in
            guard let self, let revision, !isStopped else { return }
            // Not from inside the decision that asked.
            clock.at(clock.now) { [weak self, weak revision] in
                guard let self, let revision, !isStopped else { return }
                if revision.core.probed(isAnswered, now: clock.now) {
                    logger.warning(
                        "the last pod stays: no activator answers for the revision",
                        metadata: ["revision": "\(revision.name)"])
                }
                decide(revision, .reconcile)
            }
        }
    }

    // MARK: Time

    /// Reconciles at `instant`, unless a tick comes first.
    private func schedule(_ revision: Revision, recheckAt instant: Instant?) {
        clock.cancel(revision.recheckTimer)
        revision.recheckTimer = .none
        guard let instant, !revision.isAwake || instant < revision.nextTick else { return }
        revision.recheckTimer = clock.at(instant) { [weak self, weak revision] in
            guard let self, let revision else { return }
            revision.recheckTimer = .none
            decide(revision, .reconcile)
        }
    }

    /// Lets a revision rest at zero, or wakes it.
    private func settleRest(_ revision: Revision) {
        guard revision.core.isAwake != revision.isAwake else { return }
        guard revision.isAwake else {
            // The first tick comes when activators have reported the first whole second.
            let scrape = clock.now.adding(nanoseconds: Period.scrape)
            return wake(revision, scrapeAt: scrape, tickAt: scrape.adding(nanoseconds: Period.tickAfterScrape))
        }
        revision.isAwake = false
        clock.cancel(revision.scrapeTimer)
        clock.cancel(revision.tickTimer)
        (revision.scrapeTimer, revision.tickTimer) = (.none, .none)
    }

    private func wake(_ revision: Revision, scrapeAt: Instant, tickAt: Instant) {
        revision.isAwake = true
        armScrape(revision, at: scrapeAt)
        armTick(revision, at: tickAt)
    }

    private func armTick(_ revision: Revision, at instant: Instant) {
        revision.nextTick = instant
        revision.tickTimer = clock.at(instant) { [weak self, weak revision] in
            guard let self, let revision, revision.isAwake else { return }
            armTick(revision, at: following(instant, period: Period.tick))
            decide(revision, .tick)
        }
    }

    private func armScrape(_ revision: Revision, at instant: Instant) {
        revision.nextScrape = instant
        revision.scrapeTimer = clock.at(instant) { [weak self, weak revision] in
            guard let self, let revision, revision.isAwake else { return }
            armScrape(revision, at: following(instant, period: Period.scrape))
            beginRound(revision)
        }
    }

    /// The next time of a period without drift; what was missed is not made up for.
    private func following(_ instant: Instant, period: UInt64) -> Instant {
        let next = instant.adding(nanoseconds: period)
        return next > clock.now ? next : clock.now.adding(nanoseconds: period)
    }

    private func cancelTimers(of revision: Revision) {
        for timer in [
            revision.scrapeTimer, revision.tickTimer, revision.recheckTimer, revision.settleTimer, revision.statusTimer,
        ] { clock.cancel(timer) }
        revision.isAwake = false
    }
}
