import Balancing
import Primitives

/// Unused upstream connections of one worker, by endpoint: last in, first out, so the warmest is reused.
struct UpstreamPool: ~Copyable {
    private var idle: [[SlabToken]] = []
    /// How many entries there are; some may have closed since.
    private(set) var count = 0

    /// Keeps `token`. False if the endpoint has `limit` already.
    mutating func push(_ token: SlabToken, endpoint: Int, limit: Int) -> Bool {
        while idle.count <= endpoint { idle.append([]) }
        guard idle[endpoint].count < limit else { return false }
        idle[endpoint].append(token)
        count += 1
        return true
    }

    /// Takes the entry pushed last. It may have closed since: look.
    mutating func pop(endpoint: Int) -> SlabToken? {
        guard endpoint < idle.count, let token = idle[endpoint].popLast() else { return nil }
        count -= 1
        return token
    }

    /// Keeps the entries of which `isKept` is true, oldest first.
    mutating func sweep(_ isKept: (SlabToken) -> Bool) {
        for endpoint in idle.indices where !idle[endpoint].isEmpty {
            idle[endpoint].removeAll { !isKept($0) }
        }
        count = idle.reduce(0) { $0 + $1.count }
    }

    /// Removes and returns all entries of an endpoint.
    mutating func takeAll(endpoint: Int) -> [SlabToken] {
        guard endpoint < idle.count else { return [] }
        let all = idle[endpoint]
        idle[endpoint] = []
        count -= all.count
        return all
    }
}
