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

    /// Finds for each the address that the kernel would take. All that cannot be had are told.
    ///
    /// Two of ours on one port would share its connections, since the workers open them with SO_REUSEPORT.
    mutating func bind() -> [Failure] {
        var failures: [Failure] = []
        for index in entries.indices {
            let entry = entries[index]
            do throws(SystemError) {
                let address = try Self.firstFree(entry.listen.candidates)
                if entry.listen.port != 0, entries[..<index].contains(where: { $0.listen.port == entry.listen.port }) {
                    throw SystemError(call: "listen on \(address)", code: EADDRINUSE)
                }
                entries[index].options.address = address
            } catch {
                failures.append(Failure(name: entry.name, listen: entry.listen, error: error))
            }
        }
        return failures
    }

    /// The first address that can be listened on; another one is tried only if the machine does not have that kind.
    private static func firstFree(_ candidates: [SocketAddress]) throws(SystemError) -> SocketAddress {
        var failure = SystemError(call: "listen", code: EADDRNOTAVAIL)
        for address in candidates {
            do throws(SystemError) {
                try Listener.check(address)
                return address
            } catch {
                failure = error
                guard error.code == EAFNOSUPPORT || error.code == EADDRNOTAVAIL else { break }
            }
        }
        throw failure
    }
}
