import EventLoop
import Primitives

/// Gives each process a TCP port of its own.
///
/// Below the kernel's range for outgoing connections: there, a connect of anybody could take the port first, and a
/// probe of a port nobody listens on could connect to itself. Ports are taken in turn from a random start, so one that
/// was given back rests as long as possible: a late request to a pod that has gone meets nobody instead of another
/// revision. A port that is given out is claimed, so that two martlets never give out the same (`PortClaim`).
struct PortAllocator {
    /// The range if the kernel's own leaves it free.
    static let defaultRange: ClosedRange<UInt16> = 20_000...32_767

    /// Where ports are taken from.
    let range: ClosedRange<UInt16>
    /// What holds the claim of each port that is given out.
    private var taken: [UInt16: AnyObject] = [:]
    private var cursor: UInt16
    private let claim: (UInt16) -> AnyObject?

    /// An allocator over `range`; `seed` chooses the start. `claim` gives what keeps a port from others on this machine
    /// for as long as it lives; nil if somebody has the port.
    init(
        range: ClosedRange<UInt16>, seed: UInt64, claim: @escaping (UInt16) -> AnyObject? = PortAllocator.claimIfFree
    ) {
        self.range = range
        self.claim = claim
        var random = SeededRandom(seed: seed)
        cursor = UInt16.random(in: range, using: &random)
    }

    /// The part of the default range that `ephemeral` leaves free, or what there is above or below it.
    static func range(avoiding ephemeral: ClosedRange<UInt16>?) -> ClosedRange<UInt16> {
        guard let ephemeral, ephemeral.overlaps(defaultRange) else { return defaultRange }
        if ephemeral.lowerBound >= defaultRange.lowerBound + 2_000 {
            return defaultRange.lowerBound...ephemeral.lowerBound - 1
        }
        if ephemeral.upperBound <= 63_000 { return ephemeral.upperBound + 1...65_535 }
        if ephemeral.lowerBound >= 12_000 { return 10_000...ephemeral.lowerBound - 1 }
        return defaultRange  // the kernel's range is nearly everything: an overlap cannot be avoided
    }

    /// The claim first: what is free then stays so, as far as martlets go.
    private static func claimIfFree(_ port: UInt16) -> AnyObject? {
        guard let claim = PortClaim(port), PortCheck.isFree(port) else { return nil }
        return claim
    }

    /// How many ports are given out.
    var count: Int { taken.count }

    /// A port nobody has; nil if there is none.
    mutating func take() -> UInt16? {
        for _ in 0..<range.count {
            let port = cursor
            cursor = port == range.upperBound ? range.lowerBound : port + 1
            guard taken[port] == nil, let held = claim(port) else { continue }
            taken[port] = held
            return port
        }
        return nil
    }

    /// Takes a port back.
    mutating func give(_ port: UInt16) { taken[port] = nil }
}
