#pragma once
#include <sys/types.h>

// splice(2), which Glibc's Swift module lacks: moves what is there between a pipe and a socket, at least one byte, and
// waits for it. Returns how much, 0 at the end of the stream, or -errno.
ssize_t splice_waiting(int from, int to, size_t count);
