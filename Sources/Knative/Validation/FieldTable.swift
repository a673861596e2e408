/// The keys that one kind of object may have, and what we do with each.
struct FieldTable {
    /// Keys that are read.
    let known: [String]
    /// Keys that Knative allows, that do nothing on one machine, and what to do instead.
    var cluster: [String: String] = [:]
    /// Keys that Kubernetes has and Knative never allows.
    var forbidden: [String] = []
    /// Keys that a cluster writes; they are skipped so that the output of `kubectl get -o yaml` can be run.
    var written: [String] = []

    private static let scheduling = "there is one machine to run on"

    static let service = FieldTable(known: ["apiVersion", "kind", "metadata", "spec"], written: ["status"])

    static let metadata = FieldTable(
        known: ["name", "generateName", "namespace", "labels", "annotations"],
        written: [
            "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp",
            "deletionGracePeriodSeconds", "managedFields", "finalizers", "ownerReferences", "selfLink",
        ])

    static let serviceSpec = FieldTable(known: ["template", "traffic"])

    static let template = FieldTable(known: ["metadata", "spec"])

    static let revisionSpec = FieldTable(
        known: [
            "containers", "containerConcurrency", "timeoutSeconds", "responseStartTimeoutSeconds",
            "idleTimeoutSeconds", "automountServiceAccountToken",
        ],
        cluster: [
            "volumes": "the process sees the files of this machine as they are",
            "serviceAccountName": "the process runs as the user that started martlet",
            "imagePullSecrets": "no image is pulled; --image says what runs instead",
            "enableServiceLinks": "there are no service links; give addresses by env",
            "securityContext": "the process runs as the user that started martlet",
            "initContainers": "run what they do before martlet starts",
            "affinity": scheduling, "nodeSelector": scheduling, "tolerations": scheduling,
            "topologySpreadConstraints": scheduling, "schedulerName": scheduling, "priorityClassName": scheduling,
            "runtimeClassName": scheduling, "hostAliases": "use /etc/hosts",
            "dnsPolicy": "names are resolved as this machine does", "dnsConfig": "use /etc/resolv.conf",
            "shareProcessNamespace": "processes share this machine's namespaces",
            "hostIPC": "processes share this machine's namespaces",
            "hostPID": "processes share this machine's namespaces",
            "hostNetwork": "processes share this machine's network",
        ],
        forbidden: [
            "restartPolicy", "terminationGracePeriodSeconds", "activeDeadlineSeconds", "nodeName", "hostname",
            "subdomain", "priority", "readinessGates", "serviceAccount", "ephemeralContainers", "overhead",
            "preemptionPolicy", "setHostnameAsFQDN", "hostUsers", "os", "schedulingGates", "resourceClaims",
            "resources",
        ])

    static let container = FieldTable(
        known: [
            "name", "image", "command", "args", "workingDir", "env", "ports", "readinessProbe", "livenessProbe",
            "startupProbe",
        ],
        cluster: [
            "envFrom": "write the variables under env",
            "resources": "limit martlet itself, for example with systemd",
            "imagePullPolicy": "no image is pulled; --image says what runs instead",
            "securityContext": "the process runs as the user that started martlet",
            "volumeMounts": "the process sees the files of this machine as they are",
            "terminationMessagePath": "the reason of an exit is in the log",
            "terminationMessagePolicy": "the reason of an exit is in the log",
        ],
        forbidden: [
            "lifecycle", "stdin", "stdinOnce", "tty", "volumeDevices", "resizePolicy", "restartPolicy",
            "restartPolicyRules",
        ])

    static let port = FieldTable(known: ["containerPort", "name", "protocol"], forbidden: ["hostIP", "hostPort"])

    static let environment = FieldTable(
        known: ["name", "value"],
        cluster: ["valueFrom": "the variable stays unset; write its value, or set it for martlet itself"])

    static let probe = FieldTable(
        known: [
            "httpGet", "tcpSocket", "exec", "grpc", "initialDelaySeconds", "periodSeconds", "timeoutSeconds",
            "successThreshold", "failureThreshold",
        ],
        cluster: ["terminationGracePeriodSeconds": "the revision's timeoutSeconds bounds the drain"])

    static let httpGet = FieldTable(
        known: ["path", "port", "scheme", "httpHeaders"], cluster: ["host": "the process is probed on the loopback"])

    static let tcpSocket = FieldTable(known: ["port"], cluster: ["host": "the process is probed on the loopback"])

    static let exec = FieldTable(known: ["command"])

    static let grpc = FieldTable(known: ["port", "service"])

    static let header = FieldTable(known: ["name", "value"])

    static let traffic = FieldTable(
        known: ["percent", "tag", "revisionName", "latestRevision"], forbidden: ["configurationName", "url"])
}

extension Report {
    /// Reports the keys of `field` that are unknown, forbidden or without effect.
    ///
    /// - Parameter path: the path Knative's messages give the object, where it differs from its place.
    /// - Returns: the keys without effect that are set, with their values on one line: they still make a template
    ///   different from another.
    @discardableResult
    mutating func check(_ field: Field, against table: FieldTable, path: String? = nil) -> [String: String] {
        var inert: [String: String] = [:]
        for entry in field.entries where !table.known.contains(entry.key) {
            let place = Field(entry.value, path: (path ?? field.path) + "." + entry.key, mark: entry.keyMark)
            if let instead = table.cluster[entry.key] {
                guard !entry.value.isNull, !isEmptyCollection(entry.value) else { continue }
                inert[place.path] = entry.value.canonicalText
                warn(place, "has no effect on one machine", remedy: instead)
            } else if table.forbidden.contains(entry.key) {
                guard !entry.value.isZeroValue else { continue }
                knative("must not set the field(s)", at: place.mark, place.path, remedy: "remove it")
            } else if !table.written.contains(entry.key) {
                unknownKey(entry, of: field, table)
            }
        }
        return inert
    }

    private mutating func unknownKey(_ entry: YAMLNode.Entry, of field: Field, _ table: FieldTable) {
        let allowed = table.known + table.cluster.keys.sorted()
        let suggestion = nearest(to: entry.key, among: allowed)
        let remedy = suggestion.map { "did you mean `\($0)`?" } ?? "known here: " + table.known.joined(separator: ", ")
        let path = field.path(shortened(entry.key))
        add(.error, at: entry.keyMark, key: path, "unknown key \(quoted(entry.key))", remedy: remedy)
    }

    private func isEmptyCollection(_ node: YAMLNode) -> Bool {
        switch node.content {
        case .scalar: false
        case .sequence(let elements): elements.isEmpty
        case .mapping(let entries): entries.isEmpty
        }
    }
}
