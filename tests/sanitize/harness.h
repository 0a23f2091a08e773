/* Small problems for the kernels, without Python and without BLAS: what memory.c and threads.c have in common. */
#ifndef ASYSVRG_HARNESS_H
#define ASYSVRG_HARNESS_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rng.h"
#include "tiles.h"
#include "types.h"

#define CHECK(condition, ...)                                                                                          \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: not true: %s; ", __FILE__, __LINE__, #condition);                                  \
            fprintf(stderr, __VA_ARGS__);                                                                              \
            fputc('\n', stderr);                                                                                       \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

enum { MOST_SECONDS = 300 }; /* then something waits for ever */

/* ---- Memory: a block for each array, of exactly its size, so that AddressSanitizer sees both of its ends. ---- */

enum { EXACT = 0, SPARE = ASV_LINE }; /* bytes behind the end that a kernel may read: none in a caller's own arrays */
enum { MOST_BLOCKS = 64, UNTOUCHED = 0xff };

static struct {
    unsigned char *start;
    size_t bytes, spare;
} blocks[MOST_BLOCKS];
static int block_count;

/* Zeros. The spare bytes are NaNs, which spread into the results if a kernel makes use of them. */
static void *array(size_t bytes, size_t spare) {
    void *start = NULL;
    CHECK(block_count < MOST_BLOCKS, "raise MOST_BLOCKS");
    CHECK(posix_memalign(&start, ASV_LINE, bytes + spare + !(bytes + spare)) == 0, "no memory");
    memset(start, 0, bytes);
    memset((char *)start + bytes, UNTOUCHED, spare);
    blocks[block_count].start = start;
    blocks[block_count].bytes = bytes;
    blocks[block_count++].spare = spare;
    return start;
}

static void release_all(void) {
    while (block_count) {
        block_count--;
        for (size_t i = 0; i < blocks[block_count].spare; i++)
            CHECK(blocks[block_count].start[blocks[block_count].bytes + i] == UNTOUCHED,
                  "a kernel wrote %zu bytes behind the end of an array", i);
        free(blocks[block_count].start);
    }
}

/* ---- Fortran's gemm, as slow and as strict as the reference BLAS. Its own sums are not under test: left to
 * AddressSanitizer alone, they do not take most of the time. ---- */

#define SUMS __attribute__((no_sanitize("undefined"))) static

#define DEFINE_GEMM(name, real)                                                                                        \
    SUMS void name(char *ta, char *tb, int *m, int *n, int *k, real *scale, real *A, int *lda, real *B, int *ldb,      \
                   real *beta, real *C, int *ldc) {                                                                    \
        int a_transposed = *ta == 'T', b_transposed = *tb == 'T';                                                      \
        CHECK(*lda >= (a_transposed ? *k : *m) && *ldb >= (b_transposed ? *n : *k) && *ldc >= *m, "gemm's shapes");    \
        CHECK(((uintptr_t)A | (uintptr_t)B | (uintptr_t)C) % sizeof(real) == 0, "gemm's arrays");                      \
        size_t a_apart = a_transposed ? 1 : (size_t)*lda, b_apart = b_transposed ? (size_t)*ldb : 1;                   \
        for (int j = 0; j < *n; j++)                                                                                   \
            for (int i = 0; i < *m; i++) {                                                                             \
                real sum = 0, *c = C + (size_t)j * (size_t)*ldc + i;                                                   \
                const real *a = A + (a_transposed ? (size_t)i * (size_t)*lda : (size_t)i);                             \
                const real *b = B + (b_transposed ? (size_t)j : (size_t)j * (size_t)*ldb);                             \
                for (int l = 0; l < *k; l++) sum += a[(size_t)l * a_apart] * b[(size_t)l * b_apart];                   \
                *c = *scale * sum + (*beta != 0 ? *beta * *c : 0);                                                     \
            }                                                                                                          \
    }

DEFINE_GEMM(gemm_f32, float)
DEFINE_GEMM(gemm_f64, double)

/* ---- Problems. ---- */

enum form { DENSE, ZEROS, SPARSE }; /* ZEROS: dense rows, and their non-zero entries beside them */

typedef struct {
    int precise; /* float64 */
    int depth;   /* hidden layers: 0, 1 or 2 */
    int activation, loss, form, weighted, direction, cached, execution, memory;
    int64_t subset, block, max_delay, threads;
    int tiles, parts; /* of an iteration in lockstep */
} setting;

