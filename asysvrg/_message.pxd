from libc.stdint cimport int64_t


cdef class Message:
    cdef readonly int kind, mask
    cdef readonly int64_t phase, run, seq, a, b, c, d
    cdef readonly object payload

    cpdef Message stamped(self, int64_t phase, int64_t run, int64_t seq)
    cpdef Message carrying(self, payload)


cpdef Py_ssize_t write(buffer, Message message, there=*) except -1
cpdef Message read(buffer)
