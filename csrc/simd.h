/* SIMD without -march. */
#ifndef ASYSVRG_SIMD_H
#define ASYSVRG_SIMD_H

/* One binary for every x86-64: the hot functions are compiled for three levels and chosen when the module loads.
 * Helpers are inlined into them, so that they are compiled for the same level. */
#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__) && !defined(__clang__) && !defined(ASV_NO_CLONES)
#define ASV_HAS_CLONES
#define ASV_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define ASV_CLONES
#endif

/* Tiles (tiles.h) need Linux, and a compiler that knows them. */
#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__) && __GNUC__ >= 11 && !defined(__clang__)
#define ASV_HAS_TILES
#endif

/* A function of its own, so that its loop has the registers to itself. */
#define ASV_PART ASV_CLONES static __attribute__((noinline))
#define ASV_INLINE static inline __attribute__((always_inline))

#endif
