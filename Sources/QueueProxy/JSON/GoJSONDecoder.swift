/// Fills typed values from JSON by the rules of Go's `encoding/json`, and collects every mismatch with its place.
///
/// Those rules: keys match whatever their case; unknown keys are passed over; a key that occurs twice counts twice, so
/// the last one wins; `null` leaves a value as it is; a number for an integer has neither point nor exponent and fits
/// its width; nothing is converted (`"8080"` is no number).
struct GoJSONDecoder {
    /// What did not fit, in the order of the text: the path (`httpGet.port`), what stands there, what must.
    struct Mismatch: Equatable, Sendable {
        let path: String
        let found: String
        let expected: String
    }

    /// Mismatches kept; more would only repeat them.
    static let mismatchLimit = 20

    private(set) var mismatches: [Mismatch] = []
    /// The paths of values that were taken from the text, in lower case.
    private(set) var taken: Set<String> = []

    /// Calls `visit` for every key of an object with the key in lower case, its value and its path.
    mutating func fields(
        of value: JSONValue, at path: String, _ visit: (inout GoJSONDecoder, String, JSONValue, String) -> Void
    ) {
        if case .null = value { return }
        guard case .object(let entries) = value else { return mismatch(value, path, "an object") }
        for entry in entries {
            visit(&self, entry.key.lowercased(), entry.value, path.isEmpty ? entry.key : "\(path).\(entry.key)")
        }
    }

    /// Calls `visit` for every element of an array with its path. False if it is `null`.
    @discardableResult
    mutating func elements(
        of value: JSONValue, at path: String, _ visit: (inout GoJSONDecoder, JSONValue, String) -> Void
    ) -> Bool {
        if case .null = value { return false }
        guard case .array(let elements) = value else {
            mismatch(value, path, "an array")
            return true
        }
        for (index, element) in elements.enumerated() { visit(&self, element, "\(path)[\(index)]") }
        return true
    }

    /// A Go `string`.
    mutating func string(_ value: JSONValue, at path: String, into text: inout String) {
        switch value {
        case .null: return
        case .string(let found): text = found
        default: return mismatch(value, path, "a string")
        }
        taken.insert(path.lowercased())
    }

    /// A Go `bool`.
    mutating func boolean(_ value: JSONValue, at path: String, into flag: inout Bool) {
        switch value {
        case .null: return
        case .boolean(let found): flag = found
        default: return mismatch(value, path, "true or false")
        }
        taken.insert(path.lowercased())
    }

    /// A Go integer of a width: `Int32` or `Int64`.
    mutating func integer<Value: FixedWidthInteger>(_ value: JSONValue, at path: String, into number: inout Value) {
        if case .null = value { return }
        guard case .number(let text) = value, let found = Value(text) else {
            return mismatch(value, path, "a whole number in \(Value.min)...\(Value.max)")
        }
        number = found
        taken.insert(path.lowercased())
    }

    /// A Go `float64`.
    mutating func number(_ value: JSONValue, at path: String, into number: inout Double) {
        if case .null = value { return }
        guard case .number(let text) = value, let found = Double(text), found.isFinite else {
            return mismatch(value, path, "a number")
        }
        number = found
        taken.insert(path.lowercased())
    }

    /// Notes that what stands at `path` is not what must stand there.
    mutating func mismatch(_ value: JSONValue, _ path: String, _ expected: String) {
        guard mismatches.count < Self.mismatchLimit else { return }
        mismatches.append(Mismatch(path: path, found: value.described, expected: expected))
    }
}
