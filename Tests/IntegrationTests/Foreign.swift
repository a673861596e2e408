import Foundation
import Testing

/// Programs that others wrote, and the scripts in Clients/ that drive them.
enum Foreign {
    static let folder = Place.repository + "/Tests/IntegrationTests/Clients"

    /// Debian's own Python, whose packages `scripts/setup` installs, and no byte code beside the scripts.
    static func python(_ script: String) -> [String] { ["/usr/bin/python3", "-B", "\(folder)/\(script)"] }

    /// A service of one of the scripts. One pod, so that what it counts is all there is.
    ///
    /// - Parameter portName: `h2c` lets martlet speak HTTP/2 to it.
    static func service(
        _ command: [String], portName: String? = nil, _ change: (inout Manifest) -> Void = { _ in }
    ) -> Manifest {
        Manifest {
            $0.command = command
            $0.annotations = [("max-scale", "1")]
            if let portName { $0.container = ["ports:", "  - name: \(portName)", "    containerPort: 8080"] }
            change(&$0)
        }
    }

    /// The pod that reports what reached it.
    static func reporter(portName: String? = nil, _ change: (inout Manifest) -> Void = { _ in }) -> Manifest {
        service(python("pod.py"), portName: portName, change)
    }

    static func grpc(_ change: (inout Manifest) -> Void = { _ in }) -> Manifest {
        service(python("grpc_app.py"), portName: "h2c", change)
    }

    /// Runs a program to its end.
    static func run(
        _ program: String, _ arguments: [String], input: String = "", scratch: Scratch = Scratch(),
        within seconds: Double = 2 * patience
    ) throws -> Martlet.Ended {
        let process = try Martlet(arguments, scratch: scratch, input: input, program: program)
        let status = process.waitForEnd(seconds)
        if status == nil {
            for left in scratch.processes { kill(left.pid, SIGKILL) }
        }
        return Martlet.Ended(status: status, out: process.out, log: process.log)
    }

    /// Runs one that must end well, and returns what it printed.
    static func output(_ program: String, _ arguments: [String]) throws -> String {
        let ended = try run(program, arguments)
        guard ended.status == 0 else { throw Failure("\(program) \(arguments): \(ended)") }
        return ended.out
    }
}

/// An authority and certificates that `openssl` made, in a folder as `--certs` wants it.
struct ForeignCertificates {
    let scratch = Scratch()
    var authority: String { scratch.path + "/ca.crt" }
    var folder: String { scratch.path + "/certs" }

    /// Makes `tls.crt` for every service of the default namespace, and `NAME.crt` for each of `rsa`.
    init(rsa: [String] = []) throws {
        scratch.write("certs/.keep", "")
        let subject = ["-subj", "/CN=test authority", "-addext", "basicConstraints=critical,CA:TRUE"]
        try make("ca", Self.elliptic, subject + ["-addext", "keyUsage=critical,keyCertSign"])
        try make("certs/tls", Self.elliptic, Self.leaf("*.default.localhost,DNS:localhost,IP:127.0.0.1") + signed)
        for name in rsa { try make("certs/\(name)", ["rsa:2048"], Self.leaf(name) + signed) }
    }

    private static let elliptic = ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    private var signed: [String] { ["-CA", authority, "-CAkey", scratch.path + "/ca.key"] }

    private static func leaf(_ names: String) -> [String] {
        ["-subj", "/CN=leaf", "-addext", "subjectAltName=DNS:\(names)", "-addext", "basicConstraints=CA:FALSE"]
    }

    private func make(_ file: String, _ kind: [String], _ more: [String]) throws {
        let place = scratch.path + "/" + file
        let files = ["-nodes", "-days", "2", "-keyout", place + ".key", "-out", place + ".crt"]
        _ = try Foreign.output("openssl", ["req", "-x509", "-newkey"] + kind + files + more)
    }

    /// What `martlet run` needs to serve them.
    var flags: [String] { ["--https", "127.0.0.1:0", "--certs", folder] }
}

extension Martlet {
    /// Runs a script of cases against this martlet. Each case that fails is an issue; so is a script that says nothing.
    func expectCases(
        _ script: String, _ names: [String] = [], host: String, settings: [String] = [],
        certificates: ForeignCertificates? = nil, location: SourceLocation = #_sourceLocation
    ) throws {
        let words = Foreign.python(script)
        var arguments = [
            "--port", "\(try certificates == nil ? port() : securePort())", "--host", host, "--pid", "\(pid)",
        ]
        if let certificates { arguments += ["--ca", certificates.authority] }
        for setting in settings { arguments += ["--set", setting] }
        try expectCases(words[0], Array(words.dropFirst()) + arguments + names, location: location)
    }

    /// The same for any program that prints `ok NAME` and `FAILED NAME: why`.
    func expectCases(_ program: String, _ arguments: [String], location: SourceLocation = #_sourceLocation) throws {
        let ended = try Foreign.run(program, arguments, within: 4 * patience)
        let lines = ended.out.split(separator: "\n")
        let passed = lines.filter { $0.hasPrefix("ok ") }
        let failed = lines.filter { $0.hasPrefix("FAILED ") }
        for line in failed { Issue.record("\(line)\n\(ended.log.suffix(3_000))\n\(tail)", sourceLocation: location) }
        #expect(
            !failed.isEmpty || (ended.status == 0 && !passed.isEmpty),
            "\(arguments) ended with \(String(describing: ended.status)):\n\(ended.out)\n\(ended.log)\n\(tail)",
            sourceLocation: location)
    }
}
