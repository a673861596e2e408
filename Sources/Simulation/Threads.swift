#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// Real threads for tests that need the machine's own disorder.
public enum Threads {
    private final class Work: Sendable {
        let index: Int
        let body: @Sendable (Int) -> Void

        init(index: Int, body: @escaping @Sendable (Int) -> Void) {
            self.index = index
            self.body = body
        }
    }

    /// Runs `body` on `count` threads at once, each with its number, and returns when all have finished.
    ///
    /// - Returns: how many threads ran; fewer than `count` if the system refused to start one.
    @discardableResult
    public static func run(_ count: Int, _ body: @escaping @Sendable (Int) -> Void) -> Int {
        var handles: [pthread_t] = []
        for index in 0..<count {
            let work = Unmanaged.passRetained(Work(index: index, body: body))
            var handle = pthread_t()
            let code = pthread_create(&handle, nil, Threads.start, work.toOpaque())
            if code == 0 { handles.append(handle) } else { work.release() }
        }
        for handle in handles { pthread_join(handle, nil) }
        return handles.count
    }

    /// Lets another thread run: for loops that wait for one.
    public static func yield() { sched_yield() }

    private static let start: @convention(c) (UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? = { argument in
        guard let argument else { return nil }
        let work = Unmanaged<Work>.fromOpaque(argument).takeRetainedValue()
        work.body(work.index)
        return nil
    }
}
