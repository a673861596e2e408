import Knative

/// What names an object among all.
public struct ObjectKey: Hashable, Sendable, Comparable {
    /// Its kind.
    public let kind: ObjectKind
    /// Its name.
    public let name: ObjectName

    /// The object `name` of `kind`.
    public init(_ kind: ObjectKind, _ name: ObjectName) {
        self.kind = kind
        self.name = name
    }

    /// By kind, then name.
    public static func < (left: ObjectKey, right: ObjectKey) -> Bool {
        left.kind == right.kind ? left.name < right.name : left.kind.rawValue < right.kind.rawValue
    }
}

extension ClusterObject {
    /// What names it.
    public var key: ObjectKey { ObjectKey(kind, name) }
}

/// The newest of every object. Pure.
public struct ObjectStore: Sendable {
    private var objects: [ObjectKey: ClusterObject] = [:]

    /// Holds nothing.
    public init() {}

    /// How many objects there are.
    public var count: Int { objects.count }

    /// The object of this key.
    public subscript(key: ObjectKey) -> ClusterObject? { objects[key] }

    /// The objects of `kinds`, in order of kind and name.
    public func all(_ kinds: Set<ObjectKind> = Set(ObjectKind.allCases)) -> [ClusterObject] {
        objects.values.filter { kinds.contains($0.kind) }.sorted { $0.key < $1.key }
    }

    /// Keeps `object`. False if it was there just so.
    public mutating func apply(_ object: ClusterObject) -> Bool {
        objects.updateValue(object, forKey: object.key) != object
    }

    /// Forgets an object. False if there was none.
    public mutating func remove(_ key: ObjectKey) -> Bool { objects.removeValue(forKey: key) != nil }

    /// Makes the store hold exactly these, of `kinds`; returns what has changed: what has gone first.
    public mutating func replace(_ kinds: Set<ObjectKind>, with new: [ClusterObject]) -> [ClusterChange] {
        let kept = Set(new.map(\.key))
        var changes: [ClusterChange] = []
        for object in all(kinds) where !kept.contains(object.key) {
            objects[object.key] = nil
            changes.append(.removed(object.kind, object.name))
        }
        for object in new where apply(object) { changes.append(.applied(object)) }
        return changes
    }
}
