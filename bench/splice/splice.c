#define _GNU_SOURCE
#include "bench_splice.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>

ssize_t splice_waiting(int from, int to, size_t count) {
    ssize_t result;
    do result = splice(from, NULL, to, NULL, count, SPLICE_F_MOVE);
    while (result < 0 && errno == EINTR);
    return result < 0 ? -errno : result;
}
