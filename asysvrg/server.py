"""The server of Algorithm 2 as a state machine: messages in, messages out, the clock handed in; no MPI.

`Server` knows who is alive and owes whom an answer; what is asked and answered is a job's business: `Exchange`,
`FullGradient`, `Updates`, `Farewell`. At most one message is under way between the server and a worker.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from scipy.linalg import get_blas_funcs

from asysvrg.messages import (
    ALIVE,
    ANSWER,
    BLOB,
    BYE,
    DONE,
    FAIL,
    FULL,
    GRAD,
    KEEP,
    MORE,
    MU,
    READY,
    SHARD,
    SNAP,
    STEP,
    STOP,
    SVRG,
    WAIT,
    Lost,
    Message,
    RankError,
    X,
    pack,
    systematic,
    unpack,
)  # fmt: skip

BLOCK_ROWS = 64  # a sweep takes so many rows through the network at once
SHARDS_PER_WORKER = 4  # at least, so that the others can take over a slow or lost worker's
WORK_OF_A_SHARD = 2**31  # rows x parameters, at most: about a second
LOOK = 1.0  # seconds of silence after which the process is looked for, where it is on the same machine
WINDOW = 4  # times the workers: how far draws of one group may run ahead of another's


class Peer:
    """What the server knows of a worker."""

    def __init__(self, rank: int, now: float):
        self.rank, self.heard, self.since = rank, now, now
        self.alive, self.joined, self.owed = True, False, False
        self.seq, self.group, self.looked = 0, -1, now
        self.held: Message | None = None  # a message of an exchange that has not begun here
        self.forget()

    def forget(self) -> None:
        self.task: Any = None  # what it is computing
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
    events : list of str
        What happened to workers.
    failure : Exception or None
        Why the run cannot go on.
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
        self.idle: dict[int, Peer] = {}
        self.answers: dict[int, dict[int, np.ndarray]] = {}
        self.events: list[str] = []
        self.failure: Exception | None = None
        self.closing: Message | None = None  # the answer to everything
        self.told: set[int] = set()  # who has had it
        self.dropped = self.evaluated = 0

    @property
    def live(self) -> list[Peer]:
        return [peer for peer in self.peers.values() if peer.alive]

    def start(self, job: Job, phase: int) -> None:
        """Sets the job; whoever waits is served."""
        self.job, self.phase = job, phase
        self.idle = {peer.rank: peer for peer in self.live if peer.owed}
        for peer in self.peers.values():
            peer.task = None
        for peer in list(self.idle.values()):
            held, peer.held = peer.held, None
            if held is not None:
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
        if isinstance(self.job, Exchange) and self.job.blobs:
            self.answers[self.phase] = self.job.blobs
        self.job = None

    def receive(self, rank: int, message: Message, now: float) -> None:
        """Takes a worker's message; answers it where there is an answer yet."""
        peer = self.peers[rank]
        peer.heard, peer.joined = now, True
        if message.kind == ALIVE or message.seq <= peer.seq:
            return
        peer.seq, peer.owed, peer.since = message.seq, True, now
        if message.run != self.run and message.run >= 0:
            self._reply(peer, stop(f"rank {rank} is in fit {message.run}, rank 0 in fit {self.run}"))
            return
        if message.kind in (FAIL, BYE):
            peer.alive = peer.owed = False
            self._release(peer)
            if message.kind == FAIL:
                kind = ValueError if message.a else RankError
                self.failure = kind(f"rank {rank}: {message.payload.tobytes().decode(errors='replace')}")
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
        self.events.append(f"worker {rank} was lost: {why}")
        self._release(peer)
        if not self.live:
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
                    self._reply(peer, Message(WAIT))
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
        if message.phase > self.phase:
            if message.kind != READY or peer.held is None:
                payload = np.array(message.payload, dtype=np.uint8)
                peer.held = message._replace(payload=payload)
        elif message.phase in self.answers:
            answers = self.answers[message.phase]
            blob = answers.get(peer.rank, next(iter(answers.values())))
            self._reply(peer, piece(blob, message.a if message.kind == READY else 0))
            return
        elif message.phase < self.phase:
            self._reply(peer, Message(DONE))
            return
        elif self.job is not None:
            if self.grouped and peer.group < 0:
                self._reply(peer, stop(f"rank {peer.rank} came back after the samples were dealt out"))
                return
            self.job.take(peer, message)
            if self.failure is not None:
                return
            reply = self.job.offer(peer)
            if reply is not None:
                self._reply(peer, reply)
                return
        elif message.kind in (FULL, GRAD):
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
        self.send(peer.rank, message._replace(run=self.run, phase=self.phase, seq=peer.seq))


