// Faults on purpose, for tests. Part of debug builds only: a release build has none of what is declared here.
//
// While a plan is in force, accepting, connecting, reading, writing, splicing and waiting by the functions of clinux.h end as
// they may end, and seldom do: cut short, as if not ready, broken, with bytes that are wrong. But for those that connect,
// only sockets that an epoll instance watches are touched. What happens to a call on them follows from the plan's seed, from
// how many descriptors were watched before this one, and from how many calls it has had; so a seed repeats as far as the
// threads of the process do.
#pragma once

#include <stdint.h>

// How many of 65,536 calls that move bytes meet with each fault; together at most 65,536.
struct clinux_fault_rates {
    // The call moves fewer bytes than it could.
    uint16_t partial;
    // EAGAIN for a while. As edge-triggered descriptors need it, an event follows.
    uint16_t unready;
    // ECONNRESET, and the connection is gone at both ends: TCP sends RST, a UNIX socket is shut down.
    uint16_t reset;
    // One bit of what was read is another. TCP only, and what is spliced stays as it is.
    uint16_t corrupt;
};

struct clinux_fault_plan {
    uint64_t seed;
    // A connection is unready for 0 to so many milliseconds.
    uint32_t longest_wait;
    struct clinux_fault_rates tcp;
    struct clinux_fault_rates local;
    // Of 65,536 calls: EMFILE, and the connection goes on waiting; of TCP also ECONNABORTED, and the connection is gone.
    uint16_t accept;
    // The same for TCP alone: ECONNREFUSED, ETIMEDOUT, or EINTR, which the attempt outlives.
    uint16_t connect;
};

struct clinux_fault_counts {
    uint64_t partial, unready, reset, corrupt;
    // How many of those before met calls that splice.
    uint64_t spliced;
    uint64_t accept, connect;
};

// For the whole process, in the place of the plan that is in force.
void clinux_begin_faults(struct clinux_fault_plan plan);

// Returns what happened since the plan began. Who was told to wait is woken in any case.
struct clinux_fault_counts clinux_end_faults(void);
