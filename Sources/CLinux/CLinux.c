// Not in the header: there it would give Swift a second, different view of the C library.
#define _GNU_SOURCE 1

#include "CLinux.h"

#include <fcntl.h>
#include <link.h>
#include <linux/tcp.h>
#include <malloc.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

int clinux_epoll_wait_ns(int poller, void *events, int capacity, int64_t timeout_ns) {
    struct timespec timeout = {.tv_sec = timeout_ns / 1000000000, .tv_nsec = timeout_ns % 1000000000};
    int count = epoll_pwait2(poller, (struct epoll_event *)events, capacity, timeout_ns < 0 ? NULL : &timeout, NULL);
    if (count >= 0 || errno != ENOSYS) return count;
    // Kernels before 5.11: milliseconds, rounded up, so that nothing wakes early and spins.
    return epoll_wait(poller, (struct epoll_event *)events, capacity,
                      timeout_ns < 0 ? -1 : (int)((timeout_ns + 999999) / 1000000));
}

static socklen_t to_native(const struct clinux_address *address, struct sockaddr_storage *storage) {
    memset(storage, 0, sizeof *storage);
    if (address->is_ipv6) {
        struct sockaddr_in6 *six = (struct sockaddr_in6 *)storage;
        six->sin6_family = AF_INET6;
        six->sin6_port = htons(address->port);
        memcpy(&six->sin6_addr, address->bytes, 16);
        return sizeof *six;
    }
    struct sockaddr_in *four = (struct sockaddr_in *)storage;
    four->sin_family = AF_INET;
    four->sin_port = htons(address->port);
    memcpy(&four->sin_addr, address->bytes, 4);
    return sizeof *four;
}

static void from_native(const struct sockaddr_storage *storage, struct clinux_address *address) {
    memset(address, 0, sizeof *address);
    if (storage->ss_family == AF_INET6) {
        const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)storage;
        address->port = ntohs(six->sin6_port);
        if (IN6_IS_ADDR_V4MAPPED(&six->sin6_addr)) {
            memcpy(address->bytes, six->sin6_addr.s6_addr + 12, 4);
        } else {
            address->is_ipv6 = 1;
            memcpy(address->bytes, &six->sin6_addr, 16);
        }
    } else {
        const struct sockaddr_in *four = (const struct sockaddr_in *)storage;
        address->port = ntohs(four->sin_port);
        memcpy(address->bytes, &four->sin_addr, 4);
    }
}

static int new_socket(const struct clinux_address *address) {
    return socket(address->is_ipv6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

int clinux_listen(const struct clinux_address *address, int reuse_port, int backlog) {
    struct sockaddr_storage storage;
    socklen_t length = to_native(address, &storage);
    int on = 1, fd = new_socket(address);
    if (fd < 0) return -errno;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (reuse_port) setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&storage, length) || (backlog >= 0 && listen(fd, backlog))) {
        int code = errno;
        close(fd);
        return -code;
    }
    return fd;
}

int clinux_accept(int listener, struct clinux_address *peer) {
    struct sockaddr_storage storage;
    socklen_t length = sizeof storage;
    int on = 1, fd = accept4(listener, (struct sockaddr *)&storage, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return -errno;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    from_native(&storage, peer);
    return fd;
}

static int unix_address(const char *path, struct sockaddr_un *address) {
    size_t length = strlen(path);
    memset(address, 0, sizeof *address);
    if (length >= sizeof address->sun_path) return ENAMETOOLONG;
    address->sun_family = AF_UNIX;
    memcpy(address->sun_path, path, length);
    return 0;
}

int clinux_listen_unix(const char *path, unsigned mode, int backlog) {
    struct sockaddr_un address;
    int code = unix_address(path, &address);
    if (code) return -code;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    // The file takes its mode from the socket: at no moment may others connect.
    if (fchmod(fd, (mode_t)mode) || bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, backlog)) {
        code = errno;
        close(fd);
        return -code;
    }
    return fd;
}

int clinux_connect_unix(const char *path) {
    struct sockaddr_un address;
    int code = unix_address(path, &address);
    if (code) return -code;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    if (connect(fd, (struct sockaddr *)&address, sizeof address)) {
        code = errno;
        close(fd);
        return -code;
    }
    return fd;
}

