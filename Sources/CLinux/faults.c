#ifdef CULVERT_FAULTS

#define _GNU_SOURCE
#include "faults.h"
#include "clinux_faults.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>
#include <unistd.h>

enum { mostDescriptors = 1 << 16 };
enum direction { in, out };

// A descriptor that an epoll instance watches, and what was done to it.
struct watched {
    bool isTCP, isLocal;  // neither: it is left alone
    int epoll;
    struct epoll_event event;
    // Among all that were watched, and calls on it so far.
    uint64_t ordinal, calls;
    // By direction: in milliseconds, when it is ready again and an event has to say so; 0 if none has to.
    uint64_t owed[2];
};

// Read without the mutex, which would show the thread sanitizer an order between the loops that is not there otherwise.
static atomic_bool isActive;
static atomic_int eventsOwed;
// Guards all that follows.
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct watched table[mostDescriptors];
static int end;  // of the part of the table that was ever used
static uint64_t ordinals, waits, connects;
static struct clinux_fault_plan plan;
static struct clinux_fault_counts counts;

// What comes of one call.
struct fate {
    int error;    // 0: the call is made
    size_t most;  // bytes it may move
    bool corrupts;
    uint64_t random;
};

static uint64_t milliseconds(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000 + (uint64_t)time.tv_nsec / 1000000;
}

// The finalizer of SplitMix64 (Steele, Lea, Flood, 2014).
static uint64_t mix(uint64_t z) {
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
    z = (z ^ z >> 27) * 0x94D049BB133111EB;
    return z ^ z >> 31;
}

static uint64_t draw(uint64_t who, uint64_t when) { return mix(mix(plan.seed + mix(who)) + when); }

static bool active(void) { return atomic_load_explicit(&isActive, memory_order_relaxed); }

// MARK: The plan

void clinux_begin_faults(struct clinux_fault_plan new) {
    pthread_mutex_lock(&mutex);
    plan = new;
    counts = (struct clinux_fault_counts){0};
    ordinals = waits = connects = 0;
    isActive = true;
    pthread_mutex_unlock(&mutex);
}

struct clinux_fault_counts clinux_end_faults(void) {
    pthread_mutex_lock(&mutex);
    isActive = false;
    struct clinux_fault_counts result = counts;
    pthread_mutex_unlock(&mutex);
    return result;
}

// MARK: Who is watched

static void owe(struct watched *it, enum direction direction, uint64_t when) {
    if (it->owed[direction] == 0) eventsOwed++;
    it->owed[direction] = when;
}

static void settle(struct watched *it, enum direction direction) {
    if (it->owed[direction] == 0) return;
    it->owed[direction] = 0;
    eventsOwed--;
}

static struct watched describe(int epoll, int descriptor, struct epoll_event event) {
    int domain = 0;
    socklen_t length = sizeof domain;
    getsockopt(descriptor, SOL_SOCKET, SO_DOMAIN, &domain, &length);
    return (struct watched){
        .isTCP = domain == AF_INET || domain == AF_INET6,
        .isLocal = domain == AF_UNIX,
        .epoll = epoll,
        .event = event,
        .ordinal = ++ordinals,
    };
}

int faulty_epoll_ctl(int epoll, int operation, int descriptor, struct epoll_event *event) {
    // Locked first: once it is added, its loop may hear of it and read.
    pthread_mutex_lock(&mutex);
    int result = epoll_ctl(epoll, operation, descriptor, event);
    if (result == 0 && descriptor < mostDescriptors) {
        struct watched *it = &table[descriptor];
        settle(it, in);
        settle(it, out);
        *it = operation == EPOLL_CTL_ADD ? describe(epoll, descriptor, *event) : (struct watched){0};
        if (descriptor >= end) end = descriptor + 1;
    }
    pthread_mutex_unlock(&mutex);
    return result;
}

// MARK: Waiting

// Has the instance report anew whom an event is owed to now.
// Returns how long it may wait until the next one is due.
static int payEvents(int epoll, int limit) {
    if (atomic_load_explicit(&eventsOwed, memory_order_relaxed) == 0) return limit;
    uint64_t now = milliseconds();
    pthread_mutex_lock(&mutex);
    for (int descriptor = 0; descriptor < end; descriptor++) {
        struct watched *it = &table[descriptor];
        if (it->epoll != epoll) continue;
        bool isDue = false;
        for (enum direction direction = in; direction <= out; direction++) {
            uint64_t when = it->owed[direction];
            if (when == 0) continue;
            if (when > now) {
                int left = (int)(when - now);
                if (limit < 0 || left < limit) limit = left;
            } else {
                settle(it, direction);
                isDue = true;
            }
        }
        if (isDue) epoll_ctl(epoll, EPOLL_CTL_MOD, descriptor, &it->event);
    }
    pthread_mutex_unlock(&mutex);
    return limit;
}

