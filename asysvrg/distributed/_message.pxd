from libc.stdint cimport int64_t


cdef class Message:
    cdef readonly int kind, flags, stage
    cdef readonly int64_t run, seq, epoch, version, iteration, evaluated, sweep, shard, first, last, offset, total
    cdef readonly double l2_factor
    cdef readonly object payload

    cpdef stamp(self, int stage, int64_t run, int64_t seq)
    cpdef detach(self)


cdef class Buffer:
    cdef readonly object array
    cdef Py_buffer whole
    cdef object payload, vector_in_place
    cdef Py_ssize_t size, vector_size

    cpdef Py_ssize_t write(self, Message message) except -1
    cpdef Message read(self)
    cpdef vector(self, Py_ssize_t size, dtype)
