"""The ranks of an MPI job as a team: rank 0 leads, all others are members.

The same program runs on every rank; what they have to know of each other goes through `share`. Between two jobs of the
server, and while a worker computes, a thread answers and shows signs of life.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from asysvrg import mpi
from asysvrg._network import Network
from asysvrg._version import __version__
from asysvrg.jobs import Exchange, Farewell
from asysvrg.messages import Backoff, Kind, Lost, Message, RankError, stop
from asysvrg.server import Group, Job, Server
from asysvrg.supervisor import RESULT
from asysvrg.trace import replacing
from asysvrg.worker import Worker, sharing

LOST_AFTER = "ASYSVRG_LOST_AFTER"  # seconds of silence, default 10
TICK = 0.05  # seconds between two looks at the clock

Combine = Callable[[dict[int, Any]], Any]


class _Attendant:
    """A thread that does something every now and then, unless the main thread is at it."""

    def __init__(self, every: float, action: Callable[[], None]):
        self.lock, self.end = threading.Lock(), threading.Event()
        self.every, self.action = every, action
        self.thread = threading.Thread(target=self._attend, name="asysvrg-mpi", daemon=True)

    def _attend(self) -> None:
        while not self.end.wait(self.every):
            if self.lock.acquire(blocking=False):
                try:
                    self.action()
                finally:
                    self.lock.release()

    def start(self) -> None:
        self.thread.start()

    def stop(self) -> None:
        self.end.set()
        if self.thread.is_alive():
            self.thread.join()


class _Signals:
    """Holds back what a signal's handler does until the state of the server allows it."""

    def __init__(self) -> None:
        self.came: list[tuple[int, Any]] = []
        self.before: dict[int, Any] = {}

    def __enter__(self) -> _Signals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if callable(signal.getsignal(number)):
                    self.before[number] = signal.signal(number, lambda *came: self.came.append(came))
        return self

    def __exit__(self, *_: Any) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def handle(self) -> None:
        while self.came:
            number, frame = self.came.pop()
            self.before[number](number, frame)


class Team:
    """This rank's part in a distributed fit.

    Attributes
    ----------
    rank, size : int
    """

    def __init__(self, world: mpi.World):
        self.link: Any = world.link
        self.rank, self.size, self.run = world.rank, world.size, world.fits
        self.backoff, self.phase = Backoff("sleep"), 0
        self.lost_after = float(os.environ.get(LOST_AFTER, 10))
        self.processes: dict[int, int] = {}  # of other ranks on this machine
        self.attendant = _Attendant(*self._attendance())

    def ended(self, rank: int) -> bool:
        return rank in self.processes and mpi.has_ended(self.processes[rank])

    def set_up(self, wait: str, network: Network) -> None:
        """How to wait, and room for messages of three vectors."""
        self.backoff = Backoff(wait)
        self.link.reserve(3 * network.size * network.dtype.itemsize + 16)

    def union(self, labels: np.ndarray) -> np.ndarray:
        """The sorted labels of all ranks."""
        plain = labels if labels.dtype.kind in "biufU" else labels.tolist()

        def combine(given: dict[int, Any]) -> dict[str, Any]:
            every = np.unique(np.concatenate([np.asarray(one["labels"]) for one in given.values()]))
            return {"labels": every if plain is labels else every.tolist()}

        found = self.share({"labels": plain}, combine)["labels"]
        return np.asarray(found, dtype=None if plain is labels else labels.dtype)

    def meet(self) -> None:
        """The first exchange: the same version everywhere, and who is where."""
        here = {"version": __version__, "place": mpi.place(), "process": os.getpid()}

        def combine(given: dict[int, Any]) -> dict[str, Any]:
            for rank, one in given.items():
                if one["version"] != __version__:
                    raise ValueError(f"rank {rank} has asysvrg {one['version']}, rank 0 has {__version__}")
            return {"ranks": {str(rank): [one["place"], one["process"]] for rank, one in given.items()}}

        ranks = self.share(here, combine)["ranks"]
        self.processes = {
            int(rank): process
            for rank, (place, process) in ranks.items()
            if place == here["place"] and int(rank) != self.rank
        }


class Leader(Team):
    """Rank 0."""

    def __init__(self, world: mpi.World):
        super().__init__(world)
        self.server = Server(
            range(1, self.size), self.link.send, time.monotonic(), run=self.run, lost_after=self.lost_after,
            ended=self.ended,
        )  # fmt: skip
        self.link.listen()
        for rank, message in self.link.ahead.items():
            self.server.receive(rank, message, time.monotonic())
        self.groups: list[Group] = []
        self.next_tick = 0.0

    def _attendance(self) -> tuple[float, Callable[[], None]]:
        def attend() -> None:
            try:
                self._look()
            except Exception as error:  # for the main thread, when it comes back
                self.server.failure = self.server.failure or error

        return TICK, attend

    def _look(self) -> bool:
        """Takes what has come; says whether anything has."""
        came = self.link.poll()
        now = time.monotonic()
        for rank, message in came:
            if message is None:
                self.server.lose(rank, "MPI has lost it")
            else:
                self.server.receive(rank, message, now)
        if now >= self.next_tick:
            self.next_tick = now + TICK
            self.server.tick(now)
        return bool(came)

    def serve(self, job: Job, *, deadline: float = math.inf, closing: bool = False) -> None:
        """Does a job; leaves it at the deadline.

        Raises
        ------
        RankError, ValueError
            What another rank could not go on with.
        Lost
            If all workers are lost, or samples with them.
        KeyboardInterrupt
        """
        server = self.server
        with self.attendant.lock, _Signals() as signals:
            self.backoff.reset()
            try:
                server.start(job, self.phase)
                while not job.done and (closing or server.failure is None) and time.monotonic() < deadline:
                    if self._look():
                        self.backoff.reset()
                    else:
                        self.backoff.pause()
                    if signals.came:
                        signals.handle()
            finally:
                server.pause()
        if server.failure is not None and not closing:
            raise server.failure

    def share(self, mine: dict[str, Any], combine: Combine | None = None, *, own: bool = False) -> Any:
        """Every rank gives a dict; every rank gets what rank 0's `combine` makes of them, by default rank 0's."""
        self.phase += 1
        job = Exchange(self.server, mine, combine or (lambda given: given[0]), own=own)
        self.serve(job)
        return job.answer

    def begin(self) -> None:
        """From here on, workers are in `work`."""
        self.phase += 1

    def end(self) -> None:
        """Sends them out of it."""
        self.serve(Farewell(self.server, Message(Kind.DONE)))

    def leave(self, error: BaseException | None) -> None:
        """The last words, to everybody who still listens."""
        self.attendant.stop()
        if error is not None:
            reason = str(self.server.failure or "")
            if not reason:
                reason = f"rank 0: {_said(error)}"
            self.server.close(stop(reason, type(error)))
        end = time.monotonic() + min(self.lost_after, 8.0)
        self.serve(_Silence(self.server), deadline=end, closing=True)
        self.link.flush(1.0)
        self.link.ahead = self.server.ahead


