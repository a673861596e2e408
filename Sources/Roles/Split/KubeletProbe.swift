import EventLoop
import Knative
import Primitives
import Probing

/// Asks a pod's queue-proxy whether the pod is ready, as kubelet does. Owned by the control thread.
///
/// Until it is, one question is held open: the queue-proxy answers it when the application accepts requests. After that
/// the period of the container's probe counts.
final class KubeletProbe {
    /// How long one question may stay open, in milliseconds: longer than the queue-proxy polls the application.
    static let heldMilliseconds: UInt64 = 15_000
    /// Pause after a refused connection, in milliseconds: the sidecar is starting. Longer after a hundred of them.
    static let refusedMilliseconds: (first: UInt64, later: UInt64) = (2, 50)
    /// Pause after another failure, in milliseconds.
    static let failedMilliseconds: UInt64 = 100

    private let context: ProbeContext
    private let loop: Loop
    private let host: UInt32
    private let port: UInt16
    private let periodMilliseconds: UInt64
    private let failureThreshold: Int
    private let report: (Bool) -> Void
    private var attempt: ProbeConnection?
    private var timer: TimerHandle = .none
    private var isReady = false
    private var failures = 0

    /// Will ask at `host`:`port`, with the pace of `probe`.
    init(
        _ context: ProbeContext, loop: Loop, host: UInt32, port: UInt16, probe: Probe, report: @escaping (Bool) -> Void
    ) {
        self.context = context
        self.loop = loop
        self.host = host
        self.port = port
        self.report = report
        // Kubernetes' default for a probe without a period.
        periodMilliseconds = UInt64(probe.periodSeconds > 0 ? probe.periodSeconds : 10) * 1_000
        failureThreshold = max(1, probe.failureThreshold == 0 ? 3 : probe.failureThreshold)
    }

    /// Asks from now on, as if the pod had never been ready.
    func begin() {
        stop()
        (isReady, failures) = (false, 0)
        ask()
    }

    /// Asks no more.
    func stop() {
        attempt?.cancel()
        attempt = nil
        loop.cancel(timer)
    }

    private func ask() {
        let attempt = ProbeConnection(context)
        self.attempt = attempt
        attempt.begin(
            .http1(path: "/", headers: [ProbeHeader(name: "K-Network-Probe", value: "queue")]), host: host, port: port,
            timeoutMilliseconds: Self.heldMilliseconds
        ) { [weak self, weak attempt] outcome in
            guard let self, self.attempt === attempt else { return }
            self.attempt = nil
            take(outcome)
        }
    }

    private func take(_ outcome: ProbeOutcome) {
        if outcome == .passed {
            failures = 0
            if !isReady {
                isReady = true
                report(true)
            }
            return again(after: periodMilliseconds)
        }
        failures += 1
        if isReady, failures >= failureThreshold {
            isReady = false
            report(false)
        }
        if isReady { return again(after: periodMilliseconds) }
        let pause = Self.refusedMilliseconds
        again(
            after: outcome == .refused ? (failures < 100 ? pause.first : pause.later) : Self.failedMilliseconds)
    }

    private func again(after milliseconds: UInt64) {
        timer = loop.after(milliseconds: milliseconds) { [weak self] in self?.ask() }
    }
}
