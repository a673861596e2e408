import CLinux
import Glibc

/// A TCP port of this machine that no other martlet gives to a process while this exists.
///
/// Between the look whether a port is free and the moment its process listens on it another martlet could give it away
/// too, and its probes would then find the other's application. A socket with the port's name in the kernel's abstract
/// space (unix(7)) excludes that; it goes with the process that has it, and each network namespace has its own.
/// Any thread may drop it.
public final class PortClaim: Sendable {
    private let fd: Int32

    /// Claims `port`; nil if another martlet has it.
    public init?(_ port: UInt16) {
        fd = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard fd >= 0 else { return nil }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let name = Array("\0martlet/port/\(port)".utf8)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: name) }
        let size = MemoryLayout<sa_family_t>.size + name.count
        let isClaimed = withUnsafePointer(to: &address) { typed in
            typed.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(fd, $0, socklen_t(size)) == 0 }
        }
        guard isClaimed else {
            close(fd)
            return nil
        }
    }

    deinit { close(fd) }
}