class _Silence:
    """Waits until everybody has left, or was told to."""

    def __init__(self, server: Server):
        self.server = server

    @property
    def done(self) -> bool:
        return all(peer.rank in self.server.told for peer in self.server.live)

    def take(self, peer: Any, message: Message) -> None: ...

    def offer(self, peer: Any) -> None: ...

    def lose(self, peer: Any) -> None: ...


def _said(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    return str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"


class Member(Team):
    """Any other rank."""

    def _attendance(self) -> tuple[float, Callable[[], None]]:
        return mpi.PULSE, lambda: self.link.pulse(self.run)

    def _ask(self, message: Message) -> Message:
        kind, mask, _, _, seq, *rest = message
        message = Message(kind, mask, self.phase, self.run, seq, *rest)
        with self.attendant.lock:
            answer = self.link.ask(message, self.backoff, lost_after=2 * self.lost_after, ended=lambda: self.ended(0))
        if answer.kind == Kind.STOP:
            error = (ValueError if answer.a else RankError)(answer.payload.tobytes().decode(errors="replace"))
            error.from_server = True
            raise error
        return answer

    def share(self, mine: dict[str, Any], combine: Combine | None = None, *, own: bool = False) -> Any:
        """As rank 0's."""
        self.phase += 1
        talk = sharing(mine)
        message = next(talk)
        while True:
            try:
                message = talk.send(self._ask(message))
            except StopIteration as end:
                return end.value

    def work(self, worker: Worker) -> None:
        """Computes what the server asks for, until it has enough."""
        self.phase += 1
        worker.v = self.link.vector(worker.v.size, worker.v.dtype)
        message: Message | None = Message(Kind.READY)
        while message is not None:
            message = worker.answer(self._ask(message))

    def leave(self, error: BaseException | None) -> None:
        """The last words."""
        self.attendant.stop()
        if error is None:
            self.link.post(Message(Kind.BYE, run=self.run, phase=self.phase))
        elif not isinstance(error, Lost) and not getattr(error, "from_server", False):
            text = np.frombuffer(_said(error).encode(), dtype=np.uint8)[:4096]
            message = Message(
                Kind.FAIL, run=self.run, phase=self.phase, a=isinstance(error, ValueError), payload=(text,)
            )
            self.link.post(message)
        self.link.flush(2.0)


_team: Team | None = None


@contextmanager
def together(wanted: bool) -> Iterator[Any]:
    """This rank's team while inside; None unless it is `wanted`. Inside of another one, that one.

    What one rank raises inside ends the others, too: with a message that names it.
    """
    global _team
    if not wanted or _team is not None:
        yield _team if wanted else None
        return
    world = mpi.world()
    world.fits += 1
    team = (Member if world.rank else Leader)(world)
    _team = team
    if world.may_pulse:
        team.attendant.start()
    ignored: dict[int, Any] = {}
    error: BaseException | None = None
    try:
        if world.rank and threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):  # rank 0 decides, and says so
                if callable(signal.getsignal(number)):
                    ignored[number] = signal.signal(number, signal.SIG_IGN)
        team.meet()
        if not world.rank:
            _say_running()
        yield team
    except BaseException as raised:
        error = raised
        raise
    finally:
        _team = None
        team.leave(error)
        for number, handler in ignored.items():
            signal.signal(number, handler)


def agreed_state(team: Team | None, state: np.random.RandomState) -> np.random.RandomState:
    """Rank 0's random state, on every rank."""
    if team is None:
        return state
    _, keys, *rest = state.get_state()
    agreed = team.share({"keys": keys, "rest": rest})
    if team.rank:
        state = np.random.RandomState()
        state.set_state(("MT19937", agreed["keys"], *agreed["rest"]))
    return state


def _say_running() -> None:
    """Tells a fault-tolerant launcher that all ranks have found each other."""
    if RESULT in os.environ:
        Path(os.environ[RESULT]).with_name("running").touch()


def exit_rank(code: int, message: str = "") -> None:
    """Ends this process under a fault-tolerant launcher; returns in any other.

    After a loss MPI_Finalize would wait for ever, hence nobody calls it there.
    """
    if RESULT not in os.environ:
        return
    if mpi.launched()[0] == 0:
        with replacing(os.environ[RESULT]) as file:
            file.write(json.dumps({"exit_code": code, "message": message}).encode())
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)
