import Foundation
import TLS
import Testing

/// HTTPS of `martlet run`: certificates of its own making, of a folder, and their change while it serves.
@Suite struct HTTPSTests {
    static let flags = ["--https", "127.0.0.1:0"]
    static let folder = flags + ["--certs", "certs"]
    static let hello = Manifest { $0.environment = [("TARGET", "TLS"), ("TIMES", "off")] }

    // MARK: The local authority

    /// Without anything prepared: curl trusts what `martlet cert` shows, and nothing else.
    @Test func localAuthority() throws {
        let scratch = Scratch()
        let authority = scratch.path + "/state/martlet/ca/localhost/ca.crt"
        try Martlet.serving(Self.hello, Self.flags, scratch: scratch) { martlet throws in
            martlet.expectLog("local authority made")
            let port = try martlet.securePort()
            martlet.expectLog("url=https://app.default.localhost:\(port)/")
            for host in ["app.default.localhost", "later.default.localhost", "localhost", "127.0.0.1", "[::1]"] {
                let answer = try martlet.curl(
                    ["--cacert", authority, "-H", "Host: app.default.localhost", "https://\(host):{https}/"])
                #expect(answer.out == "Hello TLS!\n", "\(host): \(answer)")
            }
            let second = try martlet.curl(
                ["--cacert", authority, "-w", "%{http_version}", "https://app.default.localhost:{https}/"],
                version: "--http2")
            #expect(second.out == "Hello TLS!\n2", "\(second)")
            let distrusted = try martlet.curl(["https://app.default.localhost:{https}/"])
            #expect(distrusted.status == 60, "\(distrusted)")
            let elsewhere = try martlet.curl(["--cacert", authority, "https://app.example.com:{https}/"])
            #expect(elsewhere.status == 60, "a certificate for everything? \(elsewhere)")
            // Plain HTTP goes on beside it.
            #expect(try martlet.get(Self.hello.host).text == "Hello TLS!\n")
        }
    }

    /// The authority outlives the run; the certificates follow the services.
    @Test func authorityIsUsedAgain() throws {
        let scratch = Scratch()
        let made = try Martlet.command(["cert", "--pem"], scratch: scratch)
        #expect(made.status == 0 && made.log.contains("made a local certificate authority"), "\(made)")
        let file = scratch.write("trusted.pem", made.out)
        scratch.write("files/a.yaml", Self.hello.text)
        try Martlet.serving([scratch.path + "/files"] + Self.flags, scratch: scratch) { martlet throws in
            martlet.expectLog("local authority used")
            let first = try martlet.curl(["--cacert", file, "https://app.default.localhost:{https}/"])
            #expect(first.out == "Hello TLS!\n", "\(first)")
            let moved = Self.hello.text.replacingOccurrences(of: "name: app", with: "name: app\n  namespace: team")
            scratch.write("files/b.yaml", moved)
            let isServed = try wait {
                try martlet.curl(["--cacert", file, "https://app.team.localhost:{https}/"]).out == "Hello TLS!\n"
            }
            #expect(isServed, "\(martlet.tail)")
        }
        #expect(try Martlet.command(["cert", "--pem"], scratch: scratch).out == made.out)
    }

