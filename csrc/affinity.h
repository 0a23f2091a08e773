/* A core for each thread. Threads that wake up on the core of another one may stay there for dozens of milliseconds,
 * beside an idle core: to the system's scheduler they look too busy to be moved. */
#ifndef ASYSVRG_SEATS_H
#define ASYSVRG_SEATS_H

#include "atomic.h"

#if defined(__linux__) && defined(CPU_SETSIZE)
static inline int asv_is_among(int seat, const int32_t *seats, int64_t count) {
    for (int64_t k = 0; k < count; k++)
        if (seats[k] == seat) return 1;
    return 0;
}

/* Thread `part` of `parts` goes to a core that nobody has, where one before it is on its own, and may be moved again at
 * once. All threads call this; seats: one for each; arrivals: 0 before. */
static inline void asv_take_seat(int32_t *seats, int64_t *arrivals, int64_t part, int64_t parts) {
    cpu_set_t allowed, one;
    int64_t seat = -1;
    seats[part] = sched_getcpu();
    asv_meet(arrivals, parts);
    if (!asv_is_among(seats[part], seats, part)) return;
    if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) return;
    for (int64_t k = 0; k <= part; k++) { /* as those before it, which all are looking for one, do */
        if (!asv_is_among(seats[k], seats, k)) continue;
        do seat++;
        while (seat < CPU_SETSIZE && (!CPU_ISSET(seat, &allowed) || asv_is_among((int)seat, seats, parts)));
    }
    if (seat >= CPU_SETSIZE) return; /* more threads than cores */
    CPU_ZERO(&one);
    CPU_SET(seat, &one);
    if (sched_setaffinity(0, sizeof(one), &one) == 0) sched_setaffinity(0, sizeof(allowed), &allowed);
}
#else
static inline void asv_take_seat(int32_t *seats, int64_t *arrivals, int64_t part, int64_t parts) {}
#endif

#endif
