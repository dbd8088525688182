#ifndef __x86_64__

// There is no such library for other CPUs, and so nobody has what the functions but the first are called with.
#include "cipsecmb.h"

#include <stdio.h>

const char *const cipsecmb_name = "libIPSec_MB.so.1";
const unsigned cipsecmb_version = 0;
const uint64_t cipsecmb_features = 0;

const struct cipsecmb_library *cipsecmb_load(
    const char *name, unsigned version, uint64_t features, char *reason, size_t capacity) {
    snprintf(reason, capacity, "this program was built for CPUs that it does not know");
    return NULL;
}

const char *cipsecmb_version_text(const struct cipsecmb_library *library) { __builtin_trap(); }

struct cipsecmb_key *cipsecmb_key_make(const struct cipsecmb_library *library, const void *key, size_t length) {
    __builtin_trap();
}

void cipsecmb_key_free(struct cipsecmb_key *key) { __builtin_trap(); }

void cipsecmb_seal(
    struct cipsecmb_key *key, const void *nonce, const void *header, size_t header_length, const void *plaintext,
    size_t count, uint8_t last, void *body) {
    __builtin_trap();
}

void cipsecmb_open(
    struct cipsecmb_key *key, const void *nonce, const void *header, size_t header_length, const void *ciphertext,
    size_t count, void *plaintext, void *tag) {
    __builtin_trap();
}

#endif