    @Test func certTellsHowToTrust() throws {
        let scratch = Scratch()
        let shown = try Martlet.command(["cert"], scratch: scratch)
        let path = scratch.path + "/state/martlet/ca/localhost/ca.crt"
        #expect(shown.status == 0 && shown.out.hasPrefix("certificate  \(path)\n"), "\(shown)")
        for word in [
            "update-ca-certificates", "update-ca-trust", "certutil -d sql:", "curl --cacert", "SSL_CERT_FILE=\(path)",
            "NODE_EXTRA_CA_CERTS=\(path)", "REQUESTS_CA_BUNDLE=\(path)",
        ] {
            #expect(shown.out.contains(word), "\(word): \(shown.out)")
        }
        let pem = try Martlet.command(["cert", "--pem"], scratch: scratch)
        #expect(
            pem.log.isEmpty
                && pem.out == String(decoding: FileManager.default.contents(atPath: path) ?? Data(), as: UTF8.self))
        let foreign = try run(
            "/usr/bin/openssl", ["x509", "-noout", "-fingerprint", "-sha256", "-enddate", "-ext", "nameConstraints"],
            scratch, input: pem.out)
        let print = try #require(foreign.out.firstMatch(of: /Fingerprint=([0-9A-F:]+)/)).1
        #expect(shown.out.contains("SHA-256      \(print)\n"), "\(foreign.out)")
        #expect(foreign.out.contains("DNS:localhost") && !foreign.out.contains("DNS:example"), "\(foreign.out)")
        let verified = try run("/usr/bin/openssl", ["verify", "-CAfile", path, path], scratch)
        #expect(verified.status == 0 && verified.out.contains("OK"), "\(verified)")

