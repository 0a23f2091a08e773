"""A server as a state machine: messages in, messages out. The clock is an argument, and there is no MPI.

`Server` knows which ranks are alive and which ones wait for an answer. What they are asked to do is the business of
its current task: see `exchange`, `gradient` and `updates`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from asysvrg.distributed import protocol
from asysvrg.distributed.protocol import BYE, DIRECTION, FAIL, GRADIENT, READY, Kind, Lost, Message, RankError, Stage

LOOK = 1.0  # seconds of silence after which a rank's process is looked for, if it is on the same machine
ALIVE = int(Kind.ALIVE)


class Group(NamedTuple):
    """Workers that hold the same samples, and the number of these samples."""

    n_rows: int
    ranks: tuple[int, ...]


def _listed(ranks: Sequence[int]) -> str:
    return f"rank{'s' if len(ranks) > 1 else ''} {', '.join(map(str, ranks))}"


class Peer:
    """What a server knows of a participant."""

    __slots__ = ("alive", "assigned", "delivered", "group", "heard", "held", "joined", "looked", "mu", "owed", "rank",
                 "seq", "since", "snapshot")  # fmt: skip

    def __init__(self, rank: int, now: float):
        self.rank = rank
        self.alive, self.joined, self.owed = True, False, False  # owed: it waits for an answer
        self.heard = self.since = self.looked = now  # last message; last question; last look for its process
        self.seq, self.group = 0, -1
        self.held: Message | None = None  # a message of a stage that has not begun here
        self.forget()

    def forget(self) -> None:
        self.assigned: int | None = None  # data shard or iteration that it computes
        self.delivered: int | None = None  # iteration before that one, which other servers may lack
        self.snapshot = self.mu = -1  # sweep whose x~ and mu it has


class Task:
    """What a server has its participants do; by default nothing, so that all of them wait."""

    at_any_stage = False  # whether it is for participants of any stage
    blobs: dict[int, np.ndarray] | None = None  # of an exchange: what each rank gets

    @property
    def done(self) -> bool:
        """Whether it is carried out."""
        return False

    def take(self, peer: Peer, message: Message) -> None:
        """Takes what a participant delivers."""

    def offer(self, peer: Peer) -> Message | None:
        """The answer to a participant; None if there is none yet."""

    def lose(self, peer: Peer) -> None:
        """A participant is lost: what it was to do is for others."""

    def awaits(self, peer: Peer) -> bool:
        """Whether a participant cannot be at a later stage yet."""
        return True


class Farewell(Task):
    """The same last message for every participant; without one, waits until all of them have left.

    `at_any_stage` ends the fit: the participants may be anywhere.
    """

    def __init__(self, server: Server, message: Message | None, *, at_any_stage: bool = False):
        self.server, self.message, self.at_any_stage = server, message, at_any_stage
        self.told: set[int] = set()

    @property
    def done(self) -> bool:
        return all(peer.rank in self.told for peer in self.server.live)

    def take(self, peer: Peer, message: Message) -> None:
        self.server.dropped += message.kind in (GRADIENT, DIRECTION)

    def offer(self, peer: Peer) -> Message | None:
        if self.message is not None:
            self.told.add(peer.rank)
        return self.message

    def awaits(self, peer: Peer) -> bool:
        return self.message is not None and peer.rank not in self.told


class Server:
    """Knows who is alive and who waits for an answer.

    Parameters
    ----------
    send : callable
        `send(rank, message)` copies the payload's arrays before it returns.
    now : float
        Seconds on the clock that all other calls use.
    run : int
        Number of this fit. A message of another fit is answered with STOP.
    lost_after : float
        Seconds of silence after which a participant counts as lost. Before its first message it has six times as long.
    heartbeat : float
        Seconds after which a participant that waits is told so.
    ended : callable
        `ended(rank)` returns whether the process of a silent participant is known to have ended.
    decides : bool
        Whether a loss may end the run. Only rank 0 decides that.
    """

    def __init__(
        self,
        ranks: Iterable[int],
        send: Callable[[int, Message], None],
        now: float,
        *,
        run: int = 0,
        lost_after: float = 10.0,
        heartbeat: float = 0.25,
        ended: Callable[[int], bool] = lambda rank: False,
        decides: bool = True,
    ):
        self.peers = {rank: Peer(rank, now) for rank in ranks}
        self.send, self.run, self.lost_after, self.heartbeat = send, run, lost_after, heartbeat
        self.ended, self.decides, self.grouped = ended, decides, False
        self.stage = 0
        self.task: Task | None = None
        self.servers: Collection[int] = ()  # participants that serve a shard of the parameters themselves
        self.waiting: dict[int, Peer] = {}
        self.answers: dict[int, dict[int, np.ndarray]] = {}  # of past exchanges, by stage and rank
        self.events: list[str] = []  # losses and returns of workers
        self.failure: Exception | None = None  # why the run cannot go on
        self.ahead: dict[int, Message] = {}  # messages of ranks that have begun the next fit
        self.dropped = self.evaluated = 0  # results that came too late or twice; sample gradients computed

    @property
    def live(self) -> list[Peer]:
        return [peer for peer in self.peers.values() if peer.alive]

    @property
    def workers(self) -> list[Peer]:
        return [peer for peer in self.live if peer.rank not in self.servers]

    def start(self, task: Task, stage: int) -> None:
        """Begins a task, and answers those who wait."""
        self.task, self.stage = task, stage
        self.waiting = {peer.rank: peer for peer in self.live if peer.owed}
        for peer in self.peers.values():
            peer.assigned = peer.delivered = None
            # Only if it waits: else its next question is on the way, and that is the one to answer.
            held, peer.held = peer.held, None
            if held is not None and peer.rank in self.waiting:
                self._serve(peer, held)
        self._serve_waiting()

    def pause(self) -> None:
        """Between two tasks: whoever asks waits."""
        if self.task is not None and self.task.blobs:
            self.answers[self.stage] = self.task.blobs
        self.task = None

    def group(self, groups: Sequence[Group]) -> None:
        """Says which workers hold which samples."""
        self.grouped = True
        for number, group in enumerate(groups):
            for rank in group.ranks:
                self.peers[rank].group = number
            if not any(self.peers[rank].alive for rank in group.ranks):
                self.failure = Lost(f"samples that no other rank has were lost with {_listed(group.ranks)}")

    def receive(self, rank: int, message: Message, now: float) -> None:
        """Takes a participant's message, and answers it if there is an answer yet."""
        peer = self.peers[rank]
        peer.heard, peer.joined = now, True
        kind, seq, run = message.kind, message.seq, message.run
        if kind == ALIVE or seq <= peer.seq:
            return
        peer.seq, peer.owed, peer.since = seq, True, now
        if run > self.run:  # it has left, and waits for the next fit
            message.detach()
            self.ahead[rank] = message
            if self.task is None or isinstance(self.task, Farewell):
                self._release(peer)
            else:  # it took rank 0 for lost
                self.lose(rank, "it has begun its next fit")
        elif run != self.run and run >= 0:
            text = f"rank {rank} is in fit {run}, rank 0 in fit {self.run}"
            self._reply(peer, protocol.failed(Kind.STOP, RankError(), text))
        elif kind in (FAIL, BYE):
            self._release(peer)
            if kind == FAIL:
                self.failure = protocol.error_in(message, f"rank {rank}: ")
        else:
            if not peer.alive:
                peer.alive = True
                self.events.append(f"worker {rank} is back")
            self._serve(peer, message)
            if self.waiting:
                self._serve_waiting()

    def lose(self, rank: int, why: str) -> None:
        """A participant is lost: what it was to do is for others."""
        peer = self.peers[rank]
        if not peer.alive:
            return
        self._release(peer)
        if rank in self.servers:
            self.failure = Lost(f"rank {rank}, a server, was lost: {why}")
            return
        self.events.append(f"worker {rank} was lost: {why}")
        if self.decides and not self.workers:
            self.failure = Lost(f"all workers were lost, the last one, rank {rank} ({why})")
        elif self.decides and peer.group >= 0 and not any(other.group == peer.group for other in self.live):
            self.failure = Lost(f"worker {rank} was lost ({why}), and with it samples that no other rank has")
        else:
            self._serve_waiting()

    def forgive(self, seconds: float, now: float) -> None:
        """This rank has not looked for so many seconds, as all ranks were paused, say: others were not silent then."""
        for peer in self.live:
            peer.heard = min(peer.heard + seconds, now)

    def tick(self, now: float) -> None:
        """Notices silent participants, and sends signs of life to those who wait."""
        for peer in self.live:
            silence = now - peer.heard
            if peer.owed:
                if now - peer.since >= self.heartbeat:
                    self._reply(peer, Message(Kind.WAIT))
            elif silence > self.lost_after * (1 if peer.joined else 6):
                self.lose(peer.rank, f"silent for {silence:.0f} s")
            elif now - max(peer.heard, peer.looked) > LOOK:
                peer.looked = now
                if self.ended(peer.rank):
                    self.lose(peer.rank, "its process ended")

    def _release(self, peer: Peer) -> None:
        peer.alive = peer.owed = False
        self.waiting.pop(peer.rank, None)
        peer.held = None
        if self.task is not None:
            self.task.lose(peer)
        peer.forget()

    def _serve(self, peer: Peer, message: Message) -> None:
        stage, task = message.stage, self.task
        if task is not None and task.at_any_stage:
            self._offer(task, peer)
        elif stage in self.answers:
            answers = self.answers[stage]
            blob = answers.get(peer.rank, next(iter(answers.values())))
            self._reply(peer, protocol.piece(blob, message.offset if message.kind == READY else 0))
        elif stage == self.stage and task is not None:
            if self.grouped and peer.group < 0 and peer.rank not in self.servers:
                text = f"rank {peer.rank} came back after the samples were given to others"
                self._reply(peer, protocol.failed(Kind.STOP, RankError(), text))
                return
            task.take(peer, message)
            if self.failure is None:
                self._offer(task, peer)
        elif stage < self.stage and stage == Stage.EPOCHS:
            self._reply(peer, Message(Kind.DONE))
        elif stage < self.stage or (stage > self.stage and task is not None and task.awaits(peer)):
            here, there = Stage(self.stage).name, Stage(stage).name
            self.failure = RankError(f"rank {peer.rank} is at stage {there}, rank 0 at stage {here}")
        else:
            if stage == self.stage:
                self.dropped += message.kind in (GRADIENT, DIRECTION)
            elif message.kind != READY or peer.held is None:
                message.detach()
                peer.held = message
            self.waiting[peer.rank] = peer

    def _offer(self, task: Task, peer: Peer) -> None:
        answer = task.offer(peer)
        if answer is None:
            self.waiting[peer.rank] = peer
        else:
            self._reply(peer, answer)

    def _serve_waiting(self) -> None:
        if self.task is not None:
            for peer in list(self.waiting.values()):
                if peer.held is None and peer.owed:
                    self._offer(self.task, peer)

    def _reply(self, peer: Peer, message: Message) -> None:
        peer.owed = False
        self.waiting.pop(peer.rank, None)
        message.stamp(self.stage, self.run, peer.seq)
        self.send(peer.rank, message)
