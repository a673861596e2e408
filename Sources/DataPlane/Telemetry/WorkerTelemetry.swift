import HTTP
import Primitives
import Telemetry

/// What one worker has of `RequestTelemetry`: its memory for lines and spans. Owned by the worker's thread.
final class WorkerTelemetry {
    let shared: RequestTelemetry
    let metrics: RequestMetrics?
    let sampler: TraceSampler?
    let log: RequestLogTexts?
    var draft = NoteDraft()
    var spans: SpanBatch
    /// Of trace and span ids: apart from the worker's own, which must stay replayable.
    var random: SeededRandom
    /// Whether the timer for spans that wait is running.
    var isTimerArmed = false

    /// `seed` must differ from that of every other worker, here and elsewhere.
    init(_ shared: RequestTelemetry, worker: Int, seed: UInt64) {
        self.shared = shared
        metrics = shared.metrics.isEmpty ? nil : shared.metrics[worker]
        sampler = shared.settings.sampler
        log = shared.settings.logTemplate.map { RequestLogTexts($0, shared.settings) }
        spans = SpanBatch(capacity: sampler == nil ? 1 : SpanBatch.defaultCapacity)
        random = SeededRandom(seed: seed)
    }

    /// Whether texts beyond those of metrics are wanted.
    var wantsAllTexts: Bool { log != nil || sampler != nil }
}

/// The request log of one worker: the template, and the texts that are the same in every line.
final class RequestLogTexts {
    /// A field that the template asks for.
    struct Name {
        /// In lower case.
        let text: ByteView
        /// `.other` if the parser does not know it.
        let known: KnownField
    }

    var log: RequestLog
    /// Whether probes have lines.
    let includesProbes: Bool
    let names: [Name]
    let revision: RequestLogRevision
    /// Room for the fields of one request.
    let fields: UnsafeMutablePointer<RequestLogHeader>
    /// All texts, where they stay.
    private let memory: UnsafeMutableRawBufferPointer

    init(_ template: GoTemplate, _ settings: RequestTelemetry.Settings) {
        log = RequestLog(template)
        includesProbes = settings.logsProbes
        let identity = settings.identity
        let own = [
            identity.revision, identity.namespace, identity.service, identity.configuration, identity.pod,
            settings.podIP,
        ]
        let all = own + template.headerNames
        memory = .allocate(byteCount: max(1, all.reduce(0) { $0 + $1.utf8.count }), alignment: 1)
        var views: [ByteView] = []
        var start = 0
        for text in all {
            let place = UnsafeMutableRawBufferPointer(rebasing: memory[start..<start + text.utf8.count])
            place.copyBytes(from: text.utf8)
            views.append(ByteView(UnsafeRawBufferPointer(place)))
            start += place.count
        }
        var revision = RequestLogRevision()
        (revision.name, revision.namespace, revision.service) = (views[0], views[1], views[2])
        (revision.configuration, revision.podName, revision.podIP) = (views[3], views[4], views[5])
        self.revision = revision
        names = views[own.count...].map { Name(text: $0, known: KnownField.classify($0)) }
        fields = .allocate(capacity: RequestNote.fieldLimit)
        fields.initialize(
            repeating: RequestLogHeader(name: .empty, value: .empty), count: RequestNote.fieldLimit)
    }

    deinit {
        memory.deallocate()
        fields.deallocate()
    }
}