/* More than one sweep's block of samples, more than one stripe of coordinates, rows longer than four cache lines,
 * and nothing a multiple of anything. */
enum { N = 150, P = 21, WIDE = 70, NARROW = 19, OUTPUTS = 5, BATCH = 4, MOST_LAYERS = 3, RANK = 3 };

typedef struct {
    setting is;
    int64_t width[MOST_LAYERS + 1], weight[MOST_LAYERS], bias[MOST_LAYERS], unit[MOST_LAYERS + 2];
    asv_network net;
    asv_samples data;
    asv_control control;
    asv_inner inner;
    const asv_kernels *kernels;
    size_t real; /* bytes of a real */
} problem;

static double get(const problem *p, const void *a, int64_t i) {
    return p->is.precise ? ((const double *)a)[i] : (double)((const float *)a)[i];
}

static void put(const problem *p, void *a, int64_t i, double value) {
    if (p->is.precise)
        ((double *)a)[i] = value;
    else
        ((float *)a)[i] = (float)value;
}

/* Uniform in [-1, 1). */
static double uniform(uint64_t key, int64_t i) { return (double)(asv_draw(key, (uint64_t)i) >> 11) * 0x1p-52 - 1; }

static void fill(const problem *p, void *a, int64_t count, uint64_t key, double scale) {
    for (int64_t i = 0; i < count; i++) put(p, a, i, scale * uniform(key, i));
}

static void make_network(problem *p) {
    asv_network *net = &p->net;
    int64_t layers = p->is.depth + 1, d = 0, units = 0;
    p->width[0] = P;
    p->width[1] = WIDE;
    p->width[2] = NARROW;
    p->width[layers] = OUTPUTS;
    for (int64_t l = 0; l < layers; l++) {
        p->weight[l] = d;
        p->bias[l] = d + p->width[l] * p->width[l + 1];
        d = p->bias[l] + p->width[l + 1];
        int64_t line = ASV_LINE / (int64_t)p->real, lines = (p->width[l + 1] + line - 1) / line;
        p->unit[l + 2] = p->unit[l + 1] + lines * line;
        units += p->width[l + 1];
    }
    *net = (asv_network){
        .layers = layers,
        .width = p->width,
        .weight = p->weight,
        .bias = p->bias,
        .unit = p->unit,
        .units = units,
        .d = d,
        .activation = p->is.activation,
        .loss = p->is.loss,
        .smoothing = asv_kinds_of_losses[p->is.loss] == ASV_REALS ? 0 : 0.1,
        .gemm = p->is.precise ? (void *)gemm_f64 : (void *)gemm_f32,
        .tiles = p->is.tiles && !p->is.precise && asv_tiles_enable(),
    };
}

/* Random samples; of the rows with zeros, one has no entry at all and the last one is full. */
static void make_samples(problem *p) {
    asv_samples *data = &p->data;
    void *rows = array(N * P * p->real, EXACT);
    int64_t entries = 0, *start = array((N + 1) * sizeof(int64_t), EXACT);
    for (int64_t i = 0; i < N; i++) {
        for (int64_t j = 0; j < P; j++) {
            double x = uniform(1, i * P + j);
            int kept = p->is.form == DENSE || i == N - 1 || (i != 3 && uniform(2, i * P + j) < -0.5);
            put(p, rows, i * P + j, kept ? x : 0);
            entries += kept;
        }
        start[i + 1] = entries;
    }
    *data = (asv_samples){.n = N, .p = P, .rows = rows, .longest = P};
    if (p->is.form != DENSE) {
        void *values = array((size_t)(entries + 1) * p->real, EXACT);
        int32_t *columns = array((size_t)(entries + 1) * sizeof(int32_t), EXACT);
        int64_t *found = array((N + 1) * sizeof(int64_t), EXACT);
        p->kernels->nonzeros(rows, N, P, values, columns, found);
        CHECK(!memcmp(found, start, (N + 1) * sizeof(int64_t)), "nonzeros: rows start elsewhere");
        data->values = values;
        data->columns = columns;
        data->start = start;
    }
    if (p->is.form == SPARSE) data->rows = NULL;
    if (p->is.loss == ASV_softmax) {
        int32_t *labels = array(N * sizeof(int32_t), EXACT);
        for (int64_t i = 0; i < N; i++) labels[i] = (int32_t)asv_draw_below(3, (uint64_t)i, OUTPUTS);
        data->labels = labels;
    } else {
        void *targets = array(N * OUTPUTS * p->real, EXACT);
        fill(p, targets, N * OUTPUTS, 4, 1);
        data->targets = targets;
    }
    if (p->is.weighted) {
        void *weight = array(N * p->real, EXACT);
        for (int64_t i = 0; i < N; i++) put(p, weight, i, 1 + uniform(5, i));
        data->weight = weight;
    }
}

