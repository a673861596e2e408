import EventLoop

extension Readiness {
    /// The connection has failed (EPOLLERR), as after a reset. `broken` holds EPOLLHUP as well, which comes also when
    /// both sides have said that they will send no more; then bytes may still be there to be read.
    static var error: Readiness { Readiness(rawValue: 0x008) }
}
