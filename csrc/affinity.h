/* A core for each thread, to start with. A thread that wakes up on the core of another one may stay there for dozens of
 * milliseconds, beside an idle core: to the system's scheduler both look too busy to be moved. */
#ifndef ASYSVRG_AFFINITY_H
#define ASYSVRG_AFFINITY_H

#include "system.h"

#include "atomic.h"

static inline int asv_is_among(int64_t core, const int32_t *cores, int64_t count) {
    for (int64_t k = 0; k < count; k++)
        if (cores[k] == core) return 1;
    return 0;
}

/* If a thread of a lower number is on the same core, `thread` of `threads` moves to a free core. All threads call this;
 * cores: one for each; arrivals: 0 before. */
static inline void asv_spread(int32_t *cores, int64_t *arrivals, int64_t thread, int64_t threads) {
    asv_cores allowed;
    int64_t core = -1;
    cores[thread] = (int32_t)asv_core();
    asv_meet(arrivals, threads);
    if (!asv_is_among(cores[thread], cores, thread) || asv_allowed(&allowed) == 0) return;
    for (int64_t k = 0; k <= thread; k++) { /* each thread counts the free cores that those before it take */
        if (!asv_is_among(cores[k], cores, k)) continue;
        do core++;
        while (core < ASV_MOST_CORES && (!asv_allows(&allowed, core) || asv_is_among(core, cores, threads)));
    }
    if (core < ASV_MOST_CORES) asv_move(core, &allowed); /* else there are more threads than cores */
}

/* If this thread is on `core`, which another one needs, it moves to the k-th of the others, round and round. */
static inline void asv_leave(int64_t core, int64_t k) {
    asv_cores allowed;
    if (core < 0 || asv_core() != core) return;
    int64_t others = asv_allowed(&allowed), at = 0;
    if (others) others -= asv_allows(&allowed, core);
    if (others == 0) return;
    for (k %= others; !asv_allows(&allowed, at) || at == core || k-- > 0;) at++;
    asv_move(at, &allowed);
}

#endif
