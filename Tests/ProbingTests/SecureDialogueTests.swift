import Glibc
import Primitives
import TLS
import Testing

@testable import Probing

/// A probe over TLS against a server's side in memory.
@Suite struct SecureDialogueTests {
    private static let now = Int64(time(nil))

    /// What the probe of a server with a certificate for `names` comes to; `trusted`: whether its issuer is trusted.
    private func probe(names: [String], trusted: Bool = true, status: String = "200 OK") throws -> ProbeOutcome? {
        let authority = try LocalAuthority.create(commonName: "Probes", now: Self.now - 86_400)
        let other = try LocalAuthority.create(commonName: "Others", now: Self.now - 86_400)
        let pair = try authority.issue(names: names, key: .ecdsa, days: 30, now: Self.now)
        let source = CertificateSource(
            certificateFile: "c", certificate: pair.certificate, keyFile: "k", key: pair.key, isDefault: true)
        let loaded = CertificateSet.load([source], now: Self.now)
        #expect(loaded.problems.isEmpty)
        let trust = try TrustBundle(pem: (trusted ? authority : other).pem.certificate, file: "ca")
        var settings = TLSSettings()
        settings.protocols = [.http1]
        let client = try TLSClientContext(settings, trust: trust)
        let serverContext = try TLSServerContext(TLSServerSettings(), certificates: loaded.set, tickets: nil)
        var server = try TLSConnection(accepting: serverContext)
        let inner = HTTP1Dialogue(path: "/ready", port: 443, headers: [], userAgent: "probe")
        let dialogue = try #require(SecureDialogue(inner, client))
        let moment = Instant(nanoseconds: 1)
        var toServer: [UInt8] = [], heard: [UInt8] = [], hasAnswered = false
        for _ in 0..<20 where dialogue.verdict == nil {
            toServer += Self.written { dialogue.transmit(into: &$0, now: moment) }
            let toClient = Self.written { writer in
                heard += Self.serve(&server, &toServer, &writer)
                guard !hasAnswered, String(decoding: heard, as: UTF8.self).hasSuffix("\r\n\r\n") else { return }
                hasAnswered = true
                let answer = Array("HTTP/1.1 \(status)\r\nContent-Length: 0\r\n\r\n".utf8)
                _ = answer.withUnsafeBytes { server.write(ByteView($0), into: &writer) }
            }
            toClient.withUnsafeBytes { dialogue.receive(ByteView($0), now: moment) }
        }
        #expect(!hasAnswered || String(decoding: heard, as: UTF8.self).hasPrefix("GET /ready HTTP/1.1\r\n"))
        return dialogue.verdict
    }

    private static func written(_ body: (inout ByteWriter) -> Void) -> [UInt8] {
        withUnsafeTemporaryAllocation(byteCount: 32_768, alignment: 16) { memory in
            var writer = ByteWriter(memory)
            body(&writer)
            return (0..<writer.count).map { writer.written[$0] }
        }
    }

    /// Hands the server what came; returns the data in it.
    private static func serve(
        _ server: inout TLSConnection, _ bytes: inout [UInt8], _ writer: inout ByteWriter
    ) -> [UInt8] {
        var data: [UInt8] = []
        withUnsafeTemporaryAllocation(byteCount: 16_384, alignment: 16) { plain in
            while !bytes.isEmpty {
                let progress = bytes.withUnsafeBytes {
                    server.receive(ByteView($0), into: plain, replies: &writer)
                }
                data += plain[..<progress.produced]
                bytes.removeFirst(progress.consumed)
                if progress.next == .failure { bytes = [] }
            }
        }
        return data
    }

    @Test func goodCertificate() throws {
        #expect(try probe(names: ["127.0.0.1"]) == .passed)
        #expect(try probe(names: ["127.0.0.1"], status: "503 Busy") == .failed("HTTP status 503"))
    }

    @Test func badCertificates() throws {
        for (names, trusted) in [(["other.example"], true), (["127.0.0.1"], false)] {
            let outcome = try probe(names: names, trusted: trusted)
            guard case .failed(let reason)? = outcome else {
                Issue.record("\(outcome as Any)")
                continue
            }
            #expect(reason.hasPrefix("TLS: certificate refused"), "\(reason)")
        }
    }
}
