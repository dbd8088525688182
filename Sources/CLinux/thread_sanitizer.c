// Makes Swift's Mutex known to the thread sanitizer. Part of sanitized builds only.
//
// A Mutex that is free is taken by code that the compiler inlines and the sanitizer sees. One that is taken is waited for
// in libswiftSynchronization, which is not instrumented, by a futex that the kernel hands over: the sanitizer sees no
// order between the two holders and reports a race of whatever the Mutex guards. This takes the place of that function.
#if __has_feature(thread_sanitizer)

#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>

// Synchronization._MutexHandle._lockSlow(_ selfId: UInt32), whose word is 0 or the id of the thread that holds it.
#define SWIFT_METHOD __attribute__((swiftcall))
#define SWIFT_SELF __attribute__((swift_context))

SWIFT_METHOD void clinux_lock_slow(uint32_t thread, SWIFT_SELF _Atomic(uint32_t) *word)
    __asm__("$s15Synchronization12_MutexHandleV9_lockSlowyys6UInt32VF");

SWIFT_METHOD void clinux_lock_slow(uint32_t thread, SWIFT_SELF _Atomic(uint32_t) *word) {
    uint32_t holder = 0;
    while (!atomic_compare_exchange_weak_explicit(word, &holder, thread, memory_order_acquire, memory_order_relaxed)) {
        // Like the original, which traps on a thread that waits for itself.
        if (holder == thread) __builtin_trap();
        holder = 0;
        sched_yield();
    }
}

#endif
