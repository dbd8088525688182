#define _GNU_SOURCE
#include "clinux.h"

#include <errno.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <unistd.h>

// Debug builds can have these calls fail on purpose.
#ifdef CULVERT_FAULTS
#include "faults.h"
#define accept4 faulty_accept4
#define connect faulty_connect
#define epoll_ctl faulty_epoll_ctl
#define epoll_wait faulty_epoll_wait
#define read faulty_read
#define readv faulty_readv
#define send faulty_send
#define sendmsg faulty_sendmsg
#endif

static int checked(int result) { return result < 0 ? -errno : result; }

int clinux_epoll_create(void) { return checked(epoll_create1(EPOLL_CLOEXEC)); }

int clinux_eventfd(void) { return checked(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)); }

int clinux_socket(int domain, int type) { return checked(socket(domain, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)); }

int clinux_socketpair(int descriptors[2]) {
    return checked(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, descriptors));
}

int clinux_accept(int listener) { return checked(accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)); }

int clinux_epoll_add(int epoll, int descriptor, uint32_t events, uint64_t token) {
    struct epoll_event event = {.events = events, .data.u64 = token};
    return checked(epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event));
}

int clinux_epoll_remove(int epoll, int descriptor) { return checked(epoll_ctl(epoll, EPOLL_CTL_DEL, descriptor, NULL)); }

int clinux_epoll_wait(int epoll, struct epoll_event *events, int capacity, int milliseconds) {
    return checked(epoll_wait(epoll, events, capacity, milliseconds));
}

ssize_t clinux_read(int descriptor, void *buffer, size_t count) {
    ssize_t result;
    do result = read(descriptor, buffer, count);
    while (result < 0 && errno == EINTR);
    return result < 0 ? -errno : result;
}

ssize_t clinux_readv(int descriptor, const struct iovec *pieces, int count) {
    ssize_t result;
    do result = readv(descriptor, pieces, count);
    while (result < 0 && errno == EINTR);
    return result < 0 ? -errno : result;
}

ssize_t clinux_send(int descriptor, const void *buffer, size_t count) {
    ssize_t result;
    do result = send(descriptor, buffer, count, MSG_NOSIGNAL);
    while (result < 0 && errno == EINTR);
    return result < 0 ? -errno : result;
}

ssize_t clinux_sendv(int descriptor, const struct iovec *pieces, int count) {
    struct msghdr message = {.msg_iov = (struct iovec *)pieces, .msg_iovlen = (size_t)count};
    ssize_t result;
    do result = sendmsg(descriptor, &message, MSG_NOSIGNAL);
    while (result < 0 && errno == EINTR);
    return result < 0 ? -errno : result;
}

int clinux_bind(int descriptor, const struct sockaddr *address, socklen_t length) {
    return checked(bind(descriptor, address, length));
}

int clinux_connect(int descriptor, const struct sockaddr *address, socklen_t length) {
    return checked(connect(descriptor, address, length));
}

int clinux_listen(int descriptor, int backlog) { return checked(listen(descriptor, backlog)); }

int clinux_set_option(int descriptor, int level, int option, int value) {
    return checked(setsockopt(descriptor, level, option, &value, sizeof value));
}

int clinux_pending_error(int descriptor) {
    int error = 0;
    socklen_t length = sizeof error;
    if (getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &error, &length) < 0) return -errno;
    return -error;
}

uint64_t clinux_link_busy(int descriptor) {
    struct tcp_info info = {0};
    socklen_t length = sizeof info;
    if (getsockopt(descriptor, IPPROTO_TCP, TCP_INFO, &info, &length) < 0) return 0;
    return info.tcpi_busy_time - info.tcpi_rwnd_limited;
}

int clinux_get_answers(int descriptor, struct clinux_answers *answers) {
    struct tcp_info info = {0};
    socklen_t length = sizeof info;
    if (getsockopt(descriptor, IPPROTO_TCP, TCP_INFO, &info, &length) < 0) return -errno;
    *answers = (struct clinux_answers){
        .acknowledged = info.tcpi_bytes_acked,
        .silence = info.tcpi_last_ack_recv,
        .are_due = info.tcpi_unacked > 0 || info.tcpi_probes > 1,
    };
    return 0;
}

int clinux_is_at_mark(int descriptor) {
    int is_at_mark = 0;
    return ioctl(descriptor, SIOCATMARK, &is_at_mark) < 0 ? 0 : is_at_mark != 0;
}

int clinux_peer_pid(int descriptor) {
    struct ucred peer;
    socklen_t length = sizeof peer;
    if (getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0) return -errno;
    return peer.pid;
}

const char *clinux_errno_name(int error) { return strerrorname_np(error); }

const char *clinux_errno_text(int error) { return strerrordesc_np(error); }

void clinux_name_current_thread(const char *name) { pthread_setname_np(pthread_self(), name); }

void clinux_die_with_parent(void) { prctl(PR_SET_PDEATHSIG, SIGKILL); }
