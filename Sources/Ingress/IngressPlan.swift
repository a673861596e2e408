import DataPlane
import Knative

/// A service by its name and port, as splits name it.
struct ServiceKey: Hashable, Sendable, Comparable {
    let name: ObjectName
    let port: UInt16

    static func < (left: ServiceKey, right: ServiceKey) -> Bool { (left.name, left.port) < (right.name, right.port) }
}

/// What the Ingress objects come to: hosts with paths whose requests go to services. A pure function of the objects.
///
/// Of two objects with one host the older has it (spec/dataplane 5.3, DomainConflict); the other one keeps its other
/// hosts. What is wrong with a path or a host takes away that path or host, and nothing else.
struct IngressPlan {
    struct Split: Equatable {
        let service: ServiceKey
        let percent: Int
        let rule: GatewayRule
    }

    struct Path: Equatable {
        let prefix: String
        let headers: [String: String]
        let splits: [Split]
    }

    struct Host: Equatable {
        let name: String
        let owner: ObjectName
        let isClusterLocal: Bool
        let paths: [Path]
    }

    /// Something of an object that is not served.
    struct Problem: Hashable {
        let ingress: ObjectName
        let text: String
    }

    private(set) var hosts: [Host] = []
    private(set) var problems: [Problem] = []
    private let options: IngressOptions
    private var owners: [String: ObjectName] = [:]

    /// The plan for `ingresses`, oldest first.
    init(_ ingresses: [ClusterIngress], _ options: IngressOptions) {
        self.options = options
        let limit = options.limits.ingresses
        var later: [(hosts: [String], Host)] = []
        for ingress in ingresses.prefix(limit) {
            for rule in ingress.rules { later += add(rule, of: ingress) }
        }
        for ingress in ingresses.dropFirst(limit) { note(ingress.name, "more than \(limit) Ingress objects") }
        // Short names last: a host that somebody states goes before one that is only understood.
        for (names, host) in later {
            for name in names where owners[name] == nil && owners.count < options.limits.hosts {
                owners[name] = host.owner
                hosts.append(
                    Host(name: name, owner: host.owner, isClusterLocal: host.isClusterLocal, paths: host.paths))
            }
        }
    }

    private mutating func note(_ ingress: ObjectName, _ text: String) {
        problems.append(Problem(ingress: ingress, text: text))
    }

    /// Adds the hosts of a rule; returns their short names, which are for later.
    private mutating func add(
        _ rule: ClusterIngress.Rule, of ingress: ClusterIngress
    ) -> [(hosts: [String], Host)] {
        if rule.hosts.isEmpty { note(ingress.name, "a rule without hosts; name each host") }
        guard rule.paths.count <= options.limits.pathsPerHost else {
            note(ingress.name, "\(rule.hosts): more than \(options.limits.pathsPerHost) paths")
            return []
        }
        let paths = rule.paths.compactMap { path($0, rule, of: ingress) }
        guard !paths.isEmpty else { return [] }
        var later: [(hosts: [String], Host)] = []
        for text in rule.hosts {
            let name = Self.normalised(text)
            guard claim(name, for: ingress.name) else { continue }
            let host = Host(name: name, owner: ingress.name, isClusterLocal: rule.isClusterLocal, paths: paths)
            hosts.append(host)
            let short = Self.shortNames(of: name, domain: options.clusterDomain)
            if !short.isEmpty { later.append((short, host)) }
        }
        return later
    }

    private static func normalised(_ host: String) -> String {
        let lower = host.lowercased()
        return lower.hasSuffix(".") ? String(lower.dropLast()) : lower
    }

    private mutating func claim(_ host: String, for ingress: ObjectName) -> Bool {
        if let owner = owners[host] {
            let whose = owner == ingress ? "an earlier rule of it" : "the older Ingress \(owner)"
            note(ingress, "host \(host) belongs to \(whose)")
            return false
        }
        guard owners.count < options.limits.hosts else {
            note(ingress, "host \(host): more than \(options.limits.hosts) hosts")
            return false
        }
        owners[host] = ingress
        return true
    }

    /// The names under which a host inside the cluster is also known: without the domain, and without `svc` too
    /// (spec/dataplane 5.1, ExpandedHosts).
    static func shortNames(of host: String, domain: String) -> [String] {
        [".\(domain)", ".svc.\(domain)"].compactMap { suffix in
            guard host.hasSuffix(suffix) else { return nil }
            let short = String(host.dropLast(suffix.count))
            let top = short.split(separator: ".", omittingEmptySubsequences: false).last ?? ""
            let isTop = (1...63).contains(top.utf8.count) && !top.utf8.allSatisfy { (0x30...0x39).contains($0) }
            return isTop ? short : nil
        }
    }

    // MARK: Paths

    private mutating func path(
        _ path: ClusterIngress.Path, _ rule: ClusterIngress.Rule, of ingress: ClusterIngress
    ) -> Path? {
        let place = "\(rule.hosts.first ?? "")\(path.path)"
        let limits = options.limits
        guard path.headers.count <= limits.conditionsPerPath, path.splits.count <= limits.splitsPerPath else {
            note(
                ingress.name,
                "\(place): more than \(limits.conditionsPerPath) headers or \(limits.splitsPerPath) splits")
            return nil
        }
        let sum = path.splits.reduce(0) { $0 &+ $1.percent }
        let isWhole = sum == 100 || (path.splits.count == 1 && sum == 0)
        guard isWhole, path.splits.allSatisfy({ (0...100).contains($0.percent) }) else {
            note(ingress.name, "\(place): traffic split percentage must total to 100, but was \(sum)")
            return nil
        }
        let foreign = path.splits.first { ![ingress.name.namespace, ""].contains($0.service.namespace) }
        guard foreign == nil else {
            note(ingress.name, "\(place): service namespace must match ingress namespace")
            return nil
        }
        let splits = path.splits.filter { $0.percent > 0 || path.splits.count == 1 }.map {
            split($0, path, rule, of: ingress, place)
        }
        return Path(prefix: path.path, headers: path.headers, splits: splits)
    }

    private mutating func split(
        _ split: ClusterIngress.Split, _ path: ClusterIngress.Path, _ rule: ClusterIngress.Rule,
        of ingress: ClusterIngress, _ place: String
    ) -> Split {
        var texts: [String] = []
        let isRedirected = options.redirectsToHTTPS || ingress.httpOption == .redirected
        let made = GatewayRule(
            fields: Self.merged(split.appendHeaders, under: path.appendHeaders), host: path.rewriteHost,
            version: ingress.version, isClusterLocal: rule.isClusterLocal,
            leadsToHTTPS: isRedirected && !rule.isClusterLocal, problems: &texts)
        for text in texts { note(ingress.name, "\(place): \(text)") }
        let service = ObjectName(namespace: ingress.name.namespace, name: split.service.name)
        return Split(service: ServiceKey(name: service, port: split.port), percent: split.percent, rule: made)
    }

    /// Names are the same in any case; those of the path go before those of the split (spec/dataplane 5.1).
    private static func merged(_ split: [String: String], under path: [String: String]) -> [String: String] {
        let taken = Set(path.keys.map { $0.lowercased() })
        return path.merging(split.filter { !taken.contains($0.key.lowercased()) }) { first, _ in first }
    }
}
