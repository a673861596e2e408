import Primitives
import Telemetry
import Testing

@testable import Activator

/// A book whose steps can stand in an expectation.
private final class Book {
    private var core = StatBook()

    var count: Int { core.count }
    func arrived(_ id: UInt64) -> Bool { core.arrived(id) }
    func announced(_ id: UInt64, wasSent: Bool) { core.announced(id, wasSent: wasSent) }
    func reconnected() -> [UInt64] { core.reconnected() }
    func take(_ id: UInt64, _ sums: WindowSums) { core.take(id, sums) }
    func remove(_ id: UInt64) { core.remove(id) }

    func close(windowNanoseconds: UInt64, isHeard: Bool = true, mayForget: (UInt64) -> Bool) -> [StatBook.Line] {
        core.close(windowNanoseconds: windowNanoseconds, isHeard: isHeard, mayForget: mayForget)
    }
}

/// What is told of a revision, window by window (spec/dataplane 3.8).
@Suite struct StatBookTests {
    static let second: UInt64 = 1_000_000_000

    /// Sums of a worker: so many requests, and request-seconds, in a window of so many seconds.
    static func sums(_ requests: UInt64, _ requestSeconds: Double, over seconds: Double = 1) -> WindowSums {
        var sums = WindowSums()
        sums.requests = requests
        sums.concurrencyNanoseconds = requestSeconds * 1e9
        sums.windowNanoseconds = UInt64(seconds * 1e9)
        return sums
    }

    static func line(_ average: Double, _ count: Double) -> StatBook.Line {
        StatBook.Line(id: 1, report: WindowReport(averageConcurrency: average, requestCount: count))
    }

    struct Window: Sendable {
        let sums: [WindowSums]
        let told: StatBook.Line?
        init(_ sums: [WindowSums], _ told: StatBook.Line?) { (self.sums, self.told) = (sums, told) }
    }

    struct Row: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let windows: [Window]
        init(_ name: String, _ windows: [Window]) { (testDescription, self.windows) = (name, windows) }
    }

    static let rows = [
        Row(
            "one long request",
            [
                Window([sums(1, 0.4, over: 0.4)], line(0, 0)), Window([sums(0, 1)], line(1, 0)),
                Window([sums(0, 0.5)], line(0.5, 0)), Window([], line(0, 0)), Window([], nil),
            ]),
        Row(
            "one short request: the average of the first window never gets below zero",
            [
                Window([sums(1, 0.01, over: 0.5)], line(0, 0)), Window([], line(0, 0)), Window([], nil),
            ]),
        Row(
            "many at once on two workers: windows begin with the first request",
            [
                Window([sums(3, 1.5, over: 0.5), sums(2, 0.5, over: 0.25)], line(3, 4)),
                Window([sums(4, 2), sums(1, 1)], line(3, 5)),
            ]),
        Row(
            "a worker that began in the middle of a later window",
            [
                Window([sums(2, 2)], line(1, 1)), Window([sums(1, 0.25, over: 0.25)], line(0.25, 1)),
            ]),
    ]

    @Test(arguments: rows) func windows(row: Row) {
        let book = Book()
        #expect(book.arrived(1))
        book.announced(1, wasSent: true)
        #expect(!book.arrived(1), "once")
        for (number, window) in row.windows.enumerated() {
            for sums in window.sums { book.take(1, sums) }
            let lines = book.close(windowNanoseconds: Self.second) { _ in true }
            #expect(lines == (window.told.map { [$0] } ?? []), "window \(number)")
        }
        #expect(book.arrived(1) == (row.windows.last?.told == nil), "a forgotten revision is announced again")
    }

    /// Somebody came while the workers were asked: nothing is told, and the next window leaves the announcement out.
    @Test func arrivalDuringARound() {
        let book = Book()
        _ = book.arrived(1)
        book.announced(1, wasSent: true)
        #expect(book.close(windowNanoseconds: Self.second) { _ in false }.isEmpty)
        book.take(1, Self.sums(1, 1))
        #expect(book.close(windowNanoseconds: Self.second) { _ in true } == [Self.line(0, 0)])
    }

    /// A known revision that got a request between its report and the end of the round is kept, as zero.
    @Test func keptRevision() {
        let book = Book()
        _ = book.arrived(1)
        book.announced(1, wasSent: true)
        book.take(1, Self.sums(1, 0.5))
        _ = book.close(windowNanoseconds: Self.second) { _ in true }
        #expect(book.close(windowNanoseconds: Self.second) { _ in false } == [Self.line(0, 0)])
        book.take(1, Self.sums(2, 1))
        #expect(book.close(windowNanoseconds: Self.second) { _ in true } == [Self.line(1, 2)])
    }

    /// An announcement that was not heard is made when somebody hears again, if there is still a reason.
    @Test func unheard() {
        let book = Book()
        _ = book.arrived(1)
        book.announced(1, wasSent: false)
        #expect(book.reconnected() == [1])
        book.announced(1, wasSent: true)
        #expect(book.reconnected().isEmpty)
        book.take(1, Self.sums(1, 1))
        #expect(book.close(windowNanoseconds: Self.second) { _ in true } == [Self.line(0, 0)])
        // The autoscaler goes; a request is still waiting.
        book.take(1, Self.sums(0, 1))
        _ = book.close(windowNanoseconds: Self.second, isHeard: false) { _ in true }
        #expect(book.reconnected() == [1])
        book.announced(1, wasSent: true)
        book.take(1, Self.sums(0, 1))
        #expect(book.close(windowNanoseconds: Self.second) { _ in true } == [Self.line(0, 0)])
        // Nothing waits any more.
        _ = book.close(windowNanoseconds: Self.second, isHeard: false) { _ in false }
        #expect(book.reconnected().isEmpty)
        book.remove(1)
        #expect(book.count == 0)
    }

    /// All revisions in one message, readable by whoever reads Knative's.
    @Test func frames() throws {
        let frame = StatFrame(podName: "activator-1")
        let entries = (0..<500).map {
            (namespace: "ns", name: "rev-\($0)", report: WindowReport(averageConcurrency: Double($0), requestCount: 2))
        }
        let messages = frame.messages(entries)
        #expect(messages.count == 1)
        try messages[0].withUnsafeBytes { bytes in
            var reader = try WireStatReader(ByteView(bytes))
            for entry in entries {
                let read = try #require(try reader.next())
                #expect(read.namespace.string == "ns" && read.name.string == entry.name)
                #expect(read.stat.podName.string == "activator-1" && read.stat.report == entry.report)
                #expect(read.stat.timestamp == 0 && read.stat.processUptime == 0)
            }
            #expect(try reader.next() == nil)
        }
        #expect(frame.messages([]).isEmpty)
        let many = Array(repeating: entries[0], count: 20_000)
        #expect(frame.messages(many).count == 5)
    }
}