def stop(reason: str, kind: type[BaseException] = RankError) -> Message:
    """STOP with a reason."""
    text = np.frombuffer(reason.encode(), dtype=np.uint8)[:4096]
    return Message(STOP, a=int(issubclass(kind, ValueError)), payload=(text,))


PIECE = 2**19  # bytes of a blob in a message


def piece(blob: np.ndarray, offset: int) -> Message:
    """The piece of an answer that starts at `offset`."""
    return Message(ANSWER, a=offset, b=blob.size, payload=(blob[offset : offset + PIECE],))


class Exchange:
    """Every rank gives a dict, and gets the one that `combine` makes of all of them (or one of its own).

    Parameters
    ----------
    server : Server
    mine : dict
        Rank 0's.
    combine : callable
        From {rank: dict} to the dict for all, or to {rank: dict}, which it says by a true `own`.
    """

    def __init__(
        self, server: Server, mine: dict[str, Any], combine: Callable[[dict[int, Any]], Any], *, own: bool = False
    ):
        self.server, self.given, self.combine, self.own = server, {0: mine}, combine, own
        self.parts: dict[int, bytearray] = {}
        self.answer: Any = None
        self.blobs: dict[int, np.ndarray] | None = None
        self.told: set[int] = set()
        self.done = False

    def take(self, peer: Peer, message: Message) -> None:
        if message.kind == BLOB and peer.rank not in self.given:
            part = self.parts.setdefault(peer.rank, bytearray())
            if message.a == 0:
                part.clear()
            part += message.payload.tobytes()
            if len(part) == message.b:
                self.given[peer.rank] = unpack(np.frombuffer(part, dtype=np.uint8))
        peer.asked = message.a if message.kind == READY else 0

    def offer(self, peer: Peer) -> Message | None:
        if peer.rank not in self.given:
            return Message(MORE, a=len(self.parts.get(peer.rank, b"")))
        self._combine()
        if self.blobs is None:
            return None
        if peer.rank not in self.blobs:  # lost, and back too late to have a say
            self.blobs[peer.rank] = next(iter(self.blobs.values()))
        message = piece(self.blobs[peer.rank], max(peer.asked, 0))
        if message.a + PIECE >= message.b:
            self.told.add(peer.rank)
        self._look()
        return message

    def lose(self, peer: Peer) -> None:
        if self.blobs is None:
            self.given.pop(peer.rank, None)
            self.parts.pop(peer.rank, None)
        self._look()

    def _combine(self) -> None:
        if self.blobs is not None or not all(peer.rank in self.given for peer in self.server.live):
            return
        answer = self.combine(dict(sorted(self.given.items())))
        self.answer = answer[0] if self.own else answer
        common = None if self.own else pack(answer)
        self.blobs = {peer.rank: pack(answer[peer.rank]) if self.own else common for peer in self.server.live}

    def _look(self) -> None:
        self.done = self.blobs is not None and all(peer.rank in self.told for peer in self.server.live)


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


