import CLinux
import Glibc
import Primitives

/// An IPv4 or IPv6 address with a port.
public struct SocketAddress: Sendable, Equatable, CustomStringConvertible {
    var native: clinux_address

    init(native: clinux_address) { self.native = native }

    /// An IPv4 address given as a number in host order.
    public init(ipv4: UInt32, port: UInt16) {
        native = clinux_address()
        native.port = port
        withUnsafeMutableBytes(of: &native.bytes) { $0.storeBytes(of: ipv4.bigEndian, as: UInt32.self) }
    }

    /// 127.0.0.1 with `port`.
    public static func loopback(port: UInt16) -> SocketAddress { SocketAddress(ipv4: 0x7F00_0001, port: port) }

    /// Reads `address:port`, `[ipv6]:port`, `:port` (every IPv4 address), `localhost:port` or a bare port (loopback).
    /// Host names are not looked up. Nil if the text is none of these.
    public init?(_ text: String) {
        var host = Substring("127.0.0.1")
        var portText = Substring(text)
        if let colon = text.lastIndex(of: ":") {
            host = text[..<colon]
            portText = text[text.index(after: colon)...]
        }
        guard let port = UInt16(portText), portText.allSatisfy(\.isNumber) else { return nil }
        if host.isEmpty { host = "0.0.0.0" }
        if host == "localhost" { host = "127.0.0.1" }
        var parsed = clinux_address()
        parsed.port = port
        let isIPv6 = host.hasPrefix("[") && host.hasSuffix("]")
        if isIPv6 { host = host.dropFirst().dropLast() }
        parsed.is_ipv6 = isIPv6 ? 1 : 0
        let read = withUnsafeMutableBytes(of: &parsed.bytes) {
            inet_pton(isIPv6 ? AF_INET6 : AF_INET, String(host), $0.baseAddress)
        }
        guard read == 1 else { return nil }
        native = parsed
    }

    /// The port.
    public var port: UInt16 { native.port }

    /// Writes the address without the port, as it stands in X-Forwarded-For; returns its length. `place` must hold 46
    /// bytes.
    public func writeHost(to place: UnsafeMutableRawBufferPointer) -> Int {
        guard let start = place.baseAddress?.assumingMemoryBound(to: CChar.self), place.count >= 46 else { return 0 }
        let family = native.is_ipv6 != 0 ? AF_INET6 : AF_INET
        let written = withUnsafeBytes(of: native.bytes) { inet_ntop(family, $0.baseAddress, start, 46) }
        return written == nil ? 0 : strlen(start)
    }

    /// The address without the port.
    public var host: String {
        withUnsafeTemporaryAllocation(byteCount: 46, alignment: 1) { place in
            String(decoding: place.prefix(writeHost(to: place)), as: UTF8.self)
        }
    }

    /// `address:port`, IPv6 in brackets.
    public var description: String { native.is_ipv6 != 0 ? "[\(host)]:\(port)" : "\(host):\(port)" }

    /// Whether it is an address of this machine only (127.0.0.0/8 or ::1).
    public var isLoopback: Bool {
        withUnsafeBytes(of: native.bytes) { bytes in
            guard native.is_ipv6 != 0 else { return bytes[0] == 127 }
            return bytes[15] == 1 && bytes[0..<15].allSatisfy { $0 == 0 }
        }
    }

    /// A number that is the same for the same address whatever the port; for counting connections of one client.
    public var hostKey: UInt64 {
        withUnsafeBytes(of: native.bytes) { bytes in
            bytes.load(as: UInt64.self) &* 0x9E37_79B9_7F4A_7C15 ^ bytes.load(fromByteOffset: 8, as: UInt64.self)
        }
    }

    /// Whether both are the same address and port.
    public static func == (lhs: SocketAddress, rhs: SocketAddress) -> Bool {
        lhs.port == rhs.port && lhs.native.is_ipv6 == rhs.native.is_ipv6
            && withUnsafeBytes(of: lhs.native.bytes) { left in
                withUnsafeBytes(of: rhs.native.bytes) { ByteView(left).equals(ByteView($0)) }
            }
    }
}
