#ifdef __x86_64__

#define _GNU_SOURCE
#include "cipsecmb.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if !__has_include(<intel-ipsec-mb.h>)
#error "intel-ipsec-mb.h is missing; on Debian or Ubuntu, install libipsec-mb-dev"
#endif
// The header aligns its structures only if it is told so.
#define LINUX
#include <intel-ipsec-mb.h>

const char *const cipsecmb_name = "libIPSec_MB.so.1";
const unsigned cipsecmb_version = IMB_VERSION_NUM;
// The library has its VAES code used only if the CPU has all of these.
const uint64_t cipsecmb_features = IMB_CPUFLAGS_AVX512_T2;

// What one length of keys needs. None of it uses the manager that it comes from.
struct functions {
    aes_gcm_pre_t expand;
    aes_gcm_init_t start;
    aes_gcm_enc_dec_update_t encrypt;
    aes_gcm_enc_dec_finalize_t finish;
    aes_gcm_enc_dec_t decrypt;
};

struct cipsecmb_library {
    struct functions aes128, aes256;
    const char *version;
};

struct cipsecmb_key {
    struct gcm_key_data expanded;
    struct gcm_context_data context;
    const struct functions *functions;
};

struct symbols {
    __typeof__(imb_get_version) *version;
    __typeof__(imb_get_version_str) *version_text;
    __typeof__(imb_get_feature_flags) *features;
    __typeof__(imb_get_errno) *error;
    __typeof__(imb_get_strerror) *error_text;
    __typeof__(alloc_mb_mgr) *allocate;
    __typeof__(init_mb_mgr_avx512) *initialize;
    __typeof__(free_mb_mgr) *release;
};

static bool find_symbols(void *library, struct symbols *found) {
    return (found->version = dlsym(library, "imb_get_version"))
        && (found->version_text = dlsym(library, "imb_get_version_str"))
        && (found->features = dlsym(library, "imb_get_feature_flags"))
        && (found->error = dlsym(library, "imb_get_errno"))
        && (found->error_text = dlsym(library, "imb_get_strerror"))
        && (found->allocate = dlsym(library, "alloc_mb_mgr"))
        && (found->initialize = dlsym(library, "init_mb_mgr_avx512"))
        && (found->release = dlsym(library, "free_mb_mgr"));
}

// The library asks the CPU what it has, but not whether the kernel lets it be used.
static bool kernel_allows_avx512(void) { return __builtin_cpu_supports("avx512f"); }

static bool fill(struct cipsecmb_library *library, const struct symbols *symbols, char *reason, size_t capacity) {
    IMB_MGR *manager = symbols->allocate(0);
    if (manager == NULL) {
        snprintf(reason, capacity, "it has no memory");
        return false;
    }
    // This tests the library's algorithms, too.
    symbols->initialize(manager);
    const int error = symbols->error(manager);
    library->aes128 = (struct functions){
        manager->gcm128_pre, manager->gcm128_init, manager->gcm128_enc_update, manager->gcm128_enc_finalize,
        manager->gcm128_dec};
    library->aes256 = (struct functions){
        manager->gcm256_pre, manager->gcm256_init, manager->gcm256_enc_update, manager->gcm256_enc_finalize,
        manager->gcm256_dec};
    library->version = symbols->version_text();
    symbols->release(manager);
    if (error == 0) return true;
    snprintf(reason, capacity, "it cannot start: %s", symbols->error_text(error));
    return false;
}

static struct cipsecmb_library *load_from(
    void *handle, unsigned version, uint64_t features, char *reason, size_t capacity) {
    struct symbols symbols;
    if (!find_symbols(handle, &symbols)) {
        snprintf(reason, capacity, "it lacks functions that version %u.%u has", version >> 16, version >> 8 & 255);
        return NULL;
    }
    if (symbols.version() >> 8 != version >> 8) {
        snprintf(
            reason, capacity, "it is version %s, and this program was built for %u.%u", symbols.version_text(),
            version >> 16, version >> 8 & 255);
        return NULL;
    }
    if ((symbols.features() & features) != features || !kernel_allows_avx512()) {
        snprintf(reason, capacity, "this CPU lacks what its fast code needs: AVX-512, VAES, VPCLMULQDQ, GFNI, IFMA, SHA");
        return NULL;
    }
    struct cipsecmb_library *library = malloc(sizeof *library);
    if (library != NULL && fill(library, &symbols, reason, capacity)) return library;
    free(library);
    return NULL;
}

const struct cipsecmb_library *cipsecmb_load(
    const char *name, unsigned version, uint64_t features, char *reason, size_t capacity) {
    void *handle = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL) {
        snprintf(reason, capacity, "%s", dlerror());
        return NULL;
    }
    struct cipsecmb_library *library = load_from(handle, version, features, reason, capacity);
    if (library == NULL) dlclose(handle);
    return library;
}

const char *cipsecmb_version_text(const struct cipsecmb_library *library) { return library->version; }

struct cipsecmb_key *cipsecmb_key_make(const struct cipsecmb_library *library, const void *key, size_t length) {
    struct cipsecmb_key *made = aligned_alloc(_Alignof(struct cipsecmb_key), sizeof *made);
    if (made == NULL) return NULL;
    made->functions = length == IMB_KEY_128_BYTES ? &library->aes128 : &library->aes256;
    made->functions->expand(key, &made->expanded);
    return made;
}

void cipsecmb_key_free(struct cipsecmb_key *key) {
    explicit_bzero(key, sizeof *key);
    free(key);
}

void cipsecmb_seal(
    struct cipsecmb_key *key, const void *nonce, const void *header, size_t header_length, const void *plaintext,
    size_t count, uint8_t last, void *body) {
    uint8_t *output = body;
    key->functions->start(&key->expanded, &key->context, nonce, header, header_length);
    if (count > 0) key->functions->encrypt(&key->expanded, &key->context, output, plaintext, count);
    key->functions->encrypt(&key->expanded, &key->context, output + count, &last, 1);
    key->functions->finish(&key->expanded, &key->context, output + count + 1, CIPSECMB_TAG_LENGTH);
}

void cipsecmb_open(
    struct cipsecmb_key *key, const void *nonce, const void *header, size_t header_length, const void *ciphertext,
    size_t count, void *plaintext, void *tag) {
    key->functions->decrypt(
        &key->expanded, &key->context, plaintext, ciphertext, count, nonce, header, header_length, tag,
        CIPSECMB_TAG_LENGTH);
}

#endif
