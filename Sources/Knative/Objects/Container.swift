/// One variable of a process's environment.
public struct EnvironmentVariable: Hashable, Sendable {
    /// The name; printable ASCII without `=`.
    public var name: String
    /// The value as written; references are expanded when a process starts.
    public var value: String

    /// Makes the variable.
    public init(name: String, value: String) {
        self.name = name
        self.value = value
    }
}

/// What one process is started with: everything expanded.
public struct ProcessCommand: Hashable, Sendable {
    /// The program and its arguments; never empty.
    public var arguments: [String]
    /// The variables of the manifest and then those of the platform; names are unique, the later won.
    public var environment: [EnvironmentVariable]
    /// The directory to start in; nil for the manifest's or martlet's own.
    public var workingDirectory: String?
}

/// The one container of a revision (Kubernetes `Container`, the part that means something on one machine).
public struct Container: Hashable, Sendable {
    /// The port requests are sent to.
    public struct Port: Hashable, Sendable {
        /// What the application expects `PORT` to be. Default 8080.
        public var containerPort = 8080
        /// `""`, `http1` or `h2c`.
        public var name = ""

        /// The default: 8080, HTTP/1.1.
        public init() {}

        /// Whether the application speaks HTTP/2 without TLS.
        public var isH2C: Bool { name == "h2c" }
    }

    /// The name. Default `user-container`.
    public var name = "user-container"
    /// The image reference; what it runs here is said by `--image`.
    public var image = ""
    /// The program and first arguments; empty: what the image runs.
    public var command: [String] = []
    /// Further arguments.
    public var args: [String] = []
    /// The directory the process starts in.
    public var workingDir: String?
    /// Variables in order; a later one may refer to an earlier one.
    public var env: [EnvironmentVariable] = []
    /// Where the application listens.
    public var port = Port()
    /// Whether the process may receive requests.
    public var readinessProbe = Probe.defaultReadiness
    /// Whether the process must be replaced.
    public var livenessProbe: Probe?
    /// Whether the process has started; the other probes wait for it.
    public var startupProbe: Probe?
    /// What is run, unexpanded: `command` and `args`, or the image's mapped command and `args`.
    public var launch: [String] = []

    init() {}

    /// The command of a new process, with `$(NAME)` expanded as Kubernetes does it.
    ///
    /// A variable's value may refer to the variables before it; command and arguments may refer to all of them and to
    /// those of the platform. `$$` is a dollar sign; a reference to an unknown name stays as written.
    /// - Parameter platform: `PORT`, `K_SERVICE`, `K_CONFIGURATION`, `K_REVISION` and others; they win.
    public func processCommand(platform: [EnvironmentVariable]) -> ProcessCommand {
        var (names, values, _) = expandedEnvironment()
        for variable in platform where values.updateValue(variable.value, forKey: variable.name) == nil {
            names.append(variable.name)
        }
        return ProcessCommand(
            arguments: launch.map { expandReferences($0, values) ?? $0 },
            environment: names.map { EnvironmentVariable(name: $0, value: values[$0] ?? "") },
            workingDirectory: workingDir)
    }

    /// Bytes that all expanded variables may have; about what Linux lets a process start with. A value beyond stays
    /// unexpanded: references to references could double it line by line.
    static let environmentBytesLimit = 1 << 20

    /// The names in order of first use, their expanded values, and whether the limit was met.
    func expandedEnvironment() -> (names: [String], values: [String: String], isTooLarge: Bool) {
        var values: [String: String] = [:]
        var names: [String] = []
        var bytes = 0
        var isTooLarge = false
        for variable in env {
            let expanded = expandReferences(variable.value, values, limit: Self.environmentBytesLimit - bytes)
            if expanded == nil { isTooLarge = true }
            let value = expanded ?? variable.value
            bytes = min(Self.environmentBytesLimit, bytes + value.utf8.count)
            if values.updateValue(value, forKey: variable.name) == nil { names.append(variable.name) }
        }
        return (names, values, isTooLarge)
    }
}

/// `text` with `$(NAME)` replaced from `values`, or nil if the result has more than `limit` bytes.
///
/// Kubernetes: `third_party/forked/golang/expansion`.
func expandReferences(
    _ text: String, _ values: [String: String], limit: Int = Container.environmentBytesLimit
) -> String? {
    var result = ""
    var rest = Substring(text)
    var mayClose = true  // whether a `)` is left; without this a text of `$($($(` would be searched again and again
    while let dollar = rest.firstIndex(of: "$") {
        result += rest[..<dollar]
        rest = rest[rest.index(after: dollar)...]
        if rest.first == "$" {
            result += "$"
            rest = rest.dropFirst()
        } else if rest.first == "(", mayClose, let close = rest.firstIndex(of: ")") {
            let name = String(rest[..<close].dropFirst())
            result += values[name] ?? "$(\(name))"
            rest = rest[rest.index(after: close)...]
        } else {
            if rest.first == "(" { mayClose = false }
            result += "$"
        }
        guard result.utf8.count <= limit else { return nil }
    }
    result += rest
    return result.utf8.count <= limit ? result : nil
}