static problem make_problem(setting is) {
    problem p = {.is = is};
    p.real = is.precise ? sizeof(double) : sizeof(float);
    p.kernels = is.precise ? &asv_kernels_f64 : &asv_kernels_f32;
    p.control.deadline = INFINITY;
    return p;
}

/* Whether updates of all coordinates come one after the other. */
static int goes_in_order(const problem *p) { return !p->is.subset && p->is.memory == ASV_PLAIN; }

/* A preconditioner along any directions, but for lazy rows. */
static void make_preconditioner(problem *p) {
    asv_preconditioner *U = &p->inner.preconditioner;
    size_t pointers = (size_t)p->net.layers * sizeof(void *);
    void **basis = array(pointers, EXACT), **fixed = array(pointers, EXACT);
    for (int64_t l = p->inner.lazy.done ? 1 : 0; l < p->net.layers; l++) {
        int64_t w = p->net.width[l], v = p->net.width[l + 1];
        basis[l] = array((size_t)(RANK * (1 + w)) * p->real, SPARE);
        fixed[l] = array((size_t)(RANK * v) * p->real, EXACT);
        fill(p, basis[l], RANK * (1 + w), 8, 0.5 / sqrt((double)w));
        fill(p, fixed[l], RANK * v, 9, 0.1);
    }
    void *transposed = array((size_t)(RANK * p->net.width[0]) * p->real, EXACT);
    for (int64_t i = 0; basis[0] && i < p->net.width[0]; i++)
        for (int64_t k = 0; k < RANK; k++)
            put(p, transposed, k * p->net.width[0] + i, get(p, basis[0], (i + 1) * RANK + k));
    *U = (asv_preconditioner){RANK, (const void *const *)basis, transposed, (const void *const *)fixed, NULL};
    int64_t v = p->net.width[1], pitch = p->net.unit[2] - p->net.unit[1];
    if (goes_in_order(p) && !p->inner.lazy.done)
        U->shift = array((size_t)((p->is.parts ? p->is.parts : 1) * RANK * pitch) * p->real, EXACT);
    p->inner.padded.holds_basis = p->inner.padded.rows && v + RANK <= pitch;
    for (int64_t i = 0; i < P && p->inner.padded.holds_basis; i++)
        for (int64_t k = 0; k < RANK; k++)
            put(p, p->inner.padded.rows, i * pitch + v + k, get(p, basis[0], (i + 1) * RANK + k));
}

/* Passes over some samples, twice and more, and not over others. */
static void make_list(problem *p) {
    asv_draws *draws = &p->inner.draws;
    int32_t *list = array(N * sizeof(int32_t), EXACT);
    void *ratio = array(N * p->real, EXACT), *norms = array(N * p->real, EXACT);
    for (int64_t i = 0; i < N; i++) put(p, norms, i, i % 3 ? 0 : 1);
    p->kernels->resample(norms, N, 0.5, 7, 8, list, ratio);
    for (int64_t i = 0; i < N; i++) CHECK(list[i] >= (i ? list[i - 1] : 0) && list[i] < N, "resample: %d", list[i]);
    draws->list = list;
    draws->ratio = ratio;
    draws->norms = norms;
}

/* The columns of each part in lockstep, and where they begin in each sample's entries. */
static void make_lockstep(problem *p) {
    int64_t parts = p->is.parts, *cuts = array((size_t)(parts + 1) * sizeof(int64_t), EXACT);
    for (int64_t k = 0; k <= parts; k++) cuts[k] = P * k / parts;
    p->inner.lockstep = (asv_lockstep){.parts = parts, .cuts = cuts, .pace = array(sizeof(asv_lockstep_pace), EXACT)};
    if (p->is.form == DENSE) return;
    int32_t *split = array((size_t)(parts - 1) * N * sizeof(int32_t), EXACT);
    for (int64_t k = 1; k < parts; k++)
        for (int64_t i = 0; i < N; i++) {
            int64_t at = p->data.start[i];
            while (at < p->data.start[i + 1] && p->data.columns[at] < cuts[k]) at++;
            split[(k - 1) * N + i] = (int32_t)(at - p->data.start[i]);
        }
    p->inner.lockstep.split = split;
}

