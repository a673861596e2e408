import CNGHTTP2

/// Reads header blocks of one direction of a connection, in order: HPACK without any rule of HTTP, so that what stands
/// on the wire is what a test sees.
public final class HeaderBlocks {
    private var inflater: OpaquePointer?

    /// A decoder at the beginning of a connection.
    public init() { nghttp2_hd_inflate_new(&inflater) }

    deinit { nghttp2_hd_inflate_del(inflater) }

    /// The fields of a whole block; nil if it cannot be decoded.
    public func decode(_ block: [UInt8]) -> [(String, String)]? {
        var fields: [(String, String)] = [], at = 0
        while true {
            var field = nghttp2_nv(), flags: Int32 = 0
            let used = block.withUnsafeBufferPointer {
                nghttp2_hd_inflate_hd2(inflater, &field, &flags, $0.baseAddress.map { $0 + at }, block.count - at, 1)
            }
            guard used >= 0 else { return nil }
            at += Int(used)
            if flags & Int32(NGHTTP2_HD_INFLATE_EMIT.rawValue) != 0 {
                fields.append((Self.text(field.name, field.namelen), Self.text(field.value, field.valuelen)))
            }
            if flags & Int32(NGHTTP2_HD_INFLATE_FINAL.rawValue) != 0 {
                nghttp2_hd_inflate_end_headers(inflater)
                return fields
            }
            if used == 0, flags & Int32(NGHTTP2_HD_INFLATE_EMIT.rawValue) == 0 { return fields }
        }
    }

    /// Bytes as characters of Latin-1, so that none is lost or repaired.
    private static func text(_ bytes: UnsafeMutablePointer<UInt8>?, _ count: Int) -> String {
        String(String.UnicodeScalarView(UnsafeBufferPointer(start: bytes, count: count).map { Unicode.Scalar($0) }))
    }
}
