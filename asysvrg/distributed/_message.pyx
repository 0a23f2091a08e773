# cython: language_level=3
"""A message, and its form in a buffer of bytes: 64 of a header, then vectors or a blob.

Compiled, since an update takes a server two of them, and what it does for an update bounds the rate of all workers.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int64_t
from libc.string cimport memcpy

cdef enum:
    PROTOCOL = 1
    START = 64  # bytes: eight int64

HEADER = START


@cython.final
cdef class Message:
    """What a rank says to another.

    Attributes
    ----------
    kind, mask : int
    phase : int
        Which exchange it belongs to: both sides count `share` and `work`.
    run : int
        Number of the fit in this process.
    seq : int
        Number of the worker's question; an answer carries that of its question.
    a, b, c, d : int
        SHARD: sweep, shard, first and last row. FULL: sweep, shard, samples evaluated. STEP: epoch s, version of x,
        draw t. GRAD: the same, sample gradients evaluated. BLOB, ANSWER: offset, length of the whole. BEGIN: epoch,
        steps m. HAND: whether at once. PART: epoch, version. READY to a server other than rank 0: epoch. RANGE: epoch,
        directions dropped, bytes carried since the last one.
    payload : array of uint8, or sequence of arrays
        As it was received, a view of the buffer, valid until the question is answered, or the next one is asked. Before
        it is sent, what is to follow the header.
    """

    def __init__(self, int kind, int mask=0, int64_t phase=0, int64_t run=0, int64_t seq=0,
                 int64_t a=0, int64_t b=0, int64_t c=0, int64_t d=0, payload=()):
        self.kind, self.mask, self.phase, self.run, self.seq = kind, mask, phase, run, seq
        self.a, self.b, self.c, self.d, self.payload = a, b, c, d, payload

    cpdef Message stamped(self, int64_t phase, int64_t run, int64_t seq):
        """The same as part of an exchange."""
        cdef Message other = self.carrying(self.payload)
        other.phase, other.run, other.seq = phase, run, seq
        return other

    cpdef Message answered(self, int kind, int64_t d, payload):
        """What a worker says to it of the same a, b and c."""
        cdef Message other = self.carrying(payload)
        other.kind, other.mask, other.d = kind, 0, d
        return other

    cpdef Message carrying(self, payload):
        """The same with another payload."""
        cdef Message other = Message.__new__(Message)
        other.kind, other.mask, other.phase, other.run, other.seq = self.kind, self.mask, self.phase, self.run, self.seq
        other.a, other.b, other.c, other.d, other.payload = self.a, self.b, self.c, self.d, payload
        return other


@cython.final
cdef class Buffer:
    """Room for a message.

    Made once for many messages, and so are its address and the view of a payload as long as the last one: to make an
    array takes as long as all else that is done for a message.

    Attributes
    ----------
    array : array of uint8
    """

    def __init__(self, array):
        PyObject_GetBuffer(array, &self.whole, PyBUF_WRITABLE)
        if self.whole.len < START:
            raise ValueError(f"room for {self.whole.len} bytes, less than a header")
        self.array = array

    def __dealloc__(self):
        PyBuffer_Release(&self.whole)

    def __len__(self):
        return self.whole.len

    cpdef Py_ssize_t write(self, Message message) except -1:
        """Writes a message, whose payload is a sequence of arrays. Returns its bytes."""
        cdef char *start = <char *>self.whole.buf
        cdef Py_buffer part
        cdef Py_ssize_t at = START
        cdef int64_t *header = <int64_t *>start
        for array in message.payload:
            if array is self.there:
                at += self.there_size
                continue
            PyObject_GetBuffer(array, &part, PyBUF_SIMPLE)
            try:
                if at + part.len > self.whole.len:
                    raise ValueError(f"a message of more than {self.whole.len} bytes")
                memcpy(start + at, part.buf, part.len)
                at += part.len
            finally:
                PyBuffer_Release(&part)
        header[0] = PROTOCOL + message.run * 256
        header[1] = message.kind + message.mask * 256 + message.phase * 65536
        header[2], header[3] = message.seq, at - START
        header[4], header[5], header[6], header[7] = message.a, message.b, message.c, message.d
        return at

    cpdef Message read(self):
        """The message in it.

        Raises
        ------
        ValueError
            If it is of another version of this protocol.
        """
        cdef Message message = Message.__new__(Message)
        cdef const int64_t *header = <const int64_t *>self.whole.buf
        if header[0] & 255 != PROTOCOL:
            raise ValueError(f"protocol version {header[0] & 255}, expected {PROTOCOL}: "
                             "install the same asysvrg on all ranks")
        message.kind, message.mask, message.phase = header[1] & 255, header[1] >> 8 & 255, header[1] >> 16
        message.run, message.seq = header[0] >> 8, header[2]
        message.a, message.b, message.c, message.d = header[4], header[5], header[6], header[7]
        if self.payload is None or header[3] != self.size:
            self.payload, self.size = self.array[START:START + header[3]], header[3]
        message.payload = self.payload
        return message

    cpdef vector(self, Py_ssize_t size, dtype):
        """An array right behind the header, which need not be copied there."""
        self.there_size = size * dtype.itemsize
        self.there = self.array[START:START + self.there_size].view(dtype)
        return self.there
