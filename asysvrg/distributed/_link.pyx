# cython: language_level=3
"""Channels between ranks: messages over persistent MPI requests.

This is compiled because ranks may share a core: the time of a look that finds nothing is taken from a rank that
computes. MPI reports a lost rank by an exception, if its launcher lets a job go on without the rank. Tags keep these
messages apart from others on COMM_WORLD. A duplicate of COMM_WORLD would do so too, but its creation is a collective
call, which waits for a rank that has died.
"""

from time import monotonic, sleep

cimport cython
from libc.stdint cimport int64_t

import numpy as np

from asysvrg.distributed._message cimport Buffer, Message

from asysvrg.distributed._message import HEADER
from asysvrg.core.network import aligned_zeros
from asysvrg.distributed.protocol import Kind, failed

QUESTION, ANSWER = 31_907, 31_908  # tags; every MPI allows tags up to 32,767
FIRST_CAPACITY = 2**20  # bytes of a message until the network is known
SPARE = 64  # bytes behind a buffer, which kernels may read
STUCK = 60.0  # seconds after which a rank that does not take a message counts as lost

cdef int ALIVE = Kind.ALIVE


@cython.final
cdef class PersistentRequest:
    """One direction of a channel: a buffer, and the MPI request that is started again for each message.

    Starting a request takes less time than making one, above all with cold caches, as where ranks share a core.
    """

    cdef object comm, byte, request
    cdef int rank, tag
    cdef Buffer buffer
    cdef Py_ssize_t size  # bytes for which the request was made
    cdef bint busy  # MPI may still use the buffer

    def __init__(self, comm, byte, int rank, int tag):
        self.comm, self.byte, self.rank, self.tag = comm, byte, rank, tag

    cdef reserve(self, Py_ssize_t capacity):
        if self.buffer is None or len(self.buffer) < capacity:
            self.free()
            self.buffer = Buffer(aligned_zeros((capacity + SPARE,), np.uint8)[:capacity])

    cdef bint idle(self) except -1:
        """Whether the last message has arrived, or has left."""
        if self.busy and self.request.Test():
            self.busy = False
        return not self.busy

    cdef Py_ssize_t send(self, Message message, Py_ssize_t capacity) except -1:
        """Starts to send a copy of the message. Returns its bytes."""
        cdef Py_ssize_t size
        self.reserve(capacity)
        size = self.buffer.write(message)
        if self.request is None or size != self.size:
            self.free()
            self.request = self.comm.Send_init([self.buffer.array, size, self.byte], self.rank, self.tag)
            self.size = size
        self.request.Start()
        self.busy = True
        return size

    cdef receive(self, Py_ssize_t capacity):
        """Starts to receive a message of at most so many bytes."""
        self.reserve(capacity)
        if self.request is None:
            self.request = self.comm.Recv_init([self.buffer.array, len(self.buffer), self.byte], self.rank, self.tag)
        self.request.Start()
        self.busy = True

    cdef free(self):
        if self.request is not None and not self.busy:
            self.request.Free()
            self.request = None


@cython.final
cdef class PeerChannel:
    """What is under way to and from one rank."""

    cdef int rank
    cdef bint gone  # MPI has reported the loss of the rank
    cdef PersistentRequest incoming, outgoing, life


