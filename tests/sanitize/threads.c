/* Threads on one x, for ThreadSanitizer, and the accounting: no update may be lost.
 *
 * All samples weigh nothing, so that grad f_i is zero and v = mu, a constant: every update subtracts exactly eta mu_k
 * from each of its coordinates, and x ends where the number of updates says, whatever the threads read in between.
 * eta and mu are such that the sums are exact in either precision.
 *
 * The argument is "lockstep" for threads that share each update, and "shared" for all others: these read x while it is
 * written, and in lockstep nobody does. */
#include <pthread.h>

#include "harness.h"

#ifndef STEPS /* of each setting, by all threads together */
#define STEPS 200
#endif
enum { THREADS = 4 };

typedef struct {
    problem *p;
    char *all; /* threads' scratch, so far apart: */
    size_t stride;
    int number;
} worker;

static pthread_barrier_t start;

static void *work(void *argument) {
    worker *w = argument;
    const problem *p = w->p;
    pthread_barrier_wait(&start);
    if (p->is.execution == ASV_LOCKSTEP) {
        p->kernels->run_lockstep(&p->inner, STEPS, w->all, w->stride, w->number, THREADS);
        return NULL;
    }
    p->kernels->run_shared(&p->inner, STEPS, w->all + (size_t)w->number * w->stride, w->number);
    return NULL;
}

static double mu_of(int64_t k) { return 1 + (double)(k % 7); }

/* Updates of each coordinate, by the kernels' own draws. */
static void count_updates(const problem *p, int64_t *updates) {
    int64_t d = p->net.d, block = p->is.block;
    if (!p->is.subset) {
        for (int64_t k = 0; k < d; k++) updates[k] = STEPS;
        return;
    }
    int64_t *chosen = array((size_t)asv_most_blocks(d, p->is.subset, block) * sizeof(int64_t), EXACT);
    uint64_t *marks = array((size_t)(d / block / 64 + 1) * sizeof(uint64_t), EXACT);
    for (uint64_t t = 0; t < STEPS; t++) {
        int64_t count =
            asv_draw_blocks(p->inner.draws.seed, p->inner.draws.epoch, t, d, p->is.subset, block, chosen, marks);
        for (int64_t c = 0; c < count; c++)
            for (int64_t k = chosen[c] * block; k < (chosen[c] + 1) * block && k < d; k++) updates[k]++;
    }
}

static void run(setting is) {
    problem p = make_problem(is);
    make_inner(&p, STEPS);
    void *weight = array(N * p.real, EXACT);
    p.data.weight = weight;
    p.inner.f.alpha = array((size_t)(p.net.width[0] + p.net.layers - 1) * sizeof(double), EXACT);
    double *rates = array(STEPS * sizeof(double), EXACT);
    for (int64_t t = 0; t < STEPS; t++) rates[t] = 0x1p-6;
    p.inner.rule.eta = rates;
    for (int64_t k = 0; k < p.net.d; k++) {
        put(&p, p.inner.x, k, 1);
        put(&p, (void *)p.inner.direction.mu, k, mu_of(k));
    }
    move_rows(&p, 0);
    size_t stride = p.kernels->inner_scratch(&p.inner);
    char *all = array((size_t)(THREADS + is.parts) * stride, EXACT);
    worker workers[THREADS];
    pthread_t handles[THREADS];
    pthread_barrier_init(&start, NULL, THREADS);
    for (int i = 0; i < THREADS; i++) {
        workers[i] = (worker){&p, all, stride, i};
        CHECK(pthread_create(&handles[i], NULL, work, &workers[i]) == 0, "no thread");
    }
    for (int i = 0; i < THREADS; i++) pthread_join(handles[i], NULL);
    move_rows(&p, 1);
    if (p.inner.lazy.done) p.kernels->settle(&p.inner, STEPS, 0, P);
    pthread_barrier_destroy(&start);

    int64_t *updates = array((size_t)p.net.d * sizeof(int64_t), EXACT);
    count_updates(&p, updates);
    for (int64_t k = 0; k < p.net.d; k++)
        CHECK(get(&p, p.inner.x, k) == 1 - (double)updates[k] * mu_of(k) / 64, "coordinate %d is %g, not %g; %s",
              (int)k, get(&p, p.inner.x, k), 1 - (double)updates[k] * mu_of(k) / 64, describe(&p));
    for (int64_t t = 0; t < STEPS; t++)
        CHECK(p.inner.delays[t] >= 0 && (is.max_delay < 0 || p.inner.delays[t] <= is.max_delay),
              "step %d has delay %d; %s", (int)t, p.inner.delays[t], describe(&p));
    release_all();
}

int main(int count_of_arguments, char **arguments) {
    const int lockstep = count_of_arguments == 2 && strcmp(arguments[1], "lockstep") == 0;
    alarm(MOST_SECONDS);
    static const struct {
        int memory;
        int64_t subset, block;
    } modes[] = {
        {ASV_ATOMIC, 0, 1}, {ASV_ATOMIC, 50, 1}, {ASV_ATOMIC, 100, 16}, {ASV_STRIPED, 100, 16}, {ASV_STRIPED, 0, 1}};
    enum { MODES = sizeof(modes) / sizeof(modes[0]) };
    int count = 0;
    for (int i = 0; i < 2 * 3 * 3; i++)
        for (int m = 0; m < (lockstep ? 2 : MODES); m++, count++) /* with a part for each thread, or more parts */
            run((setting){
                .precise = i & 1,
                .depth = i / 2 % 3,
                .form = i / 6,
                .activation = ASV_relu,
                .loss = i % 3 == 0 ? ASV_squared_error : ASV_softmax,
                .direction = ASV_svrg,
                .cached = count / 3 % 2,
                .execution = lockstep ? ASV_LOCKSTEP : ASV_SHARED,
                .memory = lockstep ? ASV_PLAIN : modes[m].memory,
                .subset = lockstep ? 0 : modes[m].subset,
                .block = lockstep ? 1 : modes[m].block,
                .max_delay = count % 5 ? -1 : 2,
                .threads = THREADS,
                .tiles = count / 2 % 2,
                .parts = lockstep ? THREADS + 3 * m : 0,
            });
    printf("threads: %d settings, %d steps by %d threads each; no update lost\n", count, STEPS, THREADS);
    return 0;
}
