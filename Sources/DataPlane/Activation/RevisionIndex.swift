import Primitives

/// Finds a revision by its names, as an ingress says them or as they stand in the host of its own service. Immutable;
/// a look-up allocates nothing and takes no lock.
///
/// Names are compared byte for byte, as Kubernetes does. Source: spec/dataplane 3.3.
public final class RevisionIndex: Sendable {
    /// Where the services of the cluster are: `cluster.local`.
    public let clusterDomain: String
    private let domain: [UInt8]
    private let targets: [RevisionTarget]
    /// Places of `targets`, by hash, the next free one if that is taken; -1 is none. At most half full.
    private let places: [Int32]

    /// An index of `targets`; of two with one name the first counts.
    public init(_ targets: [RevisionTarget], clusterDomain: String) {
        self.clusterDomain = clusterDomain
        self.targets = targets
        domain = Array(clusterDomain.lowercased().utf8)
        var count = 2
        while count < targets.count * 2 { count *= 2 }
        var places = [Int32](repeating: -1, count: count)
        for (number, target) in targets.enumerated() {
            var place = Int(truncatingIfNeeded: Self.hash(target.namespaceView, target.nameView)) & (count - 1)
            while places[place] >= 0 { place = (place + 1) & (count - 1) }
            places[place] = Int32(number)
        }
        self.places = places
    }

    /// The revision `name` in `namespace`.
    func target(namespace: ByteView, name: ByteView) -> RevisionTarget? {
        let last = places.count - 1
        var place = Int(truncatingIfNeeded: Self.hash(namespace, name)) & last
        while places[place] >= 0 {
            let target = targets[Int(places[place])]
            if target.nameView.equals(name), target.namespaceView.equals(namespace) { return target }
            place = (place + 1) & last
        }
        return nil
    }

    /// The names in `rev.ns.svc.DOMAIN`, with or without a port; nil if the host is none.
    func names(inServiceHost host: ByteView) -> (name: ByteView, namespace: ByteView)? {
        let dot = UInt8(ascii: ".")
        guard let first = host.firstIndex(of: dot), let second = host.firstIndex(of: dot, from: first + 1),
            let third = host.firstIndex(of: dot, from: second + 1),
            host[second + 1..<third].equalsIgnoringCase("svc")
        else { return nil }
        let rest = host.dropping(first: third + 1)
        let end = rest.firstIndex(of: UInt8(ascii: ":")) ?? rest.count
        let isOurs = domain.withUnsafeBytes { rest[0..<end].equalsIgnoringCase(ByteView($0)) }
        guard isOurs else { return nil }
        return (host[0..<first], host[first + 1..<second])
    }

    /// Eight bytes a step. Not a promise against chosen collisions: the names come from the cluster.
    private static func hash(_ namespace: ByteView, _ name: ByteView) -> UInt64 {
        mix(mix(0x9E37_79B9_7F4A_7C15, namespace), name)
    }

    private static func mix(_ seed: UInt64, _ text: ByteView) -> UInt64 {
        var state = seed ^ UInt64(truncatingIfNeeded: text.count) &* 0xD6E8_FEB8_6659_FD93
        var word: UInt64 = 0
        for index in 0..<text.count {
            word = word << 8 | UInt64(text[index])
            if index & 7 == 7 { (state, word) = (fold(state ^ word), 0) }
        }
        return fold(state ^ word)
    }

    private static func fold(_ value: UInt64) -> UInt64 {
        let product = value.multipliedFullWidth(by: 0xA5CB_3B1F_92D3_46E7)
        return product.high ^ product.low
    }
}
