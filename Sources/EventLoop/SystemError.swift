import Glibc

/// A system call that failed: which one, and the error number it left.
public struct SystemError: Error, Hashable, Sendable, CustomStringConvertible {
    /// Name of the call.
    public let call: String
    /// The `errno` value.
    public let code: Int32

    /// Records that `call` failed with `code`.
    public init(call: String, code: Int32) {
        self.call = call
        self.code = code
    }

    /// `call: reason`, in the system's words.
    public var description: String { "\(call): \(reason)" }

    /// The system's words for the error number.
    public var reason: String {
        withUnsafeTemporaryAllocation(of: CChar.self, capacity: 128) { buffer in
            guard let start = buffer.baseAddress else { return "error \(code)" }
            return strerror_r(code, start, buffer.count) == 0 ? String(cString: start) : "error \(code)"
        }
    }
}
