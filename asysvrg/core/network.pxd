from libc.stdint cimport uintptr_t

from asysvrg.core._csrc cimport asv_kernels, asv_network, asv_samples


cdef void *address(array, dtype, shape) except? NULL
cpdef uintptr_t start_of(array) except? 0
cdef const asv_kernels *kernels_of(dtype) except NULL


cdef class Network:
    cdef asv_network net
    cdef const asv_kernels *kernels
    cdef readonly tuple widths
    cdef readonly str activation
    cdef readonly str loss
    cdef readonly object dtype
    cdef readonly Py_ssize_t size
    cdef readonly Py_ssize_t cache_width
    cdef readonly list slices
    cdef object _offsets


cdef class Samples:
    cdef asv_samples data
    cdef readonly object X
    cdef readonly object y
    cdef readonly object weight
    cdef readonly Py_ssize_t size
    cdef object _entries
    cdef _use_entries(self, values, columns, start)
    cdef _copy_nonzeros(self)
