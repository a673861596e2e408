import EventLoop
import TLS

extension TicketKeyRing {
    /// How long until a key that could not be made is tried again, in milliseconds.
    static let retryMilliseconds: UInt64 = 60_000

    /// Rotates the keys whenever it is due, on `loop` and its thread, for as long as somebody has them.
    ///
    /// - Parameter report: gets why a key could not be made; that is tried again after a minute.
    public func renew(on loop: Loop, report: @escaping (TLSSetupFailure) -> Void) {
        loop.at(deadline) { [weak self, unowned loop] in self?.attempt(on: loop, report: report) }
    }

    private func attempt(on loop: Loop, report: @escaping (TLSSetupFailure) -> Void) {
        do throws(TLSSetupFailure) {
            _ = try timeout(now: loop.now)
            renew(on: loop, report: report)
        } catch {
            report(error)
            loop.after(milliseconds: Self.retryMilliseconds) { [weak self, unowned loop] in
                self?.attempt(on: loop, report: report)
            }
        }
    }
}
