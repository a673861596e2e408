import Foundation
import Testing

/// curl in every protocol it knows, with and without TLS.
@Suite struct CurlTests {
    /// How curl is told, and what it must then say it spoke.
    struct Mode: Sendable, CustomTestStringConvertible {
        let flags: [String]
        let version: String
        var isEncrypted = false
        /// A line of `--verbose`.
        var sign = ""

        var testDescription: String { (isEncrypted ? "https " : "http ") + flags.joined(separator: " ") }
    }

    static let upgradeSign = "HTTP/1.1 101"
    static let cleartext = [
        Mode(flags: ["--http1.0"], version: "1.0|1.1"),
        Mode(flags: ["--http1.1"], version: "1.1"),
        Mode(flags: ["--http2-prior-knowledge"], version: "2"),
        Mode(flags: ["--http2"], version: "2", sign: upgradeSign),
    ]
    static let encrypted = [
        Mode(flags: ["--http1.1"], version: "1.1", isEncrypted: true, sign: "ALPN: server accepted http/1.1"),
        Mode(flags: ["--http2"], version: "2", isEncrypted: true, sign: "ALPN: server accepted h2"),
        Mode(
            flags: ["--no-alpn", "--http1.1"], version: "1.1", isEncrypted: true, sign: "SSL connection using TLSv1.3"),
        Mode(
            flags: ["--tlsv1.2", "--tls-max", "1.2"], version: "2", isEncrypted: true,
            sign: "SSL connection using TLSv1.2"),
        Mode(flags: ["--tlsv1.3"], version: "2", isEncrypted: true, sign: "SSL connection using TLSv1.3"),
    ]

    /// curl against one service of one martlet.
    struct Curl {
        let martlet: Martlet
        let host: String
        let certificates: ForeignCertificates

        func arguments(_ mode: Mode, _ path: String, _ more: [String]) throws -> [String] {
            let port = try mode.isEncrypted ? martlet.securePort() : martlet.port()
            let url = "\(mode.isEncrypted ? "https" : "http")://\(host):\(port)\(path)"
            let common = ["-sS", "--max-time", "40", "--cacert", certificates.authority, "--noproxy", "*"]
            return common + ["--resolve", "\(host):\(port):127.0.0.1"] + mode.flags + more + [url]
        }

        func run(_ mode: Mode, _ path: String, _ more: [String] = []) throws -> Martlet.Ended {
            try Foreign.run("curl", arguments(mode, path, more))
        }

        /// SHA-256 of what comes.
        func digest(_ mode: Mode, _ path: String, _ more: [String] = []) throws -> String {
            // The status of the pipe is curl's.
            let script = "set -o pipefail; \"$@\" | sha256sum"
            let words = try ["curl"] + arguments(mode, path, more)
            let ended = try Foreign.run("bash", ["-c", script, "-"] + words)
            guard ended.status == 0 else { throw Failure("curl \(mode.testDescription) \(path): \(ended)") }
            return String(ended.out.prefix(64))
        }
    }

    private func serving(_ manifest: Manifest, _ body: (Curl) throws -> Void) throws {
        let certificates = try ForeignCertificates()
        try Martlet.serving(manifest, certificates.flags) { martlet throws in
            try body(Curl(martlet: martlet, host: manifest.host, certificates: certificates))
        }
    }

    /// Small things in every mode, to a pod in either protocol.
    @Test(arguments: ["http1", "h2c"]) func exchanges(portName: String) throws {
        try serving(Foreign.reporter(portName: portName)) { curl throws in
            for mode in Self.cleartext + Self.encrypted { try exchanges(curl, mode) }
        }
    }

