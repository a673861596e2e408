import HTTP
import Primitives
import Telemetry

/// What telemetry needs to know of a request when it ends, and cannot find any more then: the head is gone.
///
/// Trivial. It stands at the beginning of a pooled buffer, behind it the places of the fields that the template of the
/// request log asks for, then all texts.
struct RequestNote {
    /// A text, by its place in the buffer.
    struct Part {
        var start: UInt32 = 0
        var count: UInt32 = 0
    }

    /// The texts that every request may have, by their place in `parts`.
    enum Text: Int, CaseIterable {
        case method, host, routeTag, target, userAgent, forwardedFor, traceState
    }

    /// A field that the template asks for: its number among the names, and its value.
    struct Field {
        var name: UInt16 = 0
        var value = Part()
    }

    /// Most bytes of all texts of a request; what is beyond is cut off.
    static let textLimit = 32 << 10
    /// Most fields that are kept for the template; later ones count as absent.
    static let fieldLimit = 64

    var parts = InlineArray<7, Part>(repeating: Part())
    var fieldCount = 0
    /// Announced length of the body, as Go has it: -1 if there is a body and no length.
    var contentLength: Int64 = 0
    /// A part of Knative asks: no request.
    var isProbe = false
    var isTLS = false
    /// It has left the queue: the container has something to do with it.
    var hasLeftQueue = false
    /// Spans are made of it, or would be if it were sampled.
    var isTraced = false
    /// The trace begins here; what a client says of the state of another is not passed on.
    var beginsTrace = false
    /// The span of the request and that of the exchange with the container.
    var server = TraceContext(traceHigh: 0, traceLow: 0, spanID: 0, flags: 0)
    var client = TraceContext(traceHigh: 0, traceLow: 0, spanID: 0, flags: 0)
    var parentSpanID: UInt64 = 0

    /// Where the fields begin in the buffer.
    static var fieldsOffset: Int { MemoryLayout<RequestNote>.stride }
}

/// The texts of a request while they are gathered: views on its head. One a worker, reused.
struct NoteDraft: ~Copyable {
    private let views: UnsafeMutablePointer<ByteView>
    private let names: UnsafeMutablePointer<UInt16>
    private var fieldCount = 0

    private static var textCount: Int { RequestNote.Text.allCases.count }

    init() {
        views = .allocate(capacity: Self.textCount + RequestNote.fieldLimit)
        names = .allocate(capacity: RequestNote.fieldLimit)
        views.initialize(repeating: .empty, count: Self.textCount + RequestNote.fieldLimit)
        names.initialize(repeating: 0, count: RequestNote.fieldLimit)
    }

    deinit {
        views.deallocate()
        names.deallocate()
    }

    mutating func begin() {
        views.update(repeating: .empty, count: Self.textCount)
        fieldCount = 0
    }

    mutating func set(_ text: RequestNote.Text, _ view: ByteView) { views[text.rawValue] = view }

    /// Adds a field for the template; nothing beyond the limit.
    mutating func add(field name: Int, _ value: ByteView) {
        guard fieldCount < RequestNote.fieldLimit else { return }
        names[fieldCount] = UInt16(truncatingIfNeeded: name)
        views[Self.textCount + fieldCount] = value
        fieldCount += 1
    }

    /// Copies everything into `buffer`, from `pool`. Nil, and nothing done, if the pool has no memory.
    func write(_ note: RequestNote, to buffer: inout Buffer, _ pool: inout BufferPool) -> NotePointer? {
        let textsOffset = RequestNote.fieldsOffset + fieldCount * MemoryLayout<RequestNote.Field>.stride
        let count = Self.textCount + fieldCount
        var total = textsOffset
        for index in 0..<count { total += views[index].count }
        total = min(total, textsOffset + RequestNote.textLimit)
        guard pool.provide(total, in: &buffer) else { return nil }
        assert(buffer.count == 0 && buffer.capacity >= total)
        let memory = UnsafeMutableRawPointer(buffer.memory)
        let place = memory.bindMemory(to: RequestNote.self, capacity: 1)
        place.initialize(to: note)
        place.pointee.fieldCount = fieldCount
        let fields = (memory + RequestNote.fieldsOffset).bindMemory(to: RequestNote.Field.self, capacity: fieldCount)
        var end = textsOffset
        for index in 0..<count {
            let view = views[index]
            let taken = min(view.count, total - end)
            (memory + end).copyMemory(from: UnsafeRawPointer(view.base), byteCount: taken)
            let part = RequestNote.Part(start: UInt32(end), count: UInt32(taken))
            if index < Self.textCount {
                place.pointee.parts[index] = part
            } else {
                let field = index - Self.textCount
                (fields + field).initialize(to: RequestNote.Field(name: names[field], value: part))
            }
            end += taken
        }
        assert(end == total)
        return NotePointer(place)
    }
}

/// A note where it stands, with its texts behind it. Valid until its buffer is given back.
struct NotePointer {
    let note: UnsafeMutablePointer<RequestNote>

    init(_ note: UnsafeMutablePointer<RequestNote>) { self.note = note }

    /// The note in `buffer`; nil if there is none.
    init?(_ buffer: borrowing Buffer) {
        guard !buffer.isNone else { return nil }
        note = UnsafeMutableRawPointer(buffer.memory).assumingMemoryBound(to: RequestNote.self)
    }

    subscript(text: RequestNote.Text) -> ByteView { view(note.pointee.parts[text.rawValue]) }

    /// The `index`th field that was kept, below `fieldCount`.
    func field(_ index: Int) -> (name: Int, value: ByteView) {
        precondition(index >= 0 && index < note.pointee.fieldCount)
        let fields = (UnsafeMutableRawPointer(note) + RequestNote.fieldsOffset)
            .assumingMemoryBound(to: RequestNote.Field.self)
        return (Int(fields[index].name), view(fields[index].value))
    }

    private func view(_ part: RequestNote.Part) -> ByteView {
        let start = UnsafeRawPointer(note) + Int(part.start)
        return ByteView(UnsafeRawBufferPointer(start: start, count: Int(part.count)))
    }
}
