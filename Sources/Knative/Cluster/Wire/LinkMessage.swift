/// One line between a role and `martlet run`: JSON in the form of Kubernetes' watch events.
public enum LinkMessage: Sendable, Equatable {
    /// `{"type":"WATCH","kinds":["Revision"]}`: tell me these.
    case watch(Set<ObjectKind>)
    /// `{"type":"APPLY","object":{…}}`: write this.
    case apply(ClusterObject)
    /// `{"type":"EXPLAIN","name":"namespace/revision"}`: why has it so many pods? Empty: all.
    case explain(String)
    /// `{"type":"TEXT","lines":["…"]}`: the answer.
    case text([String])
    /// `{"type":"ADDED","object":{…}}`.
    case added(ClusterObject)
    /// `{"type":"MODIFIED","object":{…}}`.
    case modified(ClusterObject)
    /// `{"type":"DELETED","object":{"kind":"Revision","metadata":{"name":"…","namespace":"…"}}}`.
    case deleted(ObjectKind, ObjectName)
    /// `ADDED` or `MODIFIED` with an EndpointSlice: who watches `Endpoints` may be told slices, too. Its addresses have
    /// the same ports.
    case slice(EndpointSlice)
    /// `DELETED` with an EndpointSlice.
    case sliceDeleted(ObjectName)
    /// `{"type":"BOOKMARK"}`: all that was there has been told.
    case bookmark
    /// `{"type":"ERROR","message":"…"}`: the other side's last line was refused.
    case error(String)

    /// Longest line, in bytes, and what its values may cost. 4 MiB holds some 30,000 addresses of one revision; etcd
    /// keeps no object above 1.5 MiB.
    public static let lineBytes = 4 << 20

    /// What a line may cost.
    static var limits: YAMLLimits {
        var limits = YAMLLimits()
        limits.fileBytes = lineBytes + lineBytes / 2
        limits.nodes = 1_000_000
        limits.expandedBytes = limits.fileBytes
        limits.documents = 1
        limits.problems = 5
        return limits
    }

    /// The line with its end.
    public var line: [UInt8] {
        var bytes: [UInt8] = []
        tree.write(to: &bytes)
        bytes.append(UInt8(ascii: "\n"))
        return bytes
    }

    private var tree: JSONTree {
        func message(_ type: String, _ more: (String, JSONTree?)...) -> JSONTree {
            .object([("type", .string(type))] + more)
        }
        switch self {
        case .watch(let kinds):
            return message("WATCH", ("kinds", .list(kinds.map(\.rawValue).sorted().map { .string($0) })))
        case .apply(let object): return message("APPLY", ("object", object.tree))
        case .explain(let name): return message("EXPLAIN", ("name", .string(name)))
        case .text(let lines): return message("TEXT", ("lines", .list(lines.map { .string($0) })))
        case .added(let object): return message("ADDED", ("object", object.tree))
        case .modified(let object): return message("MODIFIED", ("object", object.tree))
        case .deleted(let kind, let name):
            return message("DELETED", ("object", Self.naming(kind.apiVersion, kind.rawValue, name)))
        case .slice(let slice): return message("MODIFIED", ("object", slice.tree))
        case .sliceDeleted(let name):
            let object = Self.naming(ClusterDecoder.sliceVersion, ClusterDecoder.sliceKind, name)
            return message("DELETED", ("object", object))
        case .bookmark: return message("BOOKMARK")
        case .error(let text): return message("ERROR", ("message", .string(text)))
        }
    }

    /// No more of an object than what names it.
    private static func naming(_ version: String, _ kind: String, _ name: ObjectName) -> JSONTree {
        let metadata = JSONTree.object([("name", .string(name.name)), ("namespace", .string(name.namespace))])
        return .object([("apiVersion", .string(version)), ("kind", .string(kind)), ("metadata", metadata)])
    }
}
