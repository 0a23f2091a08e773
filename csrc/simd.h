/* SIMD levels. The kernels are compiled once for each (levels/), and one is chosen when the module loads, so that one
 * binary is for every processor of its kind. */
#ifndef ASYSVRG_SIMD_H
#define ASYSVRG_SIMD_H

/* LEVEL(suffix, name, what it has), the lowest first; each one has what those before it have. A compiler that was told
 * of a processor (-march=native) makes one level, for that one. */
#if (defined(__x86_64__) || defined(_M_X64)) && !defined(__AVX__)
#define ASV_HAS_LEVELS
#define ASV_LEVELS(LEVEL)                                                                                              \
    LEVEL(, "x86-64", "SSE2") LEVEL(_v3, "x86-64-v3", "AVX2, FMA") LEVEL(_v4, "x86-64-v4", "AVX-512")
#elif defined(__x86_64__) || defined(_M_X64)
#define ASV_LEVELS(LEVEL) LEVEL(, "native", "the compiler's choice")
#elif defined(__aarch64__) || defined(_M_ARM64)
#define ASV_LEVELS(LEVEL) LEVEL(, "aarch64", "NEON")
#else
#define ASV_LEVELS(LEVEL) LEVEL(, "generic", "the compiler's choice")
#endif

/* Bytes of a vector register. GCC keeps wider vectors in memory. levels/ defines it for the other levels. */
#ifdef ASV_VECTOR
#elif defined(__AVX512F__)
#define ASV_VECTOR 64
#elif defined(__AVX__)
#define ASV_VECTOR 32
#else
#define ASV_VECTOR 16
#endif

/* All functions from the one to the other are for processors of this architecture. */
#define ASV_PRAGMA(text) _Pragma(#text)
#ifdef __clang__
#define ASV_BEGIN_LEVEL(arch) ASV_PRAGMA(clang attribute push(__attribute__((target(arch))), apply_to = function))
#define ASV_END_LEVEL ASV_PRAGMA(clang attribute pop)
#else
#define ASV_BEGIN_LEVEL(arch) ASV_PRAGMA(GCC target(arch))
#define ASV_END_LEVEL
#endif

/* Tiles (tiles.h) need Linux, and a compiler that knows them. */
#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__) && __GNUC__ >= 11 && !defined(__clang__)
#define ASV_HAS_TILES
#endif

/* A function of its own, so that its loop has the registers to itself. */
#define ASV_PART static __attribute__((noinline))
#define ASV_INLINE static inline __attribute__((always_inline))

#endif
