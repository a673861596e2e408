// Not in the header: there it would give Swift a second, different view of the C library.
#define _GNU_SOURCE 1

#include "CLinux.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x00001000
#endif
#ifndef P_PIDFD
#define P_PIDFD 3
#endif
#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1U << 2)
#endif

// What the child reads and where it leaves its failure. The child shares the parent's memory until it executes.
struct spawn_context {
    const struct clinux_spawn_request *request;
    pid_t parent;
    volatile int step;
    volatile int code;
};

// The limit of open files this program was started with. We raise ours; a pod gets the one it would have had, as
// programs that use select(2) or close every possible descriptor at start need.
static struct rlimit first_file_limit;

__attribute__((constructor)) static void keep_file_limit(void) {
    if (getrlimit(RLIMIT_NOFILE, &first_file_limit) < 0) first_file_limit.rlim_cur = 0;
}

static void reset_signals(void) {
    // The kernel's struct sigaction, all zero: SIG_DFL, no flags. The library's call would leave out the two signals it
    // keeps for itself, which a parent may have had us ignore.
    const unsigned long action[8] = {0};
    // A caught signal would be reset by execve, an ignored one would not: a pod must not inherit our SIGPIPE setting.
    for (int number = 1; number <= 64; number++) syscall(SYS_rt_sigaction, number, action, NULL, (size_t)8);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

// Puts `from`, or /dev/null, at descriptor `to`. Sources are above 2, so no step overwrites the next one's source.
static int place(int from, int to, int flags) {
    if (from >= 0) return dup2(from, to) < 0 ? -1 : 0;
    int null = open("/dev/null", flags | O_CLOEXEC);
    if (null < 0) return -1;
    if (null == to) return fcntl(to, F_SETFD, 0);
    int placed = dup2(null, to);
    close(null);
    return placed < 0 ? -1 : 0;
}

static int fail(struct spawn_context *context, int step) {
    context->code = errno;
    context->step = step;
    _exit(127);
}

// Runs in the child, on its own stack but in the parent's memory: async-signal-safe calls only.
static int child_main(void *argument) {
    struct spawn_context *context = argument;
    const struct clinux_spawn_request *request = context->request;
    if (setpgid(0, 0) < 0) return fail(context, CLINUX_SPAWN_SETUP);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0) return fail(context, CLINUX_SPAWN_SETUP);
    if (getppid() != context->parent) _exit(127);  // the parent went before the line above took effect
    if (place(-1, 0, O_RDONLY) < 0 || place(request->output, 1, O_WRONLY) < 0 ||
        place(request->error, 2, O_WRONLY) < 0)
        return fail(context, CLINUX_SPAWN_SETUP);
    if (request->directory && chdir(request->directory) < 0) return fail(context, CLINUX_SPAWN_CHDIR);
    // Our own descriptors are close-on-exec already; this is for those that libraries or our own parent left open.
    syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC);
    if (first_file_limit.rlim_cur > 0) setrlimit(RLIMIT_NOFILE, &first_file_limit);
    reset_signals();
    execve(request->path, request->argv, request->environment);
    return fail(context, CLINUX_SPAWN_EXEC);
}

int clinux_spawn(const struct clinux_spawn_request *request, struct clinux_spawn_result *result) {
    _Alignas(16) char stack[32 * 1024];
    struct spawn_context context = {.request = request, .parent = getpid(), .step = CLINUX_SPAWN_OK};
    *result = (struct clinux_spawn_result){.pid = -1, .pidfd = -1, .step = CLINUX_SPAWN_CLONE};
    // No handler of ours may run in the child while it shares our memory.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int pidfd = -1;
    int flags = CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD;
    pid_t pid = clone(child_main, stack + sizeof stack, flags, &context, &pidfd);
    int code = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (pid < 0) {
        result->code = code;
        return -1;
    }
    if (context.step != CLINUX_SPAWN_OK) {
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
        }
        close(pidfd);
        result->step = context.step;
        result->code = context.code;
        return -1;
    }
    *result = (struct clinux_spawn_result){.pid = pid, .pidfd = pidfd, .step = CLINUX_SPAWN_OK};
    return 0;
}

