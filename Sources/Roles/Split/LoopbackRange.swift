import EventLoop
import Primitives

/// The addresses of one run: 127.x.0.0/16, with an x that no other run has.
///
/// A socket bound at the range's last address says that it is taken; it goes with this value, at the latest with the
/// process. Pods come from 127.x.0.1 on, roles from 127.x.254.1.
final class LoopbackRange {
    /// The ports of a pod: requests in both protocols, drain, statistics, metrics (spec/dataplane 0.2).
    static let podPorts: [UInt16] = [8012, 8013, 8022, 9090, 9091]
    /// The port whose use at the last address marks a range as taken.
    private static let markPort: UInt16 = 8012
    /// Pods at a time: 127.x.0.1 to 127.x.249.255.
    static let podLimit: UInt32 = 249 * 256

    /// 127.x.0.0, in host order.
    let base: UInt32
    private let mark: Listener
    private var taken: Set<UInt32> = []
    private var cursor: UInt32 = 0
    private var roleCount: UInt32 = 0

    /// Takes a free range, the first by `seed`.
    /// - Throws: why the last one tried is not free.
    init(seed: UInt64) throws(SystemError) {
        var random = SeededRandom(seed: seed)
        let first = UInt32(random.next() % 200)
        var last = SystemError(call: "bind", code: 98)
        for step in 0..<UInt32(200) {
            let base = 0x7F00_0000 | (16 + (first + step) % 200) << 16
            do throws(SystemError) {
                let address = SocketAddress(ipv4: base | 0xFFFE, port: Self.markPort)
                mark = try Listener(address, sharesPort: false)
                self.base = base
                return
            } catch {
                last = error
            }
        }
        throw last
    }

    /// An address at which all ports of a pod are free; addresses given back rest as long as possible.
    /// - Throws: which port of the last address tried is in use.
    func takePod() throws(SystemError) -> UInt32 {
        var last = SystemError(call: "bind", code: 98)
        var failures = 0
        for _ in 0..<Self.podLimit {
            cursor = cursor % Self.podLimit + 1
            // .0 and .255 look like a network and its broadcast address to some programs.
            guard cursor & 0xFF != 0, cursor & 0xFF != 0xFF, !taken.contains(cursor) else { continue }
            do throws(SystemError) {
                for port in Self.podPorts { try Listener.check(SocketAddress(ipv4: base | cursor, port: port)) }
                taken.insert(cursor)
                return base | cursor
            } catch {
                last = error
                failures += 1
                if failures == 16 { throw last }  // somebody listens at every address
            }
        }
        throw last
    }

    /// The pod of this address has gone.
    func give(_ address: UInt32) { taken.remove(address & 0xFFFF) }

    /// An address for a role, at most 254 of them.
    func takeRole() -> UInt32 {
        roleCount += 1
        return base | 254 << 8 | min(roleCount, 254)
    }
}
