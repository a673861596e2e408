// Counts what a program allocates: preload it (LD_PRELOAD) and read the counts from a file while the program runs.
//
// MALLOC_COUNT=PREFIX makes every process write to PREFIX.<pid>, a shared mapping of four native 64-bit numbers:
// allocations, frees, bytes asked for, and 1 once the mapping is in place. Nothing is signalled and nothing printed.
// malloc, calloc, realloc and the aligned ones are one allocation each; so is a realloc that stays in place.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

enum { ALLOCATIONS, FREES, BYTES, IN_PLACE, COUNTS };

static uint64_t early[COUNTS];        // until the mapping is there
static uint64_t *counts = early;

static void add(int which, uint64_t amount) { __atomic_fetch_add(&counts[which], amount, __ATOMIC_RELAXED); }

static void count(size_t bytes) {
    add(ALLOCATIONS, 1);
    add(BYTES, bytes);
}

__attribute__((constructor)) static void map_counts(void) {
    const char *prefix = getenv("MALLOC_COUNT");
    char path[4096];
    if (!prefix || snprintf(path, sizeof path, "%s.%d", prefix, getpid()) >= (int)sizeof path) return;
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0 || ftruncate(fd, 4096)) return;
    uint64_t *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (shared == MAP_FAILED) return;
    for (int which = 0; which < COUNTS; which++) shared[which] = early[which];
    counts = shared;
    shared[IN_PLACE] = 1;
}

void *malloc(size_t bytes) {
    count(bytes);
    return __libc_malloc(bytes);
}

void *calloc(size_t number, size_t bytes) {
    count(number * bytes);
    return __libc_calloc(number, bytes);
}

void *realloc(void *old, size_t bytes) {
    count(bytes);
    if (old) add(FREES, 1);
    return __libc_realloc(old, bytes);
}

void *memalign(size_t alignment, size_t bytes) {
    count(bytes);
    return __libc_memalign(alignment, bytes);
}

void *aligned_alloc(size_t alignment, size_t bytes) { return memalign(alignment, bytes); }

int posix_memalign(void **result, size_t alignment, size_t bytes) {
    if (alignment % sizeof(void *) || (alignment & (alignment - 1)) || !alignment) return EINVAL;
    void *memory = memalign(alignment, bytes);
    if (!memory) return ENOMEM;
    *result = memory;
    return 0;
}

void free(void *memory) {
    if (memory) add(FREES, 1);
    __libc_free(memory);
}
