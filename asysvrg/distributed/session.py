"""A fit among the ranks of an MPI job: rank 0 is its coordinator, all other ranks are participants.

Every rank runs the same program. `script` says in which order the ranks exchange what they must know of each other.
While a rank computes, and between two tasks, its heartbeat thread answers, or sends signs of life.
"""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from asysvrg.core.network import Network
from asysvrg.distributed import mpi, protocol
from asysvrg.distributed._link import Link
from asysvrg.distributed._message import Message
from asysvrg.distributed.backend import MPI
from asysvrg.distributed.codec import CODECS, Codec
from asysvrg.distributed.endpoint import AWAY, TICK, Backoff, Endpoint, Heartbeat, Signals
from asysvrg.distributed.exchange import Combine, Exchange, take_part
from asysvrg.distributed.protocol import FAIL, STOP, Kind, Lost, Stage, parameter_shards
from asysvrg.distributed.rank_wrapper import RESULT
from asysvrg.distributed.server import Farewell, Group, Server, Task
from asysvrg.distributed.updates import ShardServer
from asysvrg.distributed.worker import Worker
from asysvrg.report import streams
from asysvrg.store.files import replacing

LOST_AFTER = "ASYSVRG_LOST_AFTER"  # seconds of silence after which a rank counts as lost, default 10
PULSE = 1.0  # seconds between two signs of life of a participant
LAST = 2.0  # seconds for which a rank that leaves waits for the last messages


class Session:
    """This rank's part in a distributed fit.

    Attributes
    ----------
    rank, size : int
    options : MPI
    shards : list of slice
        The coordinates of each server.
    processes : dict of int
        The processes of other ranks on this machine, by rank.
    link : Link
        To those whom this rank serves (rank 0), or who serve it.
    """

    link: Link

    def __init__(self, world: mpi.World):
        self.world, self.rank, self.size, self.run = world, world.rank, world.size, world.fits
        self.options, self.backoff, self.stage = MPI(), Backoff("sleep"), 0
        self.shards: list[slice] = []
        self.room = 0  # bytes of a payload
        self.lost_after = float(os.environ.get(LOST_AFTER, 10))
        self.processes: dict[int, int] = {}

    @property
    def is_worker(self) -> bool:
        return self.rank >= len(self.shards)

    def set_up(self, options: MPI, network: Network) -> None:
        """Sets how ranks wait, and which coordinates each server has."""
        if options.servers >= self.size:
            raise ValueError(f"servers={options.servers} of {self.size} ranks: at least one is to work")
        self.options, self.backoff = options, Backoff(options.wait)
        self.shards = parameter_shards(network.size, network.dtype.itemsize, options.servers)
        self.room = 3 * network.size * network.dtype.itemsize + 16  # three vectors and two numbers
        self.link.reserve(self.room)

    def codecs(self, dtype: np.dtype) -> list[Codec]:
        """Of x and v in messages to and from each server."""
        return [CODECS[self.options.compress](shard.stop - shard.start, dtype) for shard in self.shards]

    def _ended(self, rank: int) -> bool:
        """Whether a rank's process is known to have ended."""
        return rank in self.processes and mpi.has_ended(self.processes[rank])

    def _serve_ranks(self, ranks: range, *, decides: bool) -> Endpoint:
        """Starts to serve other ranks."""
        link = self.world.to_participants()
        link.reserve(self.room)
        server = Server(
            ranks, link.send, time.monotonic(), run=self.run, lost_after=self.lost_after, ended=self._ended,
            decides=decides,
        )  # fmt: skip
        return Endpoint(link, server, ranks)

    def _dismiss(self, endpoint: Endpoint, error: BaseException | None, text: str) -> None:
        """A server's last words: waits until its participants have left, or have been told the error."""
        server, end = endpoint.server, time.monotonic() + min(self.lost_after, 8.0)
        message = None if error is None else protocol.failed(Kind.STOP, error, text)
        farewell = Farewell(server, message, at_any_stage=error is not None)
        server.start(farewell, self.stage)
        while not farewell.done and time.monotonic() < end:
            if not endpoint.look():
                time.sleep(1e-3)
        endpoint.link.flush(1.0)


