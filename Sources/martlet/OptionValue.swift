import EventLoop
import Glibc
import Telemetry

/// Values of options that several roles have. Each is read here, or what is wrong with it is appended to the problems.
enum OptionValue {
    /// `--workers`: data-plane threads. Range 1...256.
    static func workers(_ count: Int, _ problems: inout [String]) -> Int? {
        if (1...256).contains(count) { return count }
        problems.append("--workers \(count): expected 1 to 256")
        return nil
    }

    /// `--access-log`: the form of the access log.
    static func accessLog(_ name: String, _ problems: inout [String]) -> AccessLogFormat? {
        if let format = AccessLogFormat(rawValue: name) { return format }
        problems.append("--access-log \(name): expected envoy, common, combined, json or off")
        return nil
    }

    /// `--drain-deadline`, given in seconds, in milliseconds. Range 0...86,400,000.
    static func drainDeadline(seconds: Double, _ problems: inout [String]) -> UInt64? {
        if (0...86_400).contains(seconds) { return UInt64(seconds * 1_000) }
        problems.append("--drain-deadline \(seconds): expected 0 to 86400 seconds")
        return nil
    }

    /// An option that names an address; `example` shows what one looks like.
    static func address(
        _ option: String, _ text: String, example: String, _ problems: inout [String]
    ) -> SocketAddress? {
        if let address = SocketAddress(text) { return address }
        problems.append("\(option) \(text): no address; expected ADDRESS:PORT, :PORT or PORT, as \(example)")
        return nil
    }

    /// Places of one process: the kernel would share one port between two of them.
    static func checkDistinct(_ places: [(option: String, address: SocketAddress?)], _ problems: inout [String]) {
        for (index, (option, address)) in places.enumerated() {
            guard let address, address.port != 0 else { continue }
            for (earlier, other) in places[..<index] where other == address {
                problems.append("\(option) \(address): the same as \(earlier); each needs an address of its own")
            }
        }
    }
}

/// Says that an address cannot be bound, and which options choose another one.
func complainOfAddress(_ error: SystemError, options: String) {
    let hint = error.code == EACCES ? "; ports below 1024 need the capability CAP_NET_BIND_SERVICE" : ""
    complain("error: \(error)\(hint); choose another address with \(options)")
}
