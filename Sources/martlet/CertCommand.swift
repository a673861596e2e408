import ArgumentParser
import EventLoop
import Roles

/// `martlet cert`.
struct CertCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cert",
        abstract: "Show the local certificate authority and how to trust it.",
        discussion: """
            EXAMPLES
              martlet cert
              martlet cert --domain example.test
              martlet cert --pem > martlet-ca.crt
              curl --cacert <(martlet cert --pem) https://hello.default.localhost:8443/

            The authority signs the certificates of martlet run --https. It is made when there is none yet; each domain
            has its own, which is good for that domain, localhost and loopback addresses only.
            """)

    @Flag(name: .long, help: "Print the authority's certificate alone, as PEM.")
    var pem = false

    @Option(name: .long, help: "Domain of the services' hosts, as for martlet run.")
    var domain = "localhost"

    func run() throws {
        do throws(LocalAuthorityFailure) {
            let now = MonotonicClock.wallSeconds()
            let store = try LocalAuthorityStore(domain: domain)
            let found = try store.describe(now: now)
            if found.isNew { complain("made a local certificate authority in \(store.folder)") }
            let text = pem ? String(decoding: found.pem, as: UTF8.self) : Self.text(found, domain: store.domain)
            print(text, terminator: "")
        } catch {
            complain("error: \(error)")
            throw ExitCode(ExitCodes.failure)
        }
    }

    /// What it is, then how to trust it.
    static func text(_ authority: LocalAuthorityStore.Description, domain: String) -> String {
        let file = quoted(authority.certificateFile)
        let name = "martlet-\(domain)"
        let reach = domain == "localhost" ? "localhost" : "\(domain), localhost"
        return """
            certificate  \(authority.certificateFile)
            SHA-256      \(authority.fingerprint)
            expires      \(authority.expires)
            good for     \(reach) and hosts below, 127.0.0.0/8, ::1

            Trust it only on machines where you run martlet. To trust it

              in all programs of Debian and Ubuntu
                sudo cp \(file) /usr/local/share/ca-certificates/\(name).crt
                sudo update-ca-certificates
              in all programs of Fedora and RHEL
                sudo cp \(file) /etc/pki/ca-trust/source/anchors/\(name).crt
                sudo update-ca-trust
              in Chromium and Chrome (certutil is in libnss3-tools or nss-tools)
                mkdir -p ~/.pki/nssdb
                certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n \(name) -i \(file)
              in Firefox, with the folder of your profile from about:support
                certutil -d sql:PROFILE -A -t C,, -n \(name) -i \(file)
              in one call of curl
                curl --cacert \(file) https://hello.default.\(domain):8443/
              by environment; the first and the last replace the system's authorities
                export SSL_CERT_FILE=\(file)         # OpenSSL, Go, Ruby, Python's ssl
                export NODE_EXTRA_CA_CERTS=\(file)   # Node.js
                export REQUESTS_CA_BUNDLE=\(file)    # Python's requests

            To trust it no more: remove the file copied and run the same update, or
              certutil -d sql:$HOME/.pki/nssdb -D -n \(name)

            """
    }

    /// `path` as a word of the shell.
    private static func quoted(_ path: String) -> String {
        let isPlain = path.utf8.allSatisfy { byte in
            byte >= UInt8(ascii: "a") && byte <= UInt8(ascii: "z")
                || byte >= UInt8(ascii: "A") && byte <= UInt8(ascii: "Z")
                || byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9") || "/._-+@%,:=".utf8.contains(byte)
        }
        return isPlain
            ? path : "'" + path.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "'\\''") + "'"
    }
}
