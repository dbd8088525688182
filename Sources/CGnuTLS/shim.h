#pragma once

// What of GnuTLS's interface Swift does not import or cannot use as it is, under the name it has there.

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>

#include <string.h>

// `gnutls_malloc` is a variable that holds a function, which Swift takes for shared mutable state.
static inline int CGnuTLS_datum_copy(gnutls_datum_t *datum, const void *bytes, unsigned int count) {
    datum->data = gnutls_malloc(count);
    if (datum->data == NULL) return GNUTLS_E_MEMORY_ERROR;
    memcpy(datum->data, bytes, count);
    datum->size = count;
    return 0;
}

static inline void CGnuTLS_datum_free(gnutls_datum_t *datum) {
    gnutls_free(datum->data);
    datum->size = 0;
}
