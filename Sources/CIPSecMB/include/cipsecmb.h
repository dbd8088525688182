// AES-GCM as libipsec-mb does it on CPUs with VAES and AVX-512 (https://github.com/intel/intel-ipsec-mb).
//
// The library is loaded when it is asked for, so a program that uses this runs also where there is none.
#pragma once

#include <stddef.h>
#include <stdint.h>

// What a program asks for unless it tests refusals. The layout of the library's structures belongs to a version, so the
// version is that of the header this was compiled with, and only a patch level may differ.
extern const char *const cipsecmb_name;
extern const unsigned cipsecmb_version;
// As the library numbers the features of a CPU.
extern const uint64_t cipsecmb_features;

// A loaded library. It stays for good and never changes, so any thread may use it.
struct cipsecmb_library;

// Returns NULL if the library is not to be had, is of another version, or has not the fast code for this CPU, and says
// so in `reason`, cut to its `capacity`.
const struct cipsecmb_library *cipsecmb_load(
    const char *name, unsigned version, uint64_t features, char *reason, size_t capacity);

// For example "1.3.0".
const char *cipsecmb_version_text(const struct cipsecmb_library *library);

// One key, made ready, and room to work with it; for one thread at a time.
struct cipsecmb_key;

// `length` is 16 or 32. NULL if there is no memory.
struct cipsecmb_key *cipsecmb_key_make(const struct cipsecmb_library *library, const void *key, size_t length);

// Wipes it too.
void cipsecmb_key_free(struct cipsecmb_key *key);

enum { CIPSECMB_NONCE_LENGTH = 12, CIPSECMB_TAG_LENGTH = 16 };

// Encrypts `count` bytes of `plaintext` and `last` behind them, and puts the tag behind that. `header` is authenticated.
void cipsecmb_seal(
    struct cipsecmb_key *key, const void *nonce, const void *header, size_t header_length, const void *plaintext,
    size_t count, uint8_t last, void *body);

// Decrypts `count` bytes of `ciphertext`, and says what tag they should have had.
void cipsecmb_open(
    struct cipsecmb_key *key, const void *nonce, const void *header, size_t header_length, const void *ciphertext,
    size_t count, void *plaintext, void *tag);
