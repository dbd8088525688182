// The system calls of clinux.c and splice.c, as the plan of clinux_faults.h has them end.
#pragma once

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

int faulty_accept4(int listener, struct sockaddr *address, socklen_t *length, int flags);
int faulty_connect(int descriptor, const struct sockaddr *address, socklen_t length);
int faulty_epoll_ctl(int epoll, int operation, int descriptor, struct epoll_event *event);
int faulty_epoll_wait(int epoll, struct epoll_event *events, int capacity, int milliseconds);
ssize_t faulty_read(int descriptor, void *buffer, size_t count);
ssize_t faulty_readv(int descriptor, const struct iovec *pieces, int count);
ssize_t faulty_send(int descriptor, const void *buffer, size_t count, int flags);
ssize_t faulty_sendmsg(int descriptor, const struct msghdr *message, int flags);
ssize_t faulty_splice(int from, off_t *fromOffset, int to, off_t *toOffset, size_t count, unsigned flags);
