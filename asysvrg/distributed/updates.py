"""The m updates of an epoch, Eq. (15): rank 0's task, and a server of another shard of the parameters.

With several servers the parameters are divided into shards, and rank 0 updates the first one. A worker asks rank 0 for
an iteration, computes its direction, and sends each server that server's shard of it. It asks rank 0 for the next
iteration with the same message, and delivers that one when all servers have answered.
"""

from __future__ import annotations

import bisect
import math
import operator
import time
from collections.abc import Sequence

import numpy as np
from scipy.linalg import get_blas_funcs

from asysvrg.core.network import aligned_zeros
from asysvrg.core.schedule import Epoch, rates
from asysvrg.distributed import protocol
from asysvrg.distributed.codec import Codec
from asysvrg.distributed.protocol import DIRECTION, MU, SNAPSHOT, SVRG, Kind, Message, Stage
from asysvrg.distributed.server import Farewell, Group, Peer, Server, Task

WINDOW = 4  # times the number of workers: how far iterations of one group may run ahead of another's
PATIENCE = 0.25  # seconds after which a shard server answers rank 0 although its epoch is not complete


def scheduled_groups(start: float, weights: Sequence[float], count: int) -> np.ndarray:
    """The group of each iteration: group i with probability weights[i] / sum, spread evenly over the iterations.

    This is a Kronecker sequence. Over a uniform `start` in [0, 1), each single iteration has these probabilities.
    """
    points = (start + np.arange(count) * 0.6180339887498949) % 1.0
    ends = np.cumsum(weights) / np.sum(weights)
    return np.minimum(np.searchsorted(ends, points, side="right"), len(ends) - 1)


class ParameterShard:
    """One server's shard of x in an epoch, updated in place by x <- x - eta v, Eq. (15), once for each iteration.

    `rates` has eta of the first update, the second, and so on. `applied` is the number of updates so far, which is the
    version of x. `delays` has the delay of each update, in the order in which they were applied. An update of a delay
    above `on_time` takes (on_time + 1) / (delay + 1) of its step (Wu et al., ICML 2022).
    """

    def __init__(self, x: np.ndarray, snapshot: np.ndarray, *, epoch: int, rates: np.ndarray, codec: Codec):
        self.x, self.snapshot, self.epoch, self.codec = x, snapshot, epoch, codec
        self.steps, self.rates, self.applied = len(rates), rates, 0
        self.delays = np.zeros(self.steps, dtype=np.int32)
        self.has = bytearray(self.steps)  # by iteration: whether it was applied
        self.log: list[tuple[int, int, int, float]] | None = None  # iteration, worker, version, time of each update
        self.on_time = math.inf
        self._axpy, self._minus = get_blas_funcs("axpy", (x,)), (-rates).tolist()

    @property
    def complete(self) -> bool:
        return self.applied == self.steps

    def encoded(self) -> np.ndarray:
        """x for a message."""
        return self.codec.parameters(self.x, self.snapshot)

    def subtract(self, v: np.ndarray, share: float = 1.0) -> None:
        """The next update, or a share of it."""
        # Keyword arguments would double the time of the call.
        self._axpy(v, self.x, self.x.size, self._minus[self.applied] * share)

    def apply(self, v: np.ndarray, iteration: int, version: int, worker: int = 0) -> bool:
        """Applies a direction that was computed at a version of x; returns False if it was applied before."""
        if self.has[iteration]:
            return False
        applied = self.applied
        delay = applied - version
        if delay <= self.on_time:
            self.subtract(v)
        else:
            self.subtract(v, (self.on_time + 1) / (delay + 1))
        self.has[iteration], self.delays[applied], self.applied = True, delay, applied + 1
        if self.log is not None:
            self.log.append((iteration, worker, version, time.perf_counter()))
        return True


class OtherShards:
    """What rank 0 tells the other shard servers in an epoch: that it begins, and to hand their shards over at its end.

    The shards are written into x. `slices` has the coordinates of each server by its rank.
    """

    def __init__(self, first: ParameterShard, x: np.ndarray, slices: dict[int, slice], epoch: Epoch):
        self.first, self.x, self.slices = first, x, slices
        self.line = epoch.steps, epoch.eta, epoch.eta if epoch.eta_end is None else epoch.eta_end
        self.begun: set[int] = set()
        self.missing = set(slices)
        self.at_once, self.dropped, self.carried = False, 0, 0

    def take(self, rank: int, message: Message) -> None:
        if message.kind == Kind.HANDOVER and message.epoch == self.first.epoch:
            dropped, carried = message.payload[:16].view(np.int64).tolist()
            self.x[self.slices[rank]] = message.payload[16:].view(self.x.dtype)
            self.missing.discard(rank)
            self.dropped += dropped
            self.carried += carried

    def offer(self, rank: int) -> Message | None:
        first = self.first
        if rank not in self.begun:
            self.begun.add(rank)
            return protocol.begin(first.epoch, self.line, self.x[self.slices[rank]])
        if rank in self.missing and (first.complete or self.at_once):
            return protocol.collect(at_once=self.at_once)
        return None


