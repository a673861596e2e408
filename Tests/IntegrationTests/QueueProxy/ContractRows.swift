import Foundation
import Testing

/// A rule of the contract and how it is shown. The text names the rule's place in Knative's contract.
struct Rule<Stage>: Sendable {
    let text: String
    let check: @Sendable (Stage) throws -> Void

    init(_ text: String, _ check: @escaping @Sendable (Stage) throws -> Void) {
        self.text = text
        self.check = check
    }
}

/// Ends a row that does not hold. Usable in any thread, unlike `#expect`.
func demand(_ condition: Bool, _ text: @autoclosure () -> String, line: UInt = #line) throws {
    guard condition else { throw Failure("line \(line): \(text())") }
}

func demandEqual<Value: Equatable>(
    _ found: Value, _ wanted: Value, _ text: @autoclosure () -> String = "", line: UInt = #line
) throws {
    guard found == wanted else { throw Failure("line \(line): found \(found), wanted \(wanted) \(text())") }
}

/// Runs rows at the same time, each in a thread of its own, and reports every one that failed by its name.
func concurrently<Row: Sendable>(
    _ rows: [Row], name: (Row) -> String, within seconds: Double = 2 * patience,
    location: SourceLocation = #_sourceLocation, _ body: @escaping @Sendable (Row) throws -> Void
) {
    let results = Results(count: rows.count)
    for (index, row) in rows.enumerated() {
        Thread.detachNewThread {
            do {
                try body(row)
                results.set(index, to: "")
            } catch {
                results.set(index, to: "\(error)")
            }
        }
    }
    for (row, result) in zip(rows, results.wait(seconds)) where result != "" {
        Issue.record("\(name(row)): \(result ?? "did not end within \(seconds) s")", sourceLocation: location)
    }
}

/// Runs the rules one after the other or at the same time on one stage.
func show<Stage: Sendable>(
    _ rules: [Rule<Stage>], on stage: Stage, atOnce: Bool = false, location: SourceLocation = #_sourceLocation
) {
    if atOnce { return concurrently(rules, name: \.text, location: location) { try $0.check(stage) } }
    for rule in rules {
        do {
            try rule.check(stage)
        } catch {
            Issue.record("\(rule.text): \(error)", sourceLocation: location)
        }
    }
}

/// What threads found out, by number. Empty text: it holds.
private final class Results: @unchecked Sendable {  // guarded by `condition`
    private let condition = NSCondition()
    private var texts: [String?]

    init(count: Int) { texts = Array(repeating: nil, count: count) }

    func set(_ index: Int, to text: String) {
        condition.withLock {
            texts[index] = text
            condition.broadcast()
        }
    }

    func wait(_ seconds: Double) -> [String?] {
        let deadline = Date(timeIntervalSinceNow: seconds)
        condition.lock()
        defer { condition.unlock() }
        while texts.contains(nil), condition.wait(until: deadline) {}
        return texts
    }
}

/// Seconds that `body` took, and what it returned.
func timed<Value>(_ body: () throws -> Value) rethrows -> (seconds: Double, value: Value) {
    let begin = DispatchTime.now().uptimeNanoseconds
    let value = try body()
    return (Double(DispatchTime.now().uptimeNanoseconds - begin) / 1e9, value)
}

/// Work in a thread of its own, whose result is waited for.
final class Later<Value: Sendable>: @unchecked Sendable {  // guarded by `condition`
    private let condition = NSCondition()
    private var result: Result<Value, any Error>?

    init(_ body: @escaping @Sendable () throws -> Value) {
        Thread.detachNewThread { [self] in
            let result = Result { try body() }
            condition.withLock {
                self.result = result
                condition.broadcast()
            }
        }
    }

    /// Whether the result is there.
    var isOver: Bool { condition.withLock { result != nil } }

    /// The result, or what went wrong.
    func value(_ seconds: Double = patience) throws -> Value {
        let deadline = Date(timeIntervalSinceNow: seconds)
        condition.lock()
        defer { condition.unlock() }
        while result == nil {
            guard condition.wait(until: deadline) else { throw Failure("no result within \(seconds) s") }
        }
        guard let result else { throw Failure("no result") }
        return try result.get()
    }
}
