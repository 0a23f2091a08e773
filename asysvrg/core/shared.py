"""Shared memory: m inner iterations by OpenMP threads on one vector (Algorithm 1)."""

from __future__ import annotations

import math
from typing import Any

import joblib
import numpy as np

from asysvrg.core.importance import Importance
from asysvrg.core.inner import InnerLoop
from asysvrg.core.network import Network, Samples
from asysvrg.core.objective import Objective, Snapshot
from asysvrg.core.preconditioner import Deflation

TEAM_INPUTS = 80  # non-zero inputs of a sample from which threads are faster together (bench/bench_kernels.py)


def suits_a_team(network: Network, samples: Samples, threads: int) -> bool:
    """Whether threads update all coordinates faster together (`update="owned"`) than without waiting for each other.

    They exchange the mini-batch's sums instead of x, which pays where a sum has many terms, and most of x is the first
    layer. Each needs a core: the others wait for it.
    """
    first = network.slices[0][1].stop
    return (
        samples.density * network.widths[0] >= TEAM_INPUTS
        and 2 * first >= network.size
        and 1 < threads <= joblib.cpu_count()
    )


class SharedExecution:
    """Runs the inner loop of Algorithm 1 on an objective; serial when the objective has one thread.

    Parameters
    ----------
    objective : Objective
    batch_size : int
        |I_t|.
    inner_steps : int
        m.
    coordinates : int
        Coordinates an update touches; 0 for all.
    block : int
        Coordinates drawn together.
    update : {"auto", "serial", "atomic", "striped", "owned"}
        Memory mode. "auto" is "serial" with one thread; with more, "atomic" for subsets of single coordinates, and for
        all of them "owned" where that suits, else "striped", as for subsets of lines. In none is an update lost.
    max_delay : int or None
    seed : int
    sampling : {"replacement", "shuffle", "importance"}, default="replacement"
        How mini-batches are drawn.
    deflation : int, default=0
        Directions of each layer's input along which steps are shortened; with 0 all steps are the paper's.
    """

    def __init__(
        self,
        objective: Objective,
        *,
        batch_size: int,
        inner_steps: int,
        coordinates: int,
        block: int,
        update: str,
        max_delay: int | None,
        seed: int,
        sampling: str = "replacement",
        deflation: int = 0,
    ):
        self.objective, self.inner_steps, self.batch_size = objective, inner_steps, batch_size
        if update == "auto":
            together = suits_a_team(objective.network, objective.samples, objective.threads)
            update = "owned" if together else "striped"
            if 0 < coordinates < objective.d:
                update = "striped" if block > 1 else "atomic"
            update = "serial" if objective.threads == 1 else update
        self.update, self.has_cache, self.skips_zeros = update, objective.has_cache, objective.samples.skips_zeros
        self._loop = InnerLoop(
            objective.network,
            objective.samples,
            alpha=objective.alpha,
            batch_size=batch_size,
            coordinates=coordinates,
            block=block,
            update=update,
            max_delay=max_delay,
            seed=seed,
            threads=objective.threads,
            replacement=sampling == "replacement",
            rank=deflation,
            spare=objective.spare,
        )
        self._importance = None
        if sampling == "importance":
            self._importance = Importance(objective.samples.size, objective.network.dtype, seed)
        self.deflation, self._shortening = deflation, None
        if deflation:  # rows of the first layer that are put off keep their steps
            first = not self._loop.puts_off
            self._shortening = Deflation(
                objective.network, objective.samples, deflation, seed, first=first, threads=objective.threads
            )

    @property
    def lengths(self) -> np.ndarray:
        """Of samples' gradients when they were drawn last, shape (n,); none without importance sampling."""
        return np.zeros(0) if self._importance is None else self._importance.lengths

    @property
    def directions(self) -> np.ndarray:
        """Along which hidden layers' steps are shortened; none where there are none."""
        return np.zeros(0) if self._shortening is None else self._shortening.directions

    def shortening(self, x: np.ndarray, epoch: int) -> Deflation | None:
        """P at x, if steps are shortened at all."""
        if self._shortening is not None:
            self._shortening.look(x, epoch)
        return self._shortening

    def snapshot(self, x: np.ndarray, *, direction: str) -> Snapshot:
        """The snapshot x~ and its full gradient."""
        return self.objective.snapshot(x, keep_cache=direction == "svrg")

    def inner(
        self,
        x: np.ndarray,
        snapshot: Snapshot,
        *,
        direction: str,
        eta: float,
        boost: float = 1.0,
        epoch: int,
        deadline: float = math.inf,
    ) -> np.ndarray:
        """m updates of x in place; returns their delays, shorter where the deadline cut the epoch."""
        delays = self._loop.run(
            x,
            self.inner_steps,
            direction=direction,
            eta=eta,
            boost=boost,
            epoch=epoch,
            mu=snapshot.mu,
            x_snap=snapshot.x,
            cache=snapshot.cache,
            deflation=self._shortened(snapshot, direction, epoch, boost),
            draws=None if self._importance is None else self._importance.draws(epoch),
            deadline=deadline,
        )
        return delays[delays >= 0]

    def _shortened(
        self, snapshot: Snapshot, direction: str, epoch: int, boost: float
    ) -> list[tuple[np.ndarray, np.ndarray] | None] | None:
        """U of each layer and U' (mu + boost alpha x~), if steps are shortened."""
        shortening = self.shortening(snapshot.x, epoch)
        if shortening is None:
            return None
        parts = [shortening.along_l2(snapshot.x, [boost * alpha for alpha in self.objective.alphas])]
        if direction == "svrg":
            parts.append(shortening.along(snapshot.mu))
        return [None if u is None else (u, sum(c)) for u, *c in zip(shortening.bases, *parts, strict=True)]

    def cost(self, snapshot: Snapshot, direction: str) -> tuple[int, int]:
        """Sample gradients of a full gradient, and of one inner iteration (the cache saves those at x~)."""
        if direction == "sgd":
            return 0, self.batch_size
        return self.objective.n, self.batch_size * (1 if snapshot.cache is not None else 2)

    def report(self) -> dict[str, Any]:
        """Nothing more to say of an epoch."""
        return {}
