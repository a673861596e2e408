import EventLoop
import Primitives

/// Gives each process a TCP port of its own.
///
/// Below the kernel's range for outgoing connections: there, a connect of anybody could take the port first, and a
/// probe of a port nobody listens on could connect to itself. Ports are taken in turn from a random start, so one that
/// was given back rests as long as possible: a late request to a pod that has gone meets nobody instead of another
/// revision.
struct PortAllocator {
    /// The range if the kernel's own leaves it free.
    static let defaultRange: ClosedRange<UInt16> = 20_000...32_767

    /// Where ports are taken from.
    let range: ClosedRange<UInt16>
    private var taken: Set<UInt16> = []
    private var cursor: UInt16
    private let isFree: (UInt16) -> Bool

    /// An allocator over `range`; `seed` chooses the start. `isFree` says whether a port is free on this machine.
    init(range: ClosedRange<UInt16>, seed: UInt64, isFree: @escaping (UInt16) -> Bool = PortCheck.isFree) {
        self.range = range
        self.isFree = isFree
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

    /// How many ports are given out.
    var count: Int { taken.count }

    /// A port nobody has; nil if there is none.
    mutating func take() -> UInt16? {
        for _ in 0..<range.count {
            let port = cursor
            cursor = port == range.upperBound ? range.lowerBound : port + 1
            if !taken.contains(port), isFree(port) {
                taken.insert(port)
                return port
            }
        }
        return nil
    }

    /// Takes a port back.
    mutating func give(_ port: UInt16) { taken.remove(port) }
}
