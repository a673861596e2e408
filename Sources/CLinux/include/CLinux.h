// The one C shim: macros, packed structs, variadic calls and the few calls Swift cannot make safely.
#ifndef MARTLET_CLINUX_H
#define MARTLET_CLINUX_H

#define _GNU_SOURCE 1
#include <errno.h>
#include <stdint.h>
#include <sys/types.h>

static inline int clinux_errno(void) { return errno; }

#endif
