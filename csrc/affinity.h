/* A core for each thread, to start with. A thread that wakes up on the core of another one may stay there for dozens of
 * milliseconds, beside an idle core: to the system's scheduler both look too busy to be moved. */
#ifndef ASYSVRG_AFFINITY_H
#define ASYSVRG_AFFINITY_H

#include "atomic.h"

#if defined(__linux__) && defined(CPU_SETSIZE)
static inline int asv_is_among(int core, const int32_t *cores, int64_t count) {
    for (int64_t k = 0; k < count; k++)
        if (cores[k] == core) return 1;
    return 0;
}

/* If a thread of a lower number is on the same core, `thread` of `threads` moves to a free core. Its affinity is
 * restored at once, so that the system may move it again. All threads call this; cores: one for each; arrivals: 0
 * before. */
static inline void asv_spread(int32_t *cores, int64_t *arrivals, int64_t thread, int64_t threads) {
    cpu_set_t allowed, one;
    int64_t core = -1;
    cores[thread] = sched_getcpu();
    asv_meet(arrivals, threads);
    if (!asv_is_among(cores[thread], cores, thread)) return;
    if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) return;
    for (int64_t k = 0; k <= thread; k++) { /* each thread counts the free cores that those before it take */
        if (!asv_is_among(cores[k], cores, k)) continue;
        do core++;
        while (core < CPU_SETSIZE && (!CPU_ISSET(core, &allowed) || asv_is_among((int)core, cores, threads)));
    }
    if (core >= CPU_SETSIZE) return; /* more threads than cores */
    CPU_ZERO(&one);
    CPU_SET(core, &one);
    if (sched_setaffinity(0, sizeof(one), &one) == 0) sched_setaffinity(0, sizeof(allowed), &allowed);
}

static inline int64_t asv_core(void) { return sched_getcpu(); }

/* If this thread is on `core`, which another one needs, it moves to the k-th of the others, round and round. */
static inline void asv_leave(int64_t core, int64_t k) {
    cpu_set_t allowed, one;
    if (core < 0 || sched_getcpu() != core || sched_getaffinity(0, sizeof(allowed), &allowed) != 0) return;
    int64_t others = CPU_COUNT(&allowed) - (CPU_ISSET(core, &allowed) != 0), at = 0;
    if (others == 0) return;
    for (k %= others; !CPU_ISSET(at, &allowed) || at == core || k-- > 0;) at++;
    CPU_ZERO(&one);
    CPU_SET(at, &one);
    if (sched_setaffinity(0, sizeof(one), &one) == 0) sched_setaffinity(0, sizeof(allowed), &allowed);
}
#else
static inline int64_t asv_core(void) { return -1; }
static inline void asv_leave(int64_t core, int64_t k) {}
static inline void asv_spread(int32_t *cores, int64_t *arrivals, int64_t thread, int64_t threads) {}
#endif

#endif
