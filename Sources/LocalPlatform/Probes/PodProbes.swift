import EventLoop
import Primitives
import Probing

/// Runs the probes of one process: a timer for each, one attempt at a time for each. Owned by the loop's thread.
final class PodProbes {
    /// Shortest time between two probes that `recheck` asks for, in milliseconds.
    static let recheckMilliseconds: UInt64 = 5

    private struct Slot {
        var tracker: ProbeTracker
        var attempt: ProbeAttempt?
        var timer: TimerHandle?
        var last: Instant
        var hasBudget = false
    }

    private let context: PodContext
    private let spec: PodSpec
    private let target: ProbeAttempt.Target
    private let report: (ProbeTracker.Role, ProbeTracker.Change) -> Void
    private var slots: [Slot] = []

    /// Probes of a process that runs at `target`.
    init(
        context: PodContext, spec: PodSpec, target: ProbeAttempt.Target,
        report: @escaping (ProbeTracker.Role, ProbeTracker.Change) -> Void
    ) {
        self.context = context
        self.spec = spec
        self.target = target
        self.report = report
    }

    /// Begins with the startup probe, or with the others if there is none.
    func begin() {
        if let startup = spec.startupProbe { add(.startup, startup) } else { beginOthers() }
    }

    /// Ends all probes without a report.
    func stop() {
        for slot in slots {
            slot.attempt?.cancel()
            if let timer = slot.timer { context.loop.cancel(timer) }
        }
        slots = []
    }

    /// Asks the readiness probe at once.
    func recheck() {
        guard let index = slots.firstIndex(where: { $0.tracker.role == .readiness }) else { return }
        slots[index].tracker.recheck()
        guard slots[index].attempt == nil else { return }  // the one under way answers
        let earliest = slots[index].last.adding(milliseconds: Self.recheckMilliseconds)
        if context.now >= earliest { run(.readiness) } else { arm(index, at: earliest) }
    }

    private func beginOthers() {
        if spec.isAskedForReadiness { add(.readiness, spec.readinessProbe ?? ProbeSpec()) }
        if let liveness = spec.livenessProbe { add(.liveness, liveness) }
    }

    private func add(_ role: ProbeTracker.Role, _ probe: ProbeSpec) {
        var probe = probe
        // The container port of the Service stands for the port this process was given.
        switch probe.handler {
        case .tcp(let port) where port == spec.containerPort: probe.handler = .tcp(port: nil)
        case .http(let path, let port, let headers, let scheme) where port == spec.containerPort:
            probe.handler = .http(path: path, port: nil, headers: headers, scheme: scheme)
        case .grpc(let port, let service) where port == spec.containerPort:
            probe.handler = .grpc(port: nil, service: service)
        case .tcp, .http, .exec, .grpc: break
        }
        let tracker = ProbeTracker(role: role, spec: probe, began: context.now)
        slots.append(Slot(tracker: tracker, last: context.now))
        arm(slots.count - 1, at: tracker.first)
    }

    private func arm(_ index: Int, at instant: Instant) {
        if let timer = slots[index].timer { context.loop.cancel(timer) }
        let role = slots[index].tracker.role
        slots[index].timer = context.loop.at(instant) { [weak self] in
            guard let self, let index = self.place(of: role) else { return }
            self.slots[index].timer = nil
            self.run(role)
        }
    }

    private func place(of role: ProbeTracker.Role) -> Int? { slots.firstIndex { $0.tracker.role == role } }

    private func run(_ role: ProbeTracker.Role) {
        guard let index = place(of: role), slots[index].attempt == nil else { return }
        let now = context.now
        // A place in the budget is taken when the probe is due, so that one who waits long does not hold up the others.
        if slots[index].tracker.verdict != .passing, !slots[index].hasBudget {
            let place = context.budget.reserve(now)
            slots[index].hasBudget = true
            if place > now.adding(milliseconds: 1) { return arm(index, at: place) }
        }
        slots[index].hasBudget = false
        slots[index].last = now
        let attempt = ProbeAttempt(loop: context.loop, commands: context.commandHooks, context: context.probes)
        slots[index].attempt = attempt
        attempt.begin(
            slots[index].tracker.spec.handler, target,
            timeoutMilliseconds: slots[index].tracker.timeoutMilliseconds(now: now)
        ) { [weak self, weak attempt] outcome in
            self?.ended(role, attempt, outcome)
        }
    }

    private func ended(_ role: ProbeTracker.Role, _ attempt: ProbeAttempt?, _ outcome: ProbeOutcome) {
        guard let index = place(of: role), slots[index].attempt === attempt else { return }
        slots[index].attempt = nil
        let now = context.now
        let change = slots[index].tracker.record(outcome, now: now)
        if let next = slots[index].tracker.next(last: slots[index].last, now: now) { arm(index, at: next) }
        if role == .startup, change == .passing {
            slots.remove(at: index)
            return beginOthers()
        }
        if let change { report(role, change) }
    }
}
