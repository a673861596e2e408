/// One host and where its requests go.
public struct Route: Hashable, Sendable {
    /// The host, exactly: no wildcard. Case, one trailing dot and a port are ignored.
    public var host: String
    /// The shares of its targets; they sum to 100.
    public var splits: [Split]

    /// Requests for `host`, divided as `splits` say.
    public init(host: String, splits: [Split]) {
        self.host = host
        self.splits = splits
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
