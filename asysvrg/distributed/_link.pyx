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

from asysvrg.distributed._message cimport Buffer, Message

from asysvrg.distributed._message import HEADER
from asysvrg.core.network import aligned_zeros
from asysvrg.distributed.messages import Kind, Lost

REQUEST, REPLY = 31_907, 31_908  # tags, below 32,767, which every MPI has
FIRST_CAPACITY = 2**20  # bytes of a message, until the network is known
SPARE = 64  # bytes behind a buffer, which kernels may read
PULSE = 1.0  # seconds between two signs of life of a worker that computes
STUCK = 60.0  # seconds after which a message that was answered is one that does not get on its way

cdef int ALIVE = Kind.ALIVE


@cython.final
cdef class Way:
    """One way between two ranks: a buffer and, over it, a request that is started for one message after another.

    To make one for each message would take longer than to start it, and all the more with cold caches: where ranks
    share a core.
    """

    cdef object comm, byte, request
    cdef int rank, tag
    cdef Buffer buffer
    cdef Py_ssize_t size  # that the request is for
    cdef bint busy  # MPI may still use the buffer

    def __init__(self, comm, byte, int rank, int tag, Py_ssize_t capacity):
        self.comm, self.byte, self.rank, self.tag = comm, byte, rank, tag
        self.reserve(capacity)

    cdef reserve(self, Py_ssize_t capacity):
        if self.buffer is None or len(self.buffer) < capacity:
            self.free()
            self.buffer = Buffer(aligned_zeros((capacity + SPARE,), np.uint8)[:capacity])

    cdef bint idle(self) except -1:
        """Whether the last message has arrived, or is on its way."""
        if self.busy and self.request.Test():
            self.busy = False
        return not self.busy

    cdef Py_ssize_t send(self, Message message) except -1:
        """Starts to send a copy; returns its bytes."""
        cdef Py_ssize_t size = self.buffer.write(message)
        if self.request is None or size != self.size:
            self.free()
            self.request = self.comm.Send_init([self.buffer.array, size, self.byte], self.rank, self.tag)
            self.size = size
        self.start()
        return size

    cdef receive(self):
        """Starts to listen."""
        if self.request is None:
            self.request = self.comm.Recv_init([self.buffer.array, len(self.buffer), self.byte], self.rank, self.tag)
        self.start()

    cdef start(self):
        self.request.Start()
        self.busy = True

    cdef free(self):
        if self.request is not None and not self.busy:
            self.request.Free()
            self.request = None

    cdef close(self, error):
        """Gives the request back, as MPICH asks for in its last words; not one that MPI may still be at."""
        try:
            if self.idle():
                self.free()
        except error:
            pass


