import Primitives

/// Routes read into valid form: hosts lower-cased into one block of bytes, splits without zeros, all problems noted.
struct RouteDraft {
    /// One valid route.
    struct Item {
        /// Where its name stands in `names`: the length, then the bytes.
        var nameStart: Int
        /// At least one, all above zero, together 100.
        var splits: [Split]
    }

    private(set) var routes: [Item] = []
    /// All names, each behind a byte with its length (1...253).
    private(set) var names: [UInt8] = []

    init(_ routes: [Route]) throws(RouteTableFailure) {
        var issues: [RouteTableFailure.Issue] = []
        var seen: Set<[UInt8]> = []
        self.routes.reserveCapacity(routes.count)
        for (index, route) in routes.enumerated() {
            let name = Self.normalised(route.host)
            if name.isEmpty { issues.append(.init(route: index, problem: .invalidHost)) }
            if !name.isEmpty, !seen.insert(name).inserted {
                issues.append(.init(route: index, problem: .duplicateHost))
            }
            issues += Self.problems(of: route.splits).map { .init(route: index, problem: $0) }
            self.routes.append(Item(nameStart: names.count, splits: Self.shares(route.splits)))
            names.append(UInt8(name.count))
            names += name
        }
        if !issues.isEmpty { throw RouteTableFailure(issues: issues) }
    }

    /// The bytes of route `index`'s name.
    func name(of index: Int) -> ArraySlice<UInt8> {
        let start = routes[index].nameStart + 1
        return names[start..<start + Int(names[start - 1])]
    }

    /// The host as it is compared: read as a request's would be, and lower case. Empty if it is none.
    private static func normalised(_ host: String) -> [UInt8] {
        let bytes = Array(host.utf8)
        return bytes.withUnsafeBytes { bytes in
            guard let name = HostName.host(in: ByteView(bytes)), HostName.isName(name) else { return [] }
            return (0..<name.count).map { ASCII.lowercased(name[$0]) }
        }
    }

    private static func problems(of splits: [Split]) -> [RouteTableFailure.Problem] {
        guard !splits.isEmpty else { return [.noSplits] }
        let strange = splits.filter { !(0...100).contains($0.percent) }
        guard strange.isEmpty else { return strange.map { .percentOutOfRange($0.percent) } }
        let sum = splits.reduce(0) { $0 + $1.percent }
        return sum == 100 || (splits.count == 1 && sum == 0) ? [] : [.percentSum(sum)]
    }

    private static func shares(_ splits: [Split]) -> [Split] {
        if splits.count == 1 { return [Split(target: splits[0].target, percent: 100)] }
        return splits.filter { $0.percent > 0 }
    }
}
