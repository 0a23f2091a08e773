"""Distributed memory: rank 0's side of an epoch (Algorithm 2). The workers' side, Algorithm 3, is `worker`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from asysvrg.core.loop import Applied
from asysvrg.core.objective import Objective, Snapshot
from asysvrg.core.schedule import Epoch
from asysvrg.distributed.codec import CODECS
from asysvrg.distributed.server import Group
from asysvrg.distributed.session import Leader
from asysvrg.distributed.tasks import FullGradient, Updates, shards_of
from asysvrg.plan import cache_pays


class DistributedExecution:
    """Rank 0's side of an epoch, for `loop.minimize`.

    Parameters
    ----------
    team : Leader
    objective : Objective
        Of all samples. Only its l2 term and its numbers are used here.
    draws : int
        Samples that the mini-batches of an epoch draw.
    max_delay : int or None
    late : {"wait", "drop"}
        See `tasks.Updates`.
    compress : {"float16"} or None
        See `codec`.
    seed : int
    """

    def __init__(
        self,
        team: Leader,
        objective: Objective,
        *,
        draws: int,
        max_delay: int | None,
        late: str,
        compress: str | None,
        seed: int,
    ):
        self.team, self.objective, self.draws, self.seed = team, objective, draws, seed
        self.max_delay, self.late = max_delay, late
        first = team.ranges[0]
        self.codec = CODECS[compress](first.stop - first.start, objective.network.dtype)
        self.sweep, self.speed, self.counted, self.carried = 0, 0.0, 0, 0

    def cache_pays(self, group: Group) -> bool:
        """Whether the workers of a group keep the snapshot's cache, if memory allows."""
        workers = {peer.rank for peer in self.team.server.workers}.intersection(group.ranks)
        return cache_pays(self.objective.n, self.draws, max(len(workers), 1))

    def snapshot(self, x: np.ndarray, *, keep_cache: bool) -> Snapshot:
        """The full gradient from the workers' shards."""
        team = self.team
        self.sweep += 1
        keep = [keep_cache and self.cache_pays(group) for group in team.groups]
        job = FullGradient(team.server, x, shards_of(team.groups, x.size), sweep=self.sweep, keep=keep)
        team.serve(job)
        return self.objective.assembled(x, job.gradient, job.loss, job.errors)

    def inner(self, x: np.ndarray, snapshot: Snapshot, epoch: Epoch) -> Applied:
        """Updates x in place. The delays are those of rank 0's range, fewer where the deadline cut the epoch."""
        start = time.perf_counter()
        job = Updates(
            self.team.server,
            x,
            snapshot.x,
            snapshot.mu if epoch.direction.needs_snapshot else None,
            sweep=self.sweep,
            epoch=epoch.number,
            steps=epoch.steps,
            eta=epoch.eta,
            groups=self.team.groups,
            codec=self.codec,
            ranges=self.team.ranges,
            start=float(np.random.default_rng([self.seed, epoch.number]).random()),
            max_delay=self.max_delay,
            late=self.late,
        )
        self.team.serve(job, deadline=epoch.deadline)
        if not job.done:
            job.cut()
            self.team.serve(job)
        self.speed = job.applied / (time.perf_counter() - start)
        self.team.server.dropped += job.ranges.dropped
        self.carried -= job.ranges.carried
        evaluated = self.team.server.evaluated
        counted, self.counted = evaluated - self.counted, evaluated
        return Applied(job.delays, counted)

    def state(self) -> dict[str, np.ndarray]:
        """Nothing: the next epoch depends on x only."""
        return {}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Nothing to restore."""

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