// No order of events is promised.
static void shuffle(struct epoll_event *events, int count) {
    if (count < 2 || !active()) return;
    pthread_mutex_lock(&mutex);
    uint64_t random = draw(0, waits++);
    pthread_mutex_unlock(&mutex);
    for (int last = count - 1; last > 0; last--) {
        int other = (int)((random = mix(random)) % (uint64_t)(last + 1));
        struct epoll_event event = events[last];
        events[last] = events[other];
        events[other] = event;
    }
}

int faulty_epoll_wait(int epoll, struct epoll_event *events, int capacity, int milliseconds) {
    int result = epoll_wait(epoll, events, capacity, payEvents(epoll, milliseconds));
    shuffle(events, result);
    return result;
}

// MARK: Faults

static void breakConnection(int descriptor, bool isTCP) {
    if (isTCP) {
        // Undoes the connection, with RST (tcp_disconnect in the kernel).
        struct sockaddr nobody = {.sa_family = AF_UNSPEC};
        connect(descriptor, &nobody, sizeof nobody);
    } else {
        shutdown(descriptor, SHUT_RDWR);
    }
}

// Whether one of `rate` in 65,536 was drawn; else takes its share off, for the next kind.
static bool strikes(uint32_t *drawn, uint16_t rate, uint64_t *count) {
    if (*drawn < rate) {
        ++*count;
        return true;
    }
    *drawn -= rate;
    return false;
}

static void judge(int descriptor, struct watched *it, enum direction direction, bool mayCorrupt, struct fate *fate) {
    struct clinux_fault_rates rates = it->isTCP ? plan.tcp : plan.local;
    uint64_t now = milliseconds();
    if (it->owed[direction] > now) {
        fate->error = EAGAIN;
        return;
    }
    uint64_t random = draw(it->ordinal, it->calls++);
    uint32_t drawn = random & 0xFFFF;
    fate->random = random >> 16;
    if (strikes(&drawn, rates.reset, &counts.reset)) {
        breakConnection(descriptor, it->isTCP);
        fate->error = ECONNRESET;
    } else if (strikes(&drawn, rates.unready, &counts.unready)) {
        fate->error = EAGAIN;
        owe(it, direction, now + fate->random % (plan.longest_wait + 1));
    } else if (strikes(&drawn, rates.partial, &counts.partial)) {
        // Small ones as often as large ones.
        fate->most = 1 + (fate->random >> 8) % (1 << fate->random % 17);
        // A short write means a full socket, and an event when it no longer is (epoll(7)).
        if (direction == out) owe(it, out, now);
    } else if (mayCorrupt && it->isTCP && direction == in && strikes(&drawn, rates.corrupt, &counts.corrupt)) {
        fate->corrupts = true;
    }
}

static bool mayBeWatched(int descriptor) { return active() && descriptor >= 0 && descriptor < mostDescriptors; }

static struct fate fateOf(int descriptor, enum direction direction) {
    struct fate fate = {.most = SIZE_MAX};
    if (!mayBeWatched(descriptor)) return fate;
    pthread_mutex_lock(&mutex);
    struct watched *it = &table[descriptor];
    if (it->isTCP || it->isLocal) judge(descriptor, it, direction, true, &fate);
    pthread_mutex_unlock(&mutex);
    return fate;
}

// Of the two, one is a pipe, which nobody watches.
static struct fate fateOfSplice(int from, int to) {
    struct fate fate = {.most = SIZE_MAX};
    if (!mayBeWatched(from) || !mayBeWatched(to)) return fate;
    pthread_mutex_lock(&mutex);
    struct watched *source = &table[from], *sink = &table[to];
    uint64_t before = counts.partial + counts.unready + counts.reset;
    if (source->isTCP || source->isLocal) judge(from, source, in, false, &fate);
    else if (sink->isTCP || sink->isLocal) judge(to, sink, out, false, &fate);
    counts.spliced += counts.partial + counts.unready + counts.reset - before;
    pthread_mutex_unlock(&mutex);
    return fate;
}

