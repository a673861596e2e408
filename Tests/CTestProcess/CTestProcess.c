#define _GNU_SOURCE
#include "CTestProcess.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>

int32_t ctest_process_start(char *const *words, char *const *environment, const int streams[3]) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    int code = 0;
    for (int number = 0; number < 3 && code == 0; number++)
        code = streams[number] >= 0
            ? posix_spawn_file_actions_adddup2(&actions, streams[number], number)
            : posix_spawn_file_actions_addopen(&actions, number, "/dev/null", O_RDWR, 0);
    if (code == 0) code = posix_spawn_file_actions_addclosefrom_np(&actions, 3);
    sigset_t nothing;
    sigemptyset(&nothing);
    posix_spawnattr_setsigmask(&attributes, &nothing);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    pid_t pid = 0;
    if (code == 0) code = posix_spawnp(&pid, words[0], &actions, &attributes, words, environment);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return code == 0 ? pid : -code;
}
