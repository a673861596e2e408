import Foundation
import Testing

/// The command line: what is wrong is said completely, and the exit status says which kind of wrong.
@Suite struct CommandTests {
    @Test(arguments: [
        (["run"], "nothing to run"),
        (["run", "--http", "nonsense", "--workers", "0", "-"], "--http nonsense"),
        (["run", "--http", "nonsense", "--workers", "0", "-"], "--workers 0"),
        (["run", "--name", "x"], "a command is missing"),
        (["run", "--access-log", "xml", "-"], "expected envoy, common, combined, json or off"),
        (["run", "--log-level", "loud", "-"], "expected debug, info"),
        (["run", "--image", "no-command", "-"], "--image \"no-command\""),
        (["run", "--config-autoscaler", "stable-windo=6s", "-"], "did you mean `stable-window`?"),
        (["run", "--config-autoscaler", "stable-window=1s", "-"], "6s"),
        (["run", "--config-autoscaler", "stable-window", "-"], "KEY=VALUE"),
        (["autoscaler", "--cluster", "x", "--mesh-mode", "on"], "expected auto, enabled or disabled"),
        (
            ["autoscaler", "--cluster", "x", "--config-network", "mesh-compatibility-mod=auto"],
            "did you mean `mesh-compatibility-mode`?"
        ),
        (
            ["autoscaler", "--cluster", "x", "--config-network", "enable-mesh-pod-addressability=yes"],
            "expected true or false"
        ),
        (["autoscaler", "--cluster", "x", "--config-network", "ingress-class=a"], "not read here"),
        (["run", "--wrokers", "2", "-"], "--workers"),
        (["fly"], "fly"),
        (["validate"], "FILE"),
    ])
    func usageErrors(arguments: [String], message: String) throws {
        let ended = try Martlet.command(arguments)
        #expect(ended.status == 64)
        #expect(ended.log.contains(message), "\(ended.log)")
        #expect(ended.out.isEmpty)
    }

    @Test(arguments: [["--help"], ["run", "--help"], ["validate", "--help"], ["version", "--help"]])
    func helpBeginsWithExamples(arguments: [String]) throws {
        let ended = try Martlet.command(arguments)
        #expect(ended.status == 0)
        let examples = ended.out.range(of: "EXAMPLES")
        let usage = ended.out.range(of: "USAGE")
        #expect(examples != nil && usage != nil, "\(ended.out)")
        if let examples, let usage { #expect(examples.lowerBound < usage.lowerBound) }
    }

    @Test func version() throws {
        for arguments in [["version"], ["--version"]] {
            let ended = try Martlet.command(arguments)
            #expect(ended.status == 0 && ended.out.hasPrefix("martlet "))
        }
    }

    /// Every problem of every file at once, each with its place.
    @Test(arguments: ["run", "validate"]) func everyProblemIsReported(command: String) throws {
        let scratch = Scratch()
        let bad = Manifest {
            $0.container = ["imge: x"]
            $0.command = []
            $0.revision = ["timeoutSecond: 3"]
            $0.traffic = ["- latestRevision: true", "  percent: 60", "- revisionName: app-00001", "  percent: 60"]
        }
        let file = scratch.write("bad.yaml", bad.text)
        let broken = scratch.write("broken.yaml", "apiVersion: [\nkind: Service\n")
        let ended = try Martlet.command([command, file, broken], scratch: scratch)
        #expect(ended.status == 78, "\(ended)")
        for part in ["did you mean `image`?", "did you mean `timeoutSeconds`?", "120", "--image", "broken.yaml:"] {
            #expect(ended.log.contains(part), "\(part) is not in:\n\(ended.log)")
        }
        for line in ended.log.split(separator: "\n") where line.contains("error:") {
            #expect(line.contains(#/\.yaml:\d+:\d+: error: /#), "\(line)")
        }
    }

    @Test func missingAndUnreadableFiles() throws {
        let scratch = Scratch()
        let missing = try Martlet.command(["run", "none.yaml"], scratch: scratch)
        #expect(missing.status == 78)
        #expect(missing.log.contains("none.yaml: ") && missing.log.contains("o such file"), "\(missing.log)")
        let folder = try Martlet.command(["validate", scratch.path], scratch: scratch)
        #expect(folder.status == 78 && folder.log.contains("holds no manifest"), "\(folder.log)")
        let long = scratch.write("long.yaml", String(repeating: "# as long as can be\n", count: 100_000))
        let refused = try Martlet.command(["validate", long])
        #expect(refused.status == 78 && refused.log.contains("is longer than 1048576 bytes"), "\(refused.log)")
        if getuid() != 0 {
            chmod(scratch.write("closed.yaml", "x"), 0)
            let closed = try Martlet.command(["validate", "closed.yaml"], scratch: scratch)
            #expect(closed.status == 78 && closed.log.contains("closed.yaml: "))
        }
    }

    @Test func validateSaysWhatIsThere() throws {
        let ended = try Martlet.command(["validate", Place.example("split"), Place.example("hello")])
        #expect(ended.status == 0)
        #expect(
            ended.out == "default/hello: valid, 1 revision\ndefault/split: valid, 2 revisions\n"
                || ended.out == "default/split: valid, 2 revisions\ndefault/hello: valid, 1 revision\n", "\(ended.out)")
        let full = try Martlet.command(["validate", Place.repository + "/config/service.full.yaml"])
        #expect(full.status == 0, "\(full.log)")
    }

    /// A port that is taken: a clear message, its own exit status, and nothing started.
    @Test func portInUse() throws {
        let manifest = Manifest()
        try Martlet.serving(manifest) { martlet throws in
            let port = try martlet.port()
            let file = martlet.scratch.path + "/service.yaml"
            let second = try Martlet.command(["run", "--http", "127.0.0.1:\(port)", file])
            #expect(second.status == 71)
            #expect(second.log.contains("127.0.0.1:\(port)") && second.log.contains("--http"), "\(second.log)")
            #expect(try martlet.get(manifest.host).status == 200)
        }
    }
}
