/* Dense products in single precision on tiles (AMX), where the processor has them. They take a fraction of the time of
 * vectors.
 *
 * Tiles multiply bfloat16 numbers, of 8 significant bits, and add up in single precision. Each number is written as a
 * sum of two of them, u = u_1 + u_2, and u w taken as u_1 w_1 + u_1 w_2 + u_2 w_1, whose error is at most 3 * 2^-16 |u
 * w| (Henry, Tang and Heinecke, "Leveraging the bfloat16 artificial intelligence datatype for higher-precision
 * computations", ARITH 2019). */
#ifndef ASYSVRG_TILES_H
#define ASYSVRG_TILES_H

#include <stddef.h>
#include <stdint.h>

enum {
    ASV_TILE = 16, /* rows of a tile, and 4-byte words in each */
    ASV_PANEL = 2 * ASV_TILE, /* rows, and columns, of a product that are formed at once */
    ASV_PANELS = 4 * ASV_PANEL, /* rows of A' D that are formed at once: the first use of tiles is slow */
    ASV_TILE_SPAN = 128, /* terms, and columns, of the right factor that are kept at once */
};

static inline int64_t asv_tiles_pitch(int64_t width) { return (width + ASV_PANEL - 1) / ASV_PANEL * ASV_PANEL; }

/* Requests tiles from the system. Returns whether this process has them. */
int asv_tiles_enable(void);

/* Bytes that the functions below need for `terms` rows of a right factor of `width` columns; on a cache line. */
size_t asv_tiles_scratch(int64_t terms, int64_t width);

/* out += A (W, U) over columns first..last of A, of `rows` rows, which are rows of W and U; W of `width` columns, its
 * rows `apart`, U of `more`, which with those of W end within the same tile. Rows of out are `pitch` apart, which is
 * whole lines. */
void asv_tiles_forward(const float *const *A, int64_t rows, int64_t first, int64_t last, const float *W, int64_t apart,
                       int64_t width, const float *U, int64_t more, float *out, int64_t pitch, void *scratch);

/* Prepares the right factor D of A' D, `terms` rows. */
void asv_tiles_right(const float *const *D, int64_t terms, int64_t width, void *scratch);

/* Rows first..first + count, count <= ASV_PANELS, of A' D, with A's rows in the order of those of D; they are
 * asv_tiles_pitch(width) apart. */
const float *asv_tiles_product(const float *const *A, int64_t terms, int64_t first, int64_t count, int64_t width,
                               void *scratch);

#endif
