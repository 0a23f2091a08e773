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
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from asysvrg._version import __version__
from asysvrg.core.network import Network
from asysvrg.distributed import mpi
from asysvrg.distributed._link import PULSE, WorkerLink
from asysvrg.distributed.backend import MPI
from asysvrg.distributed.codec import Codec
from asysvrg.distributed.endpoint import TICK, Attendant, Desk, Signals, Silence
from asysvrg.distributed.messages import Backoff, Kind, Lost, Message, Stage, ranges_of, reason, stop
from asysvrg.distributed.parameter_shards import Deputy, RangeServer
from asysvrg.distributed.rank_wrapper import RESULT
from asysvrg.distributed.server import Group, Job
from asysvrg.distributed.tasks import Exchange, Farewell
from asysvrg.distributed.worker import Worker, sharing
from asysvrg.store.files import replacing

LOST_AFTER = "ASYSVRG_LOST_AFTER"  # seconds of silence, default 10
LAST = 2.0  # seconds for which a rank that leaves waits for the last messages

Combine = Callable[[dict[int, Any]], Any]


class Team:
    """This rank's part in a distributed fit.

    Attributes
    ----------
    rank, size : int
    """

    def __init__(self, world: mpi.World):
        self.world, self.rank, self.size, self.run = world, world.rank, world.size, world.fits
        self.mpi, self.backoff, self.phase = MPI(), Backoff("sleep"), 0
        self.ranges: list[slice] = []  # each server's coordinates
        self.room = 0
        self.lost_after = float(os.environ.get(LOST_AFTER, 10))
        self.patience = min(self.lost_after, 8.0)  # for which a server waits for the last words of others
        self.processes: dict[int, int] = {}  # of other ranks on this machine
        self.attendant = Attendant(*self._attendance())

    def ended(self, rank: int) -> bool:
        return rank in self.processes and mpi.has_ended(self.processes[rank])

    def set_up(self, options: MPI, network: Network) -> None:
        """How to wait, and which coordinates each server is to have."""
        if options.servers >= self.size:
            raise ValueError(f"servers={options.servers} of {self.size} ranks: at least one is to work")
        self.mpi, self.backoff = options, Backoff(options.wait)
        self.ranges = ranges_of(network.size, network.dtype.itemsize, options.servers)
        self.room = 3 * network.size * network.dtype.itemsize + 16  # bytes of three vectors
        self._first_link().reserve(self.room)

    @property
    def is_worker(self) -> bool:
        return self.rank >= len(self.ranges)

    def meet(self) -> None:
        """The first exchange: the same version everywhere, and who is where."""
        here = {"version": __version__, "place": mpi.place(), "process": os.getpid()}

        def combine(given: dict[int, Any]) -> dict[str, Any]:
            for rank, one in given.items():
                if one["version"] != __version__:
                    raise ValueError(f"rank {rank} has asysvrg {one['version']}, rank 0 has {__version__}")
            return {"ranks": {str(rank): [one["place"], one["process"]] for rank, one in given.items()}}

        ranks = self.exchange(Stage.RANKS, here, combine)["ranks"]
        self.processes = {
            int(rank): process
            for rank, (place, process) in ranks.items()
            if place == here["place"] and int(rank) != self.rank
        }


class Leader(Team):
    """Rank 0."""

    def __init__(self, world: mpi.World):
        super().__init__(world)
        self.desk = Desk(self, range(1, self.size))
        self.link, self.server = self.desk.link, self.desk.server
        for rank, message in self.link.ahead.items():
            self.server.receive(rank, message, time.monotonic())
        self.groups: list[Group] = []

    def _attendance(self) -> tuple[float, Callable[[], None]]:
        def attend() -> None:
            try:
                self.desk.look()
            except Exception as error:  # for the main thread, when it comes back
                self.server.failure = self.server.failure or error

        return TICK, attend

    def _first_link(self) -> Any:
        return self.link

    def divide(self) -> None:
        """From here on, the other servers count as such."""
        self.server.servers = range(1, len(self.ranges))
        for rank in self.server.servers:
            if not self.server.peers[rank].alive:
                raise Lost(f"rank {rank}, a server, was lost")

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
        with self.attendant.lock, Signals() as signals:
            self.backoff.reset()
            try:
                server.start(job, self.phase)
                while not job.done and (closing or server.failure is None) and time.monotonic() < deadline:
                    self.desk.wait(self.backoff)
                    if signals.came:
                        signals.handle()
            finally:
                server.pause()
        if server.failure is not None and not closing:
            raise server.failure

    def exchange(
        self, stage: Stage, mine: dict[str, Any] | None = None, combine: Combine | None = None, *, own: bool = False
    ) -> Any:
        """Every rank gives a dict; every rank gets what rank 0's `combine` makes of them, by default rank 0's.

        With `own`, `combine` makes a dict for each rank.
        """
        self.phase = stage
        job = Exchange(self.server, mine or {}, combine or (lambda given: given[0]), own=own)
        self.serve(job)
        return job.answer

    def begin(self, stage: Stage) -> None:
        """From here on, the other ranks are in `work` or `keep`."""
        self.phase = stage

    def end(self) -> None:
        """Sends them out of it."""
        self.serve(Farewell(self.server, Message(Kind.DONE)))

    def leave(self, error: BaseException | None) -> None:
        """The last words, to everybody who still listens."""
        self.attendant.stop()
        if error is not None:
            said = str(self.server.failure or "") or f"rank 0: {_said(error)}"
            self.server.close(stop(said, type(error)))
        end = time.monotonic() + self.patience
        self.serve(Silence(self.server), deadline=end, closing=True)
        self.link.flush(1.0)
        self.link.ahead = self.server.ahead


