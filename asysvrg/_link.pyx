# cython: language_level=3
"""Both ends between a server and a worker: messages in buffers, over requests that never block.

Compiled, as messages are: where ranks share cores, what a look in vain takes is the time of those who have work.
What MPI gives up shows as an exception of it, as it may with a launcher that bears the loss of a rank. The tags are
private ones on COMM_WORLD and not on a duplicate: to duplicate it is a collective, in which all ranks wait for one that
has died.
"""

import math
from time import monotonic, sleep

cimport cython
from libc.stdint cimport int64_t

import numpy as np

from asysvrg._message cimport Message, read, write

from asysvrg._message import HEADER
from asysvrg._network import aligned_zeros
from asysvrg.messages import Kind, Lost

REQUEST, REPLY = 31_907, 31_908  # tags, below 32,767, which every MPI has
FIRST_CAPACITY = 2**20  # bytes of a message, until the network is known
SPARE = 64  # bytes behind a buffer, which kernels may read
PULSE = 1.0  # seconds between two signs of life of a worker that computes
STUCK = 60.0  # seconds after which a message that was answered is one that does not get on its way

cdef int ALIVE = Kind.ALIVE


cdef buffer_of(Py_ssize_t capacity):
    return aligned_zeros((capacity + SPARE,), np.uint8)[:capacity]


@cython.final
cdef class Line:
    """What a server has under way with a worker."""

    cdef readonly int rank
    cdef bint gone
    cdef object receiving, incoming, sending, outgoing

    def __init__(self, int rank):
        self.rank = rank


@cython.final
cdef class ServerLink:
    """A server's end: a receive and a send for each worker.

    Parameters
    ----------
    MPI : module
        mpi4py's.
    comm : communicator

    Attributes
    ----------
    carried : int
        Bytes, both ways.
    ahead : dict
        Messages that came for the next fit.
    """

    cdef object comm, byte, error
    cdef Py_ssize_t capacity
    cdef dict lines
    cdef list kept  # what MPI may still write to: requests and buffers of ranks that are gone
    cdef list failed, news
    cdef readonly int64_t carried
    cdef public dict ahead

    def __init__(self, MPI, comm):
        self.comm, self.byte, self.error = comm, MPI.BYTE, MPI.Exception
        self.capacity = FIRST_CAPACITY
        self.lines, self.ahead = {}, {}
        self.kept, self.failed, self.news = [], [], []

    def reserve(self, Py_ssize_t payload):
        """Makes room for messages of so many bytes behind the header, from each rank's next receive on."""
        self.capacity = max(self.capacity, HEADER + payload)

    def listen(self, ranks):
        """Waits for a message of each of these ranks."""
        for rank in ranks:
            self.receive(self.line(rank))

    cpdef list poll(self):
        """What has come, by rank; None from a rank that MPI has given up. A message is valid until it is answered."""
        cdef Line line
        cdef list ready = []
        for line in self.lines.values():
            if line.receiving is None:
                continue
            try:
                if line.receiving.Test():
                    ready.append(line)
            except self.error:
                self.failed.append(line)
        return self.taken(ready) if ready or self.failed or self.news else []

    def wait(self, pause, double until):
        """As `poll`, again and again with `pause()` in between, as long as there is nothing and the clock allows it."""
        cdef list came = self.poll()
        while not came and monotonic() < until:
            pause()
            came = self.poll()
        return came

    def send(self, int rank, Message message):
        """Sends a copy, and waits for the next message."""
        cdef Line line = self.line(rank)
        cdef Py_ssize_t size
        if line.gone:
            return
        try:
            if line.sending is not None and not line.sending.Test():
                self.kept.append((line.sending, line.outgoing))
                line.outgoing = None
            if line.outgoing is None or len(line.outgoing) < self.capacity:
                line.outgoing = buffer_of(self.capacity)
            size = write(line.outgoing, message)
            # First what the worker waits for, then what it will take a while to answer.
            line.sending = self.comm.Isend([line.outgoing, size, self.byte], rank, REPLY)
            self.carried += size
            self.receive(line)
        except self.error:
            self.drop(line)

    def flush(self, seconds):
        """Waits, so long at most, until everything is on its way."""
        cdef Line line
        cdef double end = monotonic() + seconds
        for line in self.lines.values():
            try:
                while not (line.gone or line.sending is None or line.sending.Test()) and monotonic() < end:
                    sleep(1e-3)
            except self.error:
                pass

    cdef Line line(self, int rank):
        line = self.lines.get(rank)
        if line is None:
            line = self.lines[rank] = Line(rank)
        return line

    cdef list taken(self, list ready):
        """The messages of these lines, and what else is new."""
        cdef Line line
        cdef Message message
        cdef list came = []
        for line in ready:
            line.receiving = None
            try:
                message = read(line.incoming)
                self.carried += HEADER + len(message.payload)
                if message.kind == ALIVE:
                    self.receive(line)
            except ValueError as error:  # of another version
                text = np.frombuffer(str(error).encode(), dtype=np.uint8)
                message = Message(Kind.FAIL, run=-1, seq=2**62, a=1, payload=text)
            came.append((line.rank, message))
        while self.failed:
            self.drop(self.failed.pop())
        if self.news:
            came += self.news
            self.news = []
        return came

    cdef receive(self, Line line):
        if line.receiving is not None or line.gone:
            return
        if line.incoming is None or len(line.incoming) < self.capacity:
            line.incoming = buffer_of(self.capacity)
        try:
            line.receiving = self.comm.Irecv([line.incoming, len(line.incoming), self.byte], line.rank, REQUEST)
        except self.error:
            self.drop(line)

    cdef drop(self, Line line):
        self.kept.append((line.receiving, line.incoming, line.sending, line.outgoing))
        line.receiving, line.gone = None, True
        self.news.append((line.rank, None))


