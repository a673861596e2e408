import EventLoop
import Glibc
import HTTP
import HTTP1
import HTTP2
import Primitives

/// What one write is made of: views of bytes in buffers, and framing bytes of its own between them.
///
/// One a worker, reused. Bodies are listed where they stand and never copied; heads and chunk lines are written into
/// the list's own memory.
struct SendList: ~Copyable {
    /// Most pieces in one write.
    static let pieceLimit = 64
    /// Room beside the longest head for what we add to it. Pages that are never written cost nothing.
    static let addedBytes = 96 * 1024

    private let vectors: UnsafeMutableBufferPointer<iovec>
    private let scratch: UnsafeMutableRawBufferPointer
    private(set) var count = 0
    private(set) var bytes = 0
    /// Writes framing into the list's own memory; `appendWritten` lists what was written since.
    var writer: ByteWriter
    private var listed = 0

    /// A list with room to write heads of `headBytes` anew.
    init(headBytes: Int = HTTPLimits().headBytes) {
        vectors = .allocate(capacity: Self.pieceLimit)
        vectors.initialize(repeating: iovec())
        scratch = .allocate(byteCount: headBytes + Self.addedBytes, alignment: 16)
        writer = ByteWriter(scratch)
    }

    /// Empties the list.
    mutating func clear() {
        count = 0
        bytes = 0
        listed = 0
        writer.rewind(to: 0)
    }

    /// Whether a batch of body pieces with its framing might not fit any more.
    var isNearlyFull: Bool { count > Self.pieceLimit - 6 }

    /// Lists `view`, merged with the piece before if they touch.
    mutating func append(_ view: ByteView) {
        guard view.count > 0 else { return }
        if count > 0, vectors[count - 1].iov_base + vectors[count - 1].iov_len == UnsafeRawPointer(view.base) {
            vectors[count - 1].iov_len += view.count
        } else {
            precondition(count < Self.pieceLimit)
            vectors[count] = iovec(iov_base: UnsafeMutableRawPointer(mutating: view.base), iov_len: view.count)
            count += 1
        }
        bytes += view.count
    }

    /// Lists what was written with `writer` since the last call.
    mutating func appendWritten() {
        append(writer.written[listed..<writer.count])
        listed = writer.count
    }

    /// Keeps a place for a piece that is known later.
    mutating func reservePiece() -> Int {
        precondition(count < Self.pieceLimit)
        vectors[count] = iovec(iov_base: scratch.baseAddress, iov_len: 0)
        count += 1
        return count - 1
    }

    /// Puts what was written since the last call into a reserved place.
    mutating func fillReserved(_ place: Int) {
        let view = writer.written[listed..<writer.count]
        vectors[place] = iovec(iov_base: UnsafeMutableRawPointer(mutating: view.base), iov_len: view.count)
        bytes += view.count
        listed = writer.count
    }

    /// The pieces, for the kernel.
    var pieces: UnsafeMutableBufferPointer<iovec> { UnsafeMutableBufferPointer(rebasing: vectors[..<count]) }

    /// Offers the whole list to the kernel in one call, the plain one if there is only one piece.
    func send(on socket: borrowing Socket) -> TransferResult {
        count == 1 ? socket.send(piece(0)) : socket.send(pieces)
    }

    /// Piece `index` as a view.
    func piece(_ index: Int) -> ByteView {
        ByteView(UnsafeRawBufferPointer(start: vectors[index].iov_base, count: vectors[index].iov_len))
    }

    deinit {
        vectors.deallocate()
        scratch.deallocate()
    }
}

/// What listing a part of a body found.
enum BodyProgress: Equatable {
    /// More must be read.
    case needMore
    /// The list is full: send it and go on.
    case listFull
    /// The body is complete.
    case ended
}

extension SendList {
    /// Lists as much of a body as stands in `input` from `cursor` on, in chunks if `chunked`.
    ///
    /// What is read in one go becomes one chunk, however it was chunked before: the framing is ours, so the receiver
    /// sees exactly one message. Trailers go along when chunked and are dropped otherwise (RFC 9110 §6.5.1).
    mutating func appendBody(
        _ decoder: inout BodyDecoder, _ input: ByteView, _ cursor: inout Int, chunked: Bool,
        trailers: inout FieldTable, limits: HTTPLimits
    ) throws(ParseFailure) -> (BodyProgress, bytes: Int) {
        // Most bodies: their length is known, and they came with their head.
        if !chunked, !isNearlyFull, let range = decoder.takeRest(input, &cursor) {
            append(input[range])
            return (.ended, range.count)
        }
        let headPlace = chunked ? reservePiece() : 0
        var total = 0
        var progress = BodyProgress.needMore
        var trailerBlock: ByteView?
        listing: while true {
            if isNearlyFull {
                progress = .listFull
                break
            }
            switch try decoder.next(input, &cursor) {
            case .body(let range):
                append(input[range])
                total += range.count
            case .trailers(let range): trailerBlock = input[range]
            case .needMore: break listing
            case .end:
                progress = .ended
                break listing
            }
        }
        if chunked { try closeChunk(headPlace, total, progress, trailerBlock, &trailers, limits) }
        return (progress, total)
    }

    /// Lists the line before a chunk of `count` bytes; after the bytes the caller lists CR LF.
    mutating func appendChunkHead(_ count: Int) {
        HeadWriter.writeChunkHead(count, to: &writer)
        appendWritten()
    }

    /// Lists the end of a chunked body, with the trailers that HTTP/2 brought.
    mutating func appendChunkedEnd(_ trailers: UnsafePointer<HTTP2Head>?) {
        writer.append("0\r\n")
        if let trailers {
            HeadWriter.writeFields(trailers.pointee.fields, of: trailers.pointee.bytes, excluding: [], to: &writer)
        }
        writer.append("\r\n")
        appendWritten()
    }

    private mutating func closeChunk(
        _ headPlace: Int, _ total: Int, _ progress: BodyProgress, _ trailerBlock: ByteView?,
        _ trailers: inout FieldTable, _ limits: HTTPLimits
    ) throws(ParseFailure) {
        if total > 0 {
            HeadWriter.writeChunkHead(total, to: &writer)
            fillReserved(headPlace)
            writer.append("\r\n")
        }
        if progress == .ended {
            writer.append("0\r\n")
            if let block = trailerBlock {
                try parseTrailers(block, into: &trailers, limits: limits)
                HeadWriter.writeFields(trailers, of: block, excluding: [], to: &writer)
            }
            writer.append("\r\n")
        }
        appendWritten()
    }
}
