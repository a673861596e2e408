/// One host and where its requests go.
public struct Route: Hashable, Sendable {
    /// The host, exactly: no wildcard. Case, one trailing dot and a port are ignored.
    public var host: String
    /// The shares of its targets; they sum to 100. Empty if there are `paths`.
    public var splits: [Split]
    /// Requests for the host told apart further; empty: all are alike. Only for callers that match by path and fields.
    public var paths: [RoutePath] = []

    /// Requests for `host`, divided as `splits` say.
    public init(host: String, splits: [Split]) {
        self.host = host
        self.splits = splits
    }

    /// Requests for `host`, told apart by `paths`; those that none of them takes have no route.
    ///
    /// A longer path is tried before a shorter one, of equal paths the one with more fields first, then in the order
    /// given (spec/dataplane 5.1).
    public init(host: String, paths: [RoutePath]) {
        self.host = host
        splits = []
        self.paths = paths
    }
}

/// Requests whose path begins so and whose fields say so (Knative: `spec.rules[].http.paths[]`).
public struct RoutePath: Hashable, Sendable {
    /// A literal prefix of the path as it is received, query left out: `/foo` takes `/foobar` too. Empty: every path.
    public var prefix: String
    /// All of them must hold.
    public var conditions: [FieldCondition]
    /// The shares of its targets; they sum to 100.
    public var splits: [Split]

    /// Requests with a path that begins with `prefix`, and with fields as `conditions` say.
    public init(prefix: String = "", conditions: [FieldCondition] = [], splits: [Split]) {
        self.prefix = prefix
        self.conditions = conditions
        self.splits = splits
    }
}

/// A field that must have exactly one line, with exactly this value.
public struct FieldCondition: Hashable, Sendable {
    /// The field's name, in any case.
    public var name: String
    /// Its value, without white space around it; case matters.
    public var value: String

    /// `name` must be `value`.
    public init(name: String, value: String) {
        self.name = name
        self.value = value
    }
}

/// One target's share of a route's requests (Knative: `spec.rules[].http.paths[].splits[]`).
public struct Split: Hashable, Sendable {
    /// The caller's number for the target, given back by `pick`.
    public var target: Int
    /// Its share in percent. Range 0...100; in a single split 0 means 100, otherwise 0 gets nothing.
    public var percent: Int

    /// `percent` of the requests for `target`.
    public init(target: Int, percent: Int) {
        self.target = target
        self.percent = percent
    }
}

/// Where a route stands in its table: its index in the array the table was made from. Good for that table only.
public typealias RouteIndex = Int

/// All that is wrong with the routes a table was to be made from.
public struct RouteTableFailure: Error, Equatable, Sendable {
    /// What is wrong with one route.
    public enum Problem: Equatable, Sendable {
        /// The host is empty, longer than 253 bytes, or has a byte that no host has.
        case invalidHost
        /// An earlier route has the same host.
        case duplicateHost
        /// There are no splits.
        case noSplits
        /// A percentage is not in 0...100.
        case percentOutOfRange(Int)
        /// The percentages do not sum to 100 but to this.
        case percentSum(Int)
        /// There are paths, and splits beside them.
        case splitsBesidePaths
        /// A path is longer than 8,192 bytes or has a byte that no path has.
        case invalidPath(String)
        /// The name of a field is none, or its value has a byte that no value has.
        case invalidField(String)
    }

    /// One problem and the route that has it.
    public struct Issue: Equatable, Sendable {
        /// Index of the route in the array.
        public var route: Int
        /// What is wrong.
        public var problem: Problem
    }

    /// The problems, in the routes' order; never empty.
    public var issues: [Issue]
}
