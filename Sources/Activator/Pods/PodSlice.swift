import Balancing

/// Which pods of a revision are this activator's, if several activators stand before it: the same rule as Knative's, to
/// the letter, since each must come to the same result by itself.
///
/// Only for revisions with a limit of concurrency: of the others every activator uses every pod. Source:
/// spec/dataplane 3.5; Knative `pkg/activator/net/throttler.go`, `assignSlice`.
public struct PodSlice: Equatable, Sendable {
    /// This activator's place among them, by the text of their addresses; nil: it is not one of them, and uses all
    /// pods.
    public var index: Int?
    /// How many activators there are.
    public var count: Int

    /// All pods.
    public static let whole = PodSlice(index: nil, count: 1)

    /// A place among `count`.
    public init(index: Int?, count: Int) {
        self.index = index
        self.count = count
    }

    /// The place of `own` among the addresses of a public service; nil, and nothing changes, if it is not among them.
    public init?(of own: UInt32, among addresses: [UInt32]) {
        let sorted = Set(addresses).map { ($0, Self.text($0)) }.sorted { Self.isBefore($0.1, $1.1) }
        guard let index = sorted.firstIndex(where: { $0.0 == own }) else { return nil }
        self.init(index: index, count: sorted.count)
    }

    /// The places of this activator's pods in a sorted list of so many.
    public func places(of pods: Int) -> [Int] {
        guard let index, count > 1, pods > 1 else { return Array(0..<max(0, pods)) }
        guard count <= pods else { return [index % pods] }
        let share = pods / count, rest = pods % count
        let own = Array(index * share..<(index + 1) * share)
        return index < rest ? own + [pods - rest + index] : own
    }

    /// This activator's part of `pods`, which come sorted by `isBefore` of their texts.
    public func part(of pods: [EndpointAddress]) -> [EndpointAddress] { places(of: pods.count).map { pods[$0] } }

    /// Addresses in the order of their texts `ip:port`, byte by byte, as Go sorts strings.
    public static func sorted(_ pods: some Sequence<EndpointAddress>) -> [EndpointAddress] {
        pods.map { ($0, "\($0)") }.sorted { isBefore($0.1, $1.1) }.map(\.0)
    }

    private static func isBefore(_ left: String, _ right: String) -> Bool {
        left.utf8.lexicographicallyPrecedes(right.utf8)
    }

    private static func text(_ address: UInt32) -> String {
        "\(address >> 24).\(address >> 16 & 0xFF).\(address >> 8 & 0xFF).\(address & 0xFF)"
    }
}