@cython.final
cdef class Line:
    """What a server has under way with a worker."""

    cdef readonly int rank
    cdef bint gone
    cdef Way incoming, outgoing

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
    cdef list kept  # what MPI may still read
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
            if line.gone or not line.incoming.busy:
                continue
            try:
                if line.incoming.idle():
                    ready.append(line)
            except self.error:
                self.failed.append(line)
        return self.taken(ready) if ready or self.failed or self.news else []

    def wait(self, pause, double until):
        """As `poll`, again and again with `pause()` in between, as long as there is nothing and the clock allows it.

        Parameters
        ----------
        pause : callable
            Says whether it slept.
        until : float
            On the monotonic clock.
        """
        # Twice, since Open MPI may give the core away in a look in vain: what came meanwhile is not to wait for more.
        # After a sleep, once: who wakes now and then is to take little of a core.
        cdef list came = self.poll() or self.poll()
        while not came and monotonic() < until:
            came = self.poll() if pause() else self.poll() or self.poll()
        return came

    def send(self, int rank, Message message):
        """Sends a copy, and waits for the next message."""
        cdef Line line = self.line(rank)
        if line.gone:
            return
        try:
            if not line.outgoing.idle():
                self.kept.append(line.outgoing)
                line.outgoing = self.way(rank, REPLY)
            line.outgoing.reserve(self.capacity)
            # First what the worker waits for, then what it will take a while to answer.
            self.carried += line.outgoing.send(message)
            self.receive(line)
        except self.error:
            self.drop(line)

    def flush(self, seconds):
        """Waits, so long at most, until everything is on its way."""
        cdef Line line
        cdef double end = monotonic() + seconds
        for line in self.lines.values():
            try:
                while not (line.gone or line.outgoing.idle()) and monotonic() < end:
                    sleep(1e-3)
            except self.error:
                pass

    def close(self):
        """Before MPI ends."""
        cdef Line line
        cdef Way way
        for line in self.lines.values():
            line.incoming.close(self.error)
            line.outgoing.close(self.error)
        for way in self.kept:
            way.close(self.error)

    cdef Line line(self, int rank):
        cdef Line line = self.lines.get(rank)
        if line is None:
            line = self.lines[rank] = Line(rank)
            line.incoming, line.outgoing = self.way(rank, REQUEST), self.way(rank, REPLY)
        return line

    cdef Way way(self, int rank, int tag):
        return Way(self.comm, self.byte, rank, tag, self.capacity)

    cdef list taken(self, list ready):
        """The messages of these lines, and what else is new."""
        cdef Line line
        cdef Message message
        cdef list came = []
        for line in ready:
            try:
                message = line.incoming.buffer.read()
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
        if line.incoming.busy or line.gone:
            return
        try:
            line.incoming.reserve(self.capacity)
            line.incoming.receive()
        except self.error:
            self.drop(line)

    cdef drop(self, Line line):
        line.gone = True
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

    cdef object error
    cdef Way incoming, outgoing, life
    cdef bint due  # an answer is
    cdef readonly int server
    cdef Py_ssize_t capacity
    cdef int64_t seq
    cdef readonly double sent

    def __init__(self, MPI, comm, int server):
        self.error, self.server, self.capacity = MPI.Exception, server, FIRST_CAPACITY
        self.incoming = Way(comm, MPI.BYTE, server, REPLY, FIRST_CAPACITY)
        self.outgoing = Way(comm, MPI.BYTE, server, REQUEST, FIRST_CAPACITY)
        self.life = Way(comm, MPI.BYTE, server, REQUEST, HEADER)

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
            if not self.due:
                self.receive()
        except self.error as error:
            raise self.lost(str(error).splitlines()[0]) from None

    def wait(self, pause, double until):
        """As `look`, again and again with `pause()` in between, as long as there is nothing and the clock allows it."""
        cdef Message answer = self.look() or self.look()  # twice as the server does
        while answer is None and monotonic() < until:
            answer = self.look() if pause() else self.look() or self.look()
        return answer

    cpdef Message look(self):
        """The answer, if it is there; valid until the next message is asked."""
        cdef Message answer
        try:
            while self.due and self.incoming.idle():
                self.due, answer = False, self.incoming.buffer.read()
                if answer.seq == self.seq:
                    return answer
                self.receive()
        except self.error as error:
            raise self.lost(str(error).splitlines()[0]) from None
        return None

    cpdef post(self, Message message, int64_t phase, int64_t run):
        """Sends a message and does not wait for an answer."""
        self.finish()
        self.seq += 1
        self.outgoing.send(message.stamped(phase, run, self.seq))
        self.sent = monotonic()

    def vector(self, size, dtype):
        """Where to compute what is to be sent, so that it need not be copied."""
        self.finish()
        return self.outgoing.buffer.vector(size, dtype)

    def flush(self, seconds):
        """Waits, so long at most, until the last message is on its way; says whether it is."""
        cdef double end = monotonic() + seconds
        try:
            while not self.outgoing.idle():
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
            if now - self.sent >= PULSE and self.life.idle():
                self.sent = now
                self.life.send(Message(Kind.ALIVE, run=run))
        except self.error:
            pass

    def close(self):
        """Before MPI ends."""
        for way in (self.incoming, self.outgoing, self.life):
            (<Way>way).close(self.error)

    cdef receive(self):
        self.incoming.reserve(self.capacity)
        self.incoming.receive()
        self.due = True

    cdef finish(self):
        """The last message has been answered, hence received; MPI is to know that, too. Makes room for the next."""
        cdef double end = math.inf
        while not self.outgoing.idle():
            if end == math.inf:
                end = monotonic() + STUCK
            elif monotonic() > end:
                raise self.lost("it does not take a message")
        self.outgoing.reserve(self.capacity)
