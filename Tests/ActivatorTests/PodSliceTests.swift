import Balancing
import Testing

@testable import Activator

/// Which pods are whose: the same as Knative's `assignSlice`, with the vectors of its tests.
@Suite struct PodSliceTests {
    struct Row: Sendable, CustomTestStringConvertible {
        let pods: Int
        let activators: Int
        let index: Int?
        let places: [Int]

        init(_ pods: Int, _ activators: Int, _ index: Int?, _ places: [Int]) {
            (self.pods, self.activators, self.index, self.places) = (pods, activators, index, places)
        }

        var testDescription: String { "\(pods) pods, \(activators) activators, this is \(index ?? -1)" }
    }

    static let rows = [
        Row(1, 1, 0, [0]), Row(1, 2, 0, [0]), Row(1, 2, 1, [0]), Row(2, 3, 1, [1]), Row(2, 3, 2, [0]),
        Row(3, 3, 2, [2]), Row(10, 3, 0, [0, 1, 2, 9]), Row(10, 3, 1, [3, 4, 5]), Row(10, 3, 2, [6, 7, 8]),
        Row(150, 5, 0, Array(0..<30)), Row(150, 5, 1, Array(30..<60)), Row(150, 5, 4, Array(120..<150)),
        Row(3, 5, 3, [0]), Row(3, 5, 4, [1]), Row(24, 5, 0, [0, 1, 2, 3, 20]), Row(24, 5, 3, [12, 13, 14, 15, 23]),
        Row(24, 5, 4, [16, 17, 18, 19]), Row(20, 3, 0, Array(0..<6) + [18]), Row(20, 3, 1, Array(6..<12) + [19]),
        Row(20, 3, 2, Array(12..<18)), Row(0, 3, 1, []), Row(5, 1, 0, Array(0..<5)), Row(5, 3, nil, Array(0..<5)),
        Row(1, 3, nil, [0]),
    ]

    @Test(arguments: rows) func places(row: Row) {
        #expect(PodSlice(index: row.index, count: row.activators).places(of: row.pods) == row.places)
    }

    /// With no more activators than pods every pod is exactly one activator's, and shares differ by one at most.
    @Test func everyPodIsSomebodys() {
        for pods in 1...40 {
            for count in 1...45 {
                let parts = (0..<count).map { PodSlice(index: $0, count: count).places(of: pods) }
                let all = parts.flatMap(\.self)
                #expect(Set(all) == Set(0..<pods), "\(pods) pods, \(count) activators")
                #expect(parts.allSatisfy { !$0.isEmpty })
                if count <= pods {
                    #expect(all.count == pods)
                    let sizes = parts.map(\.count)
                    #expect((sizes.max() ?? 0) - (sizes.min() ?? 0) <= 1)
                }
            }
        }
    }

    /// The order is that of texts: 10.0.0.10 stands before 10.0.0.2, and with ports behind them before 10.0.0.1.
    @Test func order() {
        func pod(_ last: UInt32, _ port: UInt16) -> EndpointAddress {
            EndpointAddress(ipv4: 0x0A00_0000 | last, port: port)
        }
        let sorted = PodSlice.sorted([pod(2, 8012), pod(10, 8012), pod(1, 8012), pod(10, 801), pod(1, 9)])
        #expect(sorted == [pod(10, 801), pod(10, 8012), pod(1, 8012), pod(1, 9), pod(2, 8012)])
        let addresses: [UInt32] = [0x0A00_0002, 0x0A00_000A, 0x0A00_0001]
        #expect(PodSlice(of: 0x0A00_0002, among: addresses) == PodSlice(index: 2, count: 3))
        #expect(PodSlice(of: 0x0A00_000A, among: addresses + addresses) == PodSlice(index: 1, count: 3))
        #expect(PodSlice(of: 0x0A00_0003, among: addresses) == nil)
        #expect(PodSlice(of: 1, among: []) == nil)
    }
}
