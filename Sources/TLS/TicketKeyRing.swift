import COpenSSL
import Primitives
import Synchronization

/// The keys that seal session tickets, shared by the workers of a listener: the current one and the one before.
///
/// Tickets are stateless: whoever has the keys can resume. The current key seals and opens; the previous one only
/// opens, and such a ticket is renewed. A key is forgotten two rotations after it was made, and with it the secrecy
/// that tickets of TLS 1.2 depend on. Any thread may use it; a handshake takes its lock for a copy of 80 bytes.
public final class TicketKeyRing: Sendable {
    /// Bytes of a key: 16 of name, 32 of cipher key, 32 of MAC key.
    public static let keyBytes = COPENSSL_TICKET_KEY_BYTES

    private struct State {
        var current: [UInt8]
        var previous: [UInt8]
        var madeAt: Instant
    }

    private let state: Mutex<State>
    /// How long a key seals, in milliseconds.
    public let rotationMilliseconds: UInt64

    /// A ring with a fresh random key. Rotation: default 8 hours, as the lifetime of tickets.
    public init(rotationMilliseconds: UInt64 = 8 * 3_600_000, now: Instant) throws(TLSSetupFailure) {
        let key = try Self.freshKey()
        self.rotationMilliseconds = max(1, rotationMilliseconds)
        state = Mutex(State(current: key, previous: [], madeAt: now))
    }

    /// When the next rotation is due.
    public var deadline: Instant {
        state.withLock { $0.madeAt.adding(milliseconds: rotationMilliseconds) }
    }

    /// Rotates if it is due. A ring that was not asked for two periods or more forgets both keys. True if it rotated.
    public func timeout(now: Instant) throws(TLSSetupFailure) -> Bool {
        guard now >= deadline else { return false }
        let key = try Self.freshKey()
        state.withLock { state in
            let age = now.milliseconds(since: state.madeAt)
            if age >= 2 * rotationMilliseconds { wipe(&state.current) }
            rotate(&state, to: key, now: now)
        }
        return true
    }

    /// Takes `key` (80 bytes, from a secret shared by several machines) as the current one. False, and nothing done,
    /// for another length.
    public func install(_ key: [UInt8], now: Instant) -> Bool {
        guard key.count == Self.keyBytes else { return false }
        state.withLock { rotate(&$0, to: key, now: now) }
        return true
    }

    private func rotate(_ state: inout State, to key: [UInt8], now: Instant) {
        wipe(&state.previous)
        state.previous = state.current
        state.current = key
        state.madeAt = now
    }

    private func wipe(_ key: inout [UInt8]) {
        key.withUnsafeMutableBytes { OPENSSL_cleanse($0.baseAddress, $0.count) }
        key = []
    }

    private static func freshKey() throws(TLSSetupFailure) -> [UInt8] {
        var key = [UInt8](repeating: 0, count: keyBytes)
        guard RAND_bytes(&key, Int32(keyBytes)) == 1 else {
            throw TLSSetupFailure("session tickets", "no random bytes: \(OpenSSLError.takeText())")
        }
        return key
    }

    // MARK: OpenSSL asks

    /// Which key seals or opens a ticket.
    private enum Role { case current, previous, unknown }

    /// Seals with the current key: writes its name. 1, or -1 on failure.
    func seal(
        _ name: UnsafeMutablePointer<UInt8>, _ vector: UnsafeMutablePointer<UInt8>?, _ cipher: OpaquePointer?,
        _ mac: OpaquePointer?
    ) -> Int32 {
        let key = state.withLock { $0.current }
        guard key.count == Self.keyBytes else { return -1 }
        for index in 0..<COPENSSL_TICKET_NAME_BYTES { name[index] = key[index] }
        return copenssl_ticket(key, vector, cipher, mac, 1) == 1 ? 1 : -1
    }

    /// Opens a ticket with the key of that name: 1 with the current one, 2 (renew) with the previous, 0 with none.
    func open(
        _ name: UnsafeMutablePointer<UInt8>, _ vector: UnsafeMutablePointer<UInt8>?, _ cipher: OpaquePointer?,
        _ mac: OpaquePointer?
    ) -> Int32 {
        let (key, role) = state.withLock { state in
            if Self.isNamed(state.current, name) { return (state.current, Role.current) }
            if Self.isNamed(state.previous, name) { return (state.previous, Role.previous) }
            return ([], Role.unknown)
        }
        switch role {
        case .unknown: return 0
        case .current: return copenssl_ticket(key, vector, cipher, mac, 0) == 1 ? 1 : -1
        case .previous: return copenssl_ticket(key, vector, cipher, mac, 0) == 1 ? 2 : -1
        }
    }

    private static func isNamed(_ key: [UInt8], _ name: UnsafeMutablePointer<UInt8>) -> Bool {
        let count = COPENSSL_TICKET_NAME_BYTES
        guard key.count == keyBytes else { return false }
        return key.withUnsafeBufferPointer { CRYPTO_memcmp($0.baseAddress, name, count) == 0 }
    }
}
