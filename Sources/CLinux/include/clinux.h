// Linux system calls that Swift's Glibc module does not show, because glibc declares them only for _GNU_SOURCE, or
// that report through errno, which Swift code would have to read before anything else can overwrite it.
// Each function makes one call and returns its result, or -errno.
#pragma once

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

// Descriptors made here are non-blocking and closed on exec.
int clinux_epoll_create(void);
int clinux_eventfd(void);
int clinux_socket(int domain, int type);
int clinux_socketpair(int descriptors[2]);
int clinux_accept(int listener);

int clinux_epoll_add(int epoll, int descriptor, uint32_t events, uint64_t token);
int clinux_epoll_remove(int epoll, int descriptor);
int clinux_epoll_wait(int epoll, struct epoll_event *events, int capacity, int milliseconds);

// Retried when a signal interrupts them.
ssize_t clinux_read(int descriptor, void *buffer, size_t count);
ssize_t clinux_readv(int descriptor, const struct iovec *pieces, int count);
// On sockets only; a peer that is gone gives -EPIPE and never the signal.
ssize_t clinux_send(int descriptor, const void *buffer, size_t count);
ssize_t clinux_sendv(int descriptor, const struct iovec *pieces, int count);

// A pipe of `capacity` bytes, or as near as the kernel lets it be. Returns its capacity.
int clinux_pipe(int descriptors[2], int capacity);
// Moves bytes between a pipe and a socket without copying them here. Waits for both, if they are blocking and `waits` is
// not 0; else for neither.
ssize_t clinux_splice(int from, int to, size_t count, int waits);

// Whether the kernel can encrypt and decrypt TLS records on a socket: 1 or 0.
int clinux_has_kernel_tls(void);
// Lets a connected TCP socket have keys.
int clinux_start_kernel_tls(int descriptor);
// Has the kernel make (`sending`) or read TLS 1.3 records with AES-GCM from here on. `key` has 16 or 32 bytes, `nonce` 12,
// `sequence` is the number of the next record.
int clinux_set_kernel_tls_key(
    int descriptor, int sending, const void *key, size_t key_length, const void *nonce, uint64_t sequence);

int clinux_bind(int descriptor, const struct sockaddr *address, socklen_t length);
int clinux_connect(int descriptor, const struct sockaddr *address, socklen_t length);
int clinux_listen(int descriptor, int backlog);
int clinux_set_option(int descriptor, int level, int option, int value);
// Microseconds that a TCP connection had bytes under way while its receiver had room for more; 0 if it is none.
uint64_t clinux_link_busy(int descriptor);
// How a TCP connection's peer answers what it was sent.
struct clinux_answers {
    // Bytes that it has acknowledged so far.
    uint64_t acknowledged;
    // Milliseconds since it acknowledged anything, be it nothing new.
    uint32_t silence;
    // Whether something that was sent waits for an answer: bytes, or more than one question whether it has room for them.
    int are_due;
};
// 0, or -errno.
int clinux_get_answers(int descriptor, struct clinux_answers *answers);
// Whether the next byte that could be read follows a mark of urgent data, where splice does not go on: 1 or 0.
int clinux_is_at_mark(int descriptor);
// The error a non-blocking connect ended with: 0, or -errno.
int clinux_pending_error(int descriptor);
// The process at the other end of a UNIX socket.
int clinux_peer_pid(int descriptor);

// "ECONNREFUSED" and "Connection refused"; NULL for a number that is no errno. Static storage.
const char *clinux_errno_name(int error);
const char *clinux_errno_text(int error);

// Starts argv[0], looked up in PATH, in a process group of its own: input from /dev/null, output to the two descriptors,
// no other descriptor, default signals, but SIGPIPE ignored, so that the program can say what broke. The kernel kills it
// when the calling thread ends, and so with the whole process.
// Returns its process id, or -errno also if it cannot be executed.
int clinux_spawn(char *const argv[], char *const environment[], int output, int errors);

// Linux keeps at most 15 bytes of the name.
void clinux_name_current_thread(const char *name);

// Has the kernel kill this process when the thread that started it ends.
void clinux_die_with_parent(void);
