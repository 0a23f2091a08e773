/* Every kernel on every kind of problem, for AddressSanitizer and UndefinedBehaviorSanitizer. */
#include "harness.h"

#ifndef STEPS /* of each setting */
#define STEPS 80
#endif

static int polls;

static int poll(void) {
    polls++;
    return 0;
}

static double *no_nan(const problem *p, void *a, int64_t count) {
    for (int64_t i = 0; i < count; i++) CHECK(isfinite(get(p, a, i)), "entry %d; %s", (int)i, describe(p));
    return a;
}

/* Sweeps at x with everything that a sweep can do, and with as little as it can. Fills mu and the cache. */
static void sweep(problem *p, int64_t first, int64_t last) {
    const asv_network *net = &p->net;
    void *scratch = array(p->kernels->sweep_scratch(net, &p->data), EXACT);
    void *gradient = array((size_t)net->d * p->real, SPARE), *outputs = array(N * OUTPUTS * p->real, EXACT);
    asv_samples unlabelled = p->data;
    asv_sweep all = {.net = net, .data = &p->data, .x = p->inner.x, .gradient = gradient, .outputs = outputs};
    asv_sweep loss = {.net = net, .data = &p->data, .x = p->inner.x};
    asv_sweep predict = {.net = net, .data = &unlabelled, .x = p->inner.x, .outputs = outputs};
    all.cache = (void *)p->inner.direction.cache;
    unlabelled.labels = NULL;
    unlabelled.targets = unlabelled.weight = NULL;
    p->kernels->sweep(&all, first, last, scratch, 0, &p->control);
    p->kernels->sweep(&loss, first, last, scratch, 0, &p->control);
    p->kernels->sweep(&predict, first, last, scratch, 0, &p->control);
    asv_network without_blas = *net;
    without_blas.gemm = NULL;
    without_blas.tiles = 0;
    predict.net = &without_blas;
    scratch = array(p->kernels->sweep_scratch(&without_blas, &unlabelled), EXACT);
    p->kernels->sweep(&predict, first, last, scratch, 0, &p->control);
    CHECK(all.evaluated == last - first && all.loss == loss.loss && isfinite(loss.loss), "%s", describe(p));
    no_nan(p, gradient, net->d);
    no_nan(p, outputs, N * OUTPUTS);
    if (p->inner.direction.mu)
        for (int64_t k = 0; k < net->d; k++)
            put(p, (void *)p->inner.direction.mu, k, get(p, p->inner.direction.mu, k) + get(p, gradient, k) / N);
}

/* By one thread, which does all parts. */
static void iterate(const problem *p, int64_t steps, void *scratch) {
    if (p->is.execution == ASV_LOCKSTEP)
        p->kernels->run_lockstep(&p->inner, steps, scratch, p->kernels->inner_scratch(&p->inner), 0, 1);
    else
        p->kernels->run_shared(&p->inner, steps, scratch, 0);
}

static void form(problem *p, void *v) {
    const asv_inner loop = p->inner;
    p->inner.padded = (asv_padded){0};
    p->inner.preconditioner.shift = NULL;
    void *scratch = array(p->kernels->inner_scratch(&p->inner), EXACT);
    for (int64_t t = 0; t < STEPS; t++) {
        p->kernels->direction(&p->inner, t, 0, BATCH, v, scratch);
        no_nan(p, v, p->net.d);
        for (int64_t r = 0; r < BATCH; r++) p->kernels->direction(&p->inner, t, r, r + 1, v, scratch);
    }
    if (p->inner.direction.cache) { /* that has nothing yet */
        int64_t passes = 0;
        p->inner.direction.known = array(N * sizeof(int32_t), EXACT);
        for (int64_t t = 0; t < STEPS; t++) passes += p->kernels->complete(&p->inner, t, 0, BATCH, scratch);
        for (int64_t i = 0; i < N; i++) passes -= p->inner.direction.known[i];
        CHECK(passes == 0, "%d passes more than samples; %s", (int)passes, describe(p));
    }
    p->inner = loop;
}

