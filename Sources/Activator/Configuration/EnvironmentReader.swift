import EventLoop
import Scaling

/// Takes typed values out of an environment and notes everything that is wrong, so that all of it is told at once.
///
/// A value with a problem reads as its default. A variable that is set to nothing counts as absent.
struct EnvironmentReader {
    private let environment: [String: String]
    private(set) var problems: [String] = []

    init(_ environment: [String: String]) { self.environment = environment }

    func text(_ name: String) -> String? { environment[name].flatMap { $0.isEmpty ? nil : $0 } }

    mutating func value<Value>(
        _ name: String, default standard: Value, allowed: String, parse: (String) -> Value?
    ) -> Value {
        guard let text = text(name) else { return standard }
        guard let value = parse(text) else {
            reject(name, "is \"\(Self.short(text))\"", allowed: allowed)
            return standard
        }
        return value
    }

    mutating func count(_ name: String, default standard: Int, in range: ClosedRange<Int>) -> Int {
        let allowed = "a whole number in \(range.lowerBound)...\(range.upperBound)"
        return value(name, default: standard, allowed: allowed) { text in
            Int(text).flatMap { range.contains($0) ? $0 : nil }
        }
    }

    mutating func milliseconds(
        _ name: String, default standard: UInt64, in range: ClosedRange<UInt64>
    ) -> UInt64 {
        let allowed = "a whole number of milliseconds in \(range.lowerBound)...\(range.upperBound)"
        return value(name, default: standard, allowed: allowed) { text in
            UInt64(text).flatMap { range.contains($0) ? $0 : nil }
        }
    }

    /// A duration as Go writes it, in milliseconds, at least 1.
    mutating func duration(_ name: String, default standard: UInt64) -> UInt64 {
        value(name, default: standard, allowed: "a Go duration of 1ms to 1h, as 300ms") { text in
            guard let duration = GoDuration(text) else { return nil }
            let milliseconds = duration.magnitude / 1_000_000
            return (1...3_600_000).contains(milliseconds) ? milliseconds : nil
        }
    }

    mutating func flag(_ name: String, default standard: Bool) -> Bool {
        value(name, default: standard, allowed: "true or false") { text in
            switch text.lowercased() {
            case "1", "t", "true", "enabled": true
            case "0", "f", "false", "disabled": false
            default: nil
            }
        }
    }

    mutating func choice<Value: RawRepresentable & CaseIterable>(_ name: String, default standard: Value) -> Value
    where Value.RawValue == String {
        let allowed = Value.allCases.map(\.rawValue).joined(separator: ", ")
        return value(name, default: standard, allowed: allowed) { Value(rawValue: $0.lowercased()) }
    }

    mutating func address(_ name: String, default standard: SocketAddress) -> SocketAddress {
        value(name, default: standard, allowed: Self.addressForm) { SocketAddress($0) }
    }

    mutating func reject(_ name: String, _ found: String, allowed: String) {
        problems.append("\(name) \(found); allowed: \(allowed)")
    }

    static let addressForm = "ADDRESS:PORT, [IPV6]:PORT, :PORT (every IPv4 address) or PORT (127.0.0.1)"

    /// The beginning of a value, on one line.
    static func short(_ text: String) -> String {
        let scalars = text.unicodeScalars.prefix(80).map { $0.value < 0x20 || $0.value == 0x7F ? " " : $0 }
        return String(String.UnicodeScalarView(scalars)) + (text.unicodeScalars.count > 80 ? "…" : "")
    }
}
