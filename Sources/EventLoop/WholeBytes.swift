import CLinux
import Glibc
import Primitives

/// Bytes that are written whole, and waited for: files, and the few lines a program says about itself.
public enum WholeBytes {
    /// Writes all of `bytes` to `descriptor`. Returns 0, or the error number with which it takes no more.
    @discardableResult
    public static func write(_ bytes: UnsafeRawBufferPointer, to descriptor: Int32) -> Int32 {
        var done = 0
        while done < bytes.count, let start = bytes.baseAddress {
            let count = Glibc.write(descriptor, start + done, bytes.count - done)
            if count > 0 { done += count } else if count == 0 { return EIO }
            if count < 0, clinux_errno() != EINTR { return clinux_errno() }
        }
        return 0
    }

    /// Writes all of `bytes`. What `descriptor` does not take is lost: nobody reads there any more.
    public static func write(_ bytes: ByteView, to descriptor: Int32) {
        write(UnsafeRawBufferPointer(start: bytes.base, count: bytes.count), to: descriptor)
    }

    /// Writes all of `text`. What `descriptor` does not take is lost: nobody reads there any more.
    public static func write(_ text: String, to descriptor: Int32) {
        var text = text
        text.withUTF8 { bytes in _ = write(UnsafeRawBufferPointer(bytes), to: descriptor) }
    }
}
