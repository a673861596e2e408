import EventLoop
import Knative

/// Names a connection of a hub; never used again.
public struct SessionID: Hashable, Sendable, Comparable, CustomStringConvertible {
    let number: UInt64

    /// As `session 3`.
    public var description: String { "session \(number)" }

    /// Whether `left` was there first.
    public static func < (left: SessionID, right: SessionID) -> Bool { left.number < right.number }
}

/// One subscriber of a hub.
///
/// It is told of a change at once as long as it reads. For one that does not, only the names of what has changed are
/// kept, and the newest of each is told when it reads again: what waits is bounded by the number of objects.
final class HubSession {
    private enum Pending {
        /// The newest of this object; it was there when the list began.
        case listed(ObjectKey)
        /// The newest of this object, or that it has gone.
        case changed(ObjectKey)
        case bookmark
    }

    let id: SessionID
    let connection: LinkConnection
    private(set) var kinds: Set<ObjectKind> = []
    private let limits: ClusterLimits
    private var pending: [Pending] = []
    /// The first of `pending` that has not been told.
    private var next = 0
    private var pendingKeys: Set<ObjectKey> = []

    init(id: SessionID, connection: LinkConnection, limits: ClusterLimits) {
        self.id = id
        self.connection = connection
        self.limits = limits
    }

    /// Begins to tell `kinds`, those in `store` first.
    func subscribe(to kinds: Set<ObjectKind>, _ store: ObjectStore) {
        self.kinds = kinds
        pending = store.all(kinds).map { .listed($0.key) } + [.bookmark]
        next = 0
        pendingKeys = []
        pump(store)
    }

    /// Tells of a change of `key`, which `line` renders; false if it is too far behind and must be cut.
    func tell(_ key: ObjectKey, line: [UInt8]) -> Bool {
        guard kinds.contains(key.kind) else { return true }
        if next == pending.count, connection.waitingBytes < limits.outboundBytes {
            connection.send(line)
            return true
        }
        if pendingKeys.insert(key).inserted { pending.append(.changed(key)) }
        return pendingKeys.count <= limits.pendingObjects
    }

    /// Tells what is pending, as far as the peer reads.
    func pump(_ store: ObjectStore) {
        while next < pending.count, connection.isOpen, connection.waitingBytes < limits.outboundBytes {
            let item = pending[next]
            next += 1
            switch item {
            case .bookmark: connection.send(LinkMessage.bookmark.line)
            case .listed(let key):
                if let object = store[key] { connection.send(LinkMessage.added(object).line) }
            case .changed(let key):
                pendingKeys.remove(key)
                let news = store[key].map { LinkMessage.modified($0) } ?? .deleted(key.kind, key.name)
                connection.send(news.line)
            }
        }
        if next == pending.count {
            pending.removeAll()
            next = 0
        }
    }
}
