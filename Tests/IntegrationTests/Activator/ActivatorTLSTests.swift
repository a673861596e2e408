import Foundation
import Testing

/// TLS of an activator on both sides, with curl and openssl as clients and real queue-proxies as pods (spec/dataplane
/// 3.1, 3.4).
@Suite struct ActivatorTLSTests {
    private static let routing = ["kn-routing", "data-plane.knative.dev"]

    /// An activator with a certificate before one pod; `folder` of the certificates is `certs`.
    private func withListener(
        _ variables: [String: String] = [:], _ body: (ActivatorStage, Certificates) throws -> Void
    ) throws {
        var certificates: Certificates!  // made by `prepare`, which comes first
        let own = ["MARTLET_CERTIFICATES": "certs", "MARTLET_CERTIFICATE_CHECK_MILLISECONDS": "50"]
        try ActivatorStage.running(own.merging(variables) { $1 }) { stage in
            certificates = try Certificates(stage.scratch)
            certificates.put("tls", try certificates.pair(Self.routing))
            stage.pods([try stage.pod()])
        } _: { stage throws in
            try body(stage, certificates)
        }
    }

    private func openssl(_ stage: ActivatorStage, _ arguments: [String]) throws -> Martlet.Ended {
        let address = "127.0.0.1:\(try stage.port("https"))"
        return try run(
            "/usr/bin/openssl", ["s_client", "-brief", "-connect", address] + arguments, stage.scratch)
    }

    // MARK: The listener

    /// TLS 1.3 in every version of HTTP; 1.2 is refused unless it is asked for.
    @Test func versions() throws {
        try withListener { stage, _ throws in
            for version in ["--http1.1", "--http2", "--http2-prior-knowledge"] {
                let ended = try stage.curl([version, "-w", " %{http_version}"])
                #expect(ended.status == 0 && ended.out.hasSuffix(version == "--http1.1" ? " 1.1" : " 2"), "\(ended)")
            }
            let old = try stage.curl(["--tlsv1.2", "--tls-max", "1.2"])
            #expect(old.status == 35, "\(old)")
            let plain = try stage.get("/", ActivatorStage.names, at: "https")
            #expect(plain.status == 400, "plain HTTP to the TLS port")
        }
        try withListener(["ACTIVATOR_TLS_MIN_VERSION": "1.2"]) { stage, _ throws in
            for most in ["1.2", "1.3"] {
                let ended = try stage.curl(["--tls-max", most])
                #expect(ended.status == 0, "\(ended)")
            }
        }
        try withListener(["ACTIVATOR_TLS_MIN_VERSION": "1.2", "ACTIVATOR_TLS_MAX_VERSION": "1.2"]) { stage, _ throws in
            #expect(try stage.curl(["--tlsv1.3"]).status == 35)
            #expect(try stage.curl(["--tls-max", "1.2"]).status == 0)
        }
    }

