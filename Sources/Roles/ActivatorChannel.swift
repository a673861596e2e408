import Activator
import EventLoop

/// An activator's connection to the stat server of an autoscaler.
final class ActivatorChannel: StatSink {
    var isConnected: Bool { false }

    /// To HOST:PORT; to nobody if that is empty.
    init(_ server: String, loop: Loop, seed: UInt64) {}

    /// Connects, and says when that changes and why.
    func begin(_ onChange: @escaping (String) -> Void) {}

    func send(_ message: [UInt8]) -> Bool { false }

    /// Says goodbye.
    func close(then done: @escaping () -> Void) { done() }
}
