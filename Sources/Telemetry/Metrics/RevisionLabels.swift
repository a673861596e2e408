import Primitives

/// The names of one revision, for the telemetry of a role that serves many: an activator. A queue-proxy serves one,
/// whose names are those of the process (`TelemetryIdentity`).
///
/// Safe to share: nothing changes after `init`.
public final class RevisionLabels: @unchecked Sendable {
    /// The owner's number for the revision, never used twice: series are told apart by it.
    public let number: UInt64
    /// Its namespace.
    public let namespace: String
    /// Name of the Service, or nothing.
    public let service: String
    /// Name of the Configuration, or nothing.
    public let configuration: String
    /// Its name.
    public let name: String
    /// The same for the request log; good as long as this object is. There is no pod in it: an activator's log has
    /// none.
    public let log: RequestLogRevision
    private let memory: UnsafeMutableRawBufferPointer

    /// The names of revision `number`.
    public init(number: UInt64, namespace: String, service: String, configuration: String, name: String) {
        self.number = number
        (self.namespace, self.service, self.configuration, self.name) = (namespace, service, configuration, name)
        let texts = [namespace, service, configuration, name]
        memory = .allocate(byteCount: max(1, texts.reduce(0) { $0 + $1.utf8.count }), alignment: 1)
        var views: [ByteView] = []
        var start = 0
        for text in texts {
            let place = UnsafeMutableRawBufferPointer(rebasing: memory[start..<start + text.utf8.count])
            place.copyBytes(from: text.utf8)
            views.append(ByteView(UnsafeRawBufferPointer(place)))
            start += place.count
        }
        var log = RequestLogRevision()
        (log.namespace, log.service, log.configuration, log.name) = (views[0], views[1], views[2], views[3])
        self.log = log
    }

    deinit { memory.deallocate() }

    /// By OpenTelemetry's names (spec/dataplane 2.4).
    var attributes: [(name: StaticString, value: String)] {
        [
            ("k8s.namespace.name", namespace), ("kn.configuration.name", configuration), ("kn.revision.name", name),
            ("kn.service.name", service),
        ]
    }
}