def shards_of(groups: Sequence[Group], d: int) -> list[tuple[int, int, int]]:
    """(group, first, last) of every shard of the full gradient, in the order in which they are summed."""
    n, workers = sum(group.rows for group in groups), sum(len(group.ranks) for group in groups)
    wanted = max(SHARDS_PER_WORKER * workers, math.ceil(n * d / WORK_OF_A_SHARD))
    shards = []
    for g, group in enumerate(groups):
        count = max(1, min(round(wanted * group.rows / n), math.ceil(group.rows / BLOCK_ROWS)))
        shards += [(g, group.rows * i // count, group.rows * (i + 1) // count) for i in range(count)]
    return shards


class FullGradient:
    """Shards handed out one by one; their sums added in a fixed order, in float64, whoever sends them, and when."""

    def __init__(
        self, server: Server, x: np.ndarray, shards: Sequence[tuple[int, int, int]], *, sweep: int, keep: Sequence[bool]
    ):
        self.server, self.x, self.shards, self.sweep, self.keep = server, x, shards, sweep, keep
        self.pools: list[list[int]] = [[] for _ in keep]  # heaps
        for number, (group, _, _) in enumerate(shards):
            self.pools[group].append(number)
        self.parts: dict[int, tuple[float, float, np.ndarray]] = {}
        self.have: set[int] = set()
        self.added = 0
        self.gradient, self.loss, self.errors = np.zeros(x.size), 0.0, 0.0
        self.done = False

    def take(self, peer: Peer, message: Message) -> None:
        if message.kind not in (FULL, GRAD):
            if peer.task is not None:
                self.lose(peer)
            return
        self.server.evaluated += message.c if message.kind == FULL else message.d
        number, peer.task = message.b, None
        if message.kind != FULL or message.a != self.sweep or number in self.have:
            self.server.dropped += 1
            return
        self.have.add(number)
        pool = self.pools[self.shards[number][0]]
        if number in pool:  # of a worker that was taken for lost
            pool.remove(number)
            heapq.heapify(pool)
        loss, errors = message.payload[:16].view(np.float64).tolist()
        self.parts[number] = loss, errors, message.payload[16:].view(self.x.dtype).copy()
        with np.errstate(over="ignore", invalid="ignore"):
            while self.added in self.parts:
                loss, errors, gradient = self.parts.pop(self.added)
                self.loss += loss
                self.errors += errors
                self.gradient += gradient
                self.added += 1
        self.done = self.added == len(self.shards)

    def offer(self, peer: Peer) -> Message | None:
        if peer.task is not None or not self.pools[peer.group]:
            return None
        peer.task = number = heapq.heappop(self.pools[peer.group])
        group, first, last = self.shards[number]
        mask, parts = KEEP if self.keep[group] else 0, ()
        if peer.snap != self.sweep:
            peer.snap, mask, parts = self.sweep, mask | SNAP, (self.x,)
        return Message(SHARD, mask, a=self.sweep, b=number, c=first, d=last, payload=parts)

    def lose(self, peer: Peer) -> None:
        if peer.task is not None and peer.task not in self.have:
            heapq.heappush(self.pools[peer.group], peer.task)
        peer.task = None


class Updates:
    """m updates x <- x - eta v as they arrive, Eq. (15); draw t of 0..m-1 is carried out once, whoever is fast.

    A draw belongs to a group of ranks with the same rows, with probability n_g / n; so E[v] is the gradient of f for
    shards of any size and workers of any speed.

    Parameters
    ----------
    server : Server
    x, snap : array of shape (d,)
        Updated in place; x~.
    mu : array of shape (d,) or None
        None for plain SGD.
    groups : sequence of Group
    start : float
        In [0, 1), of the assignment of draws to groups.
    max_delay : int or None
        Most updates that may have been applied between the x of a direction and its own.
    late : {"wait", "drop"}
        With max_delay: newer directions wait for older ones; or, directions that are too late are computed anew.
    """

    def __init__(
        self,
        server: Server,
        x: np.ndarray,
        snap: np.ndarray,
        mu: np.ndarray | None,
        *,
        sweep: int,
        epoch: int,
        steps: int,
        eta: float,
        groups: Sequence[Group],
        start: float = 0.0,
        max_delay: int | None = None,
        late: str = "wait",
    ):
        self.server, self.x, self.snap, self.mu = server, x, snap, mu
        self.sweep, self.epoch, self.steps, self.eta = sweep, epoch, steps, eta
        self.max_delay = max_delay if late == "drop" else None
        self.bound = max_delay if late == "wait" else None
        self.applied, self.done = 0, steps == 0
        self.delays = np.zeros(steps, dtype=np.int32)
        self.bases: dict[int, int] = {}  # of directions that are being computed or held, by rank
        self.held: dict[int, np.ndarray] = {}
        self.window = math.inf if len(groups) == 1 else WINDOW * sum(len(group.ranks) for group in groups)
        owner = systematic(start, [group.rows for group in groups], steps)
        self.pools = [np.flatnonzero(owner == g).tolist() for g in range(len(groups))]  # sorted, hence heaps
        self.axpy = get_blas_funcs("axpy", (x,))

    def take(self, peer: Peer, message: Message) -> None:
        if message.kind != GRAD:
            if peer.task is not None and peer.rank not in self.held:
                self.lose(peer)
            self.server.dropped += message.kind == FULL
            return
        self.server.evaluated += message.d
        if message.a != self.epoch or message.c != peer.task:
            self.server.dropped += 1
        elif self.max_delay is not None and self.applied - message.b > self.max_delay:
            self.server.dropped += 1
            self.lose(peer)
        elif self.bound is not None:
            self.held[peer.rank] = message.payload.view(self.x.dtype).copy()
            self._apply_held()
        else:
            peer.task = None
            self._apply(message.payload.view(self.x.dtype), message.b)

    def offer(self, peer: Peer) -> Message | None:
        pool = self.pools[peer.group]
        if peer.task is not None or not pool or pool[0] > self.applied + self.window or self.done:
            return None
        if self.bound is not None and len(self.bases) > self.bound:
            return None
        peer.task = t = heapq.heappop(pool)
        if self.bound is not None:
            self.bases[peer.rank] = self.applied
        mask, parts = X, [self.x]
        if self.mu is not None:
            mask |= SVRG
            if peer.snap != self.sweep:
                peer.snap, mask = self.sweep, mask | SNAP
                parts.append(self.snap)
            if peer.mu != self.sweep:
                peer.mu, mask = self.sweep, mask | MU
                parts.append(self.mu)
        return Message(STEP, mask, a=self.epoch, b=self.applied, c=t, payload=parts)

    def lose(self, peer: Peer) -> None:
        self.bases.pop(peer.rank, None)
        self.held.pop(peer.rank, None)
        if peer.task is not None:
            heapq.heappush(self.pools[peer.group], peer.task)
            peer.task = None
        if self.bound is not None:
            self._apply_held()

    def _apply(self, v: np.ndarray, base: int) -> None:
        self.axpy(v, self.x, a=-self.eta)
        self.delays[self.applied] = self.applied - base
        self.applied += 1
        self.done = self.applied == self.steps

    def _apply_held(self) -> None:
        """Applies what is held, oldest first, as long as all others can still be in time."""
        while self.held:
            rank = min(self.held, key=lambda rank: self.bases[rank])
            others = sorted(base for other, base in self.bases.items() if other != rank)
            if any(self.applied + 1 + i - base > self.bound for i, base in enumerate(others)):
                return
            self.server.peers[rank].task = None
            self._apply(self.held.pop(rank), self.bases.pop(rank))


class Farewell:
    """The same last message to everybody."""

    def __init__(self, server: Server, message: Message):
        self.server, self.message, self.told = server, message, set()
        self.done = not server.live

    def take(self, peer: Peer, message: Message) -> None:
        self.server.dropped += message.kind in (FULL, GRAD)

    def offer(self, peer: Peer) -> Message:
        self.told.add(peer.rank)
        self.lose(peer)
        return self.message

    def lose(self, peer: Peer) -> None:
        self.done = all(other.rank in self.told for other in self.server.live)
