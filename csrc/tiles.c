/* Products on tiles (tiles.h). Left factors come as pointers to their rows: samples stand anywhere. */
#include "tiles.h"

#include "simd.h"

#ifdef ASV_HAS_TILES
#include <immintrin.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "processor.h"

/* As the parts below are: for processors with tiles. */
#define ASV_ON_TILES                                                                                                   \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,amx-tile,amx-bf16,prefer-vector-width=512")))
#define ASV_TILE_INLINE ASV_ON_TILES static inline __attribute__((always_inline))

enum {
    WORDS = ASV_TILE * ASV_TILE, /* of a tile */
    TERMS = 2 * ASV_TILE, /* of a product that a tile holds: two to a word */
    STEP = 4 * WORDS, /* words of two tiles side by side (left factor: one above the other), u_1 then u_2 */
};

/* A thread's memory: a panel of the left factor, step by step; and behind it the right factor in columns of 32, each
 * step by step, then panels of the product. */
typedef struct {
    int32_t left[ASV_TILE_SPAN / TERMS * STEP];
    int32_t right[];
} work_t;

static int64_t steps_of(int64_t terms) { return (terms + TERMS - 1) / TERMS; }
static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/* Words of the right factor, of which forward keeps a part only. */
static int64_t right_words(int64_t terms, int64_t width) {
    int64_t columns = asv_tiles_pitch(width) / ASV_PANEL, most = ASV_TILE_SPAN / ASV_PANEL;
    int64_t one = columns * steps_of(terms), other = smaller(columns, most) * (ASV_TILE_SPAN / TERMS);
    return (one > other ? one : other) * STEP;
}

static float *product_of(work_t *work, int64_t terms, int64_t width) {
    return (float *)(work->right + right_words(terms, width));
}

size_t asv_tiles_scratch(int64_t terms, int64_t width) {
    size_t words = (size_t)(right_words(terms, width) + ASV_PANELS * asv_tiles_pitch(width));
    return sizeof(work_t) + words * sizeof(int32_t);
}

int asv_tiles_enable(void) {
    enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 }; /* ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA */
    if (!asv_has_v4() || !asv_has_bits(7, ASV_EDX, ASV_BIT(22) | ASV_BIT(24))) return 0; /* AMX-BF16, AMX-TILE */
    return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
}

ASV_TILE_INLINE void start_tiles(void) {
    struct __attribute__((packed)) {
        uint8_t palette, start, none[14];
        uint16_t bytes[16];
        uint8_t rows[16];
    } shape = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        shape.bytes[i] = ASV_TILE * 4;
        shape.rows[i] = ASV_TILE;
    }
    _tile_loadconfig(&shape);
}

ASV_TILE_INLINE __mmask16 first_of(int64_t count) {
    return count >= ASV_TILE ? (__mmask16)-1 : count <= 0 ? 0 : (__mmask16)((1u << count) - 1);
}

/* Words of two numbers each, u's in the lower half: first parts, and second parts. Both are rounded to nearest. */
ASV_TILE_INLINE void split(__m512 u, __m512 v, __m512i *one, __m512i *two) {
    const __m512i upper = _mm512_set1_epi32((int)0xffff0000u), half = _mm512_set1_epi32(0x8000);
    __m512i u1 = _mm512_and_si512(_mm512_add_epi32(_mm512_castps_si512(u), half), upper);
    __m512i v1 = _mm512_and_si512(_mm512_add_epi32(_mm512_castps_si512(v), half), upper);
    __m512i u2 = _mm512_add_epi32(_mm512_castps_si512(_mm512_sub_ps(u, _mm512_castsi512_ps(u1))), half);
    __m512i v2 = _mm512_add_epi32(_mm512_castps_si512(_mm512_sub_ps(v, _mm512_castsi512_ps(v1))), half);
    *one = _mm512_or_si512(_mm512_srli_epi32(u1, 16), v1);
    *two = _mm512_ternarylogic_epi32(_mm512_srli_epi32(u2, 16), v2, upper, 0xf8); /* a | (b & c) */
}

/* A panel of the left factor from its rows: terms first..last of rows A[0..rows). Term k of a step shares a word with
 * term k + 16. */
ASV_ON_TILES static void pack_rows(const float *const *A, int64_t rows, int64_t first, int64_t last, int32_t *out) {
    for (int64_t r = 0; r < ASV_PANEL; r++) {
        int32_t *to = out + r * ASV_TILE;
        for (int64_t k = first; k < last; k += TERMS, to += STEP) {
            __m512i one = _mm512_setzero_si512(), two = one;
            if (r < rows) {
                __m512 u = _mm512_maskz_loadu_ps(first_of(last - k), A[r] + k);
                __m512 v = _mm512_maskz_loadu_ps(first_of(last - k - ASV_TILE), A[r] + k + ASV_TILE);
                split(u, v, &one, &two);
            }
            _mm512_store_si512(to, one);
            _mm512_store_si512(to + 2 * WORDS, two);
        }
    }
}

