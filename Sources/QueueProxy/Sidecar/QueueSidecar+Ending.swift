import DataPlane
import EventLoop
import Glibc
import Primitives

/// What the end of the pod needs to remember. Owner: the control thread.
struct PodEnding {
    /// How often requests under way are counted while somebody waits for their end, in milliseconds.
    static let countMilliseconds: UInt64 = 50

    var drain: PodDrain
    /// How long streams and tunnels are waited for, in milliseconds, after the requests of HTTP/1.1 have ended, or a
    /// hook's quiet period has passed.
    let streamMilliseconds: UInt64
    /// Who waits for the drain.
    var hooks: [Asker] = []
    var timer = TimerHandle.none
    var counting = TimerHandle.none
    /// Where the workers' figures come in, and those of this round.
    var gauges: Mailbox<WorkerGauges>?
    var found: [WorkerGauges] = []
    /// When the first count found streams alone.
    var streamsSince: Instant?
    var isStopping = false
    var drainedWorkers = 0

    init(_ configuration: QueueConfiguration) {
        drain = PodDrain(quietMilliseconds: UInt64(configuration.drainQuietMilliseconds))
        streamMilliseconds = UInt64(configuration.drainStreamMilliseconds)
    }
}

/// The pod's end: drain, goodbye, exit. The rules are `PodDrain`'s.
extension QueueSidecar {
    /// Where the workers' figures come in. Before `run`.
    func watchGauges() throws(SystemError) {
        let gauges = try Mailbox<WorkerGauges>()
        _ = try loop.watch(gauges.fd, .readable) { [unowned self] _ in takeGauges() }
        ending.gauges = gauges
    }

    /// SIGTERM or SIGINT.
    func signalled(_ number: Int32) {
        let name = number == SIGTERM ? "SIGTERM" : number == SIGINT ? "SIGINT" : "\(number)"
        log.write(.info, "signal received", [("signal", name)])
        perform(ending.drain.signal(now: MonotonicClock.now()))
        advance(isBusy: nil)
    }

    /// Kubelet waits for the end of the drain.
    func hooked(_ asker: Asker) {
        ending.hooks.append(asker)
        perform(ending.drain.hook(now: MonotonicClock.now()))
        advance(isBusy: nil)
    }

    private func advance(isBusy: Bool?) {
        let now = MonotonicClock.now()
        perform(ending.drain.advance(now: now, lastRequest: desk.lastRequestAt, isBusy: isBusy))
        loop.cancel(ending.timer)
        let next = ending.drain.deadline(now: now, lastRequest: desk.lastRequestAt)
        if next != .distantFuture {
            ending.timer = loop.at(next) { [unowned self] in advance(isBusy: nil) }
        }
        let isAwaited = ending.drain.awaitsRequests(now: now, lastRequest: desk.lastRequestAt)
        if isAwaited || ending.isStopping { countLater() }
    }

    private func perform(_ actions: [PodDrain.Action]) {
        for action in actions {
            switch action {
            case .sayUnready:
                desk.isDraining = true
                ending.streamsSince = nil
                log.write(.info, "draining", [("quiet_milliseconds", "\(configuration.drainQuietMilliseconds)")])
            case .sayReady:
                desk.isDraining = false
                log.write(.info, "no signal followed the hook; ready again")
            case .answerHooks:
                for asker in ending.hooks { workers.answer(asker, Answer(status: 200)) }
                ending.hooks = []
            case .stop:
                ending.isStopping = true
                log.write(.info, "no longer listening; finishing what is under way")
                workers.post(.stopAccepting)
            case .exit:
                log.write(.warn, "second signal; ending at once")
                exit(1)
            }
        }
    }

    // MARK: Counting

    private func countLater() {
        guard ending.counting == .none else { return }
        ending.counting = loop.after(milliseconds: PodEnding.countMilliseconds) { [unowned self] in
            ending.found = []
            if let gauges = ending.gauges { workers.post(.gauges(gauges)) }
        }
    }

    private func takeGauges() {
        ending.found += ending.gauges?.takeAll() ?? []
        guard ending.found.count >= workers.count else { return }
        ending.counting = .none
        let tunnels = ending.found.reduce(0) { $0 + $1.tunnels }
        let streams = ending.found.reduce(0) { $0 + $1.streams }
        let requests = ending.found.reduce(0) { $0 + $1.exchanges } - tunnels - streams
        // Streams may be endless. Tunnels hold no hook up: their ends are told by the container when it is stopped.
        if requests > 0 { ending.streamsSince = nil }
        let since = ending.streamsSince ?? loop.now
        if requests == 0 { ending.streamsSince = since }
        let isOver = loop.now >= since.adding(milliseconds: ending.streamMilliseconds)
        if ending.isStopping, requests == 0, isOver, tunnels + streams > 0 {
            log.write(
                .warn, "streams are still open; ending", [("streams", "\(streams)"), ("tunnels", "\(tunnels)")])
            perform(ending.drain.advance(now: loop.now, lastRequest: desk.lastRequestAt, isBusy: false))
            return end(0)
        }
        advance(isBusy: requests > 0 || (streams > 0 && !isOver))
    }

    /// A worker has nothing under way any more.
    func workerDrained() {
        ending.drainedWorkers += 1
        guard ending.drainedWorkers == workers.count else { return }
        log.write(.info, "all is finished; ending")
        end(0)
    }
}
