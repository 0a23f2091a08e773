/* What the kernels are given. Nothing here depends on the precision: arrays of reals are `void *`, and each precision
 * (float32.c, float64.c) knows what they hold. No kernel allocates, prints, exits or keeps state.
 *
 * Letters follow the paper (Huo & Huang, AAAI-17): x parameters, x~ the snapshot, x^ what an iteration reads, mu the
 * full gradient at x~, v the direction, eta the learning rate, b the mini-batch size, m inner iterations, d parameters,
 * n samples.
 */
#ifndef ASYSVRG_TYPES_H
#define ASYSVRG_TYPES_H

#include <stddef.h>
#include <stdint.h>

#include "activations.h"
#include "losses.h"

/* The directions; Python takes their names from here. */
#define ASV_DIRECTIONS(DIRECTION) DIRECTION(sgd) DIRECTION(svrg) DIRECTION(page)

#define ASV_ENUM(name, ...) ASV_##name,
enum asv_activation { ASV_ACTIVATIONS(ASV_ENUM) ASV_ACTIVATION_COUNT };
enum asv_loss { ASV_LOSSES(ASV_ENUM) ASV_LOSS_COUNT };
enum asv_direction_kind { ASV_DIRECTIONS(ASV_ENUM) ASV_DIRECTION_COUNT };
#define ASV_STRING(name, ...) #name,
static const char *const asv_activation_names[] = {ASV_ACTIVATIONS(ASV_STRING)};
static const char *const asv_loss_names[] = {ASV_LOSSES(ASV_STRING)};
static const char *const asv_direction_names[] = {ASV_DIRECTIONS(ASV_STRING)};
#define ASV_KIND(name, kind, ...) ASV_##kind,
static const int asv_kinds_of_losses[] = {ASV_LOSSES(ASV_KIND)};
#define ASV_DEGREE(name, kind, degree, ...) degree,
static const int asv_degrees_of_losses[] = {ASV_LOSSES(ASV_DEGREE)};

enum asv_execution { ASV_SERIAL, ASV_SHARED, ASV_LOCKSTEP };
enum asv_memory { ASV_PLAIN, ASV_ATOMIC, ASV_STRIPED };

enum {
    ASV_LINE = 64, /* bytes of a cache line; parameters, caches and scratch have as many spare behind their end */
    ASV_BLOCK_ROWS = 64, /* samples that a sweep takes through the network at once, unless they are dense */
    ASV_STRIPE = 1024, /* coordinates that share a lock in ASV_STRIPED, where all are updated */
    ASV_POWERS = 4, /* of the rates, that `powers` of lazy rows have */
    ASV_COUNTER_STRIDE = 16, /* int64 between two counters: a pair of lines, so that prefetching does not tie them */
};

#define ASV_WORDS(bits) (((bits) + 63) / 64)

/* A fully connected network; its parameters are ONE vector x = [W_0 | b_0 | W_1 | b_1 | ...], W_l of shape
 * (width[l], width[l + 1]) in row-major order. This comment is the only statement of the layout, and
 * weight[], bias[] and unit[] the only offsets. */
typedef struct {
    int64_t layers; /* weight matrices L >= 1 */
    const int64_t *width; /* L + 1: inputs, hidden units, outputs */
    const int64_t *weight; /* L: where W_l starts in x */
    const int64_t *bias; /* L: where b_l starts in x */
    const int64_t *unit; /* L + 2: where layer l = 1 .. L starts in a row of all layers' units, each layer padded to
                            whole cache lines, then the row's length; unit[0] unused */
    int64_t units; /* width[1] + ... + width[L] */
    int64_t d; /* length of x */
    int activation; /* enum asv_activation, hidden layers */
    int loss; /* enum asv_loss */
    double smoothing; /* s of labels and indicators: what the loss takes for 1 is 1 - s, and s is shared by all classes.
                         It is a part of the loss, not of the samples: their labels stay, and errors are by these. */
    int no_biases; /* whether the biases, which then begin as zeros, have no gradient and stay so */
    void *gemm; /* Fortran sgemm or dgemm; or NULL, for outputs alone: products of few rows, without BLAS */
    int64_t tiles; /* from so many dense samples on, their products with W_0 are formed on tiles; 0: never */
} asv_network;

/* n samples: dense rows, or CSR with sorted column indices and no duplicates. With both, which hold the same numbers,
 * the products skip the zeros. */
typedef struct {
    int64_t n, p;
    const void *rows; /* n x p, or NULL */
    const void *values; /* CSR, or NULL */
    const int32_t *columns;
    const int64_t *start; /* n + 1, CSR */
    int64_t longest; /* most entries in a row, CSR */
    const int32_t *labels; /* n: for a loss of labels */
    const void *targets; /* n x width[L]: for the others */
    const void *weight; /* n, mean 1, or NULL */
} asv_samples;

