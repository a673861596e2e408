import Foundation
import Testing

/// A Knative Service for a test, as text.
struct Manifest {
    var name = "app"
    var command = [Place.server]
    var args: [String] = []
    var image = "example.com/app"
    var workingDir: String?
    var environment: [(String, String)] = []
    /// Of the template, below `autoscaling.knative.dev/`.
    var annotations: [(String, String)] = []
    /// Of the Service, below `serving.knative.dev/`.
    var serviceAnnotations: [(String, String)] = []
    /// Lines of the revision's spec, as `timeoutSeconds: 2`.
    var revision: [String] = []
    /// Lines of the container, with their own inner indentation.
    var container: [String] = []
    /// Lines below `traffic:`.
    var traffic: [String] = []
    var revisionName: String?

    /// Sets what a test wants different.
    init(_ change: (inout Manifest) -> Void = { _ in }) { change(&self) }

    var host: String { "\(name).default.localhost" }

    static func quoted(_ text: String) -> String {
        let data = (try? JSONSerialization.data(withJSONObject: [text], options: [.withoutEscapingSlashes])) ?? Data()
        return String(String(decoding: data, as: UTF8.self).dropFirst().dropLast())
    }

    var text: String {
        var lines = ["apiVersion: serving.knative.dev/v1", "kind: Service", "metadata:", "  name: \(name)"]
        if !serviceAnnotations.isEmpty { lines += ["  annotations:"] }
        lines += serviceAnnotations.map { "    serving.knative.dev/\($0): \"\($1)\"" }
        lines += ["spec:", "  template:"]
        if revisionName != nil || !annotations.isEmpty { lines += ["    metadata:"] }
        if let revisionName { lines += ["      name: \(revisionName)"] }
        if !annotations.isEmpty { lines += ["      annotations:"] }
        lines += annotations.map { "        autoscaling.knative.dev/\($0): \"\($1)\"" }
        lines += ["    spec:"] + revision.map { "      " + $0 }
        lines += ["      containers:", "        - image: \(image)"]
        if !command.isEmpty { lines += ["          command: [\(command.map(Self.quoted).joined(separator: ", "))]"] }
        if !args.isEmpty { lines += ["          args: [\(args.map(Self.quoted).joined(separator: ", "))]"] }
        if let workingDir { lines += ["          workingDir: \(workingDir)"] }
        if !environment.isEmpty { lines += ["          env:"] }
        for (name, value) in environment {
            lines += ["            - name: \(name)", "              value: \(Self.quoted(value))"]
        }
        lines += container.map { "          " + $0 }
        if !traffic.isEmpty { lines += ["  traffic:"] + traffic.map { "    " + $0 } }
        return lines.joined(separator: "\n") + "\n"
    }
}

extension Martlet {
    /// Serves one manifest, as the file `service.yaml` of the test's folder.
    static func serving(
        _ manifest: Manifest, _ arguments: [String] = [], scratch: Scratch = Scratch(), stops: Bool = true,
        location: SourceLocation = #_sourceLocation, _ body: (Martlet) throws -> Void
    ) throws {
        let file = scratch.write("service.yaml", manifest.text)
        try serving([file] + arguments, scratch: scratch, stops: stops, location: location, body)
    }
}
