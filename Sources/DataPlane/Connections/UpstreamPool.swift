import Balancing
import Primitives

/// Upstream connections of one worker that can take a request, by endpoint. Of HTTP/1.1 the unused ones: last in, first
/// out, so the warmest is reused. Of HTTP/2 all that still open streams.
struct UpstreamPool: ~Copyable {
    /// A stack an endpoint number, `endpoints` of them.
    private var idle: UnsafeMutablePointer<Stack<SlabToken>>?
    private var endpoints = 0
    private var sharing: [[SlabToken]] = []
    /// How many connections of HTTP/2 there are in it.
    private(set) var sharedCount = 0
    /// How many entries there are; some may have closed since.
    private(set) var count = 0

    /// Keeps `token`. False if the endpoint has `limit` already.
    mutating func push(_ token: SlabToken, endpoint: Int, limit: Int) -> Bool {
        if endpoint >= endpoints { grow(to: max(endpoint + 1, endpoints * 2)) }
        guard let idle, idle[endpoint].count < limit else { return false }
        idle[endpoint].append(token)
        count += 1
        return true
    }

    /// Takes the entry pushed last. It may have closed since: look.
    mutating func pop(endpoint: Int) -> SlabToken? {
        guard let idle, endpoint < endpoints, let token = idle[endpoint].popLast() else { return nil }
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
        count = 0
        guard let idle else { return }
        for endpoint in 0..<endpoints {
            idle[endpoint].keep(where: isKept)
            count += idle[endpoint].count
        }
    }

    /// Removes and returns all entries of an endpoint, oldest first.
    mutating func takeAll(endpoint: Int) -> [SlabToken] {
        var all: [SlabToken] = []
        while let token = pop(endpoint: endpoint) { all.append(token) }
        return all.reversed()
    }

    private mutating func grow(to wanted: Int) {
        let larger = UnsafeMutablePointer<Stack<SlabToken>>.allocate(capacity: wanted)
        if let idle {
            larger.moveInitialize(from: idle, count: endpoints)
            idle.deallocate()
        }
        for endpoint in endpoints..<wanted { (larger + endpoint).initialize(to: Stack()) }
        (idle, endpoints) = (larger, wanted)
    }

    deinit {
        idle?.deinitialize(count: endpoints)
        idle?.deallocate()
    }
}
