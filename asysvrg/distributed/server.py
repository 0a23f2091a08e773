"""The server of Algorithm 2 as a state machine: messages in, messages out, the clock handed in; no MPI.

`Server` knows who is alive and owes whom an answer; what is asked and answered is the business of a job (`jobs`). At
most one message is under way between the server and a worker.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from asysvrg.distributed.messages import Kind, Lost, Message, piece, reason, stop

LOOK = 1.0  # seconds of silence after which the process is looked for, where it is on the same machine


class Group(NamedTuple):
    """Ranks that hold the same rows.

    Attributes
    ----------
    rows : int
    ranks : tuple of int
        Workers.
    """

    rows: int
    ranks: tuple[int, ...]


class Peer:
    """What the server knows of a worker."""

    __slots__ = (
        "alive",
        "asked",
        "group",
        "heard",
        "held",
        "joined",
        "last",
        "looked",
        "mu",
        "owed",
        "rank",
        "seq",
        "since",
        "snap",
        "task",
    )  # fmt: skip

    def __init__(self, rank: int, now: float):
        self.rank, self.heard, self.since = rank, now, now
        self.alive, self.joined, self.owed = True, False, False
        self.seq, self.group, self.looked = 0, -1, now
        self.held: Message | None = None  # a message of an exchange that has not begun here
        self.forget()

    def forget(self) -> None:
        self.task: int | None = None  # what it is computing
        self.last: int | None = None  # the draw that it delivered before, which other servers may lack
        self.snap = self.mu = self.asked = -1  # sweep whose x~ and mu it has; where in a blob it is


class Job(Protocol):
    done: bool

    def take(self, peer: Peer, message: Message) -> None: ...

    def offer(self, peer: Peer) -> Message | None: ...

    def lose(self, peer: Peer) -> None: ...


class Server:
    """Who is alive, who waits for an answer.

    Parameters
    ----------
    ranks : iterable of int
        The workers.
    send : callable
        `send(rank, message)`; the payload's arrays are copied before it returns.
    now : float
        Seconds on the clock that all other calls use.
    run : int
        Number of this fit; messages of another one are answered with STOP.
    lost_after : float
        Seconds of silence after which a worker counts as lost; several times that before its first word.
    heartbeat : float
        Seconds after which a worker that waits is told so.
    ended : callable
        `ended(rank)`: whether the process of a silent worker is known to have ended.

    Attributes
    ----------
    servers : collection of int
        Ranks among `ranks` that are servers themselves, of other coordinates (`ranges`).
    events : list of str
        What happened to workers.
    failure : Exception or None
        Why the run cannot go on.
    ahead : dict
        Messages of ranks that have begun the next fit.
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
    ):
        self.peers = {rank: Peer(rank, now) for rank in ranks}
        self.send, self.run, self.lost_after, self.heartbeat = send, run, lost_after, heartbeat
        self.phase, self.job, self.ended, self.grouped = 0, None, ended, False
        self.servers: Collection[int] = ()
        self.idle: dict[int, Peer] = {}
        self.answers: dict[int, dict[int, np.ndarray]] = {}
        self.events: list[str] = []
        self.failure: Exception | None = None
        self.ahead: dict[int, Message] = {}
        self.closing: Message | None = None  # the answer to everything
        self.told: set[int] = set()  # who has had it
        self.dropped = self.evaluated = 0

    @property
    def live(self) -> list[Peer]:
        return [peer for peer in self.peers.values() if peer.alive]

    @property
    def workers(self) -> list[Peer]:
        return [peer for peer in self.live if peer.rank not in self.servers]

    def start(self, job: Job, phase: int) -> None:
        """Sets the job; whoever waits is served."""
        self.job, self.phase = job, phase
        self.idle = {peer.rank: peer for peer in self.live if peer.owed}
        for peer in self.peers.values():
            peer.task = peer.last = None
        for peer in self.peers.values():
            # Only who is owed an answer: of another peer the next question, on its way, is the one to answer.
            held, peer.held = peer.held, None
            if held is not None and peer.rank in self.idle:
                self._serve(peer, held)
        self._serve_idle()

    def group(self, groups: Sequence[Group]) -> None:
        """Says who holds which rows."""
        self.grouped = True
        for number, group in enumerate(groups):
            for rank in group.ranks:
                self.peers[rank].group = number

    def close(self, message: Message) -> None:
        """Answers everybody with this, now and from now on."""
        self.closing, self.job = message, None
        for peer in self.live:
            if peer.owed:
                self._close(peer)

    def _close(self, peer: Peer) -> None:
        self.told.add(peer.rank)
        self._reply(peer, self.closing)

    def pause(self) -> None:
        """Between two jobs: whoever asks waits."""
        if answers := getattr(self.job, "blobs", None):
            self.answers[self.phase] = answers
        self.job = None

    def receive(self, rank: int, message: Message, now: float) -> None:
        """Takes a worker's message; answers it where there is an answer yet."""
        peer = self.peers[rank]
        peer.heard, peer.joined = now, True
        kind, seq, run = message.kind, message.seq, message.run
        if kind == Kind.ALIVE or seq <= peer.seq:
            return
        peer.seq, peer.owed, peer.since = seq, True, now
        if run > self.run:  # it has left, and waits for the next fit
            peer.alive = peer.owed = False
            self._release(peer)
            self.ahead[rank] = message.carrying(np.array(message.payload, dtype=np.uint8))
            return
        if run != self.run and run >= 0:
            self._reply(peer, stop(f"rank {rank} is in fit {run}, rank 0 in fit {self.run}"))
            return
        if kind in (Kind.FAIL, Kind.BYE):
            peer.alive = peer.owed = False
            self._release(peer)
            if kind == Kind.FAIL:
                self.failure = reason(message, f"rank {rank}: ")
            return
        if not peer.alive:
            peer.alive = True
            self.events.append(f"worker {rank} is back")
        self._serve(peer, message)
        if self.idle:
            self._serve_idle()

    def lose(self, rank: int, why: str) -> None:
        """A worker is gone: what it was doing is for others."""
        peer = self.peers[rank]
        if not peer.alive:
            return
        peer.alive = peer.owed = False
        self._release(peer)
        if rank in self.servers:
            self.failure = Lost(f"rank {rank}, a server, was lost: {why}")
            return
        self.events.append(f"worker {rank} was lost: {why}")
        if not self.workers:
            self.failure = Lost(f"all workers were lost, the last one, rank {rank} ({why})")
        elif peer.group >= 0 and not any(other.group == peer.group for other in self.live):
            self.failure = Lost(f"worker {rank} was lost ({why}), and with it samples that no other rank has")
        else:
            self._serve_idle()

    def tick(self, now: float) -> None:
        """What time brings: silence, and signs of life to those who wait."""
        for peer in self.live:
            if peer.owed:
                if now - peer.since >= self.heartbeat:
                    self._reply(peer, Message(Kind.WAIT))
            elif now - peer.heard > self.lost_after * (1 if peer.joined else 6):
                self.lose(peer.rank, f"silent for {now - peer.heard:.0f} s")
            elif now - max(peer.heard, peer.looked) > LOOK:
                peer.looked = now
                if self.ended(peer.rank):
                    self.lose(peer.rank, "its process ended")

    def _release(self, peer: Peer) -> None:
        self.idle.pop(peer.rank, None)
        peer.held = None
        if self.job is not None:
            self.job.lose(peer)
        peer.forget()

    def _serve(self, peer: Peer, message: Message) -> None:
        if self.closing is not None:
            self._close(peer)
            return
        phase = message.phase
        if phase > self.phase:
            if message.kind != Kind.READY or peer.held is None:
                peer.held = message.carrying(np.array(message.payload, dtype=np.uint8))
        elif phase in self.answers:
            answers = self.answers[phase]
            blob = answers.get(peer.rank, next(iter(answers.values())))
            self._reply(peer, piece(blob, message.a if message.kind == Kind.READY else 0))
            return
        elif phase < self.phase:
            self._reply(peer, Message(Kind.DONE))
            return
        elif self.job is not None:
            if self.grouped and peer.group < 0 and peer.rank not in self.servers:
                self._reply(peer, stop(f"rank {peer.rank} came back after the samples were dealt out"))
                return
            self.job.take(peer, message)
            if self.failure is not None:
                return
            reply = self.job.offer(peer)
            if reply is not None:
                self._reply(peer, reply)
                return
        elif message.kind in (Kind.FULL, Kind.GRAD):
            self.dropped += 1
        self.idle[peer.rank] = peer

    def _serve_idle(self) -> None:
        if self.job is None:
            return
        for peer in list(self.idle.values()):
            if peer.held is not None or not peer.owed:
                continue
            reply = self.job.offer(peer)
            if reply is not None:
                self._reply(peer, reply)

    def _reply(self, peer: Peer, message: Message) -> None:
        peer.owed = False
        self.idle.pop(peer.rank, None)
        self.send(peer.rank, message.stamped(self.phase, self.run, peer.seq))
