import TLS
import Testing

@testable import QueueProxy

/// QUEUE_PROXY_TLS_*: OpenSSL takes whatever comes out.
@Suite struct TLSReaderTests {
    private func settings(_ changes: [String: String?]) throws -> (TLSSettings, warnings: [String]) {
        let reading = Environments.read(changes)
        #expect(reading.problems == [])
        let settings = try #require(reading.configuration?.tls).settings.common
        _ = try TLSClientContext(settings, trust: nil)  // OpenSSL's own check of versions, ciphers and groups
        return (settings, reading.warnings.map(\.variable))
    }

    @Test func everySuite() throws {
        for (name, openSSL) in TLSReader.suites {
            let (settings, warnings) = try settings([
                "QUEUE_PROXY_TLS_MIN_VERSION": "1.2", "QUEUE_PROXY_TLS_CIPHER_SUITES": name,
            ])
            if let openSSL, !openSSL.isEmpty {
                #expect(settings.cipherSuitesTLS12 == openSSL && settings.lowestVersion == .tls12 && warnings.isEmpty)
            } else {
                // Nothing is left for TLS 1.2; a Go server would speak 1.3 alone as well.
                #expect(settings.lowestVersion == .tls13 && !warnings.isEmpty)
            }
        }
    }

    @Test func everyGroup() throws {
        for (name, openSSL) in TLSReader.groups {
            let (settings, warnings) = try settings(["QUEUE_PROXY_TLS_CURVE_PREFERENCES": "\(name), P-384"])
            #expect(
                settings.groups
                    == [openSSL, "P-384"].compactMap { $0 }.reduce(into: [String]()) { list, group in
                        if !list.contains(group) { list.append(group) }
                    }.joined(separator: ":"))
            #expect(warnings.isEmpty == (openSSL != nil))
        }
    }

    @Test func versions() throws {
        let (only12, _) = try settings(["QUEUE_PROXY_TLS_MIN_VERSION": "1.2", "QUEUE_PROXY_TLS_MAX_VERSION": "1.2"])
        #expect(only12.lowestVersion == .tls12 && only12.highestVersion == .tls12)
        let (standard, warnings) = try settings([:])
        #expect(standard.lowestVersion == .tls13 && standard.highestVersion == .tls13 && warnings.isEmpty)
        #expect(standard.protocols == [.http2, .http1])
    }

    /// With 1.2 alone and no suite for it nobody could connect.
    @Test func nobodyCouldConnect() {
        let reading = Environments.read([
            "QUEUE_PROXY_TLS_MIN_VERSION": "1.2", "QUEUE_PROXY_TLS_MAX_VERSION": "1.2",
            "QUEUE_PROXY_TLS_CIPHER_SUITES": "TLS_AES_128_GCM_SHA256,TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
        ])
        #expect(reading.problems.map(\.variable) == ["QUEUE_PROXY_TLS_CIPHER_SUITES"])
    }

    @Test func listsAreReadLikeGo() throws {
        let list =
            " TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 ,,TLS_AES_128_GCM_SHA256,TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\t"
        let (settings, warnings) = try settings(["QUEUE_PROXY_TLS_CIPHER_SUITES": list])
        #expect(settings.cipherSuitesTLS12 == "ECDHE-RSA-AES128-GCM-SHA256" && warnings.isEmpty)
        let bad = Environments.read(["QUEUE_PROXY_TLS_CIPHER_SUITES": "a,b"])
        #expect(bad.problems.map(\.found) == ["names \"a\"", "names \"b\""])
    }
}
