import Primitives

/// One entry of `WireStatMessages`, the form in which an activator pushes stats over its WebSocket: whose stat it is.
public struct WireStatMessage {
    /// Most bytes of a namespace or of a revision's name.
    public static let nameLimit = 253

    /// Namespace of the revision.
    public var namespace: ByteView
    /// Name of the revision.
    public var name: ByteView
    /// What was counted for it.
    public var stat: StatMessage

    /// An entry of the given values.
    public init(namespace: ByteView, name: ByteView, stat: StatMessage) {
        self.namespace = namespace
        self.name = name
        self.stat = stat
    }

    /// Appends this entry to a `WireStatMessages`: entries written one after the other are the whole message.
    ///
    /// - Returns: false, and nothing is written, if there is no room: send what there is and begin anew.
    @discardableResult
    public func write(to writer: inout ByteWriter) -> Bool {
        let mark = writer.count
        guard !writer.overflowed else { return false }
        let entry = writer.beginMessage(field: 1)
        writer.append(field: 1, bytes: namespace)
        writer.append(field: 2, bytes: name)
        let body = writer.beginMessage(field: 3)
        let isWritten = stat.write(to: &writer)
        writer.endMessage(at: body)
        writer.endMessage(at: entry)
        guard !isWritten || writer.overflowed else { return true }
        writer.rewind(to: mark)
        return false
    }

    fileprivate init(reading body: ByteView) throws(ProtobufFailure) {
        var namespace = ByteView.empty
        var name = ByteView.empty
        var stat: StatMessage?
        var reader = ProtobufReader(body)
        while let field = try reader.next() {
            switch field.number {
            case 1: namespace = try field.text(limit: WireStatMessage.nameLimit)
            case 2: name = try field.text(limit: WireStatMessage.nameLimit)
            case 3:
                guard field.type == .bytes else { throw .wrongType(field: 3) }
                stat = try StatMessage(reading: field.bytes)
            case _: continue
            }
        }
        guard let stat, !name.isEmpty, !namespace.isEmpty else { throw .illegalValue(field: 1) }
        self.init(namespace: namespace, name: name, stat: stat)
    }
}

/// Reads a `WireStatMessages` entry by entry, without copying.
///
/// Stricter than Knative where a message could only be a mistake: an entry needs a revision and a stat.
public struct WireStatReader {
    /// Most entries of one message: an activator has one for each revision it serves.
    public static let entryLimit = 16_384
    /// Most bytes of one message.
    public static let bodyLimit = 4 << 20

    private var reader: ProtobufReader
    private var entries = 0

    /// Reads `body`, which must stay where it is meanwhile.
    public init(_ body: ByteView) throws(ProtobufFailure) {
        guard body.count <= WireStatReader.bodyLimit else { throw .tooLarge }
        reader = ProtobufReader(body)
    }

    /// The next entry, nil at the end.
    ///
    /// - Throws: what is wrong. Nothing after it can be read; entries before it were good.
    public mutating func next() throws(ProtobufFailure) -> WireStatMessage? {
        while let field = try reader.next() {
            guard field.number == 1 else { continue }
            guard field.type == .bytes else { throw .wrongType(field: 1) }
            guard entries < WireStatReader.entryLimit else { throw .tooLarge }
            entries += 1
            return try WireStatMessage(reading: field.bytes)
        }
        return nil
    }
}
