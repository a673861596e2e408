import Primitives

/// What a token in epoll data or in a timer refers to.
enum TokenKind: UInt64 {
    case downstream = 0
    case upstream = 1
    case exchange = 2
    case listener = 3
    case mailbox = 4
    case sweep = 5
    case resumeAccept = 6
    case wake = 7
    case question = 8
    case spans = 9
}

/// A slab token with its kind, in 64 bits: 32 of generation, 4 of kind, 28 of place.
struct TaggedToken {
    let packed: UInt64

    static let placeLimit = 1 << 28

    init(_ kind: TokenKind, _ token: SlabToken = SlabToken(index: 0, generation: 0)) {
        packed = token.packed | kind.rawValue << 28
    }

    init(packed: UInt64) { self.packed = packed }

    var kind: TokenKind? { TokenKind(rawValue: packed >> 28 & 15) }
    var token: SlabToken { SlabToken(packed: packed & ~(15 << 28)) }
}
