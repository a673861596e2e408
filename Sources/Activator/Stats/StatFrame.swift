import Primitives
import Telemetry

/// Messages to the autoscaler (`WireStatMessages`), made of one entry for each revision.
struct StatFrame {
    /// Most bytes of one message; what is more goes into another one.
    static let byteLimit = WireStatReader.bodyLimit
    /// Most bytes of an entry: three names, four numbers and their tags.
    private static let entryBytes = 3 * WireStatMessage.nameLimit + 128

    private let podName: [UInt8]

    /// Messages of the activator `podName`, at most `StatMessage.podNameLimit` bytes.
    init(podName: String) { self.podName = Array(podName.utf8.prefix(StatMessage.podNameLimit)) }

    /// The messages for `entries`: one, unless there are too many.
    func messages(_ entries: [(namespace: String, name: String, report: WindowReport)]) -> [[UInt8]] {
        var messages: [[UInt8]] = []
        var rest = entries[...]
        while !rest.isEmpty {
            let count = min(rest.count, min(WireStatReader.entryLimit, Self.byteLimit / Self.entryBytes))
            messages.append(message(rest.prefix(count)))
            rest = rest.dropFirst(count)
        }
        return messages
    }

    private func message(_ entries: ArraySlice<(namespace: String, name: String, report: WindowReport)>) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: entries.count * Self.entryBytes) { memory, count in
            var writer = ByteWriter(UnsafeMutableRawBufferPointer(memory))
            for entry in entries {
                var (namespace, name) = (entry.namespace, entry.name)
                podName.withUnsafeBytes { pod in
                    namespace.withUTF8 { namespace in
                        name.withUTF8 { name in
                            let stat = StatMessage(podName: ByteView(pod), report: entry.report)
                            WireStatMessage(
                                namespace: ByteView(UnsafeRawBufferPointer(namespace)),
                                name: ByteView(UnsafeRawBufferPointer(name)), stat: stat
                            ).write(to: &writer)
                        }
                    }
                }
            }
            count = writer.count
        }
    }
}
