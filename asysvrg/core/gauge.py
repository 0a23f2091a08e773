"""The metric of Eqs. (12) and (19), and L of Assumption 3, measured during a run."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from asysvrg.core.objective import Objective
from asysvrg.core.smoothness import largest_eigenvalue, smoothness

CLOSE = 1e-3  # the precision of L


class Gauge:
    """The mean of |grad f(x_t)|^2 over an epoch's iterations, from some of them; and L where the epoch starts.

    The epoch's iterations are divided into `count` ranges of the same length, and one iteration of each is drawn: the
    estimate is unbiased. It is exact if there are no more iterations than ranges. Gradients are those of the whole
    objective as the kernels see it, l2 term included. L is that of the whole objective, and the mean of mini-batches.

    Parameters
    ----------
    objective : Objective
        Its vectors stay as they are.
    count : int
        Iterations of each epoch at which the gradient is computed, each for the price of a pass over the samples.
    batch_size : int
        b, of the mini-batches.
    seed : int
        Of the choice of iterations, and of these mini-batches.

    Attributes
    ----------
    seconds : float
        What the measurements took, of the epoch.
    """

    def __init__(self, objective: Objective, count: int, batch_size: int, seed: int):
        self._objective = Objective(
            objective.network,
            objective.samples,
            alpha=objective.alpha,
            threads=objective.threads,
            parts=objective.parts,
        )
        self._count, self._batch_size, self._seed = count, batch_size, seed
        self._norms: list[float] = []
        self._shares = np.zeros(0)
        self._smoothness: tuple[float | None, float | None] = (None, None)
        self.seconds = 0.0

    def start(self, epoch: int, steps: int, x: np.ndarray) -> np.ndarray:
        """Begins an epoch. Returns the iterations t before which `look` is to see x_t, in ascending order."""
        rng = np.random.default_rng([self._seed, epoch])
        count = min(self._count, steps)
        ends = np.arange(count + 1) * steps // count
        self._norms, self._shares, self.seconds = [], np.diff(ends), 0.0
        start = time.perf_counter()
        self._smoothness = self._measured_smoothness(x)
        self.seconds += time.perf_counter() - start
        return rng.integers(ends[:-1], ends[1:])

    def _measured_smoothness(self, x: np.ndarray) -> tuple[float, float]:
        """L of the whole objective, and of mini-batches. It depends on x alone, so resumed runs measure the same."""
        of = self._objective
        along = np.random.default_rng(self._seed).standard_normal(of.d).astype(x.dtype)
        whole = largest_eigenvalue(of, x, along, close=CLOSE)
        return whole, smoothness(of.network, of.samples, of.alpha, x, self._batch_size, self._seed)

    def look(self, x: np.ndarray) -> None:
        """Measures at x_t."""
        start = time.perf_counter()
        gradient = self._objective.gradient(x).astype(np.float64, copy=False)
        with np.errstate(over="ignore", invalid="ignore"):  # the epoch loop handles a diverged x
            self._norms.append(float(gradient @ gradient))
        self.seconds += time.perf_counter() - start

    def report(self) -> dict[str, Any]:
        """Columns of the epoch's row in the trace; None before the first epoch."""
        mean = None
        if self._norms:
            mean = float(np.average(self._norms, weights=self._shares[: len(self._norms)]))
        whole, of_batches = self._smoothness
        return {"mean_gradient_norm_squared": mean, "smoothness": whole, "batch_smoothness": of_batches}