    @Test func suitesAndGroups() throws {
        let wanted = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"
        let settings = [
            "ACTIVATOR_TLS_MIN_VERSION": "1.2", "ACTIVATOR_TLS_CIPHER_SUITES": wanted,
            "ACTIVATOR_TLS_CURVE_PREFERENCES": "CurveP384",
        ]
        try withListener(settings) { stage, _ throws in
            let good = try openssl(
                stage, ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384", "-groups", "P-384:P-256"])
            #expect(good.status == 0 && good.log.contains("ECDHE-ECDSA-AES256-GCM-SHA384"), "\(good)")
            for bad in [
                ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256", "-groups", "P-384:P-256"],
                ["-tls1_3", "-groups", "X25519"],
            ] {
                let ended = try openssl(stage, bad)
                #expect(ended.status == 1, "\(bad): \(ended)")
            }
            #expect(try openssl(stage, ["-tls1_3", "-groups", "P-384"]).status == 0)
        }
    }

    /// What is wrong is told at once, with what is allowed.
    @Test func wrongVariables() throws {
        let wrong = [
            "ACTIVATOR_TLS_MIN_VERSION": "1.1", "ACTIVATOR_TLS_CIPHER_SUITES": "NONE_SUCH",
            "ACTIVATOR_TLS_CURVE_PREFERENCES": "P-255", "MARTLET_CERTIFICATE_CHECK_MILLISECONDS": "1",
            "MARTLET_SET_ASIDE_PERCENT": "100",
        ]
        let words = wrong.map { "\($0)=\($1)" }.sorted() + [Place.martlet, "activator", "--cluster", "objects"]
        let process = try Martlet(words, scratch: Scratch(), program: "/usr/bin/env")
        #expect(process.waitForEnd() == 78)
        for (name, value) in wrong {
            #expect(process.log.contains("error: \(name) ") && process.log.contains(value), "\(process.log)")
        }
        #expect(process.log.contains("allowed: 1.2, 1.3"), "\(process.log)")
    }

    /// A new pair is served from the next handshake on; who is connected goes on; a broken pair changes nothing.
    @Test func rotation() throws {
        try withListener { stage, certificates in
            let chain = { (stage: ActivatorStage) throws -> String in
                let address = "127.0.0.1:\(try stage.port("https"))"
                let shown = try run(
                    "/usr/bin/openssl", ["s_client", "-connect", address, "-showcerts"], stage.scratch)
                return try run(
                    "/usr/bin/openssl", ["x509", "-noout", "-serial"], stage.scratch, input: shown.out
                ).out
            }
            let first = try chain(stage)
            #expect(first.hasPrefix("serial="))
            let slow = Later { try stage.curl(["--http1.1"], path: "/slow?ms=1500") }
            certificates.put("tls", try certificates.pair(Self.routing), renaming: true)
            stage.activator.expectLog("certificates were reloaded")
            let second = try chain(stage)
            #expect(second.hasPrefix("serial=") && second != first)
            #expect(try slow.value().status == 0, "a request under way ends well")
            // A look between the two files may have refused that pair as well.
            let refused = "certificates refused; the old ones stay"
            let count = stage.activator.log.ranges(of: refused).count
            stage.scratch.write("certs/tls.key", "nonsense")
            stage.activator.expectLog(refused, count: count + 1)
            #expect(try chain(stage) == second)
            #expect(try stage.curl([]).status == 0)
        }
    }

    // MARK: To pods

    /// HTTP/1.1 and HTTP/2 to queue-proxies over TLS; the authority changes while requests go on, and none fails.
    @Test func podsOverTLS() throws {
        let log = #"{"enableRequestLog": true, "requestLogTemplate": "TLS: {{if .Request.TLS}}yes{{else}}no{{end}}"}"#
        var old: Certificates!, pod: ActivatorStage.Pod!  // made by `prepare`, which comes first
        let names = ["data-plane.knative.dev", "kn-user-default"]
        let settings = ["MARTLET_CERTIFICATES": "trust", "MARTLET_CERTIFICATE_CHECK_MILLISECONDS": "50"]
        try ActivatorStage.running(settings) { stage in
            old = try Certificates(stage.scratch)
            old.put("tls", try old.pair(names))
            stage.scratch.write("trust/ca.crt", String(decoding: old.authority.pem.certificate, as: UTF8.self))
            // It speaks HTTP/2 too: who asks in it is answered in it, up to the container.
            pod = try stage.pod(
                Foreign.python("pod.py"),
                [
                    "MARTLET_CERTIFICATE_DIRECTORY": stage.scratch.path + "/certs",
                    "MARTLET_CERTIFICATE_CHECK_MILLISECONDS": "50", "OBSERVABILITY_CONFIG": log,
                ])
            stage.pods([pod])
        } _: { stage throws in
            #expect(try stage.get("/bytes/3").status == 200)
            let http2 = try stage.port("http2")
            let curl =
                ActivatorStage.names.flatMap { ["-H", $0] } + ["-sS", "--http2-prior-knowledge", "-w", "%{http_code}"]
            let ended = try run("/usr/bin/curl", curl + ["http://127.0.0.1:\(http2)/bytes/3"], stage.scratch)
            #expect(ended.status == 0 && ended.out.hasSuffix("200"), "\(ended)")
            let lines = pod.sidecar.waitForLog(of: 1) { $0.ranges(of: "TLS: yes\n").count == 2 }
            #expect(lines, "\(pod.sidecar.tail)")
            // A new authority: trusted beside the old one first, then it signs the pod's certificate.
            let new = try Certificates(stage.scratch)
            stage.scratch.replace("trust/bundle.crt", String(decoding: new.authority.pem.certificate, as: UTF8.self))
            stage.activator.expectLog("certificates were reloaded")
            new.put("tls", try new.pair(names), renaming: true)
            pod.sidecar.expectLog("Certificate and/or key have changed on disk and were reloaded.", count: 2)
            for _ in 0..<20 { #expect(try stage.get("/bytes/3").status == 200) }
            // The old one is no longer trusted: a pod that still has such a certificate gets nothing.
            stage.scratch.replace("trust/ca.crt", String(decoding: new.authority.pem.certificate, as: UTF8.self))
            stage.activator.expectLog("certificates were reloaded", count: 2)
            #expect(try stage.get("/bytes/3").status == 200)
            old.put("tls", try old.pair(names), renaming: true)
            pod.sidecar.expectLog("Certificate and/or key have changed on disk and were reloaded.", count: 3)
            #expect(try wait { try stage.get("/bytes/3", at: "http").status == 502 || stage.refused(3) })
            #expect(!pod.sidecar.out.contains("TLS: no"))
        }
    }
}

extension ActivatorStage {
    /// Whether one of so many requests at once, which need connections of their own, is refused for the certificate.
    fileprivate func refused(_ count: Int) throws -> Bool {
        let slow = (0..<count).map { _ in Later { try self.get("/wait?ms=300") } }
        return try slow.map { try $0.value() }.contains { $0.status == 502 && $0.text.contains("certificate") }
    }
}
