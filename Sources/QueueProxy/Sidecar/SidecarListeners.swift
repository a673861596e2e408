import DataPlane
import EventLoop
import Glibc

/// What the sidecar listens on, each with the name that the log gives it.
struct SidecarListeners {
    /// One of them.
    struct Entry {
        let name: String
        let listen: ListenAddress
        /// Without its address, which is found by `bind`.
        var options: ListenerOptions
    }

    /// One that cannot be had.
    struct Failure {
        let name: String
        let listen: ListenAddress
        let error: SystemError
    }

    private(set) var entries: [Entry] = []

    /// Adds a listener.
    mutating func add(_ name: String, _ listen: ListenAddress, _ options: (SocketAddress) -> ListenerOptions) {
        entries.append(Entry(name: name, listen: listen, options: options(listen.candidates[0])))
    }

    /// Finds for each the address that the kernel takes. All that cannot be had are told.
    ///
    /// They are held together for a moment: two of ours on one address would share its connections, since the workers
    /// open them with SO_REUSEPORT.
    mutating func bind() -> [Failure] {
        var failures: [Failure] = [], held: [Int32] = []
        for index in entries.indices {
            let entry = entries[index]
            switch Self.firstTaken(entry.listen.candidates) {
            case .success(let found):
                held.append(found.descriptor)
                entries[index].options.address = found.address
            case .failure(let error): failures.append(Failure(name: entry.name, listen: entry.listen, error: error))
            }
        }
        for descriptor in held { close(descriptor) }
        return failures
    }

    /// The first address that can be listened on; another one is tried only if the machine does not have that kind.
    private static func firstTaken(
        _ candidates: [SocketAddress]
    ) -> Result<(address: SocketAddress, descriptor: Int32), SystemError> {
        var failure = SystemError(call: "listen", code: EADDRNOTAVAIL)
        for address in candidates {
            do throws(SystemError) {
                return .success((address, try Listener(address, sharesPort: false).release()))
            } catch {
                failure = error
                guard error.code == EAFNOSUPPORT || error.code == EADDRNOTAVAIL else { break }
            }
        }
        return .failure(failure)
    }
}
