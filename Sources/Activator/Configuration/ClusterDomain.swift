/// The domain of the services of a cluster. Source: Knative `pkg/network/domain.go` (spec/dataplane 3.3).
enum ClusterDomain {
    /// What it is if nobody says.
    static let standard = "cluster.local"
    /// Longest resolv.conf that is looked at, in bytes.
    static let fileLimit = 64 << 10

    /// The first name after `search` that begins with `svc.`, without that and without a trailing dot.
    static func name(inResolver text: String) -> String? {
        for line in text.split(whereSeparator: \.isNewline) {
            let words = line.split { $0 == " " || $0 == "\t" }
            guard words.first == "search" else { continue }
            for word in words.dropFirst() where word.hasPrefix("svc.") {
                let rest = word.dropFirst(4)
                return String(rest.hasSuffix(".") ? rest.dropLast() : rest)
            }
        }
        return nil
    }
}