// MARK: Accepting and connecting

static int errorOfAccept(int listener) {
    if (!mayBeWatched(listener)) return 0;
    int error = 0;
    pthread_mutex_lock(&mutex);
    struct watched *it = &table[listener];
    uint64_t random = draw(it->ordinal, it->calls++);
    uint32_t drawn = random & 0xFFFF;
    if ((it->isTCP || it->isLocal) && strikes(&drawn, plan.accept, &counts.accept))
        error = it->isTCP && random >> 16 & 1 ? ECONNABORTED : EMFILE;
    pthread_mutex_unlock(&mutex);
    return error;
}

int faulty_accept4(int listener, struct sockaddr *address, socklen_t *length, int flags) {
    int error = errorOfAccept(listener);
    if (error != EMFILE) {
        int result = accept4(listener, address, length, flags);
        if (result < 0 || error == 0) return result;
        breakConnection(result, true);
        close(result);
    }
    errno = error;
    return -1;
}

static int errorOfConnect(sa_family_t family) {
    if (!active() || (family != AF_INET && family != AF_INET6)) return 0;
    static const int errors[] = {ECONNREFUSED, ETIMEDOUT, EINTR};
    int error = 0;
    pthread_mutex_lock(&mutex);
    uint64_t random = draw(UINT64_MAX, connects++);
    uint32_t drawn = random & 0xFFFF;
    if (strikes(&drawn, plan.connect, &counts.connect)) error = errors[(random >> 16) % 3];
    pthread_mutex_unlock(&mutex);
    return error;
}

int faulty_connect(int descriptor, const struct sockaddr *address, socklen_t length) {
    int error = errorOfConnect(address->sa_family);
    if (error == 0 || error == EINTR) {
        int result = connect(descriptor, address, length);
        if (error == 0 || (result < 0 && errno != EINPROGRESS)) return result;
    }
    errno = error;
    return -1;
}

// MARK: Reading and writing

// The first piece that is not empty, at most so much of it.
static struct iovec beginning(const struct iovec *pieces, size_t count, size_t most) {
    struct iovec piece = {0};
    for (size_t index = 0; index < count && piece.iov_len == 0; index++) piece = pieces[index];
    if (piece.iov_len > most) piece.iov_len = most;
    return piece;
}

static void corrupt(const struct iovec *pieces, size_t count, uint64_t random) {
    size_t offset = (random >> 3) % count;
    while (offset >= pieces->iov_len) offset -= pieces++->iov_len;
    ((uint8_t *)pieces->iov_base)[offset] ^= 1 << (random & 7);
}

ssize_t faulty_readv(int descriptor, const struct iovec *pieces, int count) {
    struct fate fate = fateOf(descriptor, in);
    if (fate.error) {
        errno = fate.error;
        return -1;
    }
    if (fate.most < SIZE_MAX) {
        struct iovec piece = beginning(pieces, (size_t)count, fate.most);
        return read(descriptor, piece.iov_base, piece.iov_len);
    }
    ssize_t result = readv(descriptor, pieces, count);
    if (fate.corrupts && result > 0) corrupt(pieces, (size_t)result, fate.random);
    return result;
}

ssize_t faulty_sendmsg(int descriptor, const struct msghdr *message, int flags) {
    struct fate fate = fateOf(descriptor, out);
    if (fate.error) {
        errno = fate.error;
        return -1;
    }
    if (fate.most < SIZE_MAX) {
        struct iovec piece = beginning(message->msg_iov, message->msg_iovlen, fate.most);
        return send(descriptor, piece.iov_base, piece.iov_len, flags);
    }
    return sendmsg(descriptor, message, flags);
}

ssize_t faulty_read(int descriptor, void *buffer, size_t count) {
    struct iovec piece = {.iov_base = buffer, .iov_len = count};
    return faulty_readv(descriptor, &piece, 1);
}

ssize_t faulty_send(int descriptor, const void *buffer, size_t count, int flags) {
    struct iovec piece = {.iov_base = (void *)buffer, .iov_len = count};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
    return faulty_sendmsg(descriptor, &message, flags);
}

ssize_t faulty_splice(int from, off_t *fromOffset, int to, off_t *toOffset, size_t count, unsigned flags) {
    struct fate fate = fateOfSplice(from, to);
    if (fate.error) {
        errno = fate.error;
        return -1;
    }
    return splice(from, fromOffset, to, toOffset, fate.most < count ? fate.most : count, flags);
}

#endif
