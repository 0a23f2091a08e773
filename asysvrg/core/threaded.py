"""Shared memory: the threads of this process carry out the inner iterations of Algorithm 1 on one vector x."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from asysvrg.core.control import OutOfTime
from asysvrg.core.execution import Applied
from asysvrg.core.gauge import Gauge
from asysvrg.core.importance import Importance
from asysvrg.core.inner import InnerLoop
from asysvrg.core.objective import Objective, Snapshot
from asysvrg.core.preconditioner import LowRankPreconditioner
from asysvrg.core.schedule import Epoch


class ThreadedExecution:
    """Runs inner loops by one thread ("serial"), threads that do not wait ("shared"), or that do ("lockstep").

    Parameters
    ----------
    objective : Objective
        Its number of threads is that of the inner loop.
    batch_size : int
        b, samples in a mini-batch.
    seed : int
        Of all draws.
    sampling : {"replacement", "shuffle", "importance"}, default="replacement"
        How mini-batches are drawn.
    preconditioner : LowRankPreconditioner, optional
    track_gradient_norm : int, optional
        Iterations of each epoch at which the whole gradient is measured. The threads pause for each.
    record : callable, optional
        Called after each epoch with its number, and with `turns`, delays and `stripes` of the `InnerLoop`.
    **options
        Further arguments of `InnerLoop`: coordinates, block, execution, update, max_delay, adaptive, lazy_rows,
        parts.
    """

    loop = InnerLoop

    def __init__(
        self,
        objective: Objective,
        *,
        batch_size: int,
        seed: int,
        sampling: str = "replacement",
        preconditioner: LowRankPreconditioner | None = None,
        track_gradient_norm: int | None = None,
        record: Callable[[int, np.ndarray, np.ndarray, np.ndarray], None] | None = None,
        **options: Any,
    ):
        if record is not None and track_gradient_norm is not None:
            raise ValueError("a run that is measured, by track_gradient_norm, cannot be recorded: its threads pause")
        self._objective, self._batch_size, self._preconditioner = objective, batch_size, preconditioner
        self._record, self._importance, self._gauge = record, None, None
        if track_gradient_norm is not None:
            self._gauge = Gauge(objective, track_gradient_norm, batch_size, seed)
        if sampling == "importance":
            self._importance = Importance(objective.samples.size, objective.network.dtype, seed)
        self._loop = self.loop(
            objective.network,
            objective.samples,
            alpha=objective.alpha,
            batch_size=batch_size,
            seed=seed,
            threads=objective.threads,
            replacement=sampling == "replacement",
            rank=0 if preconditioner is None else preconditioner.rank,
            records=record is not None,
            **options,
        )

    def snapshot(self, x: np.ndarray, *, keep_cache: bool) -> Snapshot:
        """The snapshot x~ and its full gradient."""
        return self._objective.snapshot(x, keep_cache=keep_cache)

    def evaluate(self, x: np.ndarray, samples: int) -> Snapshot:
        """Loss and error at x from about `samples` samples, or from all if that is 0."""
        return self._objective.evaluated(x, samples)

    def inner(self, x: np.ndarray, snapshot: Snapshot, epoch: Epoch) -> Applied:
        """Updates x in place; fewer times than `epoch.steps` where the deadline cuts the epoch."""
        terms, direction = None, epoch.direction
        if self._preconditioner is not None:
            self._preconditioner.update(snapshot.x, epoch.number)
            alphas = [epoch.l2_factor * alpha for alpha in self._objective.alphas]
            terms = self._preconditioner.terms(snapshot.x, alphas, snapshot.mu if direction.needs_snapshot else None)
        delays = self._iterate(
            x,
            epoch,
            direction=direction.kernel,
            eta=epoch.rates,
            l2_factor=epoch.l2_factor,
            epoch=epoch.number,
            mu=snapshot.mu,
            x_snap=snapshot.x,
            cache=snapshot.cache,
            preconditioner=terms,
            draws=None if self._importance is None else self._importance.draws(epoch.number),
            deadline=epoch.deadline,
        )
        delays = delays[delays >= 0]
        full, each = direction.cost(self._objective.n, self._batch_size, snapshot.cache is not None)
        return Applied(delays, full + each * delays.size, 0.0 if self._gauge is None else self._gauge.seconds)

    def _iterate(self, x: np.ndarray, this: Epoch, *, eta: np.ndarray, **arguments: Any) -> np.ndarray:
        """The iterations of an epoch, in pieces where x is measured, which then stands still. Returns their delays."""
        if self._gauge is None:
            found = self._loop.run(x, this.steps, eta=eta, **arguments)
            if self._record is not None:
                self._record(this.number, self._loop.turns, found, self._loop.stripes[1:])
            return found
        delays, done = [np.empty(0, np.int32)], 0
        with suppress(OutOfTime):  # in a measurement
            for t in [*self._gauge.start(this.number, this.steps, x), this.steps]:
                if t > done:
                    delays.append(self._loop.run(x, t - done, eta=eta[done:t], first=done, **arguments))
                    done = t
                    if (delays[-1] < 0).any():  # the deadline
                        break
                if t < this.steps:
                    self._gauge.look(x)
        return np.concatenate(delays)

    def state(self) -> dict[str, np.ndarray]:
        """Gradient norms with importance sampling, and bases of layers above the first with a preconditioner."""
        arrays = {}
        if self._importance is not None:
            arrays["gradient_norms"] = self._importance.norms
        if self._preconditioner is not None and self._preconditioner.hidden.size:
            arrays["bases"] = self._preconditioner.hidden
        return arrays

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """The inverse of `state`."""
        for name, array in self.state().items():
            array[:] = arrays[name]

    def report(self) -> dict[str, Any]:
        """mean_gradient_norm_squared, smoothness and batch_smoothness of the epoch, where they are measured."""
        return {} if self._gauge is None else self._gauge.report()
