"""What a server does, one job after another: exchanges, full gradients, updates, farewells.

A job takes what a worker delivers, offers it something to do, and takes that back when the worker is lost.
"""

from __future__ import annotations

import bisect
import heapq
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.linalg import get_blas_funcs

from asysvrg.core.network import BLOCK_ROWS
from asysvrg.distributed.codec import Codec
from asysvrg.distributed.messages import PIECE, Kind, Mask, Message, pack, piece, systematic, unpack
from asysvrg.distributed.server import Group, Peer, Server

SHARDS_PER_WORKER = 4  # at least, so that the others can take over a slow or lost worker's
WORK_OF_A_SHARD = 2**31  # rows x parameters, at most: about a second
WINDOW = 4  # times the workers: how far draws of one group may run ahead of another's


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
        if message.kind == Kind.BLOB and peer.rank not in self.given:
            part = self.parts.setdefault(peer.rank, bytearray())
            if message.a == 0:
                part.clear()
            part += message.payload.tobytes()
            if len(part) == message.b:
                self.given[peer.rank] = unpack(np.frombuffer(part, dtype=np.uint8))
        peer.asked = message.a if message.kind == Kind.READY else 0

    def offer(self, peer: Peer) -> Message | None:
        if peer.rank not in self.given:
            return Message(Kind.MORE, a=len(self.parts.get(peer.rank, b"")))
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
        if message.kind not in (Kind.FULL, Kind.GRAD):
            if peer.task is not None:
                self.lose(peer)
            return
        self.server.evaluated += message.c if message.kind == Kind.FULL else message.d
        number, peer.task = message.b, None
        if message.kind != Kind.FULL or message.a != self.sweep or number in self.have:
            self.server.dropped += 1
            return
        self.have.add(number)
        pool = self.pools[self.shards[number][0]]
        if number in pool:  # of a worker that was taken for lost
            pool.remove(number)
            heapq.heapify(pool)
        loss, errors = message.payload[-16:].copy().view(np.float64).tolist()
        self.parts[number] = loss, errors, message.payload[:-16].view(self.x.dtype).copy()
        with np.errstate(over="ignore", invalid="ignore"):
            while self.added in self.parts:
                loss, errors, gradient = self.parts.pop(self.added)
                self.loss += loss
                self.errors += errors
                self.gradient += gradient
                self.added += 1
        self.done = self.added == len(self.shards)

    def offer(self, peer: Peer) -> Message | None:
        if peer.rank in self.server.servers or peer.task is not None or not self.pools[peer.group]:
            return None
        peer.task = number = heapq.heappop(self.pools[peer.group])
        group, first, last = self.shards[number]
        mask, parts = Mask.KEEP if self.keep[group] else 0, ()
        if peer.snap != self.sweep:
            peer.snap, mask, parts = self.sweep, mask | Mask.SNAP, (self.x,)
        return Message(Kind.SHARD, mask, a=self.sweep, b=number, c=first, d=last, payload=parts)

    def lose(self, peer: Peer) -> None:
        if peer.task is not None and peer.task not in self.have:
            heapq.heappush(self.pools[peer.group], peer.task)
        peer.task = None


class Part:
    """An epoch's m updates x <- x - eta v, Eq. (15), of one server's coordinates; each draw is subtracted once.

    Parameters
    ----------
    x, snap : array
        Updated in place; x~.
    epoch, steps : int
        s; m.
    eta : float
    codec : Codec
        Of x and v in messages.

    Attributes
    ----------
    applied : int
    delays : int32 array of shape (steps,)
        Of updates as they were applied.
    """

    def __init__(self, x: np.ndarray, snap: np.ndarray, *, epoch: int, steps: int, eta: float, codec: Codec):
        self.x, self.snap, self.epoch, self.eta, self.codec = x, snap, epoch, eta, codec
        self.steps, self.applied, self.delays = steps, 0, np.zeros(steps, dtype=np.int32)
        self.has = bytearray(steps)  # by draw: whether it is among the applied
        axpy = get_blas_funcs("axpy", (x,))
        self.subtract = lambda v: axpy(v, x, x.size, -eta)  # names of arguments take as long as all else of the call

    @property
    def complete(self) -> bool:
        return self.applied == self.steps

    def parameters(self) -> np.ndarray:
        """x for a message."""
        return self.codec.parameters(self.x, self.snap)

    def apply(self, v: np.ndarray, t: int, base: int) -> bool:
        """Subtracts the direction of draw t, computed at version `base`, unless it has been."""
        if self.has[t]:
            return False
        self.subtract(v)
        applied = self.applied
        self.has[t], self.delays[applied], self.applied = True, applied - base, applied + 1
        return True


