"""The distributed execution: rank 0's side of an epoch (Algorithm 2). Algorithm 3 is in `worker`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from asysvrg.core.control import last_moment, out_of_time
from asysvrg.core.execution import Applied
from asysvrg.core.objective import Objective, Snapshot
from asysvrg.core.schedule import Epoch
from asysvrg.distributed.gradient import FullGradient, data_shards
from asysvrg.distributed.server import Group
from asysvrg.distributed.session import Coordinator
from asysvrg.distributed.updates import Updates
from asysvrg.plan import cache_pays
from asysvrg.simulation.events import shortened


class DistributedExecution:
    """Rank 0's side of an epoch, for `loop.minimize`.

    Of `objective`, only its l2 term and its numbers are used here, and its samples when no time is left. `draws` is
    the number of samples that the mini-batches of an epoch draw.
    """

    def __init__(
        self,
        session: Coordinator,
        objective: Objective,
        *,
        draws: int,
        seed: int,
        max_delay: int | None = None,
        adaptive: bool = False,
    ):
        self.session, self.objective, self.draws, self.seed = session, objective, draws, seed
        self.max_delay, self.adaptive, self.codec = max_delay, adaptive, session.codecs(objective.network.dtype)[0]
        self.record: Callable[[int, list[dict[str, Any]]], None] | None = None  # as for `ThreadedExecution`
        self.began = time.perf_counter()
        self.sweep, self.speed, self.counted, self.carried = 0, 0.0, 0, session.link.carried

    def cache_pays(self, group: Group) -> bool:
        """Whether the workers of a group keep the snapshot's cache, if memory allows."""
        workers = {peer.rank for peer in self.session.server.workers}.intersection(group.ranks)
        return cache_pays(self.objective.n, self.draws, max(len(workers), 1))

    def snapshot(self, x: np.ndarray, *, keep_cache: bool) -> Snapshot:
        """The full gradient from the workers' data shards; the loss of some samples of rank 0 when no time is left."""
        session = self.session
        if out_of_time():
            return self.objective.glimpse(x)
        self.sweep += 1
        keep = [keep_cache and self.cache_pays(group) for group in session.groups]
        task = FullGradient(session.server, x, data_shards(session.groups, x.size), sweep=self.sweep, keep_cache=keep)
        session.serve(task, deadline=last_moment())
        if not task.done:
            return self.objective.glimpse(x)
        return self.objective.assembled(x, task.gradient, task.loss, task.errors)

    def evaluate(self, x: np.ndarray, samples: int) -> Snapshot:
        """A snapshot of all samples: the workers' sweeps have the gradient anyway, which no update takes."""
        server = self.session.server
        before = server.evaluated
        snapshot = self.snapshot(x, keep_cache=False)
        self.counted += server.evaluated - before  # as with threads, whose evaluation has no gradient
        return snapshot

    def inner(self, x: np.ndarray, snapshot: Snapshot, epoch: Epoch) -> Applied:
        """Updates x in place. The delays are those in rank 0's shard, fewer if the deadline cut the epoch."""
        session, start = self.session, time.perf_counter()
        task = Updates(
            session.server,
            x,
            snapshot.x,
            snapshot.mu if epoch.direction.needs_snapshot else None,
            epoch,
            sweep=self.sweep,
            groups=session.groups,
            codec=self.codec,
            shards=session.shards,
            start=float(np.random.default_rng([self.seed, epoch.number]).random()),
            max_delay=self.max_delay,
            adaptive=self.adaptive,
            late=session.options.late,
        )
        log = task.shard.log = None if self.record is None else []
        session.serve(task, deadline=epoch.deadline)
        if not task.done:
            task.cut()
            session.serve(task)
        if self.record is not None and log is not None:
            self.record(
                epoch.number, [self._described(task.shard.on_time, turn, *each) for turn, each in enumerate(log)]
            )
        self.speed = task.applied / (time.perf_counter() - start)
        session.server.dropped += task.others.dropped
        self.carried -= task.others.carried
        evaluated = session.server.evaluated
        counted, self.counted = evaluated - self.counted, evaluated
        return Applied(task.delays, counted)

    def _described(self, on_time: float, turn: int, t: int, worker: int, version: int, now: float) -> dict[str, Any]:
        """An update for the record."""
        update = {"t": t, "worker": worker, "read": version, "delay": turn - version, "seconds": now - self.began}
        return update | shortened(turn - version, on_time)

    def state(self) -> dict[str, np.ndarray]:
        """Nothing: the next epoch depends on x only."""
        return {}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Nothing to restore."""

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