        let other = try Martlet.command(["cert", "--domain", "example.test"], scratch: scratch)
        #expect(other.out.contains("good for     example.test, localhost and hosts below"), "\(other)")
        #expect(other.out.contains("https://hello.default.example.test:8443/"))
    }

    /// Chain, names and purposes as openssl sees them.
    @Test func leavesVerify() throws {
        let scratch = Scratch()
        let authority = scratch.path + "/state/martlet/ca/example.test/ca.crt"
        try Martlet.serving(Self.hello, Self.flags + ["--domain", "example.test"], scratch: scratch) { martlet throws in
            let port = try martlet.securePort()
            for name in ["app.default.example.test", "example.test", "localhost"] {
                for version in ["-tls1_2", "-tls1_3"] {
                    let seen = try run(
                        "/usr/bin/openssl",
                        [
                            "s_client", "-connect", "127.0.0.1:\(port)", "-servername", name, "-CAfile", authority,
                            "-verify_return_error", "-verify_hostname", name, "-x509_strict", "-purpose", "sslserver",
                            version,
                        ], scratch)
                    #expect(seen.out.contains("Verify return code: 0 (ok)"), "\(name) \(version): \(seen)")
                }
            }
        }
    }

    @Test func stateThatIsNotOurs() throws {
        let scratch = Scratch()
        let file = scratch.write("service.yaml", Self.hello.text)
        scratch.write("state/martlet", "in the way")
        for arguments in [["run", "--http", "127.0.0.1:0", file] + Self.flags, ["cert"]] {
            let ended = try Martlet.command(arguments, scratch: scratch)
            #expect(ended.status == (arguments[0] == "run" ? 78 : 1), "\(ended)")
            #expect(
                ended.log.contains("\(scratch.path)/state/martlet: Not a directory; set XDG_STATE_HOME"), "\(ended)")
        }
        let homeless = try run(
            "/usr/bin/env", ["-u", "HOME", "-u", "XDG_STATE_HOME", Place.martlet, "cert"], scratch)
        #expect(homeless.status == 1 && homeless.log.contains("neither XDG_STATE_HOME nor HOME"), "\(homeless)")
        let domain = try Martlet.command(["run", file, "--domain", "a_b"] + Self.flags, scratch: scratch)
        #expect(domain.status == 78 && domain.log.contains("cannot stand in a certificate"), "\(domain)")
    }

    // MARK: A folder of certificates

    /// Exact names, wildcards of one label, the default for the rest, and RSA beside ECDSA for one name.
    @Test func pairsByName() throws {
        let scratch = Scratch()
        let made = try Certificates(scratch)
        made.put("tls", try made.pair(["fallback.test"]))
        made.put("a", try made.pair(["app.default.localhost"]))
        made.put("a-rsa", try made.pair(["app.default.localhost"], key: .rsa))
        made.put("_wildcard.team", try made.pair(["*.team.localhost"]))
        scratch.write("certs/ca.crt", "the issuer's; not ours to read")
        try Martlet.serving(Self.hello, Self.folder, scratch: scratch) { martlet throws in
            for (name, wanted) in [
                ("app.default.localhost", "app.default.localhost"), ("APP.default.localhost", "app.default.localhost"),
                ("x.team.localhost", "*.team.localhost"), ("x.y.team.localhost", "fallback.test"),
                ("unknown.test", "fallback.test"), (nil, "fallback.test"),
            ] {
                let served = try martlet.served(to: name)
                #expect(served.contains("DNS:\(wanted)\n"), "\(name ?? "no name"): \(served)")
            }
            for algorithm in ["ECDSA", "RSA"] {
                let answer = try martlet.curl([
                    "--cacert", made.file, "--tls-max", "1.2", "--ciphers", "ECDHE-\(algorithm)-AES128-GCM-SHA256",
                    "https://app.default.localhost:{https}/",
                ])
                #expect(answer.out == "Hello TLS!\n", "\(algorithm): \(answer)")
            }
        }
    }

    /// Without `tls.crt` unknown names are refused, and hosts without a certificate are named in the log.
    @Test func noDefault() throws {
        let scratch = Scratch()
        let made = try Certificates(scratch)
        made.put("a", try made.pair(["a.example.com"]))
        try Martlet.serving(Self.hello, Self.folder, scratch: scratch) { martlet throws in
            martlet.expectLog("no certificate names these hosts hosts=app.default.localhost")
            #expect(try martlet.served(to: "a.example.com").contains("DNS:a.example.com"))
            #expect(try martlet.served(to: "b.example.com") == "none")
            #expect(try martlet.served(to: nil) == "none")
        }
    }

    /// At the start every problem of every pair, and of the manifests, is said at once.
    @Test func brokenAtTheStart() throws {
        let scratch = Scratch()
        let made = try Certificates(scratch)
        made.put("tls", try made.pair(["a.test"]))
        made.put("b", (try made.pair(["b.test"]).certificate, try made.pair(["b.test"]).key))
        made.put("c", try made.pair(["c.test"], daysAgo: 100))
        scratch.write("certs/d.crt", try made.pair(["d.test"]).certificate)
        scratch.write("certs/e.crt", "")
        scratch.write("certs/e.key", "none")
        let file = scratch.write("service.yaml", Self.hello.text.replacingOccurrences(of: "image:", with: "imge:"))
        let ended = try Martlet.command(["run", file] + Self.folder, scratch: scratch)
        #expect(ended.status == 78, "\(ended)")
        for part in [
            "did you mean `image`?",
            "certs/b.key: error: the private key does not belong to the certificate in certs/b.crt",
            "certs/c.crt: error: the certificate expired at ", "certs/d.crt: error: there is no certs/d.key",
            "certs/e.crt: error: is empty",
        ] {
            #expect(ended.log.contains(part), "\(part) is not in:\n\(ended.log)")
        }
        let missing = try Martlet.command(["run", file, "--https", "0", "--certs", "none"], scratch: scratch)
        #expect(missing.status == 78 && missing.log.contains("none: error: cannot be read: No such file"), "\(missing)")
    }

    /// Every way to break a pair while it serves: a message with the file, and the old one stays. Then it is mended.
    @Test func brokenWhileServing() throws {
        let scratch = Scratch()
        let made = try Certificates(scratch)
        let host = "app.default.localhost"
        made.put("tls", try made.pair(["fallback.test"]))
        made.put("a", try made.pair([host]))
        try Martlet.serving(Self.hello, Self.folder, scratch: scratch) { martlet throws in
            let old = try martlet.served(to: host)
            #expect(old.contains(host))
            let a = scratch.path + "/certs/a."
            let breakages: [(String, () throws -> Void)] = [
                (
                    "file=certs/a.key problem=\"the private key does not belong",
                    { made.put("a", (try made.pair([host]).certificate, try made.pair([host]).key)) }
                ),
                (
                    "file=certs/a.crt problem=\"the certificate expired at ",
                    { made.put("a", try made.pair([host], daysAgo: 100)) }
                ),
                (
                    "file=certs/a.crt problem=\"the certificate is not valid before ",
                    { made.put("a", try made.pair([host], daysAgo: -3)) }
                ),
                ("file=certs/a.crt problem=\"is empty", { scratch.write("certs/a.crt", "") }),
                ("file=certs/a.crt problem=\"no certificate found", { scratch.write("certs/a.crt", "no PEM") }),
                (
                    "file=certs/a.key problem=\"no private key found",
                    { made.put("a", (try made.pair([host]).certificate, "no PEM")) }
                ),
                (
                    "file=certs/a.crt problem=\"certificate 1 cannot be read",
                    {
                        scratch.write("certs/a.crt", String(try made.pair([host]).certificate.prefix(300)))
                    }
                ),
                ("file=certs/a.crt problem=\"there is no certs/a.key", { unlink(a + "key") }),
                ("file=certs/a.key problem=\"is not a file", { mkdir(a + "key", 0o700) }),
            ]
            for (line, damage) in breakages {
                let before = martlet.log.ranges(of: line).count
                try damage()
                martlet.expectLog(line, count: before + 1)
                #expect(try martlet.served(to: host) == old, "\(line)")
                #expect(martlet.log.contains("served=\"the old one\""))
            }
            rmdir(a + "key")
            let count = martlet.log.ranges(of: "certificates reloaded").count
            made.put("a", try made.pair([host]), renaming: true)
            martlet.expectLog("certificates reloaded", count: count + 1)
            let new = try martlet.served(to: host)
            #expect(new != old && new.contains(host))
            #expect(try martlet.curl(["--cacert", made.file, "https://\(host):{https}/"]).out == "Hello TLS!\n")
        }
    }

    /// A file that martlet may not read; SIGHUP asks for another look.
    @Test func unreadableFiles() throws {
        let scratch = Scratch()
        let made = try Certificates(scratch)
        let file = scratch.write("service.yaml", Self.hello.text)
        made.put("tls", try made.pair(["a.test"]))
        let key = scratch.path + "/certs/tls.key"
        let arguments = ["run", "--http", "127.0.0.1:0", file] + Self.folder
        let isRoot = getuid() == 0
        let asNobody = ["--reuid=65534", "--regid=65534", "--clear-groups", Place.martlet] + arguments
        if isRoot {
            for name in ["", "/run", "/certs"] { chown(scratch.path + name, 65534, 65534) }
        }
        chmod(key, 0)
        let ended =
            isRoot
            ? try run("/usr/bin/setpriv", asNobody, scratch) : try Martlet.command(arguments, scratch: scratch)
        #expect(ended.status == 78, "\(ended)")
        #expect(
            ended.log.contains("certs/tls.key: error: cannot be read: Permission denied; martlet runs as user "),
            "\(ended)")
        chmod(key, 0o444)
        let martlet =
            isRoot
            ? try Martlet(asNobody, scratch: scratch, program: "/usr/bin/setpriv")
            : try Martlet(arguments, scratch: scratch)
        defer {
            martlet.signal(SIGTERM)
            #expect(martlet.waitForEnd() == 0, "\(martlet.tail)")
        }
        let old = try martlet.served(to: "a.test")
        #expect(old.contains("a.test"), "\(martlet.tail)")
        chmod(key, 0)
        martlet.expectLog("certificate refused file=certs/tls.key problem=\"cannot be read: Permission denied")
        martlet.signal(SIGHUP)
        martlet.expectLog("certificate refused file=certs/tls.key", count: 2)
        #expect(try martlet.served(to: "a.test") == old)
        chmod(key, 0o444)
        martlet.signal(SIGHUP)
        martlet.expectLog("certificates reloaded cause=")
        #expect(try martlet.served(to: "a.test") == old)
    }

    @Test func endsSoon() throws {
        let scratch = Scratch()
        let made = try Certificates(scratch)
        made.put("tls", try made.pair(["a.test"], days: 10))
        try Martlet.serving(Self.hello, Self.folder, scratch: scratch) { martlet throws in
            let isSaid = martlet.waitForLog { $0.contains(/certificate ends soon; renew it days_left=(9|10) expires=/) }
            #expect(isSaid, "\(martlet.tail)")
        }
    }

    // MARK: Session tickets

    static let ticketCases = [
        (true, [], []), (false, [], ["--no-session-tickets"]), (false, ["--split"], ["--no-session-tickets"]),
    ]

    @Test(arguments: ticketCases)
    func resumes(_ isTold: Bool, mode: [String], flags: [String]) throws {
        try Martlet.serving(Self.hello, mode + Self.flags + flags) { martlet throws in
            let session = martlet.scratch.path + "/session"
            let first = try Self.visit(martlet, ["-sess_out", session])
            #expect(first.contains("\nNew, TLSv1.3"), "\(first)")
            #expect(first.contains("Post-Handshake New Session Ticket") == isTold, "\(first)")
            guard isTold else { return }
            let second = try Self.visit(martlet, ["-sess_in", session])
            #expect(second.contains("\nReused, TLSv1.3"), "\(second)")
        }
    }

    /// What openssl says of a connection that is used for one request.
    private static func visit(_ martlet: Martlet, _ arguments: [String]) throws -> String {
        let asked = "GET / HTTP/1.1\r\nHost: \(hello.host)\r\nConnection: close\r\n\r\n"
        let connecting = ["s_client", "-connect", "127.0.0.1:\(try martlet.securePort())", "-tls1_3", "-ign_eof"]
        let seen = try run("/usr/bin/openssl", connecting + arguments, martlet.scratch, input: asked)
        #expect(seen.out.contains("HTTP/1.1 200 OK"), "\(seen)")
        return seen.out
    }

    // MARK: Redirects and addresses

    @Test func redirects() throws {
        let scratch = Scratch()
        let authority = scratch.path + "/state/martlet/ca/localhost/ca.crt"
        try Martlet.serving(Self.hello, Self.flags + ["--redirect-https"], scratch: scratch) { martlet throws in
            let port = try martlet.securePort()
            let answer = try martlet.get("app.default.localhost:1234", "/a/b?c=d")
            #expect(answer.status == 301, "\(answer)")
            #expect(answer["Location"] == "https://app.default.localhost:\(port)/a/b?c=d", "\(answer)")
            let second = try martlet.curl(
                ["-o", "/dev/null", "-w", "%{http_code} %{redirect_url}", "http://app.default.localhost:{http}/a?b"],
                version: "--http2-prior-knowledge")
            #expect(second.out == "301 https://app.default.localhost:\(port)/a?b", "\(second)")
            let followed = try martlet.curl(["-L", "--cacert", authority, "http://app.default.localhost:{http}/"])
            #expect(followed.out == "Hello TLS!\n", "\(followed)")
        }
    }

    @Test(arguments: [
        (["run", "--https", "nonsense", "-"], "--https nonsense: no address"),
        (["run", "--http", ":81", "--https", ":81", "-"], "--https 0.0.0.0:81: the same as --http"),
        (["run", "--certs", "x", "-"], "--certs: nothing uses it; give --https ADDR too"),
        (["run", "--redirect-https", "-"], "--redirect-https: there is no place to redirect to"),
        (["run", "--no-session-tickets", "-"], "--no-session-tickets: nothing uses it"),
        (["cert", "--pen"], "--pen"),
    ])
    func usageErrors(arguments: [String], message: String) throws {
        let ended = try Martlet.command(arguments)
        #expect(ended.status == 64 && ended.log.contains(message) && ended.out.isEmpty, "\(ended)")
    }

    @Test func portInUse() throws {
        try Martlet.serving(Self.hello, Self.flags) { martlet throws in
            let port = try martlet.securePort()
            let file = martlet.scratch.path + "/service.yaml"
            let second = try Martlet.command(["run", "--http", "127.0.0.1:0", "--https", "127.0.0.1:\(port)", file])
            #expect(second.status == 71, "\(second)")
            #expect(second.log.contains("127.0.0.1:\(port)") && second.log.contains("with --https"), "\(second)")
        }
    }

    @Test func certHelpBeginsWithExamples() throws {
        let ended = try Martlet.command(["cert", "--help"])
        #expect(ended.status == 0 && ended.out.contains("EXAMPLES\n  martlet cert\n"), "\(ended)")
    }

    // MARK: Rotation under load

    /// Certificates of each host.
    static let swaps = 8

    /// 200 connections, half of them kept and half made anew all the time, over certificates that are swapped as
    /// Kubernetes does, by renaming and in place: no error, and every certificate serves.
    @Test func rotationUnderLoad() throws {
        let scratch = Scratch()
        let made = try Certificates(scratch)
        let hosts = ["app.default.localhost", "next-app.default.localhost"]
        func swap(_ round: Int) throws {
            let folder = "certs/..v\(round)"
            let (first, second) = (try made.pair([hosts[0]]), try made.pair([hosts[1]]))
            scratch.write("\(folder)/tls.crt", first.certificate)
            scratch.write("\(folder)/tls.key", first.key)
            symlink("..v\(round)", scratch.path + "/certs/..tmp")
            rename(scratch.path + "/certs/..tmp", scratch.path + "/certs/..data")
            made.put("next", second, renaming: round % 2 == 0)
        }
        try swap(0)
        for name in ["tls.crt", "tls.key"] { symlink("..data/\(name)", scratch.path + "/certs/\(name)") }
        let manifest = Manifest {
            $0.environment = [("TARGET", "TLS"), ("TIMES", "off")]
            $0.traffic = ["- latestRevision: true", "  percent: 100", "  tag: next"]
        }
        try Martlet.serving(manifest, Self.folder, scratch: scratch) { martlet throws in
            #expect(try martlet.get(manifest.host).status == 200)
            let script = Place.repository + "/Tests/IntegrationTests/rotation_load.py"
            let load = try Martlet(
                [script, "\(try martlet.securePort())", made.file, "200"] + hosts, scratch: scratch,
                program: "/usr/bin/python3")
            defer { if load.waitForEnd(0) == nil { load.signal(SIGKILL) } }
            func seen(_ text: String, _ host: String) -> Int { text.ranges(of: "serial \(host) ").count }
            for round in 1...Self.swaps {
                let isSeen = load.waitForLog(of: 1) { text in hosts.allSatisfy { seen(text, $0) == round } }
                #expect(isSeen, "round \(round): \(load.tail)\n\(martlet.tail)")
                if round < Self.swaps { try swap(round) }
            }
            load.signal(SIGTERM)
            #expect(load.waitForEnd() == 0, "\(load.tail)")
            let line = try #require(load.out.split(separator: "\n").last { $0.hasPrefix("{") })
            let told = try #require(try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
            #expect(told["failed"] as? Int == 0, "\(line)")
            #expect(told["serials"] as? Int == 2 * Self.swaps, "\(line)")
            #expect(told["kept"] as? Int == 100, "a kept connection was cut: \(line)")
            #expect(told["connections"] as? Int ?? 0 > 300 && told["requests"] as? Int ?? 0 > 1_000, "\(line)")
            #expect(!martlet.log.contains("certificate refused"), "\(martlet.tail)")
            print("rotation under load: \(line)")
        }
    }
}
