/// Small numbers for endpoints, used again when an endpoint has gone: they index the workers' pools.
public struct EndpointNumbers: Sendable {
    private var free: [Int] = []
    private var next = 0

    /// All numbers are free.
    public init() {}

    /// A number that no endpoint has.
    public mutating func take() -> Int {
        if let number = free.popLast() { return number }
        next += 1
        return next - 1
    }

    /// The endpoint with this number has gone.
    public mutating func give(_ number: Int) {
        assert(number < next && !free.contains(number))
        free.append(number)
    }
}
