#define _GNU_SOURCE
#include "clinux.h"

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

int clinux_pipe(int descriptors[2], int capacity) {
    if (pipe2(descriptors, O_CLOEXEC | O_NONBLOCK) < 0) return -errno;
    // Unprivileged processes may be refused more than they have; the pipe then keeps its 64 KiB.
    int granted = fcntl(descriptors[1], F_SETPIPE_SZ, capacity);
    return granted > 0 ? granted : fcntl(descriptors[1], F_GETPIPE_SZ);
}

ssize_t clinux_splice(int from, int to, size_t count) {
    ssize_t result;
    do result = splice(from, NULL, to, NULL, count, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
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
    const unsigned char *bytes = nonce;
    unsigned char number[8];
    for (int index = 0; index < 8; index++) number[index] = (unsigned char)(sequence >> (8 * (7 - index)));
    union {
        struct tls12_crypto_info_aes_gcm_128 aes128;
        struct tls12_crypto_info_aes_gcm_256 aes256;
    } info;
    socklen_t length;
    memset(&info, 0, sizeof info);
    // Of the 12 bytes of nonce, the kernel calls the first four the salt.
    switch (key_length) {
    case TLS_CIPHER_AES_GCM_128_KEY_SIZE:
        info.aes128.info.version = TLS_1_3_VERSION;
        info.aes128.info.cipher_type = TLS_CIPHER_AES_GCM_128;
        memcpy(info.aes128.key, key, key_length);
        memcpy(info.aes128.salt, bytes, 4);
        memcpy(info.aes128.iv, bytes + 4, 8);
        memcpy(info.aes128.rec_seq, number, 8);
        length = sizeof info.aes128;
        break;
    case TLS_CIPHER_AES_GCM_256_KEY_SIZE:
        info.aes256.info.version = TLS_1_3_VERSION;
        info.aes256.info.cipher_type = TLS_CIPHER_AES_GCM_256;
        memcpy(info.aes256.key, key, key_length);
        memcpy(info.aes256.salt, bytes, 4);
        memcpy(info.aes256.iv, bytes + 4, 8);
        memcpy(info.aes256.rec_seq, number, 8);
        length = sizeof info.aes256;
        break;
    default:
        return -EINVAL;
    }
    int result = setsockopt(descriptor, SOL_TLS, sending ? TLS_TX : TLS_RX, &info, length) < 0 ? -errno : 0;
    explicit_bzero(&info, sizeof info);
    return result;
}
