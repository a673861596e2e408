import Balancing
import Glibc
import Primitives

/// A sidecar's one container, when it takes no connection.
extension Worker {
    /// How long one attempt to connect may take, in milliseconds. A sidecar's first attempts are short and each is
    /// longer than the one before by two fifths, as Knative's (spec/dataplane 1.8).
    func connectMilliseconds(_ exchange: ExchangePointer) -> UInt64 {
        var milliseconds = limits.upstreamConnectMilliseconds
        guard isSidecar else { return milliseconds }
        for _ in 1..<max(1, exchange.pointee.connectAttempts) where milliseconds < 60_000 {
            milliseconds += max(1, milliseconds * 2 / 5)
        }
        return milliseconds
    }

    /// Nothing was sent. A refusal is told at once; silence, as of a full backlog, is tried again, on the same slot.
    func containerRefused(
        _ exchange: ExchangePointer, _ connection: Downstream, _ code: Int32
    ) {
        guard code == ETIMEDOUT, exchange.pointee.connectAttempts < limits.upstreamConnectTries else {
            return fail(exchange, .containerUnreachable)
        }
        dispatch(exchange, connection)
    }
}
