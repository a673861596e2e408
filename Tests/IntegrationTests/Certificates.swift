import Foundation
import TLS

/// Certificates of an authority of the test's own, as files.
struct Certificates {
    let authority: LocalAuthority
    let scratch: Scratch

    init(_ scratch: Scratch) throws {
        self.scratch = scratch
        authority = try LocalAuthority.create(commonName: "Integration tests", now: Self.now - 1_000 * 86_400)
        scratch.write("ca.pem", String(decoding: authority.pem.certificate, as: UTF8.self))
    }

    static var now: Int64 { Int64(Date().timeIntervalSince1970) }
    var file: String { scratch.path + "/ca.pem" }

    /// A pair for `names`; `daysAgo` and `days` say when it begins and how long it lasts.
    func pair(
        _ names: [String], key: LocalAuthority.KeyKind = .ecdsa, daysAgo: Int64 = 0, days: Int64 = 90
    ) throws -> (certificate: String, key: String) {
        let made = try authority.issue(names: names, key: key, days: days, now: Self.now - daysAgo * 86_400)
        return (String(decoding: made.certificate, as: UTF8.self), String(decoding: made.key, as: UTF8.self))
    }

    /// Writes a pair to `certs/BASE.crt` and `certs/BASE.key`, over what is there or by renaming.
    func put(_ base: String, _ pair: (certificate: String, key: String), renaming: Bool = false) {
        for (ending, text) in [("crt", pair.certificate), ("key", pair.key)] {
            if renaming {
                scratch.write("fresh.\(ending)", text)
                rename(scratch.path + "/fresh.\(ending)", scratch.path + "/certs/\(base).\(ending)")
            } else {
                scratch.write("certs/\(base).\(ending)", text)
            }
        }
    }
}

/// A foreign program, run to its end.
func run(_ program: String, _ arguments: [String], _ scratch: Scratch, input: String = "") throws -> Martlet.Ended {
    let process = try Martlet(arguments, scratch: scratch, input: input, program: program)
    let status = process.waitForEnd()
    if status == nil { process.signal(SIGKILL) }
    return Martlet.Ended(status: status, out: process.out, log: process.log)
}

extension Martlet {
    /// The port of its HTTPS listener, as its log tells.
    func securePort() throws -> UInt16 {
        let pattern = /listening address=[^ ]*:(\d+) scheme=https/
        _ = waitForLog { $0.contains(pattern) }
        guard let match = log.firstMatch(of: pattern), let port = UInt16(match.1) else {
            throw Failure("it does not listen for HTTPS:\n\(tail)")
        }
        return port
    }

    /// curl, over HTTP/1.1 unless told otherwise; `{http}` and `{https}` in an argument stand for the ports, and every
    /// host is this machine.
    func curl(_ arguments: [String], version: String = "--http1.1") throws -> Ended {
        let ports = (try port(), try securePort())
        let fixed = ["-sS", version, "--max-time", "\(Int(patience))"]
        let hosts = ["--connect-to", "::127.0.0.1:"]
        return try IntegrationTests.run(
            "/usr/bin/curl",
            fixed + hosts
                + arguments.map { text in
                    text.replacingOccurrences(of: "{https}", with: "\(ports.1)")
                        .replacingOccurrences(of: "{http}", with: "\(ports.0)")
                }, scratch)
    }

    /// The subject's names of the certificate that a client gets who asks for `name`; nil for no name.
    func served(to name: String?) throws -> String {
        let port = try securePort()
        let asking = name.map { ["-servername", $0] } ?? ["-noservername"]
        let handshake = try IntegrationTests.run(
            "/usr/bin/openssl", ["s_client", "-connect", "127.0.0.1:\(port)", "-showcerts"] + asking, scratch)
        guard handshake.out.contains("BEGIN CERTIFICATE") else { return "none" }
        let shown = try IntegrationTests.run(
            "/usr/bin/openssl", ["x509", "-noout", "-serial", "-ext", "subjectAltName"], scratch, input: handshake.out)
        return shown.out
    }
}
