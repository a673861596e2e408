// Processes: what posix_spawn does, plus what it cannot be asked for (PR_SET_PDEATHSIG), and the guardian.
#ifndef MARTLET_CLINUX_PROCESS_H
#define MARTLET_CLINUX_PROCESS_H

#include <stdint.h>

// Where a spawn failed. The code that goes with it is an errno.
enum clinux_spawn_step {
    CLINUX_SPAWN_OK = 0,
    CLINUX_SPAWN_CLONE = 1,
    CLINUX_SPAWN_SETUP = 2,
    CLINUX_SPAWN_CHDIR = 3,
    CLINUX_SPAWN_EXEC = 4,
};

struct clinux_spawn_request {
    const char *path;         // already searched for in PATH; relative to `directory` if it has no leading slash
    char *const *argv;        // ends with NULL
    char *const *environment; // ends with NULL
    const char *directory;    // NULL: the caller's
    int output;               // becomes descriptor 1; -1: /dev/null
    int error;                // becomes descriptor 2; -1: /dev/null
};

struct clinux_spawn_result {
    int32_t pid;
    int pidfd; // close-on-exec
    int step;  // enum clinux_spawn_step
    int code;  // errno of the step that failed
};

// Starts a process as leader of its own group, with default signal dispositions, nothing blocked, descriptors 0 to 2
// only, and SIGKILL when the calling *thread* ends. Returns 0 when the new program runs, -1 with step and code set.
int clinux_spawn(const struct clinux_spawn_request *request, struct clinux_spawn_result *result);

// How a process ended.
struct clinux_exit {
    int by_signal; // 1: `status` is a signal number, 0: an exit code
    int status;
};

// Reaps the child behind `pidfd`. 1: done, 0: still running, -1: errno.
int clinux_reap(int pidfd, struct clinux_exit *how);

// The same, but waits a little for the end. For the guardian, which ends when it is told to.
int clinux_reap_within(int pidfd, int milliseconds);

// One message to the guardian: a process group that must not outlive this process, or no longer needs watching.
struct clinux_guardian_record {
    int32_t group;
    int watched; // 1 add, 0 remove
};

// The most groups one guardian remembers.
enum { CLINUX_GUARDIAN_GROUPS = 65536 };

// Forks the guardian: it reads records from `channel` and, at its end of file, kills every watched group. In the parent
// returns its pid and sets `pidfd`; -1 with errno if it cannot be started. Never returns in the child.
int32_t clinux_guardian_start(int channel, int *pidfd);

// A pair of connected close-on-exec packet sockets above descriptor 2, for the guardian's channel. 0 or -1.
int clinux_guardian_channel(int ends[2]);

// A pipe above descriptor 2, close-on-exec, its read end non-blocking. 0 or -1.
int clinux_pipe(int *read_end, int *write_end);

#endif
