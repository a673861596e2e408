import Telemetry

/// What an activator says of its revisions, second by second (spec/dataplane 3.8). Pure.
///
/// The first request of a revision that is not known is announced at once; the first window leaves it out again. A
/// revision without a request in a window is told as zero once, and forgotten.
public struct StatBook: Sendable {
    private struct Entry: Sendable {
        var rule = FirstRequestRule()
        var sums = WindowSums()
        /// Requests were counted in this window.
        var hasReport = false
        /// Its first window, which began with its first request.
        var isFirst = true
        /// The autoscaler has heard nothing of it, or has gone since.
        var isUnannounced = false
        /// The average of the last window.
        var lastAverage = 0.0
    }

    /// One revision's line in a frame.
    public struct Line: Equatable, Sendable {
        /// The owner's number of the revision.
        public let id: UInt64
        /// What is told.
        public let report: WindowReport
    }

    private var entries: [UInt64: Entry] = [:]

    /// Nobody has come.
    public init() {}

    /// How many revisions are known.
    public var count: Int { entries.count }

    /// Whether a revision is known.
    public func knows(_ id: UInt64) -> Bool { entries[id] != nil }

    /// A request of a revision came. True if it is to be announced: then say by `announced` what came of it.
    public mutating func arrived(_ id: UInt64) -> Bool {
        guard entries[id] == nil else { return false }
        var entry = Entry()
        _ = entry.rule.arrived()
        entries[id] = entry
        return true
    }

    /// Whether the announcement of a revision was sent.
    public mutating func announced(_ id: UInt64, wasSent: Bool) { entries[id]?.isUnannounced = !wasSent }

    /// The autoscaler can be reached again: the revisions that are to be announced now, as if their first request came
    /// at this moment. Say by `announced` what came of it.
    public mutating func reconnected() -> [UInt64] {
        let missed = entries.filter { $0.value.isUnannounced && ($0.value.isFirst || $0.value.lastAverage > 0) }
        for id in missed.keys {
            entries[id]?.rule = FirstRequestRule()
            _ = entries[id]?.rule.arrived()
        }
        return missed.keys.sorted()
    }

    /// What one worker counted.
    public mutating func take(_ id: UInt64, _ sums: WindowSums) {
        // A worker says that somebody came before it reports; what comes for nobody is of a revision that was deleted.
        guard entries[id] != nil else { return }
        entries[id]?.sums.add(sums)
        entries[id]?.hasReport = true
    }

    /// A revision was deleted.
    public mutating func remove(_ id: UInt64) { entries[id] = nil }

    /// Ends the window, which lasted so many nanoseconds for whoever was known all the time.
    ///
    /// - Parameters:
    ///   - isHeard: whether the lines can be sent.
    ///   - mayForget: asked for revisions without a request in the window; false keeps them.
    public mutating func close(
        windowNanoseconds: UInt64, isHeard: Bool = true, mayForget: (UInt64) -> Bool
    ) -> [Line] {
        entries.keys.sorted().compactMap { id in
            guard var entry = entries[id] else { return nil }
            let isKept = entry.hasReport || !mayForget(id)
            // Its first request came when the workers had been asked already: its window goes on.
            if entry.isFirst, !entry.hasReport, isKept { return nil }
            let whole = Self.report(entry.sums, isFirst: entry.isFirst, windowNanoseconds)
            let adjusted = entry.rule.adjust(whole, inFlight: isKept ? 1 : 0)
            let told = entry.isUnannounced ? whole : adjusted
            (entry.sums, entry.hasReport, entry.isFirst) = (WindowSums(), false, false)
            (entry.isUnannounced, entry.lastAverage) = (!isHeard, whole.averageConcurrency)
            entries[id] = isKept ? entry : nil
            return Line(id: id, report: told)
        }
    }

    /// The averages over the whole window; idle time at a worker is in it, but not what was before the first request.
    private static func report(_ sums: WindowSums, isFirst: Bool, _ windowNanoseconds: UInt64) -> WindowReport {
        let length = isFirst ? sums.windowNanoseconds : max(sums.windowNanoseconds, windowNanoseconds)
        let average = length == 0 ? 0 : sums.concurrencyNanoseconds / Double(length)
        return WindowReport(averageConcurrency: average, requestCount: Double(sums.requests))
    }
}
