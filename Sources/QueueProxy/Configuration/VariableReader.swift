/// Takes typed values out of an environment, and notes what each one is, where it came from, and what is wrong.
///
/// A value with a problem reads as its default, so that reading goes on and every problem is found at once.
struct VariableReader {
    /// What a variable says that is set to nothing.
    enum Emptiness {
        /// The same as any text: envconfig asks whether the variable exists (`LookupEnv`). For a number it is wrong.
        case isValue
        /// As if it were not there: what is read with `os.Getenv`.
        case isAbsent
    }

    private let environment: [String: String]
    private(set) var entries: [ConfigurationEntry] = []
    private(set) var problems: [ConfigurationProblem] = []
    private(set) var warnings: [ConfigurationProblem] = []
    /// Whether problems are only warnings now: what is read has no use in this run.
    var isLenient = false

    init(_ environment: [String: String]) { self.environment = environment }

    /// The text of a variable as it is, or nil if it is absent.
    func raw(_ name: String, empty: Emptiness = .isValue) -> String? {
        guard let text = environment[name], !(text.isEmpty && empty == .isAbsent) else { return nil }
        return text
    }

    /// A variable that may be absent.
    mutating func value<Value>(
        _ name: String, default standard: Value, empty: Emptiness = .isValue, allowed: String,
        show: (Value) -> String = { "\($0)" }, parse: (String) -> Value?
    ) -> Value {
        guard let text = raw(name, empty: empty) else {
            note(name, show(standard), .default)
            return standard
        }
        guard let value = parse(text) else {
            reject(name, found: "is \(text.quotedForMessage)", allowed: allowed)
            return standard
        }
        note(name, show(value), .set)
        return value
    }

    /// A variable that must exist.
    mutating func required<Value>(
        _ name: String, placeholder: Value, allowed: String, parse: (String) -> Value?
    ) -> Value {
        guard raw(name) != nil else {
            reject(name, found: "is not set", allowed: allowed)
            return placeholder
        }
        return value(name, default: placeholder, allowed: allowed, parse: parse)
    }

    // MARK: Kinds

    mutating func requiredText(_ name: String) -> String {
        required(name, placeholder: "", allowed: "any text, also an empty one") { $0 }
    }

    mutating func text(_ name: String, default standard: String = "", empty: Emptiness = .isValue) -> String {
        value(name, default: standard, empty: empty, allowed: "any text") { $0 }
    }

    mutating func flag(_ name: String) -> Bool {
        value(name, default: false, allowed: "1, t, T, true, TRUE, True, 0, f, F, false, FALSE, False") {
            GoText.boolean($0)
        }
    }

    /// A whole number up to `limit`; what is below zero reads as zero, as it means the same to Knative.
    mutating func count(_ name: String, isRequired: Bool, upTo limit: Int64, meaning: String) -> Int {
        let allowed = "a whole number up to \(limit) (\(meaning))"
        let parse = { (text: String) -> Int? in
            GoText.integer(text).flatMap { $0 <= limit ? Int(max(0, $0)) : nil }
        }
        return isRequired
            ? required(name, placeholder: 0, allowed: allowed, parse: parse)
            : value(name, default: 0, allowed: allowed, parse: parse)
    }

    mutating func number(_ name: String, default standard: Double, empty: Emptiness = .isValue) -> Double {
        value(name, default: standard, empty: empty, allowed: "a number in 0...1") { text in
            Double(text).flatMap { $0.isNaN ? nil : min(max($0, 0), 1) }
        }
    }

    /// Milliseconds of our own variables.
    mutating func milliseconds(_ name: String, default standard: Int, in range: ClosedRange<Int>) -> Int {
        let allowed = "a whole number of milliseconds in \(range.lowerBound)...\(range.upperBound)"
        return value(name, default: standard, empty: .isAbsent, allowed: allowed) { text in
            Int(text).flatMap { range.contains($0) ? $0 : nil }
        }
    }

    /// One word out of few.
    mutating func choice<Value: RawRepresentable & CaseIterable>(_ name: String, default standard: Value) -> Value
    where Value.RawValue == String {
        let allowed = Value.allCases.map(\.rawValue).joined(separator: ", ")
        return value(name, default: standard, empty: .isAbsent, allowed: allowed, show: \.rawValue) {
            Value(rawValue: $0)
        }
    }

    // MARK: Notes

    mutating func note(_ name: String, _ value: String, _ origin: ConfigurationEntry.Origin) {
        entries.append(ConfigurationEntry(name: name, value: value, origin: origin))
    }

    mutating func reject(_ name: String, found: String, allowed: String) {
        let remedy = (isLenient ? "passed over; " : "") + "allowed: \(allowed)"
        let problem = ConfigurationProblem(variable: name, found: found, remedy: remedy)
        if isLenient { warnings.append(problem) } else { problems.append(problem) }
    }

    mutating func warn(_ name: String, found: String, _ consequence: String) {
        warnings.append(ConfigurationProblem(variable: name, found: found, remedy: consequence))
    }

    // MARK: JSON

    /// The value of a variable that holds JSON; nil if it is no JSON, which is a problem.
    mutating func json(_ name: String, _ text: String) -> JSONValue? {
        do {
            return try JSONParser.parse(text)
        } catch {
            let found = "is no JSON: \(error.problem) at byte \(error.offset) of \(text.quotedForMessage)"
            reject(name, found: found, allowed: "JSON as Knative's controller writes it")
            return nil
        }
    }

    /// Takes over what a decoder found wrong.
    mutating func reject(_ name: String, _ decoder: GoJSONDecoder) {
        for mismatch in decoder.mismatches {
            reject(Self.join(name, mismatch.path), found: "is \(mismatch.found)", allowed: mismatch.expected)
        }
    }

    /// `NAME.path`, `NAME[0].path`, `NAME`.
    static func join(_ name: String, _ path: String) -> String {
        path.isEmpty || path.hasPrefix("[") ? name + path : "\(name).\(path)"
    }
}
