/* The memory model; the only file with atomics. A read or a write of a coordinate is never torn. Reads and writes of
 * different coordinates have no order (relaxed). Eq. (4) and Eq. (6) of the paper assume no more. */
#ifndef ASYSVRG_ATOMIC_H
#define ASYSVRG_ATOMIC_H

#include <stdint.h>
#include <string.h>

#include "rule.h"
#include "system.h"

typedef uint64_t asv_word __attribute__((may_alias));
enum { ASV_WORD = (int)sizeof(asv_word) };

/* x -= delta, none lost: a compare-and-swap, repeated while another thread came between. */
#define ASV_DEFINE_ATOMIC_SUBTRACT(name, type)                                                                         \
    static inline void name(type *x, type delta) {                                                                     \
        type seen, wanted;                                                                                             \
        __atomic_load(x, &seen, __ATOMIC_RELAXED);                                                                     \
        do wanted = seen - delta;                                                                                      \
        while (!__atomic_compare_exchange(x, &seen, &wanted, 1, __ATOMIC_RELAXED, __ATOMIC_RELAXED));                  \
    }

/* The step of Eq. (4) for the numbers of one word, to which x is aligned; none lost. Two float32 at once take half the
 * time of one after the other. */
#define ASV_DEFINE_ATOMIC_STEP(name, type)                                                                             \
    static inline void name(type *x, const type *g, type eta, type decay) {                                            \
        asv_word *word = (asv_word *)x, seen = __atomic_load_n(word, __ATOMIC_RELAXED), wanted;                        \
        type now[ASV_WORD / sizeof(type)];                                                                             \
        do {                                                                                                           \
            memcpy(now, &seen, ASV_WORD);                                                                              \
            for (size_t c = 0; c < ASV_WORD / sizeof(type); c++) now[c] -= ASV_STEP(now[c], g[c], eta, decay);         \
            memcpy(&wanted, now, ASV_WORD);                                                                            \
        } while (!__atomic_compare_exchange_n(word, &seen, wanted, 1, __ATOMIC_RELAXED, __ATOMIC_RELAXED));            \
    }

#define ASV_DEFINE_RELAXED_LOAD(name, type)                                                                            \
    static inline type name(const type *x) {                                                                           \
        type seen;                                                                                                     \
        __atomic_load(x, &seen, __ATOMIC_RELAXED);                                                                     \
        return seen;                                                                                                   \
    }

#define ASV_DEFINE_RELAXED_STORE(name, type)                                                                           \
    static inline void name(type *x, type value) { __atomic_store(x, &value, __ATOMIC_RELAXED); }

static inline int64_t asv_count_read(const int64_t *counter) { return __atomic_load_n(counter, __ATOMIC_ACQUIRE); }

static inline void asv_count_up(int64_t *counter, int64_t by) {
    if (by) __atomic_fetch_add(counter, by, __ATOMIC_RELEASE);
}

static inline void asv_count_set(int64_t *counter, int64_t value) {
    __atomic_store_n(counter, value, __ATOMIC_RELEASE);
}

/* Raises `counter` from `value` to the next number, unless another thread has. Returns whether it did. */
static inline int asv_take(int64_t *counter, int64_t value) {
    return __atomic_compare_exchange_n(counter, &value, value + 1, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

/* Takes the next number of `counter` unless it is more than `most` above `base`. Returns it, or -1. */
static inline int64_t asv_claim(int64_t *counter, int64_t base, int64_t most) {
    if (most < 0) return __atomic_fetch_add(counter, 1, __ATOMIC_ACQ_REL);
    int64_t seen = __atomic_load_n(counter, __ATOMIC_RELAXED);
    do {
        if (seen - base > most) return -1;
    } while (!__atomic_compare_exchange_n(counter, &seen, seen + 1, 1, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED));
    return seen;
}

/* Tells the processor that this thread only waits. */
static inline void asv_pause(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

/* How often a waiting thread looks before it yields its core. It must yield soon, because there may be more threads
 * than cores. At a lock it looks longer: another thread would start from an x that this one is about to change. */
enum { ASV_LOOKS_AT_LOCK = 1000, ASV_LOOKS_AT_MEETING = 100 };

static inline void asv_wait(int64_t looks, int64_t patience) {
    asv_pause();
    if (looks > patience) asv_yield();
}

/* Waits until `arrivals` have come, of which this is one. */
static inline void asv_meet(int64_t *counter, int64_t arrivals) {
    __atomic_fetch_add(counter, 1, __ATOMIC_ACQ_REL);
    for (int64_t looks = 0; asv_count_read(counter) < arrivals; looks++) asv_wait(looks, ASV_LOOKS_AT_MEETING);
}

static inline int asv_try_lock(int32_t *lock) {
    return __atomic_load_n(lock, __ATOMIC_RELAXED) == 0 && __atomic_exchange_n(lock, 1, __ATOMIC_ACQUIRE) == 0;
}

static inline void asv_lock(int32_t *lock) {
    for (int64_t looks = 0; !asv_try_lock(lock); looks++) asv_wait(looks, ASV_LOOKS_AT_LOCK);
}

static inline void asv_unlock(int32_t *lock) { __atomic_store_n(lock, 0, __ATOMIC_RELEASE); }

/* A thread that reads a raised flag also sees all that was written before the flag was raised. */
static inline int asv_flag_read(const int *flag) { return __atomic_load_n(flag, __ATOMIC_ACQUIRE); }

static inline void asv_flag_raise(int *flag, int value) { __atomic_store_n(flag, value, __ATOMIC_RELEASE); }

#endif
