# cython: language_level=3
from libc.stdint cimport int64_t

from asysvrg.core._csrc cimport asv_control, asv_inner, asv_lockstep_pace
from asysvrg.core.network cimport Network, Samples


cdef class InnerLoop:
    cdef asv_inner inner
    cdef asv_control control
    cdef asv_lockstep_pace pace
    cdef size_t stride
    cdef readonly Network network
    cdef readonly Samples samples
    cdef readonly object turns, stripes
    cdef object _alpha, _scaled_alpha, _scratch, _counters, _locks, _rows, _parts, _pointers, _shift, _transposed
    cdef object _division, _padded, _cores
    cdef object _held  # of a run that has begun: delays, rates, where W_0 is in x, and what the kernels point to

    cdef begin(self, x, int64_t steps, direction, eta, epoch, double l2_factor, mu, x_snap, cache, preconditioner,
               draws, double deadline)
    cdef end(self)
    cdef _make_locks(self)
    cdef _make_rows(self, lazy_rows)
    cdef _make_record(self, int64_t steps)
    cdef _make_division(self)
    cdef _pad(self, x, pair)
    cdef void aim(self, x, direction, epoch, double l2_factor, mu, x_snap, cache, preconditioner, draws) except *