class Updates(Task):
    """Rank 0's m updates of its shard as directions arrive. Each iteration t of 0 .. m - 1 is applied once.

    An iteration belongs to a group of workers with the same samples, with probability n_group / n. So E[v] is the
    gradient of f, whatever the sizes of the groups' data and the speeds of their workers are.

    With several servers, other servers may lack two iterations of a lost worker: the one that it was computing, and the
    one before. Both are scheduled again, and a server that has one of them drops it.

    Parameters
    ----------
    x : array of shape (d,)
        Updated in place.
    mu : array of shape (d,) or None
        The gradient at the snapshot, which the full gradient number `sweep` gave; None for plain SGD.
    codec : Codec
        Of rank 0's shard of x and v in messages.
    shards : sequence of slice
        The coordinates of each server.
    start : float
        In [0, 1), for `scheduled_groups`.
    adaptive : bool
        Whether an update of a delay of more than K - 1, with K workers, takes K / (delay + 1) of its step.
    max_delay, late : int or None, {"wait", "drop"}
        The largest delay of an update. To keep it, newer directions wait for older ones; or directions that are too
        late are computed again.
    """

    def __init__(
        self,
        server: Server,
        x: np.ndarray,
        snapshot: np.ndarray,
        mu: np.ndarray | None,
        epoch: Epoch,
        *,
        sweep: int,
        groups: Sequence[Group],
        codec: Codec,
        shards: Sequence[slice] = (slice(None),),
        start: float = 0.0,
        max_delay: int | None = None,
        adaptive: bool = False,
        late: str = "wait",
    ):
        self.server, self.snapshot, self.mu, self.sweep, self.codec = server, snapshot, mu, sweep, codec
        self.epoch, self.l2_factor = epoch.number, epoch.l2_factor
        self.shard = ParameterShard(
            x[shards[0]], snapshot[shards[0]], epoch=epoch.number, rates=epoch.rates, codec=codec
        )
        if adaptive:
            self.shard.on_time = len(server.workers) - 1
        self.others = OtherShards(self.shard, x, dict(enumerate(shards[1:], 1)), epoch)
        self.max_delay = max_delay if late == "drop" else None
        self.bound = max_delay if late == "wait" else None
        self.versions: dict[int, int] = {}  # with a bound: of directions that are being computed or held, by rank
        self.held: dict[int, tuple[int, np.ndarray]] = {}  # iterations whose directions wait for older ones, by rank
        self.window = math.inf if len(groups) == 1 else WINDOW * sum(len(group.ranks) for group in groups)
        of_group = scheduled_groups(start, [group.n_rows for group in groups], epoch.steps)
        self.pools = [np.flatnonzero(of_group == g)[::-1].tolist() for g in range(len(groups))]  # the next one is last

    @property
    def applied(self) -> int:
        return self.shard.applied

    @property
    def delays(self) -> np.ndarray:
        """Of the updates of rank 0's shard."""
        return self.shard.delays[: self.shard.applied]

    @property
    def done(self) -> bool:
        return (self.shard.complete or self.others.at_once) and not self.others.missing

    def cut(self) -> None:
        """Ends the epoch early: the other servers hand over what they have when the task goes on."""
        self.others.at_once = True

    def take(self, peer: Peer, message: Message) -> None:
        if peer.rank in self.server.servers:
            self.others.take(peer.rank, message)
            return
        if message.kind != DIRECTION:
            if peer.assigned is not None and peer.rank not in self.held:
                self._reschedule(peer)
            self.server.dropped += message.kind == Kind.GRADIENT
            return
        self.server.evaluated += message.evaluated
        if message.epoch != self.epoch or message.iteration != peer.assigned:
            self.server.dropped += 1
        elif self.max_delay is not None and self.applied - message.version > self.max_delay:
            self.server.dropped += 1
            self._reschedule(peer)
        elif self.bound is not None:
            self.held[peer.rank] = message.iteration, self.codec.arrived(message.payload).copy()
            self._apply_held(self.bound)
        else:
            peer.assigned, peer.delivered = None, message.iteration
            if not self.shard.apply(self.codec.arrived(message.payload), message.iteration, message.version, peer.rank):
                self.server.dropped += 1

    def offer(self, peer: Peer) -> Message | None:
        if peer.rank in self.server.servers:
            return self.others.offer(peer.rank)
        pool, shard = self.pools[peer.group], self.shard
        version = shard.applied
        if peer.assigned is not None or not pool or pool[-1] > version + self.window or self.others.at_once:
            return None
        if self.bound is not None:
            if len(self.versions) > self.bound:
                return None
            self.versions[peer.rank] = version
        peer.assigned = pool.pop()
        flags, payload = 0, [shard.encoded()]
        if peer.snapshot != self.sweep:
            peer.snapshot, flags = self.sweep, SNAPSHOT
            payload.append(self.snapshot)
        if self.mu is not None:
            flags |= SVRG
            if peer.mu != self.sweep:
                peer.mu, flags = self.sweep, flags | MU
                payload.append(self.mu)
        return protocol.step(self.epoch, version, peer.assigned, self.l2_factor, flags, payload)

    def lose(self, peer: Peer) -> None:
        if peer.delivered is not None and self.others.missing:
            bisect.insort(self.pools[peer.group], peer.delivered, key=operator.neg)
        peer.delivered = None
        self._reschedule(peer)

    def _reschedule(self, peer: Peer) -> None:
        """The iteration of this worker is for others."""
        self.versions.pop(peer.rank, None)
        self.held.pop(peer.rank, None)
        if peer.assigned is not None:
            bisect.insort(self.pools[peer.group], peer.assigned, key=operator.neg)
            peer.assigned = None
        if self.bound is not None:
            self._apply_held(self.bound)

    def _apply_held(self, bound: int) -> None:
        """Applies held directions, oldest first, as long as all directions under way can still be in time."""
        while self.held:
            rank = min(self.held, key=lambda rank: self.versions[rank])
            others = sorted(version for other, version in self.versions.items() if other != rank)
            if any(self.applied + 1 + i - version > bound for i, version in enumerate(others)):
                return
            iteration, v = self.held.pop(rank)
            self.shard.apply(v, iteration, self.versions.pop(rank), rank)
            self.server.peers[rank].assigned = None


