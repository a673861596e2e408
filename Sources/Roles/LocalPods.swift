import ControlPlane
import Knative
import LocalPlatform
import Logging
import Primitives

/// Processes of this machine as the control plane's pods: translates one vocabulary into the other.
final class LocalPods: PodPlatform {
    private let platform: LocalPlatform
    private var names: [PodID: String] = [:]
    /// Called with the pod's name and a line it wrote.
    var onLine: (String, ByteView) -> Void = { _, _ in }
    var observer: (PodHandle, PodChange) -> Void = { _, _ in }

    init(platform: LocalPlatform) {
        self.platform = platform
        platform.onEvent = { [unowned self] event in tell(event) }
        platform.onLine = { [unowned self] pod, _, line in onLine(names[pod] ?? "pod", line) }
    }

    var podCount: Int { platform.podCount }

    func start(_ revision: RevisionObject, ordinal: Int) -> PodHandle {
        let spec = PodSpec(revision, ordinal: ordinal)
        let pod = platform.start(spec)
        names[pod] = "\(revision.name)-\(ordinal)"
        return PodHandle(number: pod.number)
    }

    func stop(_ pod: PodHandle) { platform.stop(PodID(number: pod.number)) }
    func stopAll(deadline: Instant) { platform.stopAll(deadline: deadline) }
    func recheck(_ pod: PodHandle) { platform.recheck(PodID(number: pod.number)) }

    private func tell(_ event: PodEvent) {
        let handle = PodHandle(number: event.id.number)
        switch event {
        case .spawned(_, let pid, let instant): observer(handle, .spawned(pid: pid, at: instant))
        case .ready(_, let port, let instant): observer(handle, .ready(port: port, at: instant))
        case .unready(_, let reason): observer(handle, .unready(reason: reason))
        case .exited(_, let status, let lines, let restart):
            observer(handle, .exited(status: status, lastLines: lines, restartAfterMilliseconds: restart))
        case .failedToStart(let pod, let error, let restart):
            if restart == nil { names[pod] = nil }
            observer(handle, .failedToStart(error: error, restartAfterMilliseconds: restart))
        case .stopped(let pod):
            names[pod] = nil
            observer(handle, .stopped)
        }
    }
}

extension PodSpec {
    /// What runs for a pod of `revision`.
    init(_ revision: RevisionObject, ordinal: Int) {
        let container = revision.template.container
        // The port is chosen at the start of each process: until then a placeholder stands for it.
        let process = container.processCommand(platform: [
            EnvironmentVariable(name: "PORT", value: PodSpec.portPlaceholder),
            EnvironmentVariable(name: "K_SERVICE", value: revision.service),
            EnvironmentVariable(name: "K_CONFIGURATION", value: revision.configuration),
            EnvironmentVariable(name: "K_REVISION", value: revision.name),
        ])
        self.init(revision: revision.name, command: process.arguments)
        service = revision.service
        configuration = revision.configuration
        index = ordinal
        environment = process.environment.map { Variable(name: $0.name, value: $0.value) }
        workingDirectory = process.workingDirectory
        containerPort = UInt16(clamping: container.port.containerPort)
        speaksHTTP2 = container.port.isH2C
        readinessProbe = ProbeSpec(container.readinessProbe)
        livenessProbe = container.livenessProbe.map(ProbeSpec.init)
        startupProbe = container.startupProbe.map(ProbeSpec.init)
        graceSeconds = Double(revision.template.timeoutSeconds)
    }
}

extension ProbeSpec {
    fileprivate init(_ probe: Probe) {
        self.init(Handler(probe.handler))
        initialDelaySeconds = probe.initialDelaySeconds
        periodSeconds = probe.periodSeconds
        timeoutSeconds = probe.timeoutSeconds
        successThreshold = probe.successThreshold
        failureThreshold = probe.failureThreshold
    }
}

extension ProbeSpec.Handler {
    fileprivate init(_ handler: Probe.Handler) {
        switch handler {
        case .httpGet(let path, let port, let scheme, let headers):
            self = .http(
                path: path, port: port.map(UInt16.init(clamping:)),
                headers: headers.map { ProbeSpec.Header(name: $0.name, value: $0.value) },
                scheme: scheme.rawValue.lowercased())
        case .tcpSocket(let port): self = .tcp(port: port.map(UInt16.init(clamping:)))
        case .exec(let command): self = .exec(command: command)
        case .grpc(let port, let service):
            self = .grpc(port: port.map(UInt16.init(clamping:)), service: service)
        }
    }
}