/* How a long loop is stopped from outside: thread 0 calls `poll` now and then; all threads look at `stop`. */
typedef struct {
    int (*poll)(void); /* non-zero: stop. May be NULL */
    double next_poll; /* seconds on the clock of asv_now() */
    double deadline; /* likewise; infinity for none */
    int stop; /* 0, ASV_INTERRUPTED or ASV_OUT_OF_TIME; set once */
} asv_control;

enum { ASV_INTERRUPTED = 1, ASV_OUT_OF_TIME = 2 };

/* A sweep over samples: the loss, and where the pointers are not NULL the gradient, the cache, the outputs. */
typedef struct {
    const asv_network *net;
    const asv_samples *data;
    const void *x;
    void *gradient; /* d: sum_i of weight_i grad l_i; without l2, not divided by n */
    void *cache; /* n x cache_stride: per sample, hidden activations then deltas (kernels/layers.inc: keep_row) */
    void *outputs; /* n x width[L]: what the loss makes of the last layer's sums; NaN where a sum is not finite */
    double loss; /* out: sum_i weight_i l_i; NaN where an output is, for want of finite sums */
    double errors; /* out: sum of the weights of misclassified samples; squared residuals where there are targets */
    int64_t evaluated; /* out: samples done; fewer than asked when stopped */
} asv_sweep;

/* ---- The inner loop of one epoch, Algorithm 1. All threads share it, and none of them writes to it. ---- */

/* f of Eq. (1). */
typedef struct {
    const asv_network *net;
    const asv_samples *data;
    const double *alpha; /* l2: a number for each row of W_0, then for each further W_l */
} asv_objective;

/* v of Eq. (5) besides the mini-batch's gradients at x^: mu, and the mini-batch's gradients at a reference point. */
typedef struct {
    int kind; /* enum asv_direction_kind */
    void *mu; /* dense part of v: grad f(x~) without its l2 term (kernels/direction.inc); or NULL: none. ASV_page: the v
                 before, which each update replaces */
    void *reference; /* the point x~ of the gradients that are subtracted; or NULL where the cache has all of them.
                        ASV_page: the x before, which each update replaces */
    const void *cache; /* what a sweep kept at x~; or NULL: each iteration passes through the network at x~ */
    int32_t *known; /* with a cache, n: for which samples it has what it should, 1 or 0; `complete` adds others */
} asv_direction;

/* I_t, the mini-batch of iteration t, and how much the gradients of its samples count. */
typedef struct {
    uint64_t seed, epoch;
    int64_t first; /* of the epoch's iterations; t counts from there. Rates and delays begin with it */
    int64_t b;
    int replacement;
    const int32_t *list; /* n: samples that passes go through in place of 0 .. n - 1 (core/importance.py); or NULL */
    const void *ratio; /* with a list, n: 1 / (n p_i), what the gradient of sample i is multiplied by */
    void *norms; /* with a list, n, out: |d l_i / d z|, z the last layer's sums, when sample i was drawn last */
} asv_draws;

/* Eq. (4): how far x moves along v, on which coordinates, and how threads keep from losing an update. */
typedef struct {
    const double *eta; /* m: the rate of each iteration */
    int64_t subset; /* B coordinates that an update touches; 0: all */
    int64_t block; /* coordinates drawn together, from a multiple of it on: 1, or those of a cache line */
    int memory; /* enum asv_memory */
    int32_t *locks; /* ASV_STRIPED: one for each block of a subset; of all coordinates, one for each stripe, ASV_LINE
                       bytes apart */
    int adaptive; /* whether the rate of an update of delay tau is min(1, threads / (tau + 1)) times that of eta */
} asv_rule;

/* The low-rank preconditioner I - U U' (kernels/precondition.inc). */
typedef struct {
    int64_t rank; /* columns of each U_l; 0: none */
    const void *const *basis; /* L: U_l, (1 + width[l]) x rank, the bias's row first; NULL: not this layer */
    const void *transposed; /* U_0' without the bias's column, rank x width[0], where there is U_0 */
    const void *const *fixed; /* L: U_l' (mu + alpha x~), rank x width[l + 1] */
    void *shift; /* parts (else 1) x rank rows of layer 1's units: what `settle` adds to b_0 and W_0 is U_0 times a
                    part's rows, which are the same for all of them; or NULL: U_0 U_0' v is subtracted at once */
} asv_preconditioner;

