import ClusterLink
import EventLoop
import Knative
import Logging
import Primitives
import Scaling

/// `martlet explain` of an all-in-one run: the same socket as a split run has, for this one question.
extension AllInOne {
    /// Opens the socket. Without one the run goes on: only `martlet explain` cannot reach it.
    func openSocket() -> ClusterHub? {
        do {
            let hub = try ClusterHub(path: try RunSocket.own(), loop: loop, log: logger)
            hub.onExplain = { [unowned self] name in Self.explain(name, control.decisions, now: loop.now) }
            return hub
        } catch {
            logger.warning("martlet explain will not find this run", metadata: ["reason": "\(error)"])
            return nil
        }
    }

    /// The last decision of one revision or, with an empty name, of all.
    static func explain(
        _ name: String, _ decisions: [(revision: String, record: DecisionRecord)], now: Instant
    ) -> LinkAnswer {
        let sorted = decisions.sorted { $0.revision < $1.revision }
        let wanted = name.split(separator: "/").last.map(String.init) ?? ""
        guard !sorted.isEmpty else {
            let text = "nothing has been decided yet"
            return name.isEmpty ? .lines([text]) : .refused("no revision \(wanted)\n\(text)")
        }
        let chosen = wanted.isEmpty ? sorted : sorted.filter { $0.revision == wanted }
        guard !chosen.isEmpty else {
            let names = sorted.map(\.revision)
            let hint = nearest(to: wanted, among: names).map { "; did you mean \($0)?" } ?? ""
            return .refused("no revision \(wanted)\(hint)\nknown: \(names.joined(separator: ", "))")
        }
        return .lines(chosen.flatMap { lines(of: $0.revision, $0.record, now: now) })
    }

    private static func lines(of revision: String, _ record: DecisionRecord, now: Instant) -> [String] {
        var lines = [
            revision, "  scale      \(record.desired), before \(record.previous)", "  because    \(record.explanation)",
            "  decided    \(Int(now.seconds(since: record.time))) s ago",
            "  pods       \(record.ready) ready, \(record.existing - record.ready) starting",
        ]
        if let demand = record.demand {
            lines.append("  requests   \(demand.inFlight) in flight, \(demand.queued) waiting, for \(demand.need) pods")
        }
        if let averages = record.averages {
            lines.append("  averages   \(averages.stable) in the stable window, \(averages.panic) in the panic window")
        }
        if !record.isReachable { lines.append("  settings   no traffic leads here") }
        return lines
    }
}