int clinux_accept_unix(int listener) {
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

// A peer whose machine is gone says nothing: the kernel asks it, and fails the connection if there is no answer.
static void notice_silent_death(int fd) {
    int on = 1, idle = CLINUX_KEEPALIVE_IDLE_S, interval = CLINUX_KEEPALIVE_INTERVAL_S, count = CLINUX_KEEPALIVE_COUNT;
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
}

int clinux_connect(const struct clinux_address *address, int *pending) {
    struct sockaddr_storage storage;
    socklen_t length = to_native(address, &storage);
    int on = 1, fd = new_socket(address);
    if (fd < 0) return -errno;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    notice_silent_death(fd);
    *pending = 0;
    if (connect(fd, (struct sockaddr *)&storage, length)) {
        int code = errno;
        if (code != EINPROGRESS) {
            close(fd);
            return -code;
        }
        *pending = 1;
    }
    return fd;
}

int clinux_local_address(int fd, struct clinux_address *address) {
    struct sockaddr_storage storage;
    socklen_t length = sizeof storage;
    if (getsockname(fd, (struct sockaddr *)&storage, &length)) return -errno;
    from_native(&storage, address);
    return 0;
}

int clinux_pending_error(int fd) {
    int code = 0;
    socklen_t length = sizeof code;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &length) ? errno : code;
}

int clinux_tcp_progress(int fd, uint64_t *acknowledged, uint64_t *received) {
    struct tcp_info info;
    socklen_t length = sizeof info;
    memset(&info, 0, sizeof info);
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length)) return -errno;
    if (length < offsetof(struct tcp_info, tcpi_bytes_received) + sizeof info.tcpi_bytes_received) return -ENOTSUP;
    *acknowledged = info.tcpi_bytes_acked;
    *received = info.tcpi_bytes_received;
    return 0;
}

void clinux_reset_on_close(int fd) {
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

static int release_code_of(struct dl_phdr_info *object, size_t size, void *unused) {
    (void)size, (void)unused;
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    for (int index = 0; index < object->dlpi_phnum; index++) {
        const ElfW(Phdr) *part = &object->dlpi_phdr[index];
        // A part that can be written holds relocated words, even where it was made read-only since.
        if (part->p_type != PT_LOAD || part->p_flags & PF_W) continue;
        uintptr_t start = (uintptr_t)(object->dlpi_addr + part->p_vaddr), end = start + part->p_filesz;
        start = (start + page - 1) & ~(page - 1), end &= ~(page - 1);
        if (start < end) madvise((void *)start, end - start, MADV_DONTNEED);
    }
    return 0;
}

void clinux_release_code(void) { dl_iterate_phdr(release_code_of, NULL); }

void clinux_keep_heap_small(void) {
    mallopt(M_ARENA_MAX, 1);
    mallopt(M_TRIM_THRESHOLD, 128 * 1024);
}

int clinux_eventfd(void) {
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int clinux_signalfd(const int *signals, int count) {
    sigset_t set;
    sigemptyset(&set);
    for (int i = 0; i < count; i++) sigaddset(&set, signals[i]);
    if (sigprocmask(SIG_BLOCK, &set, NULL)) return -errno;
    int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int clinux_read_signal(int fd) {
    struct signalfd_siginfo info;
    return read(fd, &info, sizeof info) == sizeof info ? (int)info.ssi_signo : 0;
}

int clinux_inotify(void) {
    int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int clinux_inotify_add(int fd, const char *path, uint32_t mask) {
    int watch = inotify_add_watch(fd, path, mask);
    return watch < 0 ? -errno : watch;
}

void clinux_name_thread(const char *name) { pthread_setname_np(pthread_self(), name); }

uint64_t clinux_raise_file_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit)) return 1024;
    if (limit.rlim_cur < limit.rlim_max) {
        struct rlimit raised = {.rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max};
        if (!setrlimit(RLIMIT_NOFILE, &raised)) return raised.rlim_cur;
    }
    return limit.rlim_cur;
}