@cython.final
cdef class Link:
    """Channels to all ranks on the other side: a server's to its participants, or a participant's to its servers.

    Parameters
    ----------
    MPI : module
        mpi4py's.
    comm : communicator
    sends, receives : int
        Tags of outgoing and of incoming messages.

    Attributes
    ----------
    carried : int
        Bytes of all messages, in both directions.
    """

    cdef object comm, byte, error
    cdef int sends, receives
    cdef Py_ssize_t capacity
    cdef dict channels
    cdef list kept  # requests that MPI may still use
    cdef list failed, news
    cdef readonly int64_t carried

    def __init__(self, MPI, comm, int sends, int receives):
        self.comm, self.byte, self.error = comm, MPI.BYTE, MPI.Exception
        self.sends, self.receives, self.capacity = sends, receives, FIRST_CAPACITY
        self.channels, self.kept, self.failed, self.news = {}, [], [], []

    def reserve(self, Py_ssize_t payload):
        """Makes room for payloads of so many bytes, from the next message on."""
        self.capacity = max(self.capacity, HEADER + payload)

    def listen(self, ranks):
        """Starts to receive a message from each of these ranks."""
        for rank in ranks:
            self.receive(self.channel(rank))

    cpdef list poll(self):
        """What has come, as (rank, message); (rank, None) for a rank that MPI has lost.

        A message is valid until the next `send` to the same rank.
        """
        cdef PeerChannel channel
        cdef list ready = []
        for channel in self.channels.values():
            if channel.gone or not channel.incoming.busy:
                continue
            try:
                if channel.incoming.idle():
                    ready.append(channel)
            except self.error:
                self.failed.append(channel)
        return self.taken(ready) if ready or self.failed or self.news else []

    def wait(self, pause, double until):
        """Calls `poll` until something has come or the monotonic clock says `until`, with `pause()` in between.

        `pause` returns whether it slept.
        """
        # Poll twice: a call in Open MPI may yield the core, and what came meanwhile is not to wait for another pause.
        # After a sleep, poll once: a rank that wakes now and then is to take little of the core.
        cdef list came = self.poll() or self.poll()
        while not came and monotonic() < until:
            came = self.poll() if pause() else self.poll() or self.poll()
        return came

    cpdef send(self, int rank, Message message, bint question=False, bint last=False):
        """Sends a copy of a message, and starts to receive the next one from that rank, except after the last one.

        A question follows the answer to the one before, so that one has left; but MPI may take a moment to know. An
        answer never waits.
        """
        cdef PeerChannel channel = self.channel(rank)
        if channel.gone:
            return
        try:
            if question:
                if self.stuck(channel):
                    self.drop(channel)
                    return
            elif not channel.outgoing.idle():
                self.kept.append(channel.outgoing)
                channel.outgoing = self.request(rank, self.sends)
            # The send comes first: the other rank waits for it, and takes a while until its next message.
            self.carried += channel.outgoing.send(message, self.capacity)
            if not last:
                self.receive(channel)
        except self.error:
            self.drop(channel)

    def pulse(self, int rank, Message message):
        """Sends a message that is not answered beside the others, unless the last one has not left yet."""
        cdef PeerChannel channel = self.channel(rank)
        try:
            if not channel.gone and channel.life.idle():
                channel.life.send(message, HEADER)
        except self.error:
            self.drop(channel)

    def vector(self, int rank, size, dtype):
        """A vector inside an outgoing buffer: what is computed there is sent without a copy."""
        cdef PeerChannel channel = self.channel(rank)
        self.stuck(channel)
        channel.outgoing.reserve(self.capacity)
        return channel.outgoing.buffer.vector(size, dtype)

    def flush(self, seconds):
        """Waits until all messages have left, for so many seconds at most."""
        cdef PeerChannel channel
        cdef double end = monotonic() + seconds
        for channel in self.channels.values():
            try:
                while not (channel.gone or channel.outgoing.idle()) and monotonic() < end:
                    sleep(1e-3)
            except self.error:
                pass

    def close(self):
        """Frees the requests before MPI ends, else MPICH complains; but not one that MPI may still use."""
        cdef PeerChannel channel
        cdef PersistentRequest request
        for channel in self.channels.values():
            self.kept += [channel.incoming, channel.outgoing, channel.life]
        for request in self.kept:
            try:
                if request.idle():
                    request.free()
            except self.error:
                pass

    cdef PeerChannel channel(self, int rank):
        cdef PeerChannel channel = self.channels.get(rank)
        if channel is None:
            channel = self.channels[rank] = PeerChannel()
            channel.rank, channel.incoming = rank, self.request(rank, self.receives)
            channel.outgoing, channel.life = self.request(rank, self.sends), self.request(rank, self.sends)
        return channel

    cdef PersistentRequest request(self, int rank, int tag):
        return PersistentRequest(self.comm, self.byte, rank, tag)

    cdef list taken(self, list ready):
        """The messages of these channels, and the losses."""
        cdef PeerChannel channel
        cdef Message message
        cdef list came = []
        for channel in ready:
            try:
                message = channel.incoming.buffer.read()
                self.carried += HEADER + len(message.payload)
                if message.kind == ALIVE:
                    self.receive(channel)
            except ValueError as error:  # another version of the protocol
                message = failed(Kind.FAIL, error, str(error))
                message = Message(Kind.FAIL, message.payload[0], run=-1, seq=2**62)
            came.append((channel.rank, message))
        while self.failed:
            self.drop(self.failed.pop())
        came += self.news
        self.news = []
        return came

    cdef receive(self, PeerChannel channel):
        if channel.incoming.busy or channel.gone:
            return
        try:
            channel.incoming.receive(self.capacity)
        except self.error:
            self.drop(channel)

    cdef drop(self, PeerChannel channel):
        channel.gone = True
        self.news.append((channel.rank, None))

    cdef bint stuck(self, PeerChannel channel) except -1:
        """Waits until the last message has left; returns whether it does not."""
        cdef double end = 0
        while not channel.outgoing.idle():
            end = end or monotonic() + STUCK
            if monotonic() > end:
                return True
        return False
