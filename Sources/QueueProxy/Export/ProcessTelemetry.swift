import DataPlane
import EventLoop
import Glibc
import Primitives
import Telemetry

/// Request log, metrics and spans of a process: what its workers keep (`RequestTelemetry`) and where it goes
/// (`TelemetryExport`). Owned by the thread of its loop.
public struct ProcessTelemetry {
    /// How long collectors are waited for at the end, in milliseconds (Knative: 10 s).
    static let finishMilliseconds: UInt64 = 10_000

    /// For the workers; nil if nothing is to be kept.
    public let requests: RequestTelemetry?
    /// Takes the lines for standard output: of the request log, of spans. Nil if there are none.
    public let output: LogSink?
    private let export: TelemetryExport?
    /// Whether `output` was made here, and ends here.
    private let ownsOutput: Bool

    /// What a plan says.
    ///
    /// - Parameters:
    ///   - workers: how many there are.
    ///   - output: where lines for standard output go; nil: one of its own is made if there are any.
    ///   - say: takes a line for the process's log, without its end.
    /// - Throws: a setting of TLS that cannot be used, or the call that failed.
    public init(
        _ plan: TelemetryPlan, workers: Int, loop: Loop, output given: LogSink? = nil, say: @escaping (String) -> Void
    ) throws {
        requests = plan.isNeeded ? try RequestTelemetry(plan.requests, workerCount: workers) : nil
        let hasLines = plan.requests.logTemplate != nil || plan.spans == .standardOutput
        let output = try given ?? (hasLines ? LogSink(descriptor: STDOUT_FILENO) : nil)
        self.output = output
        ownsOutput = given == nil
        export = try requests.map { requests in
            try TelemetryExport(
                plan, requests, loop: loop,
                print: { lines in lines.withUnsafeBytes { output?.append(ByteView($0)) } }, say: say)
        }
    }

    /// The page of metrics.
    public var page: Answer {
        guard let export else { return Answer(status: 404) }
        return Answer(status: 200, contentType: .prometheus, body: export.metricsPage())
    }

    /// Sends and writes what is left. The workers have ended; `loop` turns meanwhile.
    public func finish(_ loop: Loop) {
        if let export {
            var isOver = false
            export.finish(withinMilliseconds: Self.finishMilliseconds) {
                isOver = true
                loop.stop()
            }
            if !isOver { loop.run() }
        }
        if ownsOutput { output?.close() }
    }
}

extension ProcessTelemetry {
    /// A sidecar's.
    init(_ configuration: QueueConfiguration, loop: Loop, log: SidecarLog) throws(SidecarFailure) {
        do {
            let plan = try TelemetryPlan(configuration)
            for warning in plan.warnings {
                log.write(.warn, "configuration", [("variable", warning.variable), ("warning", "\(warning)")])
            }
            try self.init(plan, workers: configuration.workers, loop: loop) {
                log.write(.warn, "telemetry", [("warning", $0)])
            }
        } catch let failure as TelemetryPlan.Failure {
            throw SidecarFailure(
                reasons: failure.problems.map { ("configuration", [("variable", $0.variable), ("error", "\($0)")]) })
        } catch {
            throw SidecarFailure(reasons: [("telemetry cannot start", [("error", "\(error)")])])
        }
    }
}