def _said(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    return str(error) if isinstance(error, ValueError | Lost) else f"{type(error).__name__}: {error}"


class Member(Team):
    """Any other rank."""

    def __init__(self, world: mpi.World):
        super().__init__(world)
        self.links = {0: world.to_server(0)}
        self.asked: dict[int, WorkerLink] = {}  # links to servers that owe an answer
        self.next_look = 0.0
        self.desk: Desk | None = None

    def _attendance(self) -> tuple[float, Callable[[], None]]:
        return PULSE, lambda: self.links[0].pulse(self.run)

    def _first_link(self) -> Any:
        return self.links[0]

    def divide(self) -> None:
        """Opens what is between this rank and the other servers, or the workers: all ranks have agreed on it."""
        servers = len(self.ranges)
        if not self.is_worker:
            self.desk = Desk(self, range(servers, self.size), Deputy)
            self.desk.link.reserve(self.room)
            return
        for rank in range(1, servers):
            self.links[rank] = self.world.to_server(rank)
            self.links[rank].reserve(self.room)

    def _ask(self, rank: int, message: Message) -> None:
        self.asked[rank] = link = self.links[rank]
        link.ask(message, self.phase, self.run)

    def _answer(self) -> tuple[int, Message] | None:
        """A server's answer, if there is one; waits for it where there is nothing else to look at."""
        alone = len(self.asked) == 1 and self.desk is None
        for rank, link in self.asked.items():
            answer = link.wait(self.backoff.pause, self.next_look) if alone else link.look()
            if answer is None:
                continue
            del self.asked[rank]
            if answer.kind == Kind.STOP:
                error = reason(answer)
                error.from_server = True
                raise error
            return rank, answer
        if time.monotonic() >= self.next_look:
            self._look_round()
        return None

    def _look_round(self) -> None:
        """Whether those who owe an answer are still there; and a sign of life."""
        now = time.monotonic()
        self.next_look = now + PULSE
        for rank, link in self.asked.items():
            silent = now - link.sent
            # Rank 0 is the one to notice first, since it can say what happened; and it is not asked meanwhile.
            if silent > self.lost_after * (1 if rank else 2) or self.ended(rank):
                raise link.lost(f"no sign of it for {silent:.0f} s")
        if 0 not in self.asked:
            self.links[0].pulse(self.run)

    def _next(self, questions: dict[int, Message]) -> tuple[int, Message]:
        """Asks servers; returns the first answer of those that owe one."""
        with self.attendant.lock:
            for rank, message in questions.items():
                self._ask(rank, message)
            self.backoff.reset()
            while (found := self._answer()) is None:
                if self.desk is None or not self.desk.look():
                    self.backoff.pause()
            self.backoff.came()
            return found

    def exchange(
        self, stage: Stage, mine: dict[str, Any] | None = None, combine: Combine | None = None, *, own: bool = False
    ) -> Any:
        """As rank 0's, which combines."""
        self.phase = stage
        talk = sharing(mine or {})
        message = next(talk)
        while True:
            try:
                message = talk.send(self._next({0: message})[1])
            except StopIteration as end:
                return end.value

    def work(self, stage: Stage, worker: Worker) -> None:
        """Computes what the server asks for, until it has enough."""
        self.phase = stage
        if len(self.links) == 1:
            worker.v = self.links[0].vector(worker.v.size, worker.v.dtype)
        questions: dict[int, Message] | None = {0: Message(Kind.READY)}
        while questions is not None:
            rank, answer = self._next(questions)
            questions = worker.answer(answer, rank)
        while self.asked:  # no answer is left on the way
            self._next({})

    def keep(self, stage: Stage, dtype: np.dtype, codec: Codec) -> None:
        """Serves this rank's range, until rank 0 has enough."""
        self.phase = stage
        where, desk = self.ranges[self.rank], self.desk
        keeper = RangeServer(desk.server, where.stop - where.start, dtype, codec, self.phase)
        with self.attendant.lock:
            while not keeper.done:
                came = desk.look()
                now = time.monotonic()
                if not self.asked and (message := keeper.say(now, desk.link.carried)) is not None:
                    self._ask(0, message)
                    came = True
                if self.asked and (answer := self._answer()) is not None:
                    keeper.hear(answer[1], now)
                    came = True
                if came:
                    self.backoff.came()
                else:
                    self.backoff.pause()

    def leave(self, error: BaseException | None) -> None:
        """The last words."""
        self.attendant.stop()
        bye = Message(Kind.BYE), self.phase, self.run
        if error is None:
            self.links[0].post(*bye)
        elif getattr(error, "rank", -1) != 0 and not getattr(error, "from_server", False):
            self.links[0].post(stop(_said(error), type(error), Kind.FAIL), self.phase, self.run)
        if self.desk is not None:
            self._dismiss(error)
        for rank, link in self.links.items():
            if rank:
                self._await_last(rank)
            if link.flush(LAST) and rank:
                link.post(*bye)

    def _await_last(self, rank: int) -> None:
        """The answer that a server still owes: MPI does not end well with messages that nobody has received."""
        end = time.monotonic() + LAST
        while rank in self.asked and not self.ended(rank) and time.monotonic() < end:
            with suppress(Lost):
                if self.links[rank].look() is not None:
                    return
            time.sleep(1e-3)

    def _dismiss(self, error: BaseException | None) -> None:
        """A server's last words to its workers, some of which may be waiting for it."""
        silence, end = Silence(self.desk.server), time.monotonic() + self.patience
        if error is not None:
            self.desk.server.close(stop(str(error), type(error)))
        while not silence.done and time.monotonic() < end:
            if not self.desk.look():
                time.sleep(1e-3)
        self.desk.link.flush(1.0)


_team: Team | None = None


@contextmanager
def open_session(wanted: bool) -> Iterator[Any]:
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
