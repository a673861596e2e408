/// Reads typed settings out of a map of strings and collects what is wrong with them, in Knative's words.
///
/// A setting with a problem reads as nil, so that the default holds.
struct SettingReader {
    let data: [String: String]
    var problems: [ScalingProblem] = []

    init(_ data: [String: String]) { self.data = data }

    /// The value of the first of `keys` that is present, and which key that was.
    func first(_ keys: [String]) -> (key: String, value: String)? {
        for key in keys {
            if let value = data[key] { return (key, value) }
        }
        return nil
    }

    /// A finite number. Go would also take `NaN` and `Inf`; nothing sensible follows from them here.
    mutating func number(_ keys: [String], check: (Double, String, String) -> ScalingProblem? = { _, _, _ in nil })
        -> Double?
    {
        guard let (key, text) = first(keys) else { return nil }
        guard let value = Double(text), value.isFinite else {
            problems.append(.invalidValue(text, key))
            return nil
        }
        return accept(value, check(value, text, key))
    }

    /// A whole number of 32 bits, at least zero.
    mutating func count(_ keys: [String]) -> Int? {
        guard let (key, text) = first(keys) else { return nil }
        guard SettingReader.isInteger(text) else {
            problems.append(.invalidValue(text, key))
            return nil
        }
        guard let value = Int(text), value >= 0, value <= Int(Int32.max) else {
            problems.append(.outOfBounds(text, "0", "\(Int32.max)", key))
            return nil
        }
        return value
    }

    /// A duration in Go's syntax.
    mutating func duration(
        _ keys: [String], check: (GoDuration, String, String) -> ScalingProblem? = { _, _, _ in nil }
    ) -> GoDuration? {
        guard let (key, text) = first(keys) else { return nil }
        guard let value = GoDuration(text) else {
            problems.append(.invalidValue(text, key))
            return nil
        }
        return accept(value, check(value, text, key))
    }

    /// A truth value in the spellings of Go's `strconv.ParseBool`.
    mutating func flag(_ keys: [String]) -> Bool? {
        guard let (key, text) = first(keys) else { return nil }
        switch text {
        case "1", "t", "T", "true", "TRUE", "True": return true
        case "0", "f", "F", "false", "FALSE", "False": return false
        case _:
            problems.append(.invalidValue(text, key))
            return nil
        }
    }

    mutating func accept<Value>(_ value: Value, _ problem: ScalingProblem?) -> Value? {
        guard let problem else { return value }
        problems.append(problem)
        return nil
    }

    /// Whether `text` is an optional sign and digits.
    static func isInteger(_ text: String) -> Bool {
        var digits = text.utf8[...]
        if digits.first == UInt8(ascii: "-") || digits.first == UInt8(ascii: "+") { digits = digits.dropFirst() }
        return !digits.isEmpty && digits.allSatisfy { $0 &- UInt8(ascii: "0") < 10 }
    }

    /// A check that a number lies within `low...high`, worded as Knative does.
    static func within(_ low: Int, _ high: Int) -> (Double, String, String) -> ScalingProblem? {
        { value, text, key in
            value >= Double(low) && value <= Double(high) ? nil : .outOfBounds(text, "\(low)", "\(high)", key)
        }
    }

    /// A check that a duration lies within `bounds`, and is whole seconds if asked.
    static func within(_ bounds: ClosedRange<GoDuration>, wholeSeconds: Bool) -> (
        GoDuration, String, String
    ) -> ScalingProblem? {
        { value, text, key in
            if !bounds.contains(value) {
                return .outOfBounds(text, "\(bounds.lowerBound)", "\(bounds.upperBound)", key)
            }
            guard wholeSeconds, !value.isWholeSeconds else { return nil }
            return ScalingProblem(key: key, message: "must be specified with at most second precision")
        }
    }
}
