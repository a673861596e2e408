/// One thing that is wrong with a setting, in the words of Knative's own validation.
public struct ScalingProblem: Equatable, Sendable {
    /// The key as the user wrote it (an alias stays an alias), or the canonical key for a clash of two.
    public var key: String
    /// What is wrong, without the key: `expected 6s <= 5s <= 1h0m0s`.
    public var message: String
    /// Text that Knative glues to the end of the path, such as ` must be greater than 0`. Mostly empty.
    public var pathSuffix: String
    /// The second key of a clash (`min-scale` beside `max-scale`).
    public var otherKey: String?

    /// A problem of `key`.
    public init(key: String, message: String, pathSuffix: String = "", otherKey: String? = nil) {
        self.key = key
        self.message = message
        self.pathSuffix = pathSuffix
        self.otherKey = otherKey
    }

    /// The line that Knative's webhook prints: message, colon, path or paths.
    ///
    /// - Parameter parent: path of the map with the key, such as `spec.template.metadata.annotations`; may be empty.
    public func rendered(under parent: String) -> String {
        let prefix = parent.isEmpty ? "" : parent + "."
        let second = otherKey.map { ", \(prefix)\($0)" } ?? ""
        return "\(message): \(prefix)\(key)\(pathSuffix)\(second)"
    }
}

extension ScalingProblem {
    static func invalidValue(_ value: String, _ key: String, suffix: String = "") -> ScalingProblem {
        ScalingProblem(key: key, message: "invalid value: \(value)", pathSuffix: suffix)
    }

    static func outOfBounds(_ value: String, _ low: String, _ high: String, _ key: String) -> ScalingProblem {
        ScalingProblem(key: key, message: "expected \(low) <= \(value) <= \(high)")
    }
}
