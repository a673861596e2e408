import Primitives
import Testing

@testable import Admission

@Suite struct WaitQueueTests {
    private func waiter(_ token: UInt64) -> Waiter { Waiter(worker: Int(token % 3), token: token) }

    @Test func firstComeFirstServed() {
        var queue = WaitQueue()
        for token in UInt64(1)...3 { _ = queue.append(waiter(token)) }
        _ = queue.prepend(waiter(0))
        #expect(queue.count == 4)
        #expect((0..<5).map { _ in queue.popOldest()?.token } == [0, 1, 2, 3, nil])
        #expect(queue.isEmpty)
    }

    @Test func staleTicketsDoNothing() {
        var queue = WaitQueue()
        let first = queue.append(waiter(1))
        let removed = queue.remove(first)
        let removedAgain = queue.remove(first)
        #expect(removed && !removedAgain)
        let second = queue.append(waiter(2))
        #expect(second.index == first.index && second != first)
        let stale = queue.remove(first)
        #expect(!stale && queue.count == 1)
        #expect(queue.popOldest()?.token == 2)
        let gone = queue.remove(second)
        #expect(!gone)
    }

    /// A long queue's memory is given back, and tickets from before stay stale.
    @Test func storageShrinks() {
        var queue = WaitQueue()
        let tickets = (UInt64(0)..<1_000).map { queue.append(waiter($0)) }
        #expect(queue.removeAll().map(\.token) == Array(0..<1_000))
        let fresh = queue.append(waiter(7))
        for ticket in tickets {
            let removed = queue.remove(ticket)
            #expect(!removed)
        }
        let removed = queue.remove(fresh)
        #expect(removed)
    }

    /// Random operations against an array.
    @Test func agreesWithAnArray() {
        for seed in UInt64(0)..<64 {
            var random = SeededRandom(seed: seed)
            var queue = WaitQueue()
            var model: [(token: UInt64, ticket: WaitTicket)] = []
            for step in UInt64(0)..<500 {
                switch UInt64.random(in: 0..<10, using: &random) {
                case 0..<4: model.append((step, queue.append(waiter(step))))
                case 4: model.insert((step, queue.prepend(waiter(step))), at: 0)
                case 5..<7:
                    let expected = model.isEmpty ? nil : model.removeFirst().token
                    #expect(queue.popOldest()?.token == expected, "seed \(seed)")
                default:
                    guard !model.isEmpty else { continue }
                    let (token, ticket) = model.remove(at: Int.random(in: 0..<model.count, using: &random))
                    let removed = queue.remove(ticket)
                    #expect(removed, "seed \(seed), token \(token)")
                }
                #expect(queue.count == model.count, "seed \(seed)")
            }
            #expect(queue.removeAll().map(\.token) == model.map(\.token), "seed \(seed)")
        }
    }
}
