/* What the kernels are given. Nothing here depends on the precision: arrays of reals are `void *` and each
 * instantiation (float32.c, float64.c) knows what they hold. No kernel allocates, prints, exits or keeps state.
 *
 * Letters follow the paper (Huo & Huang, AAAI-17): x parameters, x_snap the snapshot x~, mu the full gradient at
 * x~, v the direction, eta the learning rate, b the mini-batch size, m inner steps, d parameters, n samples.
 */
#ifndef ASYSVRG_TYPES_H
#define ASYSVRG_TYPES_H

#include <stddef.h>
#include <stdint.h>

enum asv_activation { ASV_RELU, ASV_TANH, ASV_LOGISTIC, ASV_IDENTITY };
enum asv_loss { ASV_SOFTMAX, ASV_SQUARED, ASV_BINARY };
enum asv_direction { ASV_SGD, ASV_SVRG };
enum asv_update { ASV_SERIAL, ASV_ATOMIC, ASV_STRIPED, ASV_OWNED, ASV_REPLICATED };

enum {
    ASV_LINE = 64, /* bytes of a cache line; parameters, caches and scratch have as many spare behind their end */
    ASV_BLOCK_ROWS = 64, /* samples that a sweep takes through the network at once, unless they are dense */
    ASV_STRIPE = 1024, /* coordinates that share a lock in ASV_STRIPED, where all are updated */
    ASV_COUNTER_STRIDE = 16, /* int64 between two counters: a pair of lines, so that prefetching does not tie them */
};

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
    void *gemm; /* Fortran sgemm or dgemm */
    int64_t tiles; /* dense samples of a batch from which its products with W_0 are formed on tiles; 0: never */
} asv_network;

#define ASV_WORDS(bits) (((bits) + 63) / 64)

/* n samples: dense rows, or CSR with sorted column indices, none twice in a row; or both, the same numbers twice: then
 * the products skip the zeros. */
typedef struct {
    int64_t n, p;
    const void *rows; /* n x p, or NULL */
    const void *values; /* CSR, or NULL */
    const int32_t *columns;
    const int64_t *start; /* n + 1, CSR */
    int64_t longest; /* most entries in a row, CSR */
    const uint64_t *bits; /* both: n x ASV_WORDS(p), a bit for each column that has an entry in the row; or NULL */
    const int32_t *labels; /* n, ASV_SOFTMAX */
    const void *targets; /* n x width[L], ASV_SQUARED; ASV_BINARY: 0 or 1 */
    const void *weight; /* n, mean 1, or NULL */
} asv_samples;

/* How a long loop is stopped from outside: thread 0 calls `poll` now and then; all threads look at `stop`. */
typedef struct {
    int (*poll)(void); /* non-zero: stop. May be NULL */
    double next_poll; /* seconds on the monotonic clock */
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
    void *cache; /* n x cache_stride: per sample, hidden activations then deltas (see layers.h) */
    void *outputs; /* n x width[L]: probabilities (ASV_SOFTMAX, ASV_BINARY) or predictions (ASV_SQUARED) */
    double loss; /* out: sum_i weight_i l_i */
    double errors; /* out: sum of the weights of misclassified samples; squared residuals for ASV_SQUARED */
    int64_t evaluated; /* out: samples done; fewer than asked when stopped */
} asv_sweep;

