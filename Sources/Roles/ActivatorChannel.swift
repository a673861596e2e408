import Activator
import EventLoop
import StatChannel

/// An activator's connection to the stat server of an autoscaler.
final class ActivatorChannel: StatSink {
    /// Nil: there is no autoscaler.
    private let client: StatChannelClient?

    var isConnected: Bool { client?.isConnected ?? false }

    /// To HOST:PORT; to nobody if that is empty.
    init(_ server: String, loop: Loop, seed: UInt64) {
        client = HostAndPort(server).map {
            StatChannelClient(loop: loop, server: StatServerAddress(host: $0.host, port: $0.port), seed: seed)
        }
    }

    /// Connects, and says when that changes, or why it fails.
    func begin(_ onChange: @escaping (String) -> Void) {
        client?.onChange = { _, reason in onChange(reason) }
        client?.begin()
    }

    func send(_ message: [UInt8]) -> Bool { client?.send(message) ?? false }

    /// Says goodbye.
    func close(then done: @escaping () -> Void) {
        guard let client else { return done() }
        client.close(then: done)
    }
}