static void run(setting is) {
    problem p = make_problem(is);
    make_inner(&p, STEPS);
    fill(&p, p.inner.x, p.net.d, 6, 0.3);
    memcpy((void *)p.inner.direction.reference, p.inner.x, (size_t)p.net.d * p.real);
    p.control.poll = poll;
    sweep(&p, 0, N - 1);
    sweep(&p, N - 1, N);
    void *scratch = array(p.kernels->inner_scratch(&p.inner) * (size_t)(is.parts ? is.parts : 1), EXACT);
    move_rows(&p, 0);
    iterate(&p, STEPS, scratch);
    move_rows(&p, 1);
    if (p.inner.lazy.done || p.inner.preconditioner.shift) p.kernels->settle(&p.inner, STEPS, 0, P);
    no_nan(&p, p.inner.x, p.net.d);
    for (int64_t t = 0; t < STEPS; t++) CHECK(p.inner.delays[t] == 0, "step %d; %s", (int)t, describe(&p));
    CHECK(memcmp(p.inner.x, p.inner.direction.reference, (size_t)p.net.d * p.real) != 0, "%s", describe(&p));
    /* Its direction as a vector, in one part and in several, by a loop of all coordinates with plain stores. */
    void *v = array((size_t)p.net.d * p.real, SPARE);
    if (is.execution != ASV_LOCKSTEP && is.memory == ASV_PLAIN && !is.subset && !p.inner.lazy.done &&
        is.direction != ASV_page)
        form(&p, v);
    /* And in half precision. */
    uint16_t *half = array((size_t)p.net.d * sizeof(uint16_t), EXACT);
    p.kernels->to_half(v, p.net.d, 1, half);
    p.kernels->from_half(half, p.net.d, 2, p.inner.x);
    for (int64_t k = 0; k < p.net.d; k++) {
        const double before = get(&p, v, k), after = get(&p, p.inner.x, k) / 2;
        CHECK(fabs(after - before) <= fabs(before) / 2047 + 1e-7, "half precision %d; %s", (int)k, describe(&p));
    }
    /* A stopped loop touches nothing. */
    p.control.deadline = 0;
    p.inner.delays[0] = -1;
    memset(p.inner.counters, 0, (size_t)(4 + is.parts + is.threads) * ASV_COUNTER_STRIDE * sizeof(int64_t));
    iterate(&p, 1, scratch);
    CHECK(p.inner.delays[0] == -1 && p.control.stop == ASV_OUT_OF_TIME, "%s", describe(&p));
    p.kernels->atomic_subtract(p.inner.x, p.net.d - 1, 1);
    release_all();
}

int main(void) {
    alarm(MOST_SECONDS);
    static const struct {
        int64_t subset, block;
    } coordinates[] = {{0, 1}, {50, 1}, {100, 16}, {90, 7}};
    int count = 0;
    for (int i = 0; i < 2 * 2 * 3 * 3; i++)
        for (int direction = 0; direction < 4; direction++)
            for (int c = 0; c < 4; c++)
                for (int mode = 0; mode < 4; mode++) { /* memory modes; and lockstep, which is for all coordinates */
                    const int lockstep = mode == 3, memory = lockstep ? ASV_PLAIN : mode;
                    const int page = direction == 3; /* updates of all coordinates, one after the other */
                    if (lockstep && coordinates[c].subset) continue;
                    if (page && (memory != ASV_PLAIN || coordinates[c].subset || i / 12 == SPARSE)) continue;
                    if (memory == ASV_STRIPED && coordinates[c].subset && coordinates[c].block == 1) continue;
                    run((setting){
                        .precise = i & 1,
                        .loss = i & 2 ? 1 + count % (ASV_LOSS_COUNT - 1) : ASV_softmax,
                        .depth = i / 4 % 3,
                        .form = i / 12,
                        /* What the rest does not depend on takes turns; 5 and 3 keep it out of step with the loops. */
                        .activation = count / 5 % ASV_ACTIVATION_COUNT,
                        .weighted = !page && count / 3 % 2,
                        .direction = page        ? ASV_page
                                     : direction ? ASV_svrg
                                                 : ASV_sgd,
                        .cached = direction == 1,
                        .execution = lockstep              ? ASV_LOCKSTEP
                                     : memory == ASV_PLAIN ? ASV_SERIAL
                                                           : ASV_SHARED,
                        .memory = memory,
                        .subset = coordinates[c].subset,
                        .block = coordinates[c].block,
                        .max_delay = count % 7 ? -1 : 0,
                        .tiles = count / 2 % 2,
                        .parts = lockstep ? 1 + count % 4 : 0,
                        .threads = mode == ASV_PLAIN ? 1 : 2, /* 2: with a private copy of x^ */
                    });
                    count++;
                }
    CHECK(polls > 0, "the kernels never polled");
    printf("memory: %d settings, %d steps each\n", count, STEPS);
    return 0;
}
