import Balancing
import Primitives

/// Upstream connections of one worker that can take a request, by endpoint. Of HTTP/1.1 the unused ones: last in, first
/// out, so the warmest is reused. Of HTTP/2 all that still open streams.
struct UpstreamPool: ~Copyable {
    private var idle: [[SlabToken]] = []
    private var sharing: [[SlabToken]] = []
    /// How many connections of HTTP/2 there are in it.
    private(set) var sharedCount = 0
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

    /// The connections of HTTP/2 to an endpoint, oldest first.
    func shared(endpoint: Int) -> [SlabToken] { endpoint < sharing.count ? sharing[endpoint] : [] }

    /// Adds a connection of HTTP/2.
    mutating func share(_ token: SlabToken, endpoint: Int) {
        while sharing.count <= endpoint { sharing.append([]) }
        sharing[endpoint].append(token)
        sharedCount += 1
    }

    /// Takes a connection of HTTP/2 out: it opens no more streams. False if it was out already.
    @discardableResult
    mutating func unshare(_ token: SlabToken, endpoint: Int) -> Bool {
        guard endpoint < sharing.count, let index = sharing[endpoint].firstIndex(of: token) else { return false }
        sharing[endpoint].remove(at: index)
        sharedCount -= 1
        return true
    }

    /// All connections of HTTP/2 in it.
    var allShared: [SlabToken] { sharing.flatMap { $0 } }

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
