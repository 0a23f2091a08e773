/* Stopping a long loop: Ctrl-C and time limits. */
#ifndef ASYSVRG_CONTROL_H
#define ASYSVRG_CONTROL_H

#include "atomic.h"
#include "subnormal.h"
#include "system.h"
#include "types.h"

#define ASV_POLL_SECONDS 0.05

/* Non-zero when the loop has to end. Only thread 0 looks at the clock and polls: it is the caller's own thread,
 * the only one that may run Python's signal handlers. */
static inline int asv_stopped(asv_control *control, int thread) {
    int stop = asv_flag_read(&control->stop);
    if (stop) return stop; /* without a look at the clock */
    if (thread == 0) {
        double now = asv_now();
        if (now >= control->deadline) asv_flag_raise(&control->stop, ASV_OUT_OF_TIME);
        if (control->poll && now >= control->next_poll) {
            control->next_poll = now + ASV_POLL_SECONDS;
            const uint64_t state = asv_subnormals(0); /* Python's signal handlers compute as usual */
            if (control->poll()) asv_flag_raise(&control->stop, ASV_INTERRUPTED);
            asv_restore_subnormals(state);
        }
    }
    return asv_flag_read(&control->stop);
}

#endif