/* The inner loop of one epoch, Algorithm 1: what all threads share. */
typedef struct {
    const asv_network *net;
    const asv_samples *data;
    void *x; /* shared, updated without a lock around it */
    const void *x_snap; /* ASV_SVRG without a cache: x~ */
    const void *mu; /* ASV_SVRG: grad f(x~) without its l2 term (see step.h); ASV_SGD: NULL */
    const void *cache; /* ASV_SVRG: what a sweep kept at x~, or NULL */
    int32_t *known; /* with a cache, n: for which samples it has what it should, 1 or 0; `complete` adds others */
    double eta;
    const double *alpha; /* l2: a number for each row of W_0, then for each further W_l */
    int64_t b;
    int64_t subset; /* B coordinates an update touches; 0: all */
    int64_t block; /* coordinates drawn together, from a multiple of it on: 1, or those of a cache line */
    int64_t max_delay; /* Delta of Assumption 4; negative: unbounded */
    int64_t threads;
    uint64_t seed, epoch;
    int direction, update, replacement;
    int64_t *counters; /* claimed at [0], completed at [ASV_COUNTER_STRIDE], handed out at [2 ASV_COUNTER_STRIDE] */
    int32_t *locks; /* ASV_REPLICATED: of each part; ASV_STRIPED: of all coordinates' stripes, one every ASV_LINE bytes,
                       d / ASV_STRIPE rounded up; or one for each block of which a subset is drawn */
    const int64_t *cuts; /* ASV_OWNED, threads + 1: each thread's rows of W_0, from one to the next; */
    const int32_t
        *split; /* CSR, (threads - 1) x n: how many of each sample's entries are below the cuts within (team.h) */
    int divided; /* ASV_OWNED: whether threads divide a mini-batch's samples, or each takes all of them (team.h) */
    void *wide; /* W_0 with its rows on whole lines, in place of that in x or in each replica; or NULL */
    void *const *replicas; /* ASV_REPLICATED, for each thread: its replica of x, */
    void *const *bases; /* and its base, where W_0 is in `wide` that of the coordinates behind it (replica.h); */
    int64_t parts; /* in which x is exchanged with them, */
    int64_t *counts; /* and what each thread counts: 1 + 2 parts, 3 ASV_COUNTER_STRIDE apart */
    int beside; /* whether in these lines there are those of U_0 (see rank), too */
    int32_t *done, *row_locks; /* width[0], zero at first; or NULL: no row of W_0 is put off (lazy.h) */
    const double
        *sums; /* m + 1: 1 + r + ... + r^(k-1), r = 1 - eta alpha, where the rows of W_0 have one alpha; or NULL */
    int64_t rank; /* directions of each layer's input along which v is shortened (deflate.h); 0: none */
    const void *const *basis; /* L: U_l, (1 + width[l]) x rank, the bias's row first; NULL: not this layer */
    const void *turned; /* U_0' without the bias's column, rank x width[0], where there is U_0 */
    const void *const *fixed; /* L: U_l' (mu + alpha x~), rank x width[l + 1] */
    void *shift; /* rank rows of layer 1's units, for each thread the same, or its replica's: U_0 times them is added to
                    b_0 and W_0 by `settle`; or NULL */
    const int32_t *list; /* n: samples that passes go through in place of 0 .. n - 1 (importance.py); or NULL */
    const void *ratio; /* with a list, n: 1 / (n p_i), what the gradient of sample i is multiplied by */
    void *lengths; /* with a list, n, out: |d l_i / d outputs| where sample i was drawn last */
    double enough; /* with a list: a sample that counts less than this, ratio times length, is left out by lot, where
                      that saves work (step.h); 0: none is */
    int32_t *delays; /* m, out: the delay of iteration t, or -1 if it was never carried out */
    asv_control *control;
} asv_inner;

/* One precision's kernels. `scratch` is private to a thread, aligned to ASV_LINE and zero before its first use. */
typedef struct {
    size_t (*sweep_scratch)(const asv_network *, const asv_samples *);
    void (*sweep)(asv_sweep *, int64_t first, int64_t last, void *scratch, int thread, asv_control *);
    size_t (*step_scratch)(const asv_inner *);
    void (*work)(const asv_inner *, int64_t steps, void *scratch, int thread);
    void (*team)(const asv_inner *, int64_t steps, char *scratch, size_t stride, int64_t member, int64_t members);
    void (*settle)(const asv_inner *, int64_t done, int64_t first, int64_t last);
    void (*atomic_subtract)(void *x, int64_t k, double delta);
    void (*nonzeros)(const void *rows, int64_t n, int64_t p, void *values, int32_t *columns, int64_t *start,
                     uint64_t *bits);
    void (*direction)(const asv_inner *, int64_t t, int64_t first, int64_t last, void *v, void *scratch);
    int64_t (*complete)(const asv_inner *, int64_t t, int64_t first, int64_t last, void *scratch);
    void (*to_half)(const void *u, int64_t n, double scale, uint16_t *half);
    void (*from_half)(const uint16_t *half, int64_t n, double scale, void *u);
    double (*list)(const void *lengths, int64_t n, double uniform, double unseen, uint64_t seed, uint64_t epoch,
                   int32_t *listed, void *ratio);
} asv_kernels;

extern const asv_kernels asv_kernels_f32, asv_kernels_f64;

/* Samples in a row of the cache: hidden activations, then the deltas of every layer. */
static inline int64_t asv_cache_stride(const asv_network *net) {
    return net->units - net->width[net->layers] + net->units;
}

#endif
