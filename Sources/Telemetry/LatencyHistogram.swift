/// Counts durations in fixed cells that grow with the value: sixteen to each power of two.
///
/// A value is known to 1/16 of itself (6.25 %); below 32 exactly. 528 cells, 4.2 KiB. Unit by convention microseconds,
/// which then reach to 19 hours; what is longer counts as that. Recording never allocates. Owner: one thread; a reader
/// merges copies.
public struct LatencyHistogram: Equatable, Sendable {
    /// Cells in each power of two, as a power of two.
    @usableFromInline static let precisionBits = 4
    /// Values from 2 to this power on count as the largest.
    @usableFromInline static let rangeBits = 36
    /// How many cells there are.
    @usableFromInline static let cellCount = (rangeBits - precisionBits + 1) << precisionBits

    @usableFromInline var cells: [UInt64]
    /// How many values were recorded.
    public internal(set) var count: UInt64 = 0
    /// Their sum, wrapping after 584,000 years of microseconds.
    public internal(set) var sum: UInt64 = 0
    /// The largest value, exactly; 0 if there is none.
    public internal(set) var largest: UInt64 = 0

    /// A histogram without values.
    public init() { cells = [UInt64](repeating: 0, count: LatencyHistogram.cellCount) }

    /// Counts one value.
    public mutating func record(_ value: UInt64) {
        cells[LatencyHistogram.cell(of: value)] &+= 1
        count &+= 1
        sum &+= value
        if value > largest { largest = value }
    }

    /// Adds all that `other` counted.
    public mutating func merge(_ other: LatencyHistogram) {
        for index in cells.indices { cells[index] &+= other.cells[index] }
        count &+= other.count
        sum &+= other.sum
        largest = max(largest, other.largest)
    }

    /// A value that `percent` of all values do not exceed; 0 if there is none.
    ///
    /// It is the upper end of the cell that holds the rank, so it never flatters; at most 6.25 % above the true one.
    /// - Parameter percent: 0...100; anything else counts as the nearer end.
    public func percentile(_ percent: Double) -> UInt64 {
        guard count > 0 else { return 0 }
        let share = percent > 0 ? min(percent, 100) / 100 : 0
        let rank = max(1, min(count, UInt64((share * Double(count)).rounded(.up))))
        var seen: UInt64 = 0
        for (index, cell) in cells.enumerated() {
            seen &+= cell
            if seen >= rank { return min(largest, LatencyHistogram.upperEnd(of: index)) }
        }
        return largest
    }

    /// The average; 0 if there is no value.
    public var mean: Double { count == 0 ? 0 : Double(sum) / Double(count) }

    @usableFromInline
    static func cell(of value: UInt64) -> Int {
        let value = min(value, 1 << UInt64(rangeBits) - 1)
        guard value >= 1 << precisionBits else { return Int(value) }
        let shift = 63 - value.leadingZeroBitCount - precisionBits
        return (shift << precisionBits) + Int(value >> UInt64(shift))
    }

    /// The largest value of a cell; of the last one, which holds all that is longer, no end.
    static func upperEnd(of cell: Int) -> UInt64 {
        guard cell < cellCount - 1 else { return .max }
        guard cell >= 2 << precisionBits else { return UInt64(cell) }
        let shift = (cell >> precisionBits) - 1
        let mantissa = UInt64(cell - (shift << precisionBits))
        return ((mantissa + 1) << UInt64(shift)) - 1
    }
}
