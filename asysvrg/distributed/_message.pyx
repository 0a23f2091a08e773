# cython: language_level=3
"""A message, and its form in a buffer of bytes: a header, then vectors or a piece of a blob.

This is compiled because a server handles two messages for every update, and that bounds the rate of all workers.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int64_t
from libc.string cimport memcpy

import numpy as np

cdef enum:
    PROTOCOL = 2
    START = 128  # bytes of the header: 16 numbers of 8 bytes

HEADER = START


@cython.final
cdef class Message:
    """What one rank sends to another. `protocol` says which kinds there are and which fields each kind has.

    Attributes
    ----------
    kind, flags, stage : int
        Of `protocol.Kind`, `protocol.Flag` and `protocol.Stage`.
    run : int
        Number of the fit in this process.
    seq : int
        Number of a question. Its answer carries the same number.
    epoch, version, iteration : int
        s, the number of updates that x had seen, and t.
    evaluated : int
        Number of sample gradients computed.
    sweep, shard, first, last : int
        Number of a full gradient, of one of its data shards, and that shard's rows.
    offset, total : int
        Where in a blob a piece of it starts, and the length of the blob, in bytes.
    l2_factor : float
        What the l2 term is multiplied by in this epoch (l2 continuation).
    payload : array of uint8, or sequence of arrays
        Of a message to be sent: the arrays behind the header. Of a received one: a view of the buffer. It is valid
        until the question is answered or the next one is asked.
    """

    def __init__(self, int kind, payload=(), int flags=0, *, int stage=0, int64_t run=0, int64_t seq=0,
                 int64_t epoch=0, int64_t version=0, int64_t iteration=0, int64_t evaluated=0, int64_t sweep=0,
                 int64_t shard=0, int64_t first=0, int64_t last=0, int64_t offset=0, int64_t total=0,
                 double l2_factor=1):
        self.kind, self.payload, self.flags, self.stage, self.run, self.seq = kind, payload, flags, stage, run, seq
        self.epoch, self.version, self.iteration, self.evaluated = epoch, version, iteration, evaluated
        self.sweep, self.shard, self.first, self.last = sweep, shard, first, last
        self.offset, self.total, self.l2_factor = offset, total, l2_factor

    cpdef stamp(self, int stage, int64_t run, int64_t seq):
        """Says what the message belongs to."""
        self.stage, self.run, self.seq = stage, run, seq

    cpdef detach(self):
        """Copies the payload, so that the message outlives the buffer."""
        self.payload = np.array(self.payload, dtype=np.uint8)


@cython.final
cdef class Buffer:
    """Room for one message at a time.

    A buffer keeps its address, and the array that shows the payload as long as payloads have the same size: making an
    array takes as long as everything else that is done for a message.

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
        """Writes a message whose payload is a sequence of arrays. Returns the number of bytes."""
        cdef char *start = <char *>self.whole.buf
        cdef Py_buffer part
        cdef Py_ssize_t at = START
        cdef int64_t *header = <int64_t *>start
        for array in message.payload:
            if array is self.vector_in_place:
                at += self.vector_size
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
        header[1] = message.kind + message.flags * 256 + message.stage * 65536
        header[2], header[3] = message.seq, at - START
        header[4], header[5], header[6] = message.epoch, message.version, message.iteration
        header[7], header[8], header[9] = message.evaluated, message.sweep, message.shard
        header[10], header[11], header[12], header[13] = message.first, message.last, message.offset, message.total
        (<double *>start)[14] = message.l2_factor
        return at

    cpdef Message read(self):
        """The message in the buffer.

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
        message.kind, message.flags, message.stage = header[1] & 255, header[1] >> 8 & 255, header[1] >> 16
        message.run, message.seq = header[0] >> 8, header[2]
        message.epoch, message.version, message.iteration = header[4], header[5], header[6]
        message.evaluated, message.sweep, message.shard = header[7], header[8], header[9]
        message.first, message.last, message.offset, message.total = header[10], header[11], header[12], header[13]
        message.l2_factor = (<const double *>self.whole.buf)[14]
        if self.payload is None or header[3] != self.size:
            self.payload, self.size = self.array[START:START + header[3]], header[3]
        message.payload = self.payload
        return message

    cpdef vector(self, Py_ssize_t size, dtype):
        """An array right behind the header. A message whose payload starts with it is sent without a copy."""
        self.vector_size = size * dtype.itemsize
        self.vector_in_place = self.array[START:START + self.vector_size].view(dtype)
        return self.vector_in_place
