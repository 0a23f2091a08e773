/* What differs between operating systems: the clock, naps, cores. The only C file that asks which system it is for, but
 * for simd.h. Included before any header of the C library. */
#ifndef ASYSVRG_SYSTEM_H
#define ASYSVRG_SYSTEM_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* for cpu_set_t */
#endif
#include <stdint.h>

#ifdef _WIN32
#define WIN32_LEAN_AND_MEAN
#include <windows.h>

static inline double asv_now(void) {
    LARGE_INTEGER count, second;
    QueryPerformanceCounter(&count);
    QueryPerformanceFrequency(&second);
    return (double)count.QuadPart / (double)second.QuadPart;
}

/* Offers this thread's core to others. */
static inline void asv_yield(void) { SwitchToThread(); }

/* Sleeps for so many nanoseconds, less than a second. */
static inline void asv_nap(int64_t duration) { Sleep((DWORD)((duration + 999999) / 1000000)); }
#else
#include <sched.h>
#include <time.h>

/* Seconds on a clock that is never set. Python's clocks may begin at another time. */
static inline double asv_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static inline void asv_yield(void) { sched_yield(); }

static inline void asv_nap(int64_t duration) {
    struct timespec time = {.tv_sec = 0, .tv_nsec = (long)duration};
    nanosleep(&time, NULL);
}
#endif

/* Cores that this process may use; -1 and none where the system does not say, or does not let threads choose. */
#if defined(__linux__) && defined(CPU_SETSIZE)
enum { ASV_MOST_CORES = CPU_SETSIZE };
typedef cpu_set_t asv_cores;

static inline int64_t asv_core(void) { return sched_getcpu(); }

/* Writes the cores that this thread may use; returns how many. */
static inline int64_t asv_allowed(asv_cores *cores) {
    return sched_getaffinity(0, sizeof(*cores), cores) == 0 ? CPU_COUNT(cores) : 0;
}

static inline int asv_allows(const asv_cores *cores, int64_t core) { return CPU_ISSET(core, cores) != 0; }

/* Moves this thread to a core. It may use all of `cores` at once again, so that the system may move it later. */
static inline void asv_move(int64_t core, const asv_cores *cores) {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(core, &one);
    if (sched_setaffinity(0, sizeof(one), &one) == 0) sched_setaffinity(0, sizeof(*cores), cores);
}
#else
enum { ASV_MOST_CORES = 0 };
typedef int asv_cores;
static inline int64_t asv_core(void) { return -1; }
static inline int64_t asv_allowed(asv_cores *cores) { return *cores = 0; }
static inline int asv_allows(const asv_cores *cores, int64_t core) { return *cores > core; }
static inline void asv_move(int64_t core, const asv_cores *cores) { (void)core, (void)cores; }
#endif

#endif
