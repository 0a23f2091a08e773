/* The tile instructions of csrc/tiles.c in plain C, for processors that have AVX-512 and no tiles: compiled in by
 * `-include emulated_tiles.h`. As in the processor, products are of bfloat16 and sums in single precision. */
#ifndef ASYSVRG_EMULATED_TILES_H
#define ASYSVRG_EMULATED_TILES_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

enum { EMULATED_TILES = 8, EMULATED_ROWS = 16, EMULATED_WORDS = 16 };
static _Thread_local uint32_t emulated[EMULATED_TILES][EMULATED_ROWS][EMULATED_WORDS];
static _Thread_local int emulated_configured;

static inline void emulate_config(int configured) {
    memset(emulated, 0, sizeof(emulated));
    emulated_configured = configured;
}

/* A tile of which no shape is known is an invalid instruction. */
static inline void *emulated_row(int tile, int row) {
    if (!emulated_configured) __builtin_trap();
    return emulated[tile][row];
}

static inline void emulate_load(int tile, const void *from, size_t apart) {
    for (int r = 0; r < EMULATED_ROWS; r++)
        memcpy(emulated_row(tile, r), (const char *)from + (size_t)r * apart, sizeof(emulated[tile][r]));
}

static inline void emulate_store(int tile, void *to, size_t apart) {
    for (int r = 0; r < EMULATED_ROWS; r++)
        memcpy((char *)to + (size_t)r * apart, emulated_row(tile, r), sizeof(emulated[tile][r]));
}

/* A word holds two numbers, each the upper half of one in single precision. */
__attribute__((target("avx512f"))) static inline void emulate_products(int to, int left, int right) {
    const __m512i upper = _mm512_set1_epi32((int)0xffff0000u);
    for (int i = 0; i < EMULATED_ROWS; i++) {
        __m512 sums = _mm512_loadu_ps(emulated_row(to, i));
        for (int k = 0; k < EMULATED_WORDS; k++) {
            __m512i a = _mm512_set1_epi32((int)emulated[left][i][k]), b = _mm512_loadu_si512(emulated[right][k]);
            __m512 first = _mm512_castsi512_ps(_mm512_slli_epi32(a, 16));
            __m512 second = _mm512_castsi512_ps(_mm512_and_si512(a, upper));
            sums = _mm512_fmadd_ps(first, _mm512_castsi512_ps(_mm512_slli_epi32(b, 16)), sums);
            sums = _mm512_fmadd_ps(second, _mm512_castsi512_ps(_mm512_and_si512(b, upper)), sums);
        }
        _mm512_storeu_ps(emulated[to][i], sums);
    }
}

#undef _tile_loadd
#undef _tile_stored
#undef _tile_zero
#undef _tile_dpbf16ps
#define _tile_loadconfig(shape) emulate_config((shape) != NULL)
#define _tile_release() emulate_config(0)
#define _tile_loadd(tile, from, apart) emulate_load(tile, from, apart)
#define _tile_stored(tile, to, apart) emulate_store(tile, to, apart)
#define _tile_zero(tile) memset(emulated[tile], 0, sizeof(emulated[tile]))
#define _tile_dpbf16ps(to, left, right) emulate_products(to, left, right)

/* In place of the one that asks for tiles. */
int asv_tiles_enable(void) {
    __builtin_cpu_init();
    return !!__builtin_cpu_supports("x86-64-v4");
}
#define asv_tiles_enable asv_tiles_enable_of_the_processor

#endif