class ShardUpdates(Task):
    """Another server's updates of its shard. Each direction is answered with the shard as it is then."""

    def __init__(self, server: Server, shard: ParameterShard):
        self.server, self.shard = server, shard
        self.epochs: dict[int, int] = {}  # the epoch of each worker's iteration, by rank

    def take(self, peer: Peer, message: Message) -> None:
        shard, self.epochs[peer.rank] = self.shard, message.epoch
        if message.kind == DIRECTION and not (
            message.epoch == shard.epoch
            and shard.apply(shard.codec.arrived(message.payload), message.iteration, message.version)
        ):
            self.server.dropped += 1

    def offer(self, peer: Peer) -> Message | None:
        shard = self.shard
        if self.epochs.get(peer.rank, -1) > shard.epoch:  # rank 0 has told the worker of it, and not yet this server
            return None
        return protocol.parameters(shard.epoch, shard.applied, shard.encoded())


class ShardServer:
    """What a server other than rank 0 hears from rank 0, and says to it. `server` is for the workers."""

    def __init__(self, server: Server, size: int, dtype: np.dtype, codec: Codec, carried: int = 0):
        self.server, self.codec = server, codec
        self.x, self.snapshot = aligned_zeros((size,), dtype), aligned_zeros((size,), dtype)
        self.shard: ParameterShard | None = None
        self.asked: tuple[bool, float] | None = None  # rank 0 wants the shard: whether at once; when it said so
        self.done = False
        self.carried = carried  # bytes to and from workers so far

    def hear(self, message: Message, now: float) -> None:
        """Takes rank 0's answer."""
        if message.kind == Kind.BEGIN:
            line, x = protocol.begun(message)
            self.x[:] = x.view(self.x.dtype)
            self.snapshot[:] = self.x
            self.shard = ParameterShard(
                self.x, self.snapshot, epoch=message.epoch, rates=rates(*line), codec=self.codec
            )
            self.server.start(ShardUpdates(self.server, self.shard), Stage.EPOCHS)
        elif message.kind == Kind.COLLECT and self.shard is not None:
            self.asked = bool(message.flags & protocol.Flag.AT_ONCE), now
        elif message.kind == Kind.DONE:
            self.done = True
            self.server.start(Farewell(self.server, Message(Kind.DONE)), Stage.EPOCHS)
        elif message.kind != Kind.WAIT:
            raise ValueError(f"a shard server got a message of kind {Kind(message.kind).name} from rank 0")

    def say(self, now: float, carried: int) -> Message | None:
        """The next message to rank 0, if it is time for one; `carried` counts the bytes to and from workers."""
        shard = self.shard
        if self.asked is not None and shard is not None:
            at_once, since = self.asked
            complete = at_once or shard.complete
            if not complete and now < since + PATIENCE:
                return None
            self.asked = None
            if complete:
                dropped, self.server.dropped = self.server.dropped, 0
                carried, self.carried = carried - self.carried, carried
                return protocol.handover(shard.epoch, dropped, carried, self.x)
        return protocol.ready()