class Coordinator(Session):
    """Rank 0."""

    def __init__(self, world: mpi.World):
        super().__init__(world)
        self.endpoint = self._serve_ranks(range(1, self.size), decides=True)
        self.link, self.server = self.endpoint.link, self.endpoint.server
        for rank, message in world.ahead.items():
            self.server.receive(rank, message, time.monotonic())
        world.ahead = self.server.ahead
        self.groups: list[Group] = []
        self.heartbeat = Heartbeat(TICK, self._look)

    def _look(self) -> None:
        try:
            self.endpoint.look()
        except Exception as error:  # for the main thread, when it comes back
            self.server.failure = self.server.failure or error

    def divide(self) -> None:
        """From here on, the other shard servers count as such."""
        self.server.servers = range(1, len(self.shards))
        for rank in self.server.servers:
            if not self.server.peers[rank].alive:
                raise Lost(f"rank {rank}, a server, was lost")
        if not self.server.workers:
            raise Lost("all workers were lost")

    def serve(self, task: Task, *, deadline: float = math.inf) -> None:
        """Carries out a task, up to the deadline.

        Raises
        ------
        RankError, ValueError
            What another rank could not go on with.
        Lost
            If all workers are lost, or samples with them.
        KeyboardInterrupt
        """
        server = self.server
        with self.heartbeat.lock, Signals() as signals:
            self.backoff.reset()
            try:
                server.start(task, self.stage)
                while not task.done and server.failure is None and time.monotonic() < deadline:
                    self.endpoint.wait(self.backoff)
                    if signals.came:
                        signals.handle()
            finally:
                server.pause()
        if server.failure is not None:
            raise server.failure

    def exchange(
        self, stage: Stage, mine: dict[str, Any] | None = None, combine: Combine | None = None, *, own: bool = False
    ) -> Any:
        """Every rank gives a dict, and gets what rank 0's `combine` makes of them: by default rank 0's dict.

        With `own`, `combine` makes a dict for each rank. All ranks name the same stage.
        """
        self.stage = stage
        task = Exchange(self.server, mine or {}, combine or (lambda given: given[0]), own=own)
        self.serve(task)
        return task.answer

    def begin_epochs(self) -> None:
        """From here on, the other ranks do what tasks ask for: see `work` and `serve_shard`."""
        self.stage = Stage.EPOCHS

    def end_epochs(self) -> None:
        """Tells them that it is over."""
        self.serve(Farewell(self.server, Message(Kind.DONE)))

    def leave(self, error: BaseException | None) -> None:
        """Says the last words to everybody who still listens."""
        self.heartbeat.stop()
        self._dismiss(self.endpoint, error, str(self.server.failure or "") or f"rank 0: {_text(error)}")


