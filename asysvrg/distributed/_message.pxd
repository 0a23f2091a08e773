from libc.stdint cimport int64_t


cdef class Message:
    cdef readonly int kind, mask
    cdef readonly int64_t phase, run, seq, a, b, c, d
    cdef readonly object payload

    cpdef Message stamped(self, int64_t phase, int64_t run, int64_t seq)
    cpdef Message answered(self, int kind, int64_t d, payload)
    cpdef Message carrying(self, payload)


cdef class Buffer:
    cdef readonly object array
    cdef Py_buffer whole
    cdef object payload, there
    cdef Py_ssize_t size, there_size

    cpdef Py_ssize_t write(self, Message message) except -1
    cpdef Message read(self)
    cpdef vector(self, Py_ssize_t size, dtype)
