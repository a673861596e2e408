import Primitives

/// Routes read into valid form: hosts lower-cased into one block of bytes, splits without zeros, all problems noted.
struct RouteDraft {
    /// One valid route.
    struct Item {
        /// Where its name stands in `names`: the length, then the bytes.
        var nameStart: Int
        /// At least one, all above zero, together 100; none if there are paths.
        var splits: [Split]
        /// In the order in which they are tried.
        var paths: [RoutePath]
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
            issues += Self.problems(of: route).map { .init(route: index, problem: $0) }
            self.routes.append(Self.item(route, nameStart: names.count))
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

    private static func problems(of route: Route) -> [RouteTableFailure.Problem] {
        guard !route.paths.isEmpty else { return problems(of: route.splits) }
        let own: [RouteTableFailure.Problem] = route.splits.isEmpty ? [] : [.splitsBesidePaths]
        return own + route.paths.flatMap { $0.problems + problems(of: $0.splits) }
    }

    /// A single path that takes everything is no more than its splits.
    private static func item(_ route: Route, nameStart: Int) -> Item {
        if route.paths.count == 1, route.paths[0].takesAll {
            return Item(nameStart: nameStart, splits: shares(route.paths[0].splits), paths: [])
        }
        var paths = route.paths
        for index in paths.indices { paths[index].splits = shares(paths[index].splits) }
        return Item(
            nameStart: nameStart, splits: paths.isEmpty ? shares(route.splits) : [], paths: inOrder(paths))
    }

    /// Longest first, then those with most conditions, then as they came.
    private static func inOrder(_ paths: [RoutePath]) -> [RoutePath] {
        func rank(_ path: RoutePath) -> (Int, Int) { (-path.prefix.utf8.count, -path.conditions.count) }
        let sorted = paths.enumerated().sorted { left, right in
            let (first, second) = (rank(left.element), rank(right.element))
            return first == second ? left.offset < right.offset : first < second
        }
        return sorted.map(\.element)
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