    private func exchanges(_ curl: Curl, _ mode: Mode) throws {
        let form = "\n%{http_code} %{http_version} %{size_download}"
        let plain = try curl.run(mode, "/bytes/1000", ["-v", "-o", "/dev/null", "-w", form])
        let what = "\(mode.testDescription): \(plain)\n\(curl.martlet.tail)"
        #expect(mode.version.split(separator: "|").contains { plain.out.hasSuffix("\n200 \($0) 1000") }, "\(what)")
        #expect(plain.log.contains(mode.sign) || mode.sign.isEmpty, "\(what)")

        let head = try curl.run(mode, "/bytes/1234", ["-I"])
        #expect(head.status == 0 && head.out.lowercased().contains("content-length: 1234"), "\(what)\n\(head)")
        let posted = try curl.run(mode, "/report", ["-d", "hello"])
        #expect(posted.out.contains("\"bytes\": 5"), "\(what)\n\(posted)")
        let expected = try curl.run(mode, "/report", ["-D", "-", "-H", "Expect: 100-continue", "-d", "hello"])
        let knowsContinue = !mode.flags.contains("--http1.0")
        #expect(expected.out.contains("\"bytes\": 5"), "\(what)\n\(expected)")
        #expect(expected.out.contains(#/HTTP/[0-9.]+ 100/#) == knowsContinue, "\(what)\n\(expected)")
        for status in [204, 304, 404] {
            let found = try curl.run(mode, "/status/\(status)", ["-o", "/dev/null", "-w", "%{http_code}"])
            #expect(found.status == 0 && found.out == "\(status)", "\(what)\n\(found)")
        }
        let trailers = try curl.run(mode, "/trailers", ["-D", "-", "-H", "TE: trailers", "-H", "Connection: TE"])
        #expect(trailers.status == 0 && trailers.out.contains("body"), "\(what)\n\(trailers)")
        // HTTP/1.0 has no trailers.
        #expect(trailers.out.contains("x-sum: 5") == knowsContinue, "\(what)\n\(trailers)")
        let cut = try curl.run(mode, "/cut", ["-o", "/dev/null"])
        #expect([18, 92, 56].contains(cut.status), "an answer cut short looks whole: \(what)\n\(cut)")
        let unknown = try curl.run(mode, "/", ["-H", "Host: nobody.default.localhost", "-w", "%{http_code}"])
        #expect(unknown.out.hasSuffix("404"), "\(what)\n\(unknown)")
    }

    /// 50 MB of noise there and back again, and 50 MB down. (Not down after an Upgrade: curl 7.88 has 32 KiB for what
    /// comes with the 101, and fails when it is more.)
    @Test(arguments: ["http1", "h2c"]) func largeBodies(portName: String) throws {
        let pod = portName == "h2c" ? NodeTests.app : Manifest()
        try serving(pod) { curl throws in
            let file = curl.martlet.scratch.path + "/noise"
            _ = try Foreign.output("sh", ["-c", "head -c 50000000 /dev/urandom >\"$0\"", file])
            let noise = String(try Foreign.output("sha256sum", [file]).prefix(64))
            let letter = portName == "h2c" ? "n" : "x"
            let letters = try Foreign.output(
                "sh", ["-c", "head -c 50000000 /dev/zero | tr '\\0' \(letter) | sha256sum"])
            for mode in Self.cleartext + Self.encrypted.prefix(2) {
                #expect(try curl.digest(mode, "/echo", ["-T", file]) == noise, "\(mode.testDescription)")
                guard mode.sign != Self.upgradeSign else { continue }
                let found = try curl.digest(mode, "/bytes/50000000")
                #expect(letters.hasPrefix(found), "\(mode.testDescription)")
            }
        }
    }

    /// 200 transfers, 80 at once, are streams of one connection. (By prior knowledge curl 7.88 fails at that, with
    /// nghttpd as well.)
    @Test func parallel() throws {
        try serving(Foreign.reporter()) { curl throws in
            let mode = Self.encrypted[1], form = "%{http_code}/%{num_connects}\n"
            let more = ["--parallel", "--parallel-max", "80", "-o", "/dev/null", "-w", form]
            let ended = try curl.run(mode, "/bytes/3000?[1-200]", more)
            let lines = ended.out.split(separator: "\n")
            #expect(ended.status == 0 && lines.count == 200, "\(ended)")
            #expect(lines.allSatisfy { $0.hasPrefix("200/") }, "\(ended)")
            let connections = lines.compactMap { Int($0.dropFirst(4)) }.reduce(0, +)
            #expect(connections == 1, "\(connections) connections:\n\(ended)")
        }
    }
}
