// The one C shim: macros, packed structs, variadic calls and the few calls Swift cannot make safely.
#ifndef MARTLET_CLINUX_H
#define MARTLET_CLINUX_H

#include <errno.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static inline int clinux_errno(void) { return errno; }

// ---- epoll: the event is packed and holds a union, which Swift does not import faithfully.

enum { CLINUX_EVENT_BYTES = sizeof(struct epoll_event) };

static inline uint32_t clinux_event_flags(const void *events, int index) {
    return ((const struct epoll_event *)events)[index].events;
}

static inline uint64_t clinux_event_token(const void *events, int index) {
    return ((const struct epoll_event *)events)[index].data.u64;
}

// By syscall(2), here and in clinux_receive and clinux_send: the C library's functions are points where a thread may be
// cancelled, which costs two locked operations each in a program with threads. No thread of ours is cancelled.
static inline int clinux_epoll_wait(int poller, void *events, int capacity, int timeout_ms) {
    return (int)syscall(SYS_epoll_pwait, poller, events, capacity, timeout_ms, NULL, 8);
}

// Waits at most `timeout_ns` nanoseconds; without end if it is negative.
int clinux_epoll_wait_ns(int poller, void *events, int capacity, int64_t timeout_ns);

static inline int clinux_epoll_control(int poller, int operation, int fd, uint32_t flags, uint64_t token) {
    struct epoll_event event = {.events = flags, .data.u64 = token};
    return epoll_ctl(poller, operation, fd, &event);
}

// ---- sockets

struct clinux_address {
    uint8_t bytes[16];   // network order; the first 4 for IPv4
    uint16_t port;       // host order
    uint8_t is_ipv6;
};

// recv(2).
static inline ssize_t clinux_receive(int fd, void *place, size_t count, int flags) {
    return syscall(SYS_recvfrom, fd, place, count, flags, NULL, NULL);
}

// send(2).
static inline ssize_t clinux_send(int fd, const void *bytes, size_t count, int flags) {
    return syscall(SYS_sendto, fd, bytes, count, flags, NULL, 0);
}

// A non-blocking, close-on-exec stream socket, listening; with a negative backlog only bound, so that nobody can
// connect. Returns the descriptor or -errno.
int clinux_listen(const struct clinux_address *address, int reuse_port, int backlog);

// A Unix stream socket listening at `path`, whose file has `mode` from its first moment; the umask takes bits away.
// Returns the descriptor or -errno: EADDRINUSE if the file is there, ENAMETOOLONG above 107 bytes.
int clinux_listen_unix(const char *path, unsigned mode, int backlog);

// Connects to a Unix stream socket, non-blocking. Returns the descriptor, or -errno: EAGAIN if its queue is full.
int clinux_connect_unix(const char *path);

// Accepts one connection of a Unix socket, non-blocking and close-on-exec. Returns the descriptor or -errno.
int clinux_accept_unix(int listener);

// Accepts one connection, non-blocking and close-on-exec, with TCP_NODELAY. Returns the descriptor or -errno.
int clinux_accept(int listener, struct clinux_address *peer);

// When the kernel asks a silent peer of a connection we made whether it still lives, and how often, until it is dead.
#define CLINUX_KEEPALIVE_IDLE_S 15
#define CLINUX_KEEPALIVE_INTERVAL_S 5
#define CLINUX_KEEPALIVE_COUNT 3

// Starts a TCP connection, with TCP_NODELAY and keep-alive as above. Returns the descriptor, or -errno.
// `*pending` says whether it is still being made.
int clinux_connect(const struct clinux_address *address, int *pending);

// The local address of a socket. Returns 0 or -errno.
int clinux_local_address(int fd, struct clinux_address *address);

// The error a connection attempt ended with: 0, or an errno value.
int clinux_pending_error(int fd);

// How many bytes the peer's kernel has acknowledged, and how many it has sent us. Returns 0 or -errno.
int clinux_tcp_progress(int fd, uint64_t *acknowledged, uint64_t *received);

// Makes a later close() send a reset instead of an orderly end.
void clinux_reset_on_close(int fd);

// ---- memory

// Gives back the pages of program and libraries that hold code and constants; those that are used come again from the
// page cache. After a start most of them never are. Nothing that was written is touched.
void clinux_release_code(void);

// Lets all threads share one heap, and gives freed memory back early.
void clinux_keep_heap_small(void);

// ---- descriptors for the control loop

int clinux_eventfd(void);                              // non-blocking, close-on-exec
int clinux_signalfd(const int *signals, int count);    // blocks the signals in this thread; -errno on failure
int clinux_read_signal(int fd);                        // number of the next signal, 0 if none
int clinux_inotify(void);
int clinux_inotify_add(int fd, const char *path, uint32_t mask);   // the watch, or -errno

// Names the calling thread, for ps and top.
void clinux_name_thread(const char *name);

// Raises the limit of open files to the hard limit; returns the limit now in force.
uint64_t clinux_raise_file_limit(void);

#include "CLinuxProcess.h"

#endif
