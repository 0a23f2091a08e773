"""Distributed memory: rank 0's side of an epoch (Algorithm 2). The workers' side, Algorithm 3, is `worker`."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np

from asysvrg.core.objective import Objective, Snapshot
from asysvrg.distributed.codec import CODECS
from asysvrg.distributed.server import Group
from asysvrg.distributed.session import Leader
from asysvrg.distributed.tasks import FullGradient, Updates, shards_of

WORTH = 0.5  # of draws that are found in a cache, from which it saves more than it costs (bench/bench_kernels.py)


class DistributedExecution:
    """Rank 0's side of an epoch, for `loop.minimize`.

    Parameters
    ----------
    team : Leader
    objective : Objective
        Of all samples; only its l2 term and its numbers are used here.
    batch_size, inner_steps : int
    max_delay : int or None
    late : {"wait", "drop"}
        See `tasks.Updates`.
    compress : {"float16"} or None
        See `codec`.
    seed : int
    has_cache, skips_zeros : bool
        Of all workers.
    """

    update = "server"
    deflation = 0  # directions are applied as they come
    lengths = directions = np.zeros(0)  # nor do draws depend on lengths

    def __init__(
        self,
        team: Leader,
        objective: Objective,
        *,
        batch_size: int,
        inner_steps: int,
        max_delay: int | None,
        late: str,
        compress: str | None,
        seed: int,
        has_cache: bool,
        skips_zeros: bool,
    ):
        self.team, self.objective, self.seed = team, objective, seed
        self.batch_size, self.inner_steps, self.max_delay, self.late = batch_size, inner_steps, max_delay, late
        first = team.ranges[0]
        self.codec = CODECS[compress](first.stop - first.start, objective.network.dtype)
        self.sweep, self.speed, self.counted, self.carried = 0, 0.0, 0, 0
        self.has_cache = has_cache and all(self._found(group) >= WORTH for group in team.groups)
        self.skips_zeros = skips_zeros

    def shortening(self, x: np.ndarray, epoch: int) -> None:
        """None: steps are not shortened."""

    def snapshot(self, x: np.ndarray, *, direction: str) -> Snapshot:
        """The full gradient from the workers' shards."""
        team = self.team
        self.sweep += 1
        keep = [direction == "svrg" and self._found(group) >= WORTH for group in team.groups]
        job = FullGradient(team.server, x, shards_of(team.groups, x.size), sweep=self.sweep, keep=keep)
        team.serve(job)
        return self.objective.assembled(x, job.gradient, job.loss, job.errors)

    def _found(self, group: Group) -> float:
        """Share of draws that a worker will find in its cache: of samples that it sweeps, or draws once more."""
        workers = max(len({peer.rank for peer in self.team.server.workers}.intersection(group.ranks)), 1)
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
        """m updates of x in place; returns delays, of rank 0's range, fewer where the deadline cut the epoch.

        Workers know the boost by themselves, from the epoch's number.
        """
        start = time.perf_counter()
        job = Updates(
            self.team.server,
            x,
            snapshot.x,
            snapshot.mu if direction == "svrg" else None,
            sweep=self.sweep,
            epoch=epoch,
            steps=self.inner_steps,
            eta=eta,
            groups=self.team.groups,
            codec=self.codec,
            ranges=self.team.ranges,
            start=float(np.random.default_rng([self.seed, epoch]).random()),
            max_delay=self.max_delay,
            late=self.late,
        )
        self.team.serve(job, deadline=deadline)
        if not job.done:
            job.cut()
            self.team.serve(job)
        self.speed = job.applied / (time.perf_counter() - start)
        self.team.server.dropped += job.ranges.dropped
        self.carried -= job.ranges.carried
        return job.delays

    def cost(self, snapshot: Snapshot, direction: str) -> tuple[int, int]:
        """Sample gradients computed since the last call, whatever became of them."""
        counted, self.counted = self.team.server.evaluated - self.counted, self.team.server.evaluated
        return counted, 0

    def report(self) -> dict[str, Any]:
        """Of the epoch: workers alive, updates a second, bytes of all messages, what came too late, losses."""
        server = self.team.server
        dropped, server.dropped = server.dropped, 0
        events, server.events = server.events, []
        carried, self.carried = self.team.link.carried - self.carried, self.team.link.carried
        return {
            "workers": len(server.workers), "updates_per_second": self.speed, "bytes": carried, "dropped": dropped,
            "events": events,
        }  # fmt: skip
