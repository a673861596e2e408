import EventLoop
import Primitives
import Probing

/// Whether the container is ready: runs its probes when somebody asks, one run at a time.
///
/// Whoever asks while a run is under way waits for its result; who goes away does not stop it. Nothing is kept after
/// its end but the counts of `ProbeRun`. Owner: the control thread. Source: spec/dataplane 1.9.
final class ReadinessCheck {
    private struct Slot {
        let probe: ReadinessProbe
        var run: ProbeRun
        var connection: ProbeConnection?
        var timer: TimerHandle?
        /// What its run came to; nil while it is under way.
        var passed: Bool?
        var reason = ""
    }

    private let context: ProbeContext
    private let loop: Loop
    private let detectsHTTP2: Bool
    private var slots: [Slot]
    private var waiting: [(Bool) -> Void] = []
    private var isRunning = false
    /// Called with each run's result, and for one that failed with the probe and the reason.
    var onResult: (_ isReady: Bool, _ probe: String, _ reason: String) -> Void = { _, _, _ in }

    /// A check with these probes. None: always ready.
    init(_ settings: ReadinessSettings, _ context: ProbeContext, loop: Loop) {
        self.context = context
        self.loop = loop
        detectsHTTP2 = settings.detectsHTTP2
        slots = settings.probes.map { probe in
            let run = ProbeRun(
                isAggressive: probe.isAggressive, timeoutSeconds: probe.timeoutSeconds,
                successThreshold: probe.successThreshold)
            return Slot(probe: probe, run: run)
        }
    }

    /// Calls `answer` with the result of the run that is under way, or of a new one; perhaps at once.
    func ask(_ answer: @escaping (Bool) -> Void) {
        waiting.append(answer)
        guard !isRunning else { return }
        isRunning = true
        let now = MonotonicClock.now()
        for index in slots.indices {
            slots[index].passed = nil
            slots[index].reason = ""
        }
        // A probe that fails at once ends the run before the others have begun.
        for index in slots.indices where isRunning { take(slots[index].run.begin(now: now), index) }
        endIfDecided()
    }

    // MARK: Steps

    private func take(_ step: ProbeRun.Step, _ index: Int) {
        switch step {
        case .attempt(let instant, let milliseconds):
            guard instant > MonotonicClock.now() else { return attempt(index, milliseconds) }
            slots[index].timer = loop.at(instant) { [weak self] in
                self?.slots[index].timer = nil
                self?.attempt(index, milliseconds)
            }
        case .over(let passed):
            slots[index].passed = passed
            endIfDecided()
        }
    }

    private func attempt(_ index: Int, _ milliseconds: UInt64) {
        switch slots[index].probe.handler {
        case .failing(let reason): tried(index, .failed(reason))
        case .tcp(let port): ask(.connect, port, index, milliseconds)
        case .grpc(let port, let service): ask(.health(service: service), port, index, milliseconds)
        case .http(let path, let port, let isTLS, let fields):
            let headers = fields.map { ProbeHeader(name: $0.name, value: $0.value) }
            if isTLS {
                ask(.https(path: path, headers: headers), port, index, milliseconds)
            } else if detectsHTTP2 {
                detect(path, port, headers, index, milliseconds)
            } else {
                ask(.http1(path: path, headers: headers), port, index, milliseconds)
            }
        }
    }

    /// HTTP/2 first: if it answers well, the same again with the headers decides; else HTTP/1.1 without them does.
    private func detect(
        _ path: String, _ port: UInt16, _ headers: [ProbeHeader], _ index: Int, _ milliseconds: UInt64
    ) {
        ask(.http2(path: path, headers: []), port, index, milliseconds) { [weak self] outcome in
            let next: ProbeQuestion =
                outcome == .passed ? .http2(path: path, headers: headers) : .http1(path: path, headers: [])
            self?.ask(next, port, index, milliseconds)
        }
    }

    private func ask(_ question: ProbeQuestion, _ port: UInt16, _ index: Int, _ milliseconds: UInt64) {
        ask(question, port, index, milliseconds) { [weak self] outcome in self?.tried(index, outcome) }
    }

    private func ask(
        _ question: ProbeQuestion, _ port: UInt16, _ index: Int, _ milliseconds: UInt64,
        _ report: @escaping (ProbeOutcome) -> Void
    ) {
        let connection = ProbeConnection(context)
        slots[index].connection = connection
        connection.begin(question, port: port, timeoutMilliseconds: milliseconds, report: report)
    }

    private func tried(_ index: Int, _ outcome: ProbeOutcome) {
        slots[index].connection = nil
        slots[index].reason = outcome.reason
        take(slots[index].run.tried(passed: outcome == .passed, now: MonotonicClock.now()), index)
    }

    // MARK: The end

    /// All have passed, or one has failed for good: then the others need not go on.
    private func endIfDecided() {
        guard isRunning else { return }
        let failed = slots.first { $0.passed == false }
        guard failed != nil || slots.allSatisfy({ $0.passed == true }) else { return }
        isRunning = false
        for index in slots.indices {
            slots[index].connection?.cancel()
            slots[index].connection = nil
            if let timer = slots[index].timer { loop.cancel(timer) }
            slots[index].timer = nil
        }
        onResult(failed == nil, failed.map { "\($0.probe)" } ?? "", failed?.reason ?? "")
        let askers = waiting
        waiting = []
        for answer in askers { answer(failed == nil) }
    }
}
