// posix_spawn with what Swift's Glibc module hides.
#ifndef MARTLET_CTEST_PROCESS_H
#define MARTLET_CTEST_PROCESS_H

#include <stdint.h>

// Starts `words[0]`, looked for in PATH, with `streams` as descriptors 0 to 2 (-1: /dev/null), no other descriptor and
// no blocked signal. `words` and `environment` end with NULL. The process id, or an errno with a minus.
int32_t ctest_process_start(char *const *words, char *const *environment, const int streams[3]);

#endif
