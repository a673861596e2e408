/// Things to do when every worker has taken the commands that it had been sent before.
///
/// A worker takes its commands in order, so its answer to a request for a report proves that it has taken what came
/// before it.
struct WorkerRounds {
    private var answers: [Int]
    private var asked = 0
    private var waiting: [(round: Int, action: () -> Void)] = []

    init(workers: Int) { answers = [Int](repeating: 0, count: workers) }

    /// How many things wait.
    var count: Int { waiting.count }

    /// A report was asked of every worker; `action` is called when all have answered.
    mutating func begin(_ action: @escaping () -> Void) {
        asked += 1
        waiting.append((asked, action))
    }

    /// A worker has answered. Returns what can be done now.
    mutating func takeAnswer(of worker: Int) -> [() -> Void] {
        answers[worker] += 1
        let round = answers.min() ?? 0
        let due = waiting.prefix { $0.round <= round }.map(\.action)
        waiting.removeFirst(due.count)
        return due
    }
}
