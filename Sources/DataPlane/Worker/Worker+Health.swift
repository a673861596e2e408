import Balancing
import HTTP
import Primitives

/// Passive health of an activator's pods: what their answers say (`PassiveHealth`), told to the control thread; and the
/// mark by which a sidecar says that it is ending.
extension Worker {
    /// Fields that a proxy says to a proxy. A client must not see them, nor an application say them.
    static var keptFromClients: KnownFieldSet { KnownFieldSet(.xEnvoyImmediateHealthCheckFail) }

    /// Whether the response says that this sidecar is ending: to an activator, as its drain is seen by probes alone
    /// otherwise, and pods that are healthy are not probed (spec/dataplane 3.6).
    @inline(__always)
    func marksEnding(_ exchange: ExchangePointer) -> Bool {
        guard isSidecar, exchange.pointee.isProxied, let desk else { return false }
        return desk.isDraining
    }

    /// Looks at a response's status and marks. Most are good, and cost two loads.
    @inline(__always)
    func judge(_ status: Int, _ present: KnownFieldSet, _ exchange: ExchangePointer) {
        guard status < 502 || status > 504, !present.contains(.xEnvoyImmediateHealthCheckFail) else {
            return judgeBad(status, present, exchange)
        }
        guard let endpoint = exchange.pointee.endpoint else { return }
        Unmanaged.passUnretained(endpoint)._withUnsafeGuaranteedRef { $0.health.answered() }
    }

    private func judgeBad(_ status: Int, _ present: KnownFieldSet, _ exchange: ExchangePointer) {
        guard let endpoint = exchange.pointee.endpoint else { return }
        if present.contains(.xEnvoyImmediateHealthCheckFail) {
            guard endpoint.health.doubted(now: now.nanoseconds) else { return }
            events.post(.doubt(exchange.pointee.target, endpoint, .draining))
        } else {
            noteFailure(exchange)
        }
    }

    /// The pod of `exchange`, if it has one, failed as a gateway does.
    func noteFailure(_ exchange: ExchangePointer) {
        guard let endpoint = exchange.pointee.endpoint,
            endpoint.health.failed(limit: limits.gatewayFailures, now: now.nanoseconds)
        else { return }
        events.post(.doubt(exchange.pointee.target, endpoint, .failures))
    }
}
