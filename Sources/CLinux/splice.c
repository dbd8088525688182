#define _GNU_SOURCE
#include "clinux.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

#ifndef SOL_TLS
#define SOL_TLS 282
#endif

// As in clinux.c.
#ifdef CULVERT_FAULTS
#include "faults.h"
#define splice faulty_splice
#endif

int clinux_pipe(int descriptors[2], int capacity) {
    if (pipe2(descriptors, O_CLOEXEC | O_NONBLOCK) < 0) return -errno;
    // Unprivileged processes may be refused more than they have; the pipe then keeps its 64 KiB.
    int granted = fcntl(descriptors[1], F_SETPIPE_SZ, capacity);
    return granted > 0 ? granted : fcntl(descriptors[1], F_GETPIPE_SZ);
}

ssize_t clinux_splice(int from, int to, size_t count, int waits) {
    ssize_t result;
    do result = splice(from, NULL, to, NULL, count, SPLICE_F_MOVE | (waits ? 0 : SPLICE_F_NONBLOCK));
    while (result < 0 && errno == EINTR);
    return result < 0 ? -errno : result;
}

int clinux_has_kernel_tls(void) {
    // A socket that is not connected cannot have the protocol: ENOTCONN means that the kernel knows it, ENOENT that it does not.
    int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (descriptor < 0) return -errno;
    int result = setsockopt(descriptor, SOL_TCP, TCP_ULP, "tls", sizeof "tls");
    int error = result < 0 ? errno : 0;
    close(descriptor);
    return error == 0 || error == ENOTCONN ? 1 : 0;
}

int clinux_start_kernel_tls(int descriptor) {
    return setsockopt(descriptor, SOL_TCP, TCP_ULP, "tls", sizeof "tls") < 0 ? -errno : 0;
}

int clinux_set_kernel_tls_key(
    int descriptor, int sending, const void *key, size_t key_length, const void *nonce, uint64_t sequence) {
    // The structures of both ciphers have the same members in the same order, all of them bytes.
    struct tls12_crypto_info_aes_gcm_256 info = {.info.version = TLS_1_3_VERSION};
    switch (key_length) {
    case TLS_CIPHER_AES_GCM_128_KEY_SIZE: info.info.cipher_type = TLS_CIPHER_AES_GCM_128; break;
    case TLS_CIPHER_AES_GCM_256_KEY_SIZE: info.info.cipher_type = TLS_CIPHER_AES_GCM_256; break;
    default: return -EINVAL;
    }
    // Of the 12 bytes of nonce, the kernel calls the first four the salt.
    const unsigned char *salt = nonce, *iv = salt + TLS_CIPHER_AES_GCM_256_SALT_SIZE;
    uint64_t number = htobe64(sequence);
    unsigned char *begin = (unsigned char *)&info, *end = begin + sizeof info.info;
    end = mempcpy(end, iv, sizeof info.iv);
    end = mempcpy(end, key, key_length);
    end = mempcpy(end, salt, sizeof info.salt);
    end = mempcpy(end, &number, sizeof info.rec_seq);
    socklen_t length = (socklen_t)(end - begin);
    int result = setsockopt(descriptor, SOL_TLS, sending ? TLS_TX : TLS_RX, &info, length) < 0 ? -errno : 0;
    explicit_bzero(&info, sizeof info);
    return result;
}
