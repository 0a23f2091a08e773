"""The C kernels; the only file with `cdef extern` for csrc/. Comments on the fields stand in csrc/types.h."""

from libc.stdint cimport int32_t, int64_t, uint16_t, uint64_t


cdef extern from "types.h":
    enum:
        ASV_ACTIVATION_COUNT
        ASV_LOSS_COUNT
        ASV_DIRECTION_COUNT
        ASV_LABELS
        ASV_INDICATORS
        ASV_REALS
        ASV_SERIAL
        ASV_SHARED
        ASV_LOCKSTEP
        ASV_PLAIN
        ASV_ATOMIC
        ASV_STRIPED
        ASV_LINE
        ASV_BLOCK_ROWS
        ASV_STRIPE
        ASV_POWERS, ASV_COUNTER_STRIDE
        ASV_INTERRUPTED

    const char *asv_activation_names[]
    const char *asv_loss_names[]
    const char *asv_direction_names[]
    const int asv_kinds_of_losses[]
    const int asv_degrees_of_losses[]

    ctypedef struct asv_network:
        int64_t layers
        const int64_t *width
        const int64_t *weight
        const int64_t *bias
        const int64_t *unit
        int64_t units
        int64_t d
        int activation
        int loss
        double smoothing
        int no_biases
        void *gemm
        int64_t tiles

    ctypedef struct asv_samples:
        int64_t n
        int64_t p
        const void *rows
        const void *values
        const int32_t *columns
        const int64_t *start
        int64_t longest
        const int32_t *labels
        const void *targets
        const void *weight

    ctypedef struct asv_control:
        int (*poll)() noexcept nogil
        double next_poll
        double deadline
        int stop

    ctypedef struct asv_sweep:
        const asv_network *net
        const asv_samples *data
        const void *x
        void *gradient
        void *cache
        void *outputs
        double loss
        double errors
        int64_t evaluated

    ctypedef struct asv_objective:
        const asv_network *net
        const asv_samples *data
        const double *alpha

    ctypedef struct asv_direction:
        int kind
        void *mu
        void *reference
        const void *cache
        int32_t *known

    ctypedef struct asv_draws:
        uint64_t seed
        uint64_t epoch
        int64_t first
        int64_t b
        int replacement
        const int32_t *list
        const void *ratio
        void *norms

    ctypedef struct asv_rule:
        const double *eta
        int64_t subset
        int64_t block
        int memory
        int32_t *locks
        int adaptive

    ctypedef struct asv_preconditioner:
        int64_t rank
        const void *const *basis
        const void *transposed
        const void *const *fixed
        void *shift

    ctypedef struct asv_lazy:
        int32_t *done
        int32_t *locks
        const double *sums
        const double *powers

    ctypedef struct asv_padded:
        void *rows
        int holds_basis
        int as_if

    ctypedef struct asv_lockstep_pace:
        double alone

    ctypedef struct asv_lockstep:
        int64_t parts
        const int64_t *cuts
        const int32_t *split
        asv_lockstep_pace *pace

    ctypedef struct asv_inner:
        asv_objective f
        void *x
        const void *read
        asv_direction direction
        asv_draws draws
        asv_rule rule
        asv_preconditioner preconditioner
        asv_lazy lazy
        asv_padded padded
        asv_lockstep lockstep
        int execution
        int64_t threads
        int64_t max_delay
        int64_t *counters
        int32_t *delays
        int32_t *turns
        int32_t *stripes
        asv_control *control

    ctypedef struct asv_kernels:
        size_t (*sweep_scratch)(const asv_network *, const asv_samples *) noexcept nogil
        void (*sweep)(asv_sweep *, int64_t, int64_t, void *, int, asv_control *) noexcept nogil
        size_t (*inner_scratch)(const asv_inner *) noexcept nogil
        void (*run_shared)(const asv_inner *, int64_t, void *, int) noexcept nogil
        void (*run_lockstep)(const asv_inner *, int64_t, char *, size_t, int64_t, int64_t) noexcept nogil
        void (*settle)(const asv_inner *, int64_t, int64_t, int64_t) noexcept nogil
        void (*atomic_subtract)(void *, int64_t, double) noexcept nogil
        void (*nonzeros)(const void *, int64_t, int64_t, void *, int32_t *, int64_t *) noexcept nogil
        void (*direction)(const asv_inner *, int64_t, int64_t, int64_t, void *, void *) noexcept nogil
        int64_t (*complete)(const asv_inner *, int64_t, int64_t, int64_t, void *) noexcept nogil
        void (*to_half)(const void *, int64_t, double, uint16_t *) noexcept nogil
        void (*from_half)(const uint16_t *, int64_t, double, void *) noexcept nogil
        void (*resample)(const void *, int64_t, double, uint64_t, uint64_t, int32_t *, void *) noexcept nogil

    int64_t asv_cache_stride(const asv_network *) noexcept nogil


cdef extern from "levels.h":
    ctypedef struct asv_level:
        const char *name
        const char *has
        const asv_kernels *f32
        const asv_kernels *f64

    const asv_level *asv_levels
    int asv_levels_here()


cdef extern from "rng.h":
    void asv_draw_batch(uint64_t, uint64_t, uint64_t, int64_t, int64_t, int64_t, int64_t, int, int64_t *) noexcept nogil
    int64_t asv_most_blocks(int64_t, int64_t, int64_t) noexcept nogil
    int64_t asv_draw_blocks(uint64_t, uint64_t, uint64_t, int64_t, int64_t, int64_t, int64_t *,
                            uint64_t *) noexcept nogil


cdef extern from "tiles.h":
    int asv_tiles_enable()


cdef extern from "control.h":
    double ASV_POLL_SECONDS


cdef extern from "system.h":
    double asv_now() noexcept nogil


cdef extern from "build.h":
    int asv_openmp_version()
    int asv_thread_number() noexcept nogil
    int asv_team_size() noexcept nogil
    int asv_set_dynamic(int value)


cdef extern from "affinity.h":
    void asv_spread(int32_t *, int64_t *, int64_t, int64_t) noexcept nogil
