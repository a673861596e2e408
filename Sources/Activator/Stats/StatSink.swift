/// Where an activator's stats go: a connection to the autoscaler. Owned by the control thread.
public protocol StatSink: AnyObject {
    /// Whether messages can be sent now.
    var isConnected: Bool { get }
    /// Sends one message (`WireStatMessages`). False: it was dropped.
    func send(_ message: [UInt8]) -> Bool
}
