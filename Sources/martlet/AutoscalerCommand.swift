import ArgumentParser
import ClusterLink
import EventLoop
import Roles

/// `martlet autoscaler`.
struct AutoscalerCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "autoscaler",
        abstract: "Decide how many pods revisions have: Knative's pod autoscaler as a process of its own.",
        discussion: """
            EXAMPLES
              martlet autoscaler --cluster unix:/run/martlet/cluster.sock
              martlet autoscaler --cluster objects/ --output decisions/
              martlet autoscaler --cluster objects/ --config config-autoscaler.yaml

            Activators push statistics to --listen, pods are asked for theirs, and Scale, ServerlessService and the
            PodAutoscaler's status are written back. After a restart no pod goes before there are figures again.
            SIGTERM tells activators to come again and ends.
            """)

    @Option(
        name: .long,
        help: ArgumentHelp(
            "Where objects come from: a folder of files, or the socket of martlet run --split.",
            valueName: "DIR|unix:PATH"))
    var cluster: String

    @Option(name: .long, help: ArgumentHelp("Where objects are written if --cluster is a folder.", valueName: "DIR"))
    var output: String?

    @Option(
        name: .long, help: ArgumentHelp("Where activators connect: ADDRESS:PORT, :PORT or PORT.", valueName: "ADDR"))
    var listen = ":8080"

    @Option(
        name: .long, help: ArgumentHelp("Where /metrics, /live and /ready are; off: nowhere.", valueName: "ADDR"))
    var metrics = ":9090"

    @Option(name: .long, help: ArgumentHelp("Port at which pods are asked for statistics.", valueName: "PORT"))
    var podMetricsPort: UInt16 = 9090

    @Option(
        name: .long, parsing: .singleValue,
        help: ArgumentHelp("A file with Knative's ConfigMap config-autoscaler. May be repeated.", valueName: "FILE"))
    var config: [String] = []

    @Option(
        name: .long, parsing: .singleValue,
        help: ArgumentHelp(
            "An entry of Knative's ConfigMap config-autoscaler, as stable-window=30s. May be repeated.",
            valueName: "KEY=VALUE"))
    var configAutoscaler: [String] = []

    @Option(
        name: .long,
        help: ArgumentHelp(
            "How pods are asked where a service mesh may stand between: auto, enabled (only through the private "
                + "Service) or disabled (only at their addresses). Default auto.",
            valueName: "MODE"))
    var meshMode: String?

    @Option(
        name: .long, parsing: .singleValue,
        help: ArgumentHelp(
            "An entry of Knative's ConfigMap config-network: mesh-compatibility-mode=MODE or "
                + "enable-mesh-pod-addressability=BOOL. May be repeated.",
            valueName: "KEY=VALUE"))
    var configNetwork: [String] = []

    @OptionGroup var ownLog: LogOptions

    /// Here and not in `run`, so that a complaint comes with this command's usage.
    func validate() throws { _ = try resolved() }

    func run() throws {
        let logger = ownLog.logger
        let options = try resolved()
        let status: Int32
        do throws(SystemError) {
            status = try AutoscalerRole(options, logger: logger).run()
        } catch {
            complain("error: \(error)")
            throw ExitCode(error.call.hasPrefix("listen") ? ExitCodes.cannotBind : ExitCodes.failure)
        }
        throw ExitCode(status)
    }

    private func resolved() throws -> AutoscalerRoleOptions {
        var problems: [String] = []
        let place = ClusterPlace(cluster)
        if place == nil { problems.append("--cluster \(cluster): expected a folder or unix:PATH") }
        var options = AutoscalerRoleOptions(cluster: place ?? .folder(cluster))
        options.output = output
        if let address = OptionValue.address("--listen", listen, example: ":8080", &problems) {
            options.listen = address
        }
        if metrics == "off" {
            options.metrics = nil
        } else if let address = SocketAddress(metrics) {
            options.metrics = address
        } else {
            problems.append("--metrics \(metrics): no address; expected ADDRESS:PORT, :PORT, PORT or off, as :9090")
        }
        if podMetricsPort == 0 { problems.append("--pod-metrics-port 0: expected 1 to 65535") }
        options.podPort = podMetricsPort
        options.setAutoscaler(configAutoscaler, files: config, &problems)
        options.setNetwork(configNetwork, meshMode: meshMode, &problems)
        ownLog.check(&problems)
        guard problems.isEmpty else { throw ValidationError(problems.joined(separator: "\n")) }
        return options
    }
}