/* The words of 16 vectors, transposed. */
ASV_TILE_INLINE void transpose(__m512i *a, int32_t *out) {
    __m512i b[ASV_TILE];
    for (int i = 0; i < ASV_TILE; i += 4) {
        __m512i p = _mm512_unpacklo_epi32(a[i], a[i + 1]), q = _mm512_unpackhi_epi32(a[i], a[i + 1]);
        __m512i r = _mm512_unpacklo_epi32(a[i + 2], a[i + 3]), s = _mm512_unpackhi_epi32(a[i + 2], a[i + 3]);
        b[i] = _mm512_unpacklo_epi64(p, r);
        b[i + 1] = _mm512_unpackhi_epi64(p, r);
        b[i + 2] = _mm512_unpacklo_epi64(q, s);
        b[i + 3] = _mm512_unpackhi_epi64(q, s);
    }
    for (int i = 0; i < 4; i++) {
        __m512i p = _mm512_shuffle_i32x4(b[i], b[i + 4], 0x88), q = _mm512_shuffle_i32x4(b[i], b[i + 4], 0xdd);
        __m512i r = _mm512_shuffle_i32x4(b[i + 8], b[i + 12], 0x88),
                s = _mm512_shuffle_i32x4(b[i + 8], b[i + 12], 0xdd);
        _mm512_store_si512(out + i * ASV_TILE, _mm512_shuffle_i32x4(p, r, 0x88));
        _mm512_store_si512(out + (i + 4) * ASV_TILE, _mm512_shuffle_i32x4(q, s, 0x88));
        _mm512_store_si512(out + (i + 8) * ASV_TILE, _mm512_shuffle_i32x4(p, r, 0xdd));
        _mm512_store_si512(out + (i + 12) * ASV_TILE, _mm512_shuffle_i32x4(q, s, 0xdd));
    }
}

/* A panel of the transposed left factor: columns column..column + count of rows A[0..terms). */
ASV_ON_TILES static void pack_columns(const float *const *A, int64_t terms, int64_t column, int64_t count,
                                      int32_t *out) {
    for (int64_t k = 0; k < terms; k += TERMS, out += STEP)
        for (int side = 0; side < 2; side++) {
            __mmask16 used = first_of(count - side * ASV_TILE);
            int64_t at = column + side * ASV_TILE;
            __m512i one[ASV_TILE], two[ASV_TILE];
            for (int j = 0; j < ASV_TILE; j++) {
                __m512 u = _mm512_setzero_ps(), v = u;
                if (k + j < terms) u = _mm512_maskz_loadu_ps(used, A[k + j] + at);
                if (k + j + ASV_TILE < terms) v = _mm512_maskz_loadu_ps(used, A[k + j + ASV_TILE] + at);
                split(u, v, one + j, two + j);
            }
            transpose(one, out + side * WORDS);
            transpose(two, out + (2 + side) * WORDS);
        }
}

/* A right factor: `width` columns of rows B[0..terms), or of `base`, whose rows are `pitch` apart, and behind them the
 * rows of U, of `more` columns. In columns of 32 that are `stride` words apart. */
ASV_TILE_INLINE void pack_right(const float *const *B, const float *base, int64_t pitch, int64_t terms, int64_t width,
                                const float *U, int64_t more, int64_t stride, int32_t *out) {
    for (int64_t k = 0; k < terms; k += TERMS, out += STEP)
        for (int64_t c = 0; c < width; c += ASV_TILE) {
            int32_t *to = out + c / ASV_PANEL * stride + c / ASV_TILE % 2 * WORDS;
            __mmask16 used = first_of(width - c), behind = first_of(width + more - c) & ~used;
            for (int64_t j = k; j < k + ASV_TILE; j++, to += ASV_TILE) {
                int64_t other = j + ASV_TILE;
                __m512 u = _mm512_setzero_ps(), v = u;
                if (j < terms) u = _mm512_maskz_loadu_ps(used, (B ? B[j] : base + j * pitch) + c);
                if (other < terms) v = _mm512_maskz_loadu_ps(used, (B ? B[other] : base + other * pitch) + c);
                if (behind && j < terms) u = _mm512_mask_expandloadu_ps(u, behind, U + j * more);
                if (behind && other < terms) v = _mm512_mask_expandloadu_ps(v, behind, U + other * more);
                __m512i one, two;
                split(u, v, &one, &two);
                _mm512_store_si512(to, one);
                _mm512_store_si512(to + 2 * WORDS, two);
            }
        }
}