/* Rows of W_0 whose dense updates wait until they are needed (kernels/lazy.inc). */
typedef struct {
    int32_t *done; /* width[0], zero at first: updates that each row has had; or NULL: no row waits */
    int32_t *locks; /* width[0] */
    const double *sums; /* (m + 1) x 2, where all rows of W_0 have one alpha: s and r of updates 0 .. k - 1; or NULL */
    const double *powers; /* (m + 1) x ASV_POWERS: sums of eta, eta^2, ... over updates 0 .. k - 1; or NULL */
} asv_lazy;

/* W_0 with its rows on whole cache lines, used in place of that in x; or NULL. */
typedef struct {
    void *rows;
    int holds_basis; /* whether the row of U_0 stands behind each row, within its last line */
    int as_if; /* whether sums have the bits that such rows would give, although there are none */
} asv_padded;

/* What threads in lockstep have found out about their speed, kept from epoch to epoch by thread 0; zero at first. */
typedef struct {
    double alone; /* iterations per nanosecond while the others rested; 0: unknown */
    int64_t known_until; /* when that is out of date */
    int64_t rest; /* how long the last rest was */
    int64_t left; /* of it, when the epoch ended; 0: nobody rests */
    int64_t time, count; /* nanoseconds and iterations since the last decision */
} asv_lockstep_pace;

/* Threads that share each update (kernels/lockstep.inc). */
typedef struct {
    int64_t parts; /* of an iteration */
    const int64_t *cuts; /* parts + 1: part k has rows cuts[k] .. cuts[k + 1] - 1 of W_0 */
    const int32_t *split; /* CSR, (parts - 1) x n: how many of each sample's entries are below the cuts within */
    asv_lockstep_pace *pace;
} asv_lockstep;

typedef struct {
    asv_objective f;
    void *x;
    const void *read; /* x^, of an iteration of a loop that one thread takes step by step; or NULL: it reads x itself */
    asv_direction direction;
    asv_draws draws;
    asv_rule rule;
    asv_preconditioner preconditioner;
    asv_lazy lazy;
    asv_padded padded;
    asv_lockstep lockstep;
    int execution; /* enum asv_execution */
    int64_t threads;
    int64_t max_delay; /* Delta of Assumption 4; negative: unbounded */
    int64_t *counters; /* ASV_SHARED: updates claimed at [0], completed at [ASV_COUNTER_STRIDE], iterations handed out
                          at [2 ASV_COUNTER_STRIDE]. ASV_LOCKSTEP: kernels/lockstep.inc */
    int32_t *delays; /* m, out: the delay of iteration t, or -1 if it was never carried out */
    int32_t *turns; /* m x 2, out, ASV_SHARED: which update it was, and by which thread; or NULL */
    int32_t *stripes; /* (m + 1) x 2 x stripes, out, ASV_STRIPED of all coordinates without lazy rows: row t + 1 is how
                         many updates each stripe had when iteration t read it, and when it wrote to it; row 0, zero at
                         first, counts the updates of each stripe so far. Or NULL. Not only in a run, but also when
                         scratch is sized */
    asv_control *control;
} asv_inner;

/* One precision's kernels. `scratch` is private to a thread, aligned to ASV_LINE and zero before its first use. */
typedef struct {
    size_t (*sweep_scratch)(const asv_network *, const asv_samples *);
    void (*sweep)(asv_sweep *, int64_t first, int64_t last, void *scratch, int thread, asv_control *);
    size_t (*inner_scratch)(const asv_inner *);
    void (*run_shared)(const asv_inner *, int64_t steps, void *scratch, int thread);
    void (*run_lockstep)(const asv_inner *, int64_t steps, char *scratch, size_t stride, int64_t member,
                         int64_t members);
    void (*settle)(const asv_inner *, int64_t done, int64_t first, int64_t last);
    void (*atomic_subtract)(void *x, int64_t k, double delta);
    void (*nonzeros)(const void *rows, int64_t n, int64_t p, void *values, int32_t *columns, int64_t *start);
    void (*direction)(const asv_inner *, int64_t t, int64_t first, int64_t last, void *v, void *scratch);
    int64_t (*complete)(const asv_inner *, int64_t t, int64_t first, int64_t last, void *scratch);
    void (*to_half)(const void *u, int64_t n, double scale, uint16_t *half);
    void (*from_half)(const uint16_t *half, int64_t n, double scale, void *u);
    void (*resample)(const void *norms, int64_t n, double uniform, uint64_t seed, uint64_t epoch, int32_t *listed,
                     void *ratio);
} asv_kernels;

extern const asv_kernels asv_kernels_f32, asv_kernels_f64; /* at the lowest SIMD level; levels.h has the others */

/* Numbers in a row of the cache: hidden activations, then the deltas of every layer. */
static inline int64_t asv_cache_stride(const asv_network *net) {
    return net->units - net->width[net->layers] + net->units;
}

#endif
