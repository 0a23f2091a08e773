"""The full gradient of Algorithm 2: workers sum over shards of the data, rank 0 adds up the sums."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from asysvrg.core.network import BLOCK_ROWS
from asysvrg.distributed import protocol
from asysvrg.distributed.protocol import Kind, Message
from asysvrg.distributed.server import Group, Peer, Server, Task

SHARDS_PER_WORKER = 4  # at least, so that others can take over the shards of a slow or lost worker
WORK_OF_A_SHARD = 2**31  # rows x parameters at most: about a second


class DataShard(NamedTuple):
    """Rows first to last - 1 of a group's samples."""

    group: int
    first: int
    last: int


def data_shards(groups: Sequence[Group], d: int) -> list[DataShard]:
    """The shards of the full gradient, in the order in which they are summed; d is the number of parameters."""
    n, workers = sum(group.n_rows for group in groups), sum(len(group.ranks) for group in groups)
    wanted = max(SHARDS_PER_WORKER * workers, math.ceil(n * d / WORK_OF_A_SHARD))
    shards = []
    for g, group in enumerate(groups):
        count = max(1, min(round(wanted * group.n_rows / n), math.ceil(group.n_rows / BLOCK_ROWS)))
        shards += [DataShard(g, group.n_rows * i // count, group.n_rows * (i + 1) // count) for i in range(count)]
    return shards


class FullGradient(Task):
    """Hands out data shards one by one, and adds up their sums.

    The sums are added in a fixed order and in float64, so that `gradient`, `loss` and `errors` do not depend on who
    sends them, and when. `sweep` is the number of this full gradient. `keep_cache` says for each group whether its
    workers keep the terms of each sample for the epoch that follows.
    """

    def __init__(
        self, server: Server, x: np.ndarray, shards: Sequence[DataShard], *, sweep: int, keep_cache: Sequence[bool]
    ):
        self.server, self.x, self.shards, self.sweep, self.keep_cache = server, x, shards, sweep, keep_cache
        self.pools: list[list[int]] = [[] for _ in keep_cache]  # heaps of the shards that nobody computes, by group
        for number, shard in enumerate(shards):
            self.pools[shard.group].append(number)
        self.sums: dict[int, tuple[float, float, np.ndarray]] = {}  # those that wait for an earlier shard's
        self.have: set[int] = set()
        self.added = 0
        self.gradient, self.loss, self.errors = np.zeros(x.size), 0.0, 0.0

    @property
    def done(self) -> bool:
        return self.added == len(self.shards)

    def take(self, peer: Peer, message: Message) -> None:
        if message.kind not in (Kind.GRADIENT, Kind.DIRECTION):
            self.lose(peer)
            return
        self.server.evaluated += message.evaluated
        number, peer.assigned = message.shard, None
        if message.kind == Kind.DIRECTION or message.sweep != self.sweep or number in self.have:
            self.server.dropped += 1
            return
        self.have.add(number)
        pool = self.pools[self.shards[number].group]
        if number in pool:  # of a worker that was taken for lost
            pool.remove(number)
            heapq.heapify(pool)
        loss, errors = message.payload[-16:].copy().view(np.float64).tolist()
        self.sums[number] = loss, errors, message.payload[:-16].view(self.x.dtype).copy()
        with np.errstate(over="ignore", invalid="ignore"):
            while self.added in self.sums:
                loss, errors, gradient = self.sums.pop(self.added)
                self.loss += loss
                self.errors += errors
                self.gradient += gradient
                self.added += 1

    def offer(self, peer: Peer) -> Message | None:
        if peer.rank in self.server.servers or peer.assigned is not None or not self.pools[peer.group]:
            return None
        peer.assigned = number = heapq.heappop(self.pools[peer.group])
        group, first, last = self.shards[number]
        snapshot = None if peer.snapshot == self.sweep else self.x
        peer.snapshot = self.sweep
        return protocol.shard_task(self.sweep, number, first, last, snapshot, keep_cache=self.keep_cache[group])

    def lose(self, peer: Peer) -> None:
        if peer.assigned is not None and peer.assigned not in self.have:
            heapq.heappush(self.pools[peer.group], peer.assigned)
        peer.assigned = None
