/// The rules for names that Knative takes from Kubernetes (`k8s.io/apimachinery` validation) and from image registries.
enum Names {
    /// What is wrong with `text` as a DNS-1035 label, in Kubernetes' words; empty if nothing is.
    static func dns1035Problems(_ text: String) -> [String] {
        var problems: [String] = []
        if text.utf8.count > 63 { problems.append("must be no more than 63 characters") }
        let bytes = Array(text.utf8)
        let isValid =
            bytes.first.map(isLower) == true && bytes.last.map(isLowerOrDigit) == true
            && bytes.allSatisfy { isLowerOrDigit($0) || $0 == UInt8(ascii: "-") }
        if !isValid {
            problems.append(
                "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic "
                    + "character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used "
                    + "for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')")
        }
        return problems
    }

    /// Whether `text` is a DNS-1123 label: the rule for namespaces and containers.
    static func isDNS1123Label(_ text: String) -> Bool {
        let bytes = Array(text.utf8)
        return (1...63).contains(bytes.count) && isLowerOrDigit(bytes[0]) && isLowerOrDigit(bytes[bytes.count - 1])
            && bytes.allSatisfy { isLowerOrDigit($0) || $0 == UInt8(ascii: "-") }
    }

    /// Whether `text` is a qualified name without a prefix: the rule for `revisionName`.
    static func isQualifiedName(_ text: String) -> Bool {
        let bytes = Array(text.utf8)
        func isAlphanumeric(_ byte: UInt8) -> Bool { isLowerOrDigit(byte) || isLower(byte | 0x20) }
        return (1...63).contains(bytes.count) && isAlphanumeric(bytes[0]) && isAlphanumeric(bytes[bytes.count - 1])
            && bytes.allSatisfy { isAlphanumeric($0) || [0x2D, 0x5F, 0x2E].contains($0) }
    }

    /// Whether `text` can name an environment variable: printable ASCII without `=`.
    static func isEnvironmentName(_ text: String) -> Bool {
        !text.isEmpty && text.utf8.allSatisfy { $0 >= 0x20 && $0 < 0x7F && $0 != UInt8(ascii: "=") }
    }

    /// Whether `text` may stand in a header or a path of a probe: nothing that ends a line or the field.
    static func isPrintable(_ text: String, allowingSpace: Bool) -> Bool {
        text.utf8.allSatisfy { $0 > 0x20 && $0 != 0x7F || ($0 == 0x20 && allowingSpace) }
    }

    /// Whether `text` is a header name as Kubernetes allows it in a probe.
    static func isHeaderName(_ text: String) -> Bool {
        !text.isEmpty
            && text.utf8.allSatisfy { $0 >= UInt8(ascii: "0") && isLowerOrDigit($0 | 0x20) || $0 == UInt8(ascii: "-") }
    }

    private static func isLower(_ byte: UInt8) -> Bool { byte >= UInt8(ascii: "a") && byte <= UInt8(ascii: "z") }

    static func isLowerOrDigit(_ byte: UInt8) -> Bool {
        isLower(byte) || (byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9"))
    }
}

/// A reference to a container image: `[registry/]repository[:tag][@digest]`.
///
/// Nothing is pulled; the reference is the key under which `--image` says what runs.
public struct ImageReference: Hashable, Sendable {
    /// The registry; Docker's own if the text names none.
    public let registry: String
    /// The repository inside the registry.
    public let repository: String
    /// The tag, if the text has one.
    public let tag: String?
    /// The digest `sha256:…`, if the text has one.
    public let digest: String?

    /// Parses `text` by the rules Knative's webhook applies (weak validation of go-containerregistry); nil if refused.
    public init?(_ text: String) {
        var rest = Substring(text)
        var digest: String?
        if let at = rest.firstIndex(of: "@") {
            let value = rest[rest.index(after: at)...]
            guard Self.isDigest(value) else { return nil }
            digest = String(value)
            rest = rest[..<at]
        }
        var tag: String?
        let lastSlash = rest.lastIndex(of: "/") ?? rest.startIndex
        if let colon = rest[lastSlash...].lastIndex(of: ":") {
            let value = rest[rest.index(after: colon)...]
            guard (1...128).contains(value.utf8.count), value.utf8.allSatisfy(Self.isTagByte) else { return nil }
            tag = String(value)
            rest = rest[..<colon]
        }
        let (registry, repository) = Self.split(rest)
        guard (2...255).contains(repository.utf8.count), repository.utf8.allSatisfy(Self.isRepositoryByte),
            registry.utf8.allSatisfy(Self.isRegistryByte)
        else { return nil }
        self.tag = tag
        self.digest = digest
        self.registry = registry == "docker.io" ? "index.docker.io" : registry
        let isOfficial = self.registry == "index.docker.io" && !repository.contains("/")
        self.repository = isOfficial ? "library/" + repository : repository
    }

    private static func split(_ text: Substring) -> (registry: String, repository: String) {
        guard let slash = text.firstIndex(of: "/") else { return ("index.docker.io", String(text)) }
        let first = text[..<slash]
        guard first.contains(".") || first.contains(":") || first == "localhost" else {
            return ("index.docker.io", String(text))
        }
        return (String(first), String(text[text.index(after: slash)...]))
    }

    private static func isDigest(_ text: Substring) -> Bool {
        text.hasPrefix("sha256:") && text.utf8.count == 71
            && text.utf8.dropFirst(7).allSatisfy {
                ($0 >= UInt8(ascii: "0") && $0 <= UInt8(ascii: "9"))
                    || ($0 >= UInt8(ascii: "a") && $0 <= UInt8(ascii: "f"))
            }
    }

    private static func isTagByte(_ byte: UInt8) -> Bool {
        Names.isLowerOrDigit(byte) || (byte >= 0x41 && byte <= 0x5A) || [0x5F, 0x2D, 0x2E].contains(byte)
    }

    private static func isRepositoryByte(_ byte: UInt8) -> Bool {
        Names.isLowerOrDigit(byte) || [0x5F, 0x2D, 0x2E, 0x2F].contains(byte)
    }

    /// A host, an address in brackets, a port; nothing that RFC 3986 keeps out of an authority.
    private static func isRegistryByte(_ byte: UInt8) -> Bool { isTagByte(byte) || [0x3A, 0x5B, 0x5D].contains(byte) }
}