/* W_0 to rows of whole lines, or back. */
static void move_rows(problem *p, int back) {
    int64_t v = p->net.width[1], pitch = p->net.unit[2] - p->net.unit[1];
    for (int64_t i = 0; i < P && p->inner.padded.rows; i++) {
        char *row = (char *)p->inner.x + (size_t)(i * v) * p->real;
        char *padded = (char *)p->inner.padded.rows + (size_t)(i * pitch) * p->real;
        memcpy(back ? row : padded, back ? padded : row, (size_t)v * p->real);
    }
}

/* The rest of a problem points into the problem itself, which therefore stays where it is from here on. */
static void make_inner(problem *p, int64_t steps) {
    make_network(p);
    make_samples(p);
    int64_t stripes = (p->net.d + ASV_STRIPE - 1) / ASV_STRIPE, blocks = (p->net.d + p->is.block - 1) / p->is.block;
    size_t locks = (size_t)(p->is.subset ? blocks : stripes * ASV_LINE / (int64_t)sizeof(int32_t));
    size_t d = (size_t)p->net.d * p->real;
    int32_t *delays = array((size_t)steps * sizeof(int32_t), EXACT);
    double *rates = array((size_t)steps * sizeof(double), EXACT);
    for (int64_t t = 0; t < steps; t++) delays[t] = -1, rates[t] = 0.02;
    int64_t rows = p->net.width[0] + p->net.layers - 1;
    double *alpha = array((size_t)rows * sizeof(double), EXACT);
    for (int64_t i = 0; i < rows; i++) alpha[i] = 0.01;
    p->inner = (asv_inner){
        .f = {.net = &p->net, .data = &p->data, .alpha = alpha},
        .x = array(d, SPARE),
        .direction = {.kind = p->is.direction, .reference = array(d, SPARE)},
        .draws = {.seed = 7, .epoch = 3, .b = BATCH, .replacement = p->is.weighted},
        .rule = {.eta = rates,
                 .subset = p->is.subset,
                 .block = p->is.block,
                 .memory = p->is.memory,
                 .locks = array(locks * sizeof(int32_t), EXACT)},
        .execution = p->is.execution,
        .threads = p->is.threads,
        .max_delay = p->is.max_delay,
        .counters = array((size_t)(4 + p->is.parts + p->is.threads) * ASV_COUNTER_STRIDE * sizeof(int64_t), EXACT),
        .delays = delays,
        .control = &p->control,
    };
    if (p->is.form == SPARSE && !p->is.subset) { /* ZEROS: the same without lazy rows */
        p->inner.lazy.done = array(2 * P * sizeof(int32_t), EXACT);
        p->inner.lazy.locks = p->inner.lazy.done + P;
    }
    if (p->is.execution == ASV_LOCKSTEP) make_lockstep(p);
    if (p->is.form == ZEROS && goes_in_order(p))
        p->inner.padded.rows = array((size_t)(P * (p->net.unit[2] - p->net.unit[1])) * p->real, SPARE);
    if (p->is.weighted) make_preconditioner(p);
    if (!p->inner.draws.replacement) make_list(p);
    if (p->is.direction != ASV_sgd) {
        p->inner.direction.mu = array(d, SPARE);
        if (p->is.cached) p->inner.direction.cache = array(N * (size_t)asv_cache_stride(&p->net) * p->real, SPARE);
    }
}

/* Fields that differ by name only, for messages. */
static const char *describe(const problem *p) {
    static char text[220];
    const setting *s = &p->is;
    snprintf(text, sizeof(text),
             "float%d, %d hidden layers, activation %d, loss %d, form %d, weighted %d, direction %d, cached %d, "
             "execution %d, memory %d, subset %d, block %d, max_delay %d, tiles %d, parts %d",
             s->precise ? 64 : 32, s->depth, s->activation, s->loss, s->form, s->weighted, s->direction, s->cached,
             s->execution, s->memory, (int)s->subset, (int)s->block, (int)s->max_delay, s->tiles, s->parts);
    return text;
}

#endif
