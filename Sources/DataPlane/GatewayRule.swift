import HTTP
import Primitives

/// What a gateway does with the requests of one path and split, besides sending them to a service's endpoints
/// (spec/dataplane 5.1). A plain value; `RevisionTarget` lays it out for writing.
public struct GatewayRule: Hashable, Sendable {
    /// A field that is set: what the client sent under this name is left out.
    public struct Field: Hashable, Sendable {
        /// Its name as it is written.
        public let name: String
        /// Its value.
        public let value: String
    }

    /// Most fields of one rule. What is above is left out.
    public static let fieldLimit = 32

    /// By name.
    public let fields: [Field]
    /// The host that the upstream gets; nil: the client's.
    public let host: String?
    /// What a prober that sends `K-Network-Hash: override` gets told as the version; empty: nothing.
    public let version: String
    /// Served only at listeners with `servesClusterLocal`.
    public let isClusterLocal: Bool
    /// Plain requests at listeners with a `redirectPort` are answered with 301; the challenges of ACME are not.
    public let leadsToHTTPS: Bool

    /// A rule that sets `fields`.
    ///
    /// - Parameter problems: gets one text for everything that is left out because it cannot be set.
    public init(
        fields: [String: String] = [:], host: String? = nil, version: String = "", isClusterLocal: Bool = false,
        leadsToHTTPS: Bool = false, problems: inout [String]
    ) {
        var kept: [Field] = []
        for (name, value) in fields.sorted(by: { $0.key < $1.key }) {
            if let problem = Self.problem(name, value) {
                problems.append(problem)
            } else if kept.count == Self.fieldLimit {
                problems.append("more than \(Self.fieldLimit) fields to append; \(name) is left out")
            } else {
                kept.append(Field(name: name, value: value))
            }
        }
        self.fields = kept
        let isHost = host.map { Self.isHost($0) } ?? true
        if !isHost { problems.append("rewriteHost is no host: \(host ?? "")") }
        self.host = isHost ? host : nil
        self.version = FieldRules.isValue(version) ? version : ""
        self.isClusterLocal = isClusterLocal
        self.leadsToHTTPS = leadsToHTTPS
    }

    /// Fields of the connection and of framing, and those that the gateway writes itself.
    static var reserved: KnownFieldSet {
        KnownFieldSet.hopByHop | KnownFieldSet(.host) | KnownFieldSet(.contentLength) | KnownFieldSet(.expect)
            | KnownFieldSet(.xForwardedFor) | KnownFieldSet(.xForwardedProto) | KnownFieldSet(.xForwardedHost)
            | KnownFieldSet(.forwarded)
    }

    private static func problem(_ name: String, _ value: String) -> String? {
        guard FieldRules.isName(name) else { return "no name of a field: \(name.debugDescription)" }
        let known = Array(name.utf8).withUnsafeBytes { KnownField.classify(ByteView($0)) }
        guard known == .other || !reserved.contains(known) else { return "a field that only a proxy sets: \(name)" }
        return FieldRules.isValue(value) ? nil : "no value of a field: \(name): \(value.debugDescription)"
    }

    private static func isHost(_ text: String) -> Bool {
        let bytes = Array(text.utf8)
        return !bytes.isEmpty && bytes.count <= 261
            && bytes.withUnsafeBytes { (try? Authority.host(ByteView($0), at: 0..<bytes.count)) != nil }
    }
}

/// A `GatewayRule` as bytes that stay where they are, made and freed by the target it belongs to.
struct Amendment {
    struct Field {
        /// As it is written.
        let name: ByteView
        let value: ByteView
        /// In lower case.
        let lowercase: ByteView
        let known: KnownField
    }

    /// The names of `GatewayRule.fields` that are known.
    let replaced: KnownFieldSet
    /// Whether there are names that are not.
    let replacesOthers: Bool
    let fields: UnsafeMutableBufferPointer<Field>
    /// Empty: it stays.
    let host: ByteView
    /// Empty: none.
    let version: ByteView
    let isClusterLocal: Bool
    let leadsToHTTPS: Bool
    private let memory: UnsafeMutableRawBufferPointer

    static func make(_ rule: GatewayRule) -> UnsafeMutablePointer<Amendment> {
        let place = UnsafeMutablePointer<Amendment>.allocate(capacity: 1)
        place.initialize(to: Amendment(rule))
        return place
    }

    static func free(_ place: UnsafeMutablePointer<Amendment>) {
        place.pointee.fields.deallocate()
        place.pointee.memory.deallocate()
        place.deallocate()
    }

    private init(_ rule: GatewayRule) {
        let texts = rule.fields.reduce(0) { $0 + 2 * $1.name.utf8.count + $1.value.utf8.count }
        let count = texts + (rule.host ?? "").utf8.count + rule.version.utf8.count
        memory = .allocate(byteCount: max(1, count), alignment: 16)
        var writer = ByteWriter(memory)
        func store(_ bytes: [UInt8]) -> ByteView {
            let start = writer.count
            bytes.withUnsafeBytes { writer.append(ByteView($0)) }
            return writer.written[start..<writer.count]
        }
        fields = .allocate(capacity: rule.fields.count)
        var replaced = KnownFieldSet()
        for (index, field) in rule.fields.enumerated() {
            let name = Array(field.name.utf8)
            let known = name.withUnsafeBytes { KnownField.classify(ByteView($0)) }
            if known != .other { replaced.insert(known) }
            let made = Field(
                name: store(name), value: store(Array(field.value.utf8)),
                lowercase: store(name.map { ASCII.lowercased($0) }), known: known)
            fields.initializeElement(at: index, to: made)
        }
        self.replaced = replaced
        replacesOthers = fields.contains { $0.known == .other }
        host = store(Array((rule.host ?? "").utf8))
        version = store(Array(rule.version.utf8))
        isClusterLocal = rule.isClusterLocal
        leadsToHTTPS = rule.leadsToHTTPS
    }

    /// Whether a field of the client's that is not a known one is replaced.
    func replaces(_ name: ByteView) -> Bool {
        for field in fields where field.known == .other && name.equalsIgnoringCase(field.lowercase) { return true }
        return false
    }
}