/* 32 x 32 of the product, or 32 x 16 where `wide` is 0, added to `out` or written there. */
ASV_TILE_INLINE void multiply(const int32_t *left, const int32_t *right, int64_t steps, float *out, int64_t pitch,
                              int add, const int wide) {
    enum { LINE = ASV_TILE * sizeof(int32_t) };
    float *below = out + ASV_TILE * pitch;
    size_t apart = (size_t)pitch * sizeof(float);
    if (add) {
        _tile_loadd(0, out, apart);
        _tile_loadd(2, below, apart);
        if (wide) _tile_loadd(1, out + ASV_TILE, apart);
        if (wide) _tile_loadd(3, below + ASV_TILE, apart);
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
#define ASV_TIMES(a, b) /* part a of the left factor, part b of the right one */                                       \
    _tile_loadd(4, left + (a) * 2 * WORDS, LINE);                                                                      \
    _tile_loadd(6, right + (b) * 2 * WORDS, LINE);                                                                     \
    _tile_dpbf16ps(0, 4, 6);                                                                                           \
    if (wide) {                                                                                                        \
        _tile_loadd(7, right + (b) * 2 * WORDS + WORDS, LINE);                                                         \
        _tile_dpbf16ps(1, 4, 7);                                                                                       \
    }                                                                                                                  \
    _tile_loadd(5, left + (a) * 2 * WORDS + WORDS, LINE);                                                              \
    _tile_dpbf16ps(2, 5, 6);                                                                                           \
    if (wide) _tile_dpbf16ps(3, 5, 7);
    for (int64_t s = 0; s < steps; s++, left += STEP, right += STEP) {
        ASV_TIMES(0, 0)
        ASV_TIMES(0, 1)
        ASV_TIMES(1, 0)
    }
#undef ASV_TIMES
    _tile_stored(0, out, apart);
    _tile_stored(2, below, apart);
    if (wide) _tile_stored(1, out + ASV_TILE, apart);
    if (wide) _tile_stored(3, below + ASV_TILE, apart);
}

/* `width` columns of the product of the panel in `work` and `steps` steps of a right factor. */
ASV_TILE_INLINE void multiply_panel(const work_t *work, const int32_t *right, int64_t stride, int64_t steps,
                                    int64_t width, float *out, int64_t pitch, int add) {
    for (int64_t c = 0; c < width; c += ASV_PANEL, right += stride)
        if (width - c > ASV_TILE)
            multiply(work->left, right, steps, out + c, pitch, add, 1);
        else
            multiply(work->left, right, steps, out + c, pitch, add, 0);
}

ASV_ON_TILES void asv_tiles_forward(const float *const *A, int64_t rows, int64_t first, int64_t last, const float *W,
                                    int64_t apart, int64_t width, const float *U, int64_t more, float *out,
                                    int64_t pitch, void *scratch) {
    work_t *work = scratch;
    float *small = product_of(work, 0, width);
    start_tiles();
    for (int64_t c = 0; c < width; c += ASV_TILE_SPAN)
        for (int64_t k = first; k < last; k += ASV_TILE_SPAN) {
            int64_t some = smaller(last - k, ASV_TILE_SPAN), columns = smaller(width - c, ASV_TILE_SPAN);
            int64_t steps = steps_of(some), stride = steps * STEP, behind = c + columns < width ? 0 : more;
            pack_right(NULL, W + k * apart + c, apart, some, columns, U + k * more, behind, stride, work->right);
            columns += behind;
            for (int64_t r = 0; r < rows; r += ASV_PANEL) {
                float *to = out + r * pitch + c;
                pack_rows(A + r, rows - r, k, k + some, work->left);
                if (rows - r >= ASV_PANEL) {
                    multiply_panel(work, work->right, stride, steps, columns, to, pitch, 1);
                    continue;
                }
                multiply_panel(work, work->right, stride, steps, columns, small, asv_tiles_pitch(columns), 0);
                for (int64_t i = 0; i < rows - r; i++)
                    for (int64_t j = 0; j < columns; j++) to[i * pitch + j] += small[i * asv_tiles_pitch(columns) + j];
            }
        }
    _tile_release();
}

ASV_ON_TILES void asv_tiles_right(const float *const *D, int64_t terms, int64_t width, void *scratch) {
    work_t *work = scratch;
    pack_right(D, NULL, 0, terms, width, NULL, 0, steps_of(terms) * STEP, work->right);
}

ASV_ON_TILES const float *asv_tiles_product(const float *const *A, int64_t terms, int64_t first, int64_t count,
                                            int64_t width, void *scratch) {
    work_t *work = scratch;
    int64_t pitch = asv_tiles_pitch(width), stride = steps_of(terms) * STEP;
    float *product = product_of(work, terms, width);
    start_tiles();
    for (int64_t r = 0; r < count; r += ASV_PANEL)
        for (int64_t k = 0; k < terms; k += ASV_TILE_SPAN) {
            int64_t some = smaller(terms - k, ASV_TILE_SPAN);
            pack_columns(A + k, some, first + r, count - r, work->left);
            multiply_panel(work, work->right + k / TERMS * STEP, stride, steps_of(some), width, product + r * pitch,
                           pitch, k > 0);
        }
    _tile_release();
    return product;
}

#else

int asv_tiles_enable(void) { return 0; } /* and nobody calls the others */
size_t asv_tiles_scratch(int64_t terms, int64_t width) { return 0; }
void asv_tiles_forward(const float *const *A, int64_t rows, int64_t first, int64_t last, const float *W, int64_t apart,
                       int64_t width, const float *U, int64_t more, float *out, int64_t pitch, void *scratch) {}
void asv_tiles_right(const float *const *D, int64_t terms, int64_t width, void *scratch) {}
const float *asv_tiles_product(const float *const *A, int64_t terms, int64_t first, int64_t count, int64_t width,
                               void *scratch) {
    return NULL;
}

#endif