int clinux_reap(int pidfd, struct clinux_exit *how) {
    siginfo_t info = {0};
    int done;
    do done = waitid((idtype_t)P_PIDFD, (id_t)pidfd, &info, WEXITED | WNOHANG);
    while (done < 0 && errno == EINTR);
    if (done < 0) return -1;
    if (info.si_pid == 0) return 0;
    how->by_signal = info.si_code != CLD_EXITED;
    how->status = info.si_status;
    return 1;
}

int clinux_reap_within(int pidfd, int milliseconds) {
    struct pollfd ended = {.fd = pidfd, .events = POLLIN};
    struct clinux_exit how;
    poll(&ended, 1, milliseconds);
    return clinux_reap(pidfd, &how);
}

int clinux_guardian_channel(int ends[2]) {
    int made[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, made) < 0) return -1;
    for (int index = 0; index < 2; index++) {
        ends[index] = fcntl(made[index], F_DUPFD_CLOEXEC, 3);
        close(made[index]);
    }
    if (ends[0] >= 0 && ends[1] >= 0) return 0;
    int code = errno;
    if (ends[0] >= 0) close(ends[0]);
    if (ends[1] >= 0) close(ends[1]);
    errno = code;
    return -1;
}

int clinux_pipe(int *read_end, int *write_end) {
    int made[2];
    if (pipe2(made, O_CLOEXEC) < 0) return -1;
    if (made[0] < 3 || made[1] < 3) {  // started with closed standard descriptors: keep clear of 0 to 2
        int moved[2] = {fcntl(made[0], F_DUPFD_CLOEXEC, 3), fcntl(made[1], F_DUPFD_CLOEXEC, 3)};
        int code = errno;
        close(made[0]);
        close(made[1]);
        if (moved[0] < 0 || moved[1] < 0) {
            if (moved[0] >= 0) close(moved[0]);
            if (moved[1] >= 0) close(moved[1]);
            errno = code;
            return -1;
        }
        made[0] = moved[0];
        made[1] = moved[1];
    }
    fcntl(made[0], F_SETFL, O_NONBLOCK);
    *read_end = made[0];
    *write_end = made[1];
    return 0;
}

// The guardian's memory. Static: the child of a threaded process must not allocate.
static pid_t watched[CLINUX_GUARDIAN_GROUPS];

static void guardian_note(const struct clinux_guardian_record *record, int *count) {
    int index = 0;
    while (index < *count && watched[index] != record->group) index++;
    if (record->watched && index == *count && *count < CLINUX_GUARDIAN_GROUPS) watched[(*count)++] = record->group;
    if (!record->watched && index < *count) watched[index] = watched[--*count];
}

// Async-signal-safe calls only: the parent may have had other threads, and their locks, when it forked.
static void guardian_main(int channel) {
    int count = 0;
    struct clinux_guardian_record record;
    setsid();  // a terminal's interrupt or hang-up must not reach it
    prctl(PR_SET_NAME, "pod-guardian", 0, 0, 0);
    if (channel != 3) dup2(channel, 3);
    place(-1, 0, O_RDONLY);
    place(-1, 1, O_WRONLY);
    place(-1, 2, O_WRONLY);
    syscall(SYS_close_range, 4U, ~0U, 0U);
    if (chdir("/") < 0) { /* then it keeps the directory busy, no more */ }
    while (recv(3, &record, sizeof record, 0) == (ssize_t)sizeof record)
        if (record.group > 1) guardian_note(&record, &count);
    while (count > 0) kill(-watched[--count], SIGKILL);
    _exit(0);
}

int32_t clinux_guardian_start(int channel, int *pidfd) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t pid = fork();
    if (pid == 0) guardian_main(channel);  // with every signal blocked, as inherited
    int code = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (pid > 0) {
        *pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
        if (*pidfd >= 0) return pid;
        code = errno;
        kill(pid, SIGKILL);
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
        }
    }
    errno = code;
    return -1;
}
