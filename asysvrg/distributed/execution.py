"""The distributed execution: rank 0's side of an epoch (Algorithm 2). Algorithm 3 is in `worker`."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np

from asysvrg.core.objective import Objective, Snapshot
from asysvrg.distributed.gradient import FullGradient, data_shards
from asysvrg.distributed.server import Group
from asysvrg.distributed.session import Coordinator
from asysvrg.distributed.updates import Updates

CACHE_HITS = 0.5  # share of draws found in a cache from which it saves more than it costs (bench/bench_kernels.py)


class DistributedExecution:
    """Rank 0's side of an epoch, for `loop.minimize`.

    Parameters
    ----------
    session : Coordinator
    objective : Objective
        Of all samples. Only its l2 term and its numbers are used here.
    batch_size, inner_steps : int
    max_delay : int or None
    seed : int
    has_cache, skips_zeros : bool
        Whether this is so on all workers.
    """

    update = "server"
    deflation = 0
    lengths = directions = np.zeros(0)

    def __init__(
        self,
        session: Coordinator,
        objective: Objective,
        *,
        batch_size: int,
        inner_steps: int,
        max_delay: int | None,
        seed: int,
        has_cache: bool,
        skips_zeros: bool,
    ):
        self.session, self.objective, self.seed = session, objective, seed
        self.batch_size, self.inner_steps, self.max_delay = batch_size, inner_steps, max_delay
        self.codec = session.codecs(objective.network.dtype)[0]
        self.sweep, self.speed, self.counted, self.carried = 0, 0.0, 0, 0
        self.has_cache = has_cache and all(self._cache_hits(group) >= CACHE_HITS for group in session.groups)
        self.skips_zeros = skips_zeros

    def shortening(self, x: np.ndarray, epoch: int) -> None:
        """None: there is no preconditioner."""

    def snapshot(self, x: np.ndarray, *, direction: str) -> Snapshot:
        """The full gradient from the workers' data shards."""
        session = self.session
        self.sweep += 1
        keep_cache = [direction == "svrg" and self._cache_hits(group) >= CACHE_HITS for group in session.groups]
        shards = data_shards(session.groups, x.size)
        task = FullGradient(session.server, x, shards, sweep=self.sweep, keep_cache=keep_cache)
        session.serve(task)
        return self.objective.assembled(x, task.gradient, task.loss, task.errors)

    def _cache_hits(self, group: Group) -> float:
        """Share of draws that a worker finds in its cache: samples of its data shards, and earlier draws."""
        workers = max(len({peer.rank for peer in self.session.server.workers}.intersection(group.ranks)), 1)
        swept, drawn = 1 / workers, self.inner_steps * self.batch_size / (self.objective.n * workers)
        return swept + (1 - swept) * (1 + math.expm1(-drawn) / drawn)

    def inner(
        self,
        x: np.ndarray,
        snapshot: Snapshot,
        *,
        direction: str,
        eta: float,
        boost: float,
        epoch: int,
        deadline: float = math.inf,
    ) -> np.ndarray:
        """m updates of x in place. Returns the delays in rank 0's shard, fewer if the deadline cut the epoch."""
        session, start = self.session, time.perf_counter()
        task = Updates(
            session.server,
            x,
            snapshot.x,
            snapshot.mu if direction == "svrg" else None,
            sweep=self.sweep,
            epoch=epoch,
            steps=self.inner_steps,
            eta=eta,
            l2_factor=boost,
            groups=session.groups,
            codec=self.codec,
            shards=session.shards,
            start=float(np.random.default_rng([self.seed, epoch]).random()),
            max_delay=self.max_delay,
            late=session.options.late,
        )
        session.serve(task, deadline=deadline)
        if not task.done:
            task.cut()
            session.serve(task)
        self.speed = task.applied / (time.perf_counter() - start)
        session.server.dropped += task.others.dropped
        self.carried -= task.others.carried
        return task.delays

    def cost(self, snapshot: Snapshot, direction: str) -> tuple[int, int]:
        """Sample gradients computed since the last call, whatever became of them."""
        counted, self.counted = self.session.server.evaluated - self.counted, self.session.server.evaluated
        return counted, 0

    def report(self) -> dict[str, Any]:
        """Of the epoch: workers alive, updates a second, bytes of all messages, dropped results, losses of workers."""
        server, link = self.session.server, self.session.link
        dropped, server.dropped = server.dropped, 0
        events, server.events = server.events, []
        carried, self.carried = link.carried - self.carried, link.carried
        return {
            "workers": len(server.workers), "updates_per_second": self.speed, "bytes": carried, "dropped": dropped,
            "events": events,
        }  # fmt: skip
