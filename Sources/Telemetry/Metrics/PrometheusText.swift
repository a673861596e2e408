import Primitives

/// A page of Prometheus's text format 0.0.4, as client_golang lays it out. Grows up to a limit.
struct PrometheusText {
    /// A label and its value, as it stands between the quotes.
    typealias Label = (name: String, value: String)

    enum Kind: String {
        case counter, gauge, histogram
    }

    let limit: Int
    private(set) var bytes: [UInt8] = []
    /// Whether series were left out because of the limit.
    private(set) var isTruncated = false

    init(limit: Int) { self.limit = limit }

    /// Begins a family of series. Families must come by ascending names.
    mutating func family(_ name: String, _ kind: Kind, help: String) {
        add("# HELP \(name) \(PrometheusText.escaped(help, quotes: false))\n# TYPE \(name) \(kind.rawValue)\n")
    }

    /// Adds a sample.
    mutating func sample(_ name: String, labels: String, value: Double) {
        add("\(name)\(labels.isEmpty ? "" : "{\(labels)}") ")
        add(number: value)
        add("\n")
    }

    /// Adds a histogram: its buckets added up, sum and count. `counts` has one more entry than there are bounds.
    mutating func histogram(_ name: String, labels: String, bounds: MetricBounds, counts: [UInt64], sum: UInt64) {
        guard bytes.count + (labels.utf8.count + name.utf8.count + 48) * (counts.count + 2) <= limit else {
            isTruncated = true
            return
        }
        assert(counts.count == bounds.ends.count + 1)
        let separator = labels.isEmpty ? "" : ","
        var total: UInt64 = 0
        for (index, count) in counts.enumerated() {
            total &+= count
            add("\(name)_bucket{\(labels)\(separator)le=\"")
            add(number: index < bounds.ends.count ? bounds.end(index) : .infinity)
            add("\"} ")
            add(number: Double(total))
            add("\n")
        }
        sample("\(name)_sum", labels: labels, value: Double(sum) / bounds.scale)
        sample("\(name)_count", labels: labels, value: Double(total))
    }

    /// Labels by ascending names as they stand between the braces.
    static func labels(_ labels: [Label]) -> String {
        labels.sorted { $0.name < $1.name }
            .map { "\($0.name)=\"\(escaped($0.value, quotes: true))\"" }
            .joined(separator: ",")
    }

    private static func escaped(_ text: String, quotes: Bool) -> String {
        var result = ""
        for character in text.unicodeScalars {
            switch character {
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case "\"" where quotes: result += "\\\""
            case _: result.unicodeScalars.append(character)
            }
        }
        return result
    }

    private mutating func add(_ text: String) { bytes.append(contentsOf: text.utf8) }

    private mutating func add(number: Double) {
        withUnsafeTemporaryAllocation(byteCount: 32, alignment: 1) { memory in
            var writer = ByteWriter(memory)
            writer.append(goFloat: number)
            bytes.append(contentsOf: UnsafeBufferPointer(start: writer.base, count: writer.count))
        }
    }
}
