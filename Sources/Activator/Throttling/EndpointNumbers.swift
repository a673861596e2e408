/// Small numbers for endpoints, used again when an endpoint has gone: they index the workers' pools.
struct EndpointNumbers {
    private var free: [Int] = []
    private var next = 0

    /// A number that nobody has.
    mutating func take() -> Int {
        if let number = free.popLast() { return number }
        next += 1
        return next - 1
    }

    /// The endpoint with this number has gone.
    mutating func give(_ number: Int) {
        assert(number < next && !free.contains(number))
        free.append(number)
    }
}
