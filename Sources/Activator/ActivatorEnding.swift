import EventLoop
import Glibc
import Primitives

/// What the end of an activator needs to remember.
struct ActivatorEnding {
    /// How far it is.
    enum State: Equatable {
        case serving
        /// Health says so; requests are taken as before.
        case draining
        /// No new connections; what is under way is waited for.
        case stopping
        case over
    }

    var state = State.serving
    var drainedWorkers = 0
}

/// The end after SIGTERM (spec/dataplane 3.10): not healthy at once, traffic as before for a while, then goodbye on
/// every connection and a wait for what is under way, tunnels included, up to a limit. A second signal ends it at once.
extension Activator {
    /// SIGTERM or SIGINT.
    public func signalled(_ number: Int32) {
        guard ending.state == .serving else {
            logger.warning("second signal: ending now")
            return end(1)
        }
        ending.state = .draining
        desk.health = .terminated
        register(isReady: false)
        let milliseconds = configuration.drainMilliseconds
        logger.info("draining", metadata: ["signal": "\(number)", "serving_ms": "\(milliseconds)"])
        loop.after(milliseconds: milliseconds) { [unowned self] in stopTaking() }
    }

    private func stopTaking() {
        guard ending.state == .draining else { return }
        ending.state = .stopping
        workers.post(.stopAccepting)
        let milliseconds = configuration.drainLimitMilliseconds
        logger.info("no new connections are taken", metadata: ["limit_ms": "\(milliseconds)"])
        loop.after(milliseconds: milliseconds) { [unowned self] in
            guard ending.state == .stopping else { return }
            logger.warning("requests are still under way at the limit of the drain")
            end(0)
        }
    }

    /// A worker has nothing left to do.
    func workerDrained() {
        ending.drainedWorkers += 1
        if ending.state == .stopping, ending.drainedWorkers == workers.count { end(0) }
    }

    /// Ends for good.
    func end(_ status: Int32) {
        guard ending.state != .over else { return }
        ending.state = .over
        exitStatus = status
        onEnd()
    }
}