class Ranges:
    """Rank 0's word with the other servers in an epoch: they begin it, and hand their ranges over at its end.

    Parameters
    ----------
    part : Part
        Rank 0's own.
    x : array of shape (d,)
        Their ranges are written here.
    slices : dict
        Each server's coordinates, by rank.
    """

    def __init__(self, part: Part, x: np.ndarray, slices: dict[int, slice]):
        self.part, self.x, self.slices = part, x, slices
        self.begun: set[int] = set()
        self.missing = set(slices)
        self.at_once, self.dropped, self.carried = False, 0, 0

    def take(self, rank: int, message: Message) -> None:
        if message.kind == Kind.RANGE and message.a == self.part.epoch:
            self.x[self.slices[rank]] = message.payload.view(self.x.dtype)
            self.missing.discard(rank)
            self.dropped += message.b
            self.carried += message.c

    def offer(self, rank: int) -> Message | None:
        part = self.part
        if rank not in self.begun:
            self.begun.add(rank)
            payload = np.array([part.eta]), self.x[self.slices[rank]]
            return Message(Kind.BEGIN, a=part.epoch, b=part.steps, payload=payload)
        if rank in self.missing and (part.complete or self.at_once):
            return Message(Kind.HAND, a=int(self.at_once))
        return None


class Updates:
    """m updates x <- x - eta v as they arrive, Eq. (15); draw t of 0..m-1 is carried out once, whoever is fast.

    A draw belongs to a group of ranks with the same rows, with probability n_g / n; so E[v] is the gradient of f for
    shards of any size and workers of any speed.

    With several servers rank 0 updates the first range of x only, and deals the draws for all. A worker sends v to all
    servers and asks rank 0 for the next draw; it delivers that one when all have answered. So of a worker that is lost,
    other servers may lack the draw that it was computing and the one before: both are dealt out again, and who has them
    already drops them.

    Parameters
    ----------
    server : Server
    x, snap : array of shape (d,)
        Updated in place; x~.
    mu : array of shape (d,) or None
        None for plain SGD.
    groups : sequence of Group
    codec : Codec
        Of x and v in messages.
    ranges : sequence of slice, optional
        Each server's coordinates.
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
        codec: Codec,
        ranges: Sequence[slice] = (slice(None),),
        start: float = 0.0,
        max_delay: int | None = None,
        late: str = "wait",
    ):
        self.server, self.snap, self.mu, self.sweep, self.epoch, self.codec = server, snap, mu, sweep, epoch, codec
        self.part = Part(x[ranges[0]], snap[ranges[0]], epoch=epoch, steps=steps, eta=eta, codec=codec)
        self.ranges = Ranges(self.part, x, dict(enumerate(ranges[1:], 1)))
        self.max_delay = max_delay if late == "drop" else None
        self.bound = max_delay if late == "wait" else None
        self.bases: dict[int, int] = {}  # of directions that are being computed or held, by rank
        self.held: dict[int, np.ndarray] = {}
        self.window = math.inf if len(groups) == 1 else WINDOW * sum(len(group.ranks) for group in groups)
        owner = systematic(start, [group.rows for group in groups], steps)
        self.pools = [np.flatnonzero(owner == g)[::-1].tolist() for g in range(len(groups))]  # the next one last

    @property
    def applied(self) -> int:
        return self.part.applied

    @property
    def delays(self) -> np.ndarray:
        """Of the updates of rank 0's coordinates."""
        return self.part.delays[: self.part.applied]

    @property
    def done(self) -> bool:
        return (self.part.complete or self.ranges.at_once) and not self.ranges.missing

    def cut(self) -> None:
        """Has the other servers hand over what they have; serve once more."""
        self.ranges.at_once = True

    def take(self, peer: Peer, message: Message) -> None:
        if peer.rank in self.server.servers:
            self.ranges.take(peer.rank, message)
            return
        if message.kind != Kind.GRAD:
            if peer.task is not None and peer.rank not in self.held:
                self._give_back(peer)
            self.server.dropped += message.kind == Kind.FULL
            return
        self.server.evaluated += message.d
        if message.a != self.epoch or message.c != peer.task:
            self.server.dropped += 1
        elif self.max_delay is not None and self.applied - message.b > self.max_delay:
            self.server.dropped += 1
            self._give_back(peer)
        elif self.bound is not None:
            self.held[peer.rank] = self.codec.arrived(message.payload).copy()
            self._apply_held()
        else:
            peer.task, peer.last = None, message.c
            if not self.part.apply(self.codec.arrived(message.payload), message.c, message.b):
                self.server.dropped += 1

    def offer(self, peer: Peer) -> Message | None:
        if peer.rank in self.server.servers:
            return self.ranges.offer(peer.rank)
        pool, part = self.pools[peer.group], self.part
        applied = part.applied
        if peer.task is not None or not pool or pool[-1] > applied + self.window or self.ranges.at_once:
            return None
        if self.bound is not None and len(self.bases) > self.bound:
            return None
        peer.task = t = pool.pop()
        if self.bound is not None:
            self.bases[peer.rank] = applied
        mask, parts = Mask.X, [part.parameters()]
        if peer.snap != self.sweep:
            peer.snap, mask = self.sweep, mask | Mask.SNAP
            parts.append(self.snap)
        if self.mu is not None:
            mask |= Mask.SVRG
            if peer.mu != self.sweep:
                peer.mu, mask = self.sweep, mask | Mask.MU
                parts.append(self.mu)
        return Message(Kind.STEP, mask, a=self.epoch, b=applied, c=t, payload=parts)

    def lose(self, peer: Peer) -> None:
        if peer.last is not None and self.ranges.missing:
            self._put_back(peer, peer.last)
        peer.last = None
        self._give_back(peer)

    def _give_back(self, peer: Peer) -> None:
        """Its draw is for others."""
        self.bases.pop(peer.rank, None)
        self.held.pop(peer.rank, None)
        if peer.task is not None:
            self._put_back(peer, peer.task)
            peer.task = None
        if self.bound is not None:
            self._apply_held()

    def _put_back(self, peer: Peer, t: int) -> None:
        bisect.insort(self.pools[peer.group], t, key=operator.neg)

    def _apply_held(self) -> None:
        """Applies what is held, oldest first, as long as all others can still be in time."""
        while self.held:
            rank = min(self.held, key=lambda rank: self.bases[rank])
            others = sorted(base for other, base in self.bases.items() if other != rank)
            if any(self.applied + 1 + i - base > self.bound for i, base in enumerate(others)):
                return
            peer = self.server.peers[rank]
            self.part.apply(self.held.pop(rank), peer.task, self.bases.pop(rank))
            peer.task = None


class Farewell:
    """The same last message to everybody."""

    def __init__(self, server: Server, message: Message):
        self.server, self.message, self.told = server, message, set()
        self.done = not server.live

    def take(self, peer: Peer, message: Message) -> None:
        self.server.dropped += message.kind in (Kind.FULL, Kind.GRAD)

    def offer(self, peer: Peer) -> Message:
        self.told.add(peer.rank)
        self.lose(peer)
        return self.message

    def lose(self, peer: Peer) -> None:
        self.done = all(other.rank in self.told for other in self.server.live)