@cython.final
cdef class WorkerLink:
    """A worker's end: asks a server, and looks for the answer.

    Parameters
    ----------
    MPI : module
        mpi4py's.
    comm : communicator
    server : int
        The server's rank.

    Attributes
    ----------
    sent : float
        When something was sent, on the monotonic clock.
    """

    cdef object comm, byte, error, outgoing, incoming, pulse_buffer, sending, pulsing, there
    cdef public object reply
    cdef readonly int server
    cdef Py_ssize_t capacity
    cdef int64_t seq
    cdef readonly double sent

    def __init__(self, MPI, comm, int server):
        self.comm, self.byte, self.error, self.server = comm, MPI.BYTE, MPI.Exception, server
        self.capacity = FIRST_CAPACITY
        self.outgoing, self.incoming = buffer_of(FIRST_CAPACITY), buffer_of(FIRST_CAPACITY)
        self.pulse_buffer = buffer_of(HEADER)

    def reserve(self, Py_ssize_t payload):
        """As the server's."""
        self.capacity = max(self.capacity, HEADER + payload)

    def lost(self, why):
        """What to raise."""
        error = Lost(f"rank {self.server}, {'a' if self.server else 'the'} server, was lost: {why}")
        error.rank = self.server
        return error

    def ask(self, Message message, int64_t phase, int64_t run):
        """Sends a message that is to be answered."""
        try:
            self.post(message, phase, run)
            if self.reply is None:
                self.receive()
        except self.error as error:
            raise self.lost(str(error).splitlines()[0]) from None

    def wait(self, pause, double until):
        """Calls `pause()` between looks until there is something to look at, or the clock says it is `until`."""
        try:
            while not self.reply.Test() and monotonic() < until:
                pause()
        except self.error:
            return  # `look` meets it, too

    def look(self):
        """The answer, if it is there; valid until the next message is asked."""
        cdef Message answer
        try:
            while self.reply.Test():
                self.reply, answer = None, read(self.incoming)
                if answer.seq == self.seq:
                    if self.sending is not None and self.sending.Test():
                        self.sending = None
                    return answer
                self.receive()
        except self.error as error:
            raise self.lost(str(error).splitlines()[0]) from None
        return None

    cpdef post(self, Message message, int64_t phase, int64_t run):
        """Sends a message and does not wait for an answer."""
        cdef Py_ssize_t size
        if self.sending is not None or len(self.outgoing) < self.capacity:
            self.grow()
        self.seq += 1
        size = write(self.outgoing, message.stamped(phase, run, self.seq), self.there)
        self.sending = self.comm.Isend([self.outgoing, size, self.byte], self.server, REQUEST)
        self.sent = monotonic()

    def vector(self, size, dtype):
        """Where to compute what is to be sent, so that it need not be copied."""
        self.grow()
        self.there = self.outgoing[HEADER:HEADER + size * dtype.itemsize].view(dtype)
        return self.there

    def flush(self, seconds):
        """Waits, so long at most, until the last message is on its way; says whether it is."""
        cdef double end = monotonic() + seconds
        try:
            while self.sending is not None and not self.sending.Test():
                if monotonic() > end:
                    return False
                sleep(1e-3)
        except self.error:
            return False
        return True

    def pulse(self, int64_t run):
        """A sign of life, where the last message is a while ago."""
        cdef double now = monotonic()
        try:
            if now - self.sent < PULSE or (self.pulsing is not None and not self.pulsing.Test()):
                return
            self.sent = now
            size = write(self.pulse_buffer, Message(Kind.ALIVE, run=run))
            self.pulsing = self.comm.Isend([self.pulse_buffer, size, self.byte], self.server, REQUEST)
        except self.error:
            pass

    cdef receive(self):
        if len(self.incoming) < self.capacity:
            self.incoming = buffer_of(self.capacity)
        self.reply = self.comm.Irecv([self.incoming, len(self.incoming), self.byte], self.server, REPLY)

    cdef grow(self):
        self.finish()
        if len(self.outgoing) < self.capacity:
            self.outgoing, self.there = buffer_of(self.capacity), None

    cdef finish(self):
        """The last message has been answered, hence received; MPI is to know that, too."""
        cdef double end = math.inf
        while self.sending is not None:
            if self.sending.Test():
                self.sending = None
            elif end == math.inf:
                end = monotonic() + STUCK
            elif monotonic() > end:
                raise self.lost("it does not take a message")