class Participant(Session):
    """Any other rank: a worker or a shard server."""

    def __init__(self, world: mpi.World):
        super().__init__(world)
        self.link = world.to_servers()
        self.endpoint: Endpoint | None = None  # of a shard server, for the workers
        self.heard: Exception | None = None  # an error that a server has told this rank
        self.asked: dict[int, float] = {}  # servers that owe an answer, and when they were asked
        self.answers: list[tuple[int, Message]] = []
        self.other_servers = range(0)  # beside rank 0
        self.next_look, self.last_sent = 0.0, 0.0
        self.met = False  # whether a server has answered in this fit
        self.heartbeat = Heartbeat(PULSE, self._pulse)

    def divide(self) -> None:
        """From here on, shard servers and workers may talk to each other: all ranks have agreed on who is which."""
        if self.is_worker:
            self.other_servers = range(1, len(self.shards))
        else:
            self.endpoint = self._serve_ranks(range(len(self.shards), self.size), decides=False)

    def exchange(
        self, stage: Stage, mine: dict[str, Any] | None = None, combine: Combine | None = None, *, own: bool = False
    ) -> Any:
        """See `Coordinator.exchange`, which combines."""
        self.stage = stage
        script = take_part(mine or {})
        message = next(script)
        while True:
            try:
                message = script.send(self._next({0: message})[1])
            except StopIteration as end:
                return end.value

    def work(self, worker: Worker) -> None:
        """Computes what the servers ask for, until rank 0 ends the epochs."""
        self.stage = Stage.EPOCHS
        if len(self.shards) == 1:
            worker.divide(self.link.vector(0, worker.v.size, worker.v.dtype), worker.codecs, self.shards)
        questions: dict[int, Message] | None = {0: protocol.ready()}
        while questions is not None:
            rank, answer = self._next(questions)
            questions = worker.answer(answer, rank)
        while self.asked:  # no answer is left on the way
            self._next({})

    def serve_shard(self, dtype: np.dtype) -> None:
        """Serves this rank's shard of the parameters, until rank 0 ends the epochs."""
        self.stage = Stage.EPOCHS
        shard, codec, endpoint = self.shards[self.rank], self.codecs(dtype)[self.rank], self.endpoint
        assert endpoint is not None  # of a shard server, since `divide`
        server = ShardServer(endpoint.server, shard.stop - shard.start, dtype, codec, endpoint.link.carried)
        with self.heartbeat.lock:
            while not server.done:
                came = endpoint.look()
                now = time.monotonic()
                if not self.asked and (message := server.say(now, endpoint.link.carried)) is not None:
                    self._ask(0, message)
                    came = True
                self._look()
                if self.answers:
                    server.hear(self.answers.pop()[1], now)
                    came = True
                if came:
                    self.backoff.came()
                else:
                    self.backoff.pause()

    def _ask(self, rank: int, message: Message) -> None:
        self.asked[rank] = time.monotonic()
        self._send(rank, message, True)

    def _send(self, rank: int, message: Message, question: bool = False) -> None:
        """Sends a question, or a last message."""
        questions = self.world.questions
        questions[rank] = seq = questions[rank] + 1
        message.stamp(self.stage, self.run, seq)
        if rank == 0:
            self.last_sent = time.monotonic()
        self.link.send(rank, message, question, not question)

    def _pulse(self) -> None:
        now = time.monotonic()
        if now - self.last_sent >= PULSE:
            self.last_sent = now
            self.link.pulse(0, Message(Kind.ALIVE, run=self.run))

    def _next(self, questions: dict[int, Message]) -> tuple[int, Message]:
        """Asks servers. Returns the first answer of those that owe one, and the server's rank."""
        with self.heartbeat.lock:
            for rank, message in questions.items():
                self._ask(rank, message)
            self.backoff.reset()
            while not self.answers:
                came = self.endpoint is not None and self.endpoint.look()
                self._look()
                if self.endpoint is not None and not (came or self.answers):
                    self.backoff.pause()
            self.backoff.came()
            return self.answers.pop(0)

    def _look(self) -> None:
        """Takes the answers that have come. Waits for them if there is nothing else to look at."""
        came = self.link.poll() if self.endpoint else self.link.wait(self.backoff.pause, self.next_look)
        for rank, answer in came:
            if answer is None:
                raise self._lost(rank, "MPI has lost it")
            if answer.kind != FAIL and answer.seq != self.world.questions[rank]:
                self.link.listen([rank])  # that was the answer to a question of an earlier fit
                continue
            if answer.kind in (STOP, FAIL):
                self.heard = protocol.error_in(answer)
                raise self.heard
            del self.asked[rank]
            self.met = True
            self.answers.append((rank, answer))
        if time.monotonic() >= self.next_look:
            self._check_servers()

    def _check_servers(self) -> None:
        """Raises `Lost` if a server that owes an answer is gone; sends a sign of life."""
        now = time.monotonic()
        if self.next_look and now - self.next_look > AWAY:  # this rank itself was paused, say, and the servers, too
            away = now - self.next_look
            self.asked = {rank: min(since + away, now) for rank, since in self.asked.items()}
        self.next_look = now + PULSE
        for rank, since in self.asked.items():
            # Rank 0 notices another server's loss first, since it is not asked meanwhile; it can say what happened.
            # Before its first answer it may still read its samples, or be busy between two fits.
            if now - since > self.lost_after * (1 if rank else 2 if self.met else 6) or self._ended(rank):
                raise self._lost(rank, f"no sign of it for {now - since:.0f} s")
        if 0 not in self.asked:
            self._pulse()

    @staticmethod
    def _lost(rank: int, why: str) -> Lost:
        error = Lost(f"rank {rank}, {'a' if rank else 'the'} server, was lost: {why}")
        error.rank = rank
        return error

    def leave(self, error: BaseException | None) -> None:
        """Says the last words."""
        self.heartbeat.stop()
        if error is None:
            self._send(0, Message(Kind.BYE))
        elif error is not self.heard and not (isinstance(error, Lost) and error.rank == 0):
            self._send(0, protocol.failed(Kind.FAIL, error, _text(error)))
        if self.endpoint is not None:
            self._dismiss(self.endpoint, error, str(error))
        self._leave_other_servers()
        self.link.flush(LAST)

    def _leave_other_servers(self) -> None:
        # Receive the answers that they still owe: MPI does not end well with messages that nobody received.
        end, owing = time.monotonic() + LAST, set(self.asked) - {0}
        while owing and time.monotonic() < end:
            owing -= {rank for rank, _ in self.link.poll()} | {rank for rank in owing if self._ended(rank)}
            time.sleep(1e-3)
        for rank in self.other_servers:
            self._send(rank, Message(Kind.BYE))


def _text(error: BaseException | None) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    return str(error) if isinstance(error, ValueError | Lost) else f"{type(error).__name__}: {error}"


def announce_running() -> None:
    """Tells a fault-tolerant launcher that all ranks have found each other."""
    if RESULT in os.environ:
        Path(os.environ[RESULT]).with_name("running").touch()


def exit_rank(code: int) -> None:
    """Ends this process under a fault-tolerant launcher; returns under any other.

    After a loss MPI_Finalize would wait for ever, so that no rank calls it there.
    """
    if RESULT not in os.environ:
        return
    if mpi.launched()[0] == 0:
        with replacing(os.environ[RESULT]) as file:
            file.write(json.dumps({"exit_code": code}).encode())
    for stream in (streams.out, streams.err):
        stream.flush()
    os._exit(code)
