import DataPlane
import EventLoop
import Glibc
import Primitives
import Telemetry

/// Request log, metrics and spans: what the workers keep (`RequestTelemetry`) and where it goes (`TelemetryExport`).
struct SidecarTelemetry {
    /// How long collectors are waited for at the end, in milliseconds (Knative: 10 s).
    static let finishMilliseconds: UInt64 = 10_000

    let plan: TelemetryPlan
    /// For the workers; nil if nothing is to be kept.
    let requests: RequestTelemetry?
    /// Takes the lines for standard output: of the request log, of spans. Nil if there are none.
    let output: LogSink?
    let export: TelemetryExport?

    init(_ configuration: QueueConfiguration, loop: Loop, log: SidecarLog) throws(SidecarFailure) {
        do {
            plan = try TelemetryPlan(configuration)
            for warning in plan.warnings {
                log.write(.warn, "configuration", [("variable", warning.variable), ("warning", "\(warning)")])
            }
            let plan = plan
            requests = plan.isNeeded ? try RequestTelemetry(plan.requests, workerCount: configuration.workers) : nil
            let hasLines = plan.requests.logTemplate != nil || plan.spans == .standardOutput
            let output = hasLines ? try LogSink(descriptor: STDOUT_FILENO) : nil
            self.output = output
            export = try requests.map { requests in
                try TelemetryExport(
                    plan, requests, loop: loop,
                    print: { lines in lines.withUnsafeBytes { output?.append(ByteView($0)) } },
                    say: { log.write(.warn, "telemetry", [("warning", $0)]) })
            }
        } catch let failure as TelemetryPlan.Failure {
            throw SidecarFailure(
                reasons: failure.problems.map { ("configuration", [("variable", $0.variable), ("error", "\($0)")]) })
        } catch {
            throw SidecarFailure(reasons: [("telemetry cannot start", [("error", "\(error)")])])
        }
    }

    /// The page of metrics.
    var page: Answer {
        guard let export else { return Answer(status: 404) }
        return Answer(status: 200, contentType: .prometheus, body: export.metricsPage())
    }

    /// Sends and writes what is left. The workers have ended; `loop` turns meanwhile.
    func finish(_ loop: Loop) {
        if let export {
            var isOver = false
            export.finish(withinMilliseconds: Self.finishMilliseconds) {
                isOver = true
                loop.stop()
            }
            if !isOver { loop.run() }
        }
        output?.close()
    }
}
