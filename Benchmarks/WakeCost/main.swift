// The data plane and the control plane of `martlet run`, over pods that cost nothing: what is left of a start from zero
// is Martlet's own.
//
// Usage: martlet-wake-cost HTTP_PORT APPLICATION_PORT SERVICES [WORKERS]      (loopback only)
//
// Serves wake-00000.default.localhost and so on, all at zero. Says on standard error "ready …" when it listens, then a
// line of JSON "counts" at each SIGUSR1; ends at SIGTERM.
import ControlPlane
import DataPlane
import EventLoop
import Glibc
import Knative
import Logging
import Primitives
import Roles

/// A message for the script that reads the log.
func say(_ line: String) {
    var line = line + "\n"
    line.withUTF8 { bytes in _ = write(2, bytes.baseAddress, bytes.count) }
}

func fail(_ message: String) -> Never {
    say("martlet-wake-cost: \(message)")
    exit(64)
}

/// CPU time of this thread so far.
func processorSeconds() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}

/// Documents of one file: YAML has a limit on them.
let documentsAFile = 500

/// `count` services at zero with at most one pod.
func services(_ count: Int, _ options: LoadOptions) -> [ServiceObject] {
    func text(_ number: Int) -> String {
        let digits = String(number)
        let name = "wake-" + String(repeating: "0", count: max(0, 5 - digits.count)) + digits
        return """
            apiVersion: serving.knative.dev/v1
            kind: Service
            metadata: {name: \(name)}
            spec:
              template:
                metadata:
                  annotations: {autoscaling.knative.dev/initial-scale: "0", autoscaling.knative.dev/max-scale: "1"}
                spec:
                  containers: [{image: example.com/application, command: [application]}]

            """
    }
    let sources = stride(from: 0, to: count, by: documentsAFile).map { start in
        let numbers = start..<min(start + documentsAFile, count)
        return ("services-\(start).yaml", Array(numbers.map(text).joined(separator: "---\n").utf8))
    }
    let result = ManifestLoader.load(sources: sources, options: options)
    if let problem = result.diagnostics.first { fail("\(problem)") }
    return result.services
}

func run(_ port: UInt16, _ application: UInt16, _ count: Int, workers workerCount: Int) throws {
    let signals = try Signals([SIGTERM, SIGINT, SIGUSR1])
    let loop = try Loop()
    // As `martlet run`: a line for each decision and one for each start.
    let logger = Logger(label: "wake-cost") { ConsoleLog(label: $0, form: .text, level: .info) }
    var options = WorkerOptions()
    options.count = workerCount
    options.limits.connections = min(options.limits.connections, Machine.raiseFileLimit() / 4)
    options.seed = 1
    let listener = ListenerOptions(.loopback(port: port))
    let workers = try WorkerGroup(listeners: [listener], options: options, log: nil)
    let pods = FreePods(loop: loop, port: application)
    var control = ControlPlaneOptions()
    control.scaling.allowsZeroInitialScale = true
    let plane = try ControlPlane(loop: loop, workers: workers, platform: pods, options: control, logger: logger)
    try signals.attach(to: loop) { number in
        guard number == SIGUSR1 else { return loop.stop() }
        let starts = pods.starts.values
        say(
            "counts {\"pods\": \(pods.podCount), \"woken\": \(starts.count), \"most_starts\": \(starts.max() ?? 0)}")
    }
    var load = LoadOptions()
    load.defaults.allowZeroInitialScale = true
    let objects = services(count, load)
    let begun = processorSeconds()
    let diagnostics = plane.apply(objects, removing: true)
    if let problem = diagnostics.first { fail("\(problem)") }
    let seconds = processorSeconds() - begun
    try workers.start(ControlPlane.emptySnapshot())
    say(
        "ready {\"port\": \(workers.addresses[0].port), \"application\": \(application), \"services\": \(count), "
            + "\"apply_seconds\": \(seconds)}")
    loop.run()
    workers.post(.stop)
    workers.join()
}

let arguments = CommandLine.arguments.dropFirst().map { Int($0) }
guard (3...4).contains(arguments.count), let port = arguments[0], (0...65_535).contains(port),
    let application = arguments[1], (1...65_535).contains(application),
    let count = arguments[2], (1...99_999).contains(count),
    let workers = arguments.count == 4 ? arguments[3] : 1, (1...64).contains(workers)
else { fail("usage: martlet-wake-cost HTTP_PORT APPLICATION_PORT SERVICES [WORKERS]") }
do {
    try run(UInt16(port), UInt16(application), count, workers: workers)
} catch {
    fail("\(error)")
}
