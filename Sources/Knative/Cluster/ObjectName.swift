/// The name of an object in its namespace.
public struct ObjectName: Hashable, Sendable, Comparable, CustomStringConvertible {
    /// The namespace.
    public let namespace: String
    /// The name, unique among objects of one kind in the namespace.
    public let name: String

    /// `name` in `namespace`.
    public init(namespace: String, name: String) {
        self.namespace = namespace
        self.name = name
    }

    /// `namespace/name`.
    public var description: String { "\(namespace)/\(name)" }

    /// Compares by namespace, then name.
    public static func < (left: ObjectName, right: ObjectName) -> Bool {
        (left.namespace, left.name) < (right.namespace, right.name)
    }

    /// Another object of the same namespace whose name is this one's and `suffix`.
    public func with(suffix: String) -> ObjectName { ObjectName(namespace: namespace, name: name + suffix) }
}
