import Glibc

/// The environment of a pod: a small inherited base, what the spec says, and Knative's four variables.
enum PodEnvironment {
    /// What a pod inherits. Everything else in martlet's own environment is none of its business.
    static let inheritedNames = ["PATH", "HOME", "LANG", "TZ", "TMPDIR", "USER"]
    /// Where commands are searched for when no PATH is set: what execvp(3) would do.
    static let defaultPath = "/usr/local/bin:/usr/bin:/bin"

    /// The base taken from this process's environment.
    static func inherited() -> [PodSpec.Variable] {
        inheritedNames.compactMap { name in
            getenv(name).map { PodSpec.Variable(name: name, value: String(cString: $0)) }
        }
    }

    /// The variables of `spec` over `base`, each name once, in the order of first mention; without PORT.
    static func variables(of spec: PodSpec, base: [PodSpec.Variable]) -> [PodSpec.Variable] {
        let identity = [
            PodSpec.Variable(name: "K_SERVICE", value: spec.service),
            PodSpec.Variable(
                name: "K_CONFIGURATION", value: spec.configuration.isEmpty ? spec.service : spec.configuration),
            PodSpec.Variable(name: "K_REVISION", value: spec.revision),
        ]
        var places: [String: Int] = [:]
        var all: [PodSpec.Variable] = []
        for variable in base + spec.environment + identity where variable.name != "PORT" {
            if let place = places[variable.name] {
                all[place].value = variable.value
            } else {
                places[variable.name] = all.count
                all.append(variable)
            }
        }
        return all
    }
}
