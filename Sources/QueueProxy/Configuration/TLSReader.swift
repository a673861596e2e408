import TLS

/// The four variables of a TLS server: `<prefix>TLS_MIN_VERSION`, `_MAX_VERSION`, `_CIPHER_SUITES`,
/// `_CURVE_PREFERENCES`, with Go's names (`knative.dev/pkg` `network/tls/config.go`). Empty means absent.
///
/// Default: TLS 1.3 alone. Cipher suites are those of TLS 1.2; Go does not let one choose those of 1.3, nor do we.
enum TLSReader {
    /// The suites Go takes, and OpenSSL's names. Empty: of TLS 1.3, without effect. Nil: Go has them, this module's TLS
    /// does not (no AEAD cipher).
    static let suites: [(name: String, openSSL: String?)] = [
        ("TLS_AES_128_GCM_SHA256", ""),
        ("TLS_AES_256_GCM_SHA384", ""),
        ("TLS_CHACHA20_POLY1305_SHA256", ""),
        ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"),
        ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "ECDHE-RSA-AES128-GCM-SHA256"),
        ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "ECDHE-ECDSA-AES256-GCM-SHA384"),
        ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "ECDHE-RSA-AES256-GCM-SHA384"),
        ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"),
        ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-RSA-CHACHA20-POLY1305"),
        ("TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA", nil),
        ("TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA", nil),
        ("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", nil),
        ("TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA", nil),
    ]

    /// The groups Knative takes, and OpenSSL's names. Nil: OpenSSL has it from 3.5 on.
    static let groups: [(name: String, openSSL: String?)] = [
        ("X25519", "X25519"), ("X25519MLKEM768", nil),
        ("CurveP256", "P-256"), ("P-256", "P-256"),
        ("CurveP384", "P-384"), ("P-384", "P-384"),
        ("CurveP521", "P-521"), ("P-521", "P-521"),
    ]

    /// Settings that OpenSSL takes. What is wrong is noted.
    static func read(prefix: String, _ reader: inout VariableReader) -> TLSServerSettings {
        var settings = TLSServerSettings()
        settings.common.lowestVersion = version("\(prefix)TLS_MIN_VERSION", &reader)
        settings.common.highestVersion = version("\(prefix)TLS_MAX_VERSION", &reader)
        if settings.common.lowestVersion > settings.common.highestVersion {
            let isSet = reader.raw("\(prefix)TLS_MIN_VERSION", empty: .isAbsent) != nil
            reader.reject(
                "\(prefix)TLS_MAX_VERSION", found: "is \"1.2\"",
                allowed: "a version not below \(prefix)TLS_MIN_VERSION, \(isSet ? "which is" : "by default") 1.3")
            settings.common.highestVersion = settings.common.lowestVersion
        }
        readSuites("\(prefix)TLS_CIPHER_SUITES", into: &settings.common, &reader)
        readGroups("\(prefix)TLS_CURVE_PREFERENCES", into: &settings.common, &reader)
        return settings
    }

    /// A list without a name is none to Go.
    private static func readGroups(_ name: String, into settings: inout TLSSettings, _ reader: inout VariableReader) {
        guard let groups = list(name, of: Self.groups, "this OpenSSL lacks it", &reader) else { return }
        guard groups.isEmpty else { return settings.groups = groups.joined(separator: ":") }
        let text = reader.raw(name) ?? ""
        guard text.contains(where: { $0 != "," && !$0.isWhitespace }) else { return }
        reader.reject(
            name, found: "names no group that can be used",
            allowed: "at least one of \(names(Self.groups.filter { $0.openSSL != nil }))")
    }

    private static func version(_ name: String, _ reader: inout VariableReader) -> TLSVersion {
        reader.value(
            name, default: .tls13, empty: .isAbsent, allowed: "1.2, 1.3", show: { $0 == .tls12 ? "1.2" : "1.3" },
            parse: { $0 == "1.2" ? .tls12 : $0 == "1.3" ? .tls13 : nil })
    }

    /// Without a usable suite of TLS 1.2 a Go server still speaks 1.3; with 1.2 alone nobody could connect.
    private static func readSuites(_ name: String, into settings: inout TLSSettings, _ reader: inout VariableReader) {
        let reason = "TLS here takes only ciphers with authentication"
        guard let suites = list(name, of: Self.suites, reason, &reader) else { return }
        guard suites.isEmpty else { return settings.cipherSuitesTLS12 = suites.joined(separator: ":") }
        guard settings.lowestVersion == .tls12 else { return }
        if settings.highestVersion == .tls12 {
            let usable = names(Self.suites.filter { !($0.openSSL ?? "").isEmpty })
            reader.reject(
                name, found: "names no suite of TLS 1.2 that can be used", allowed: "at least one of \(usable)")
        } else {
            reader.warn(name, found: "names no suite of TLS 1.2 that can be used", "only TLS 1.3 is spoken")
            settings.lowestVersion = .tls13
        }
    }

    /// The OpenSSL names of a comma-separated list, each once and in its order; nil if the variable is absent or wrong.
    private static func list(
        _ name: String, of known: [(name: String, openSSL: String?)], _ whyLeftOut: String,
        _ reader: inout VariableReader
    ) -> [String]? {
        guard let text = reader.raw(name, empty: .isAbsent) else {
            reader.note(name, "", .default)
            return nil
        }
        var found: [String] = [], isRight = true
        for piece in text.split(separator: "," as Character) {
            let word = trimmed(piece)
            guard !word.isEmpty else { continue }
            guard let entry = known.first(where: { $0.name == word }) else {
                reader.reject(name, found: "names \(word.quotedForMessage)", allowed: names(known))
                isRight = false
                continue
            }
            guard let openSSL = entry.openSSL else {
                reader.warn(name, found: "names \(word)", "it is left out: \(whyLeftOut)")
                continue
            }
            if !openSSL.isEmpty, !found.contains(openSSL) { found.append(openSSL) }
        }
        guard isRight else { return nil }
        reader.note(name, text, .set)
        return found
    }

    private static func trimmed(_ text: Substring) -> String {
        let isSpace = { (character: Character) in character.isWhitespace }
        let rest = text.drop(while: isSpace)
        return String(rest.reversed().drop(while: isSpace).reversed())
    }

    private static func names(_ known: [(name: String, openSSL: String?)]) -> String {
        known.map(\.name).joined(separator: ", ")
    }
}
