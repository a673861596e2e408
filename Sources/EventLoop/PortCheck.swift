import CLinux
import Glibc

/// Questions about local TCP ports and connections to them.
public enum PortCheck {
    /// Whether a server could listen on `port` on every address of this machine.
    ///
    /// Tried with a bind that is undone at once. SO_REUSEADDR is set, as servers do: connections in TIME_WAIT do not
    /// make a port busy, a listener on any address does.
    public static func isFree(_ port: UInt16) -> Bool {
        isFreeForIPv6(port) ?? isFreeForIPv4(port)
    }

    /// Whether a connection attempt that is still pending has been decided meanwhile.
    ///
    /// On the loopback the kernel answers before `connect` returns, but says "in progress" all the same; asking once
    /// more saves the way through the poller.
    public static func isDecided(_ socket: borrowing Socket) -> Bool {
        var question = pollfd(fd: socket.fd, events: Int16(POLLOUT), revents: 0)
        return poll(&question, 1, 0) == 1
    }

    /// The range of ports the kernel gives to outgoing connections; nil if it cannot be read.
    public static func ephemeralRange() -> ClosedRange<UInt16>? {
        guard let text = SystemFile.read("/proc/sys/net/ipv4/ip_local_port_range", atMost: 64) else { return nil }
        let numbers = text.split { $0 == " " || $0 == "\t" || $0 == "\n" }.compactMap { UInt16($0) }
        guard numbers.count == 2, numbers[0] <= numbers[1] else { return nil }
        return numbers[0]...numbers[1]
    }

    /// The dual-stack wildcard covers IPv4 too. nil where there is no IPv6.
    private static func isFreeForIPv6(_ port: UInt16) -> Bool? {
        var address = sockaddr_in6()
        address.sin6_family = sa_family_t(AF_INET6)
        address.sin6_port = port.bigEndian
        var dualStack: Int32 = 0
        let fd = openTCP(AF_INET6)
        guard fd >= 0 else { return nil }
        defer { close(fd) }
        setsockopt(fd, Int32(IPPROTO_IPV6), IPV6_V6ONLY, &dualStack, socklen_t(MemoryLayout<Int32>.size))
        let code = bindCode(fd, &address, MemoryLayout<sockaddr_in6>.size)
        return code == EADDRNOTAVAIL || code == EAFNOSUPPORT ? nil : code == 0
    }

    private static func isFreeForIPv4(_ port: UInt16) -> Bool {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        let fd = openTCP(AF_INET)
        guard fd >= 0 else { return false }
        defer { close(fd) }
        return bindCode(fd, &address, MemoryLayout<sockaddr_in>.size) == 0
    }

    private static func openTCP(_ family: Int32) -> Int32 {
        let fd = socket(family, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        var yes: Int32 = 1
        if fd >= 0 { setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, socklen_t(MemoryLayout<Int32>.size)) }
        return fd
    }

    private static func bindCode<Address>(_ fd: Int32, _ address: inout Address, _ size: Int) -> Int32 {
        withUnsafePointer(to: &address) { typed in
            typed.withMemoryRebound(to: sockaddr.self, capacity: 1) { plain in
                bind(fd, plain, socklen_t(size)) == 0 ? 0 : clinux_errno()
            }
        }
    }
}
