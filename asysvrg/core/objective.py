"""The objective f of Eq. (1) on given samples: its loss, error, gradient and snapshots."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from scipy.linalg import get_blas_funcs

from asysvrg.core.control import OutOfTime, time_limit
from asysvrg.core.network import KIND_OF_LOSS, Network, Samples, aligned_zeros

EVALUATED = 1024  # samples in each of the blocks that stand for all samples
# Samples that stand for all when no time is left: in blocks of FEW, for so many products in all, a moment's work.
FEW, FEW_PRODUCTS, MOST_BLOCKS = 16, 2**29, 64
ROWS = 64  # rows of a weight matrix that a temporary array holds at once

Blocks: TypeAlias = list[tuple[int, int]]  # rows first .. last - 1 of each
Sums: TypeAlias = tuple[float, float, float]  # weighted, over samples: loss, errors, and the weights themselves


@dataclass(frozen=True)
class Snapshot:
    """The snapshot x~ and what a sweep over all samples found there.

    Attributes
    ----------
    x : array of shape (d,)
        A copy of the parameters.
    loss : float
        f(x~), l2 term included.
    error : float
        Share of misclassified samples; 1 - R^2 in regression.
    mu : array of shape (d,)
        Gradient of f at x~ without its l2 term, as the kernels take it.
    gradient_norm_squared : float or None
        Squared norm of the whole gradient, l2 term included; None where only the loss was wanted.
    cache : array of shape (n, cache_width) or None
        Each sample's activations and deltas. They make up grad f_i(x~) without a pass through the network.
    samples : int
        How many samples loss and error are computed from; 0 for all.
    """

    x: np.ndarray
    loss: float
    error: float
    mu: np.ndarray
    gradient_norm_squared: float | None
    cache: np.ndarray | None
    samples: int = 0


class Objective:
    """f(x) = 1/n sum_i w_i loss_i(x) + sum of alpha/2 times squared weights; biases are free.

    Parameters
    ----------
    network : Network
    samples : Samples
        With labels or targets; weights of mean 1.
    alpha : float or array of shape (inputs + layers - 1,)
        Weight of the l2 term: one number; or one for each row of the first layer's matrix and for each further layer.
    threads : int
    parts : int, optional
        What sweeps are divided into. Default: threads.
    cache : bool, default=False
        Whether snapshots keep a cache when they are asked to.
    unit : float, default=1
        Reported losses are multiplied by this: the scale of the targets to the degree of the loss.
    n : int, optional
        Number of all samples, where `samples` are only some of them.
    spread : float, optional
        Weighted sum of the squares of all centred targets, likewise.

    Attributes
    ----------
    alphas : list of array of shape (rows, 1) or (1, 1)
        Each layer's alpha: one number for each row of its matrix, or one for all rows.
    """

    def __init__(
        self,
        network: Network,
        samples: Samples,
        *,
        alpha: float | np.ndarray,
        threads: int,
        parts: int | None = None,
        cache: bool = False,
        unit: float = 1.0,
        n: int | None = None,
        spread: float | None = None,
    ):
        self.network, self.samples = network, samples
        self.alpha, self.threads, self.unit = alpha, threads, unit
        self.parts = parts or threads
        self.alphas = list(self._columns())
        self._axpy = get_blas_funcs("axpy", dtype=network.dtype)
        self.n, self.d, self._spread = n or samples.size, network.size, spread
        self._keeps_cache = cache
        self._cache: np.ndarray | None = None
        self._gradients = aligned_zeros((self.parts, self.d), network.dtype)
        self._mu = self._gradients[0]

    def snapshot(self, x: np.ndarray, *, keep_cache: bool) -> Snapshot:
        """Loss, error and full gradient at x. Overwrites mu and the cache of the previous snapshot.

        Where the time limit (`control.time_limit`) ends the sweep, it is `glimpse`.
        """
        keep_cache = keep_cache and self._keeps_cache
        if keep_cache and self._cache is None:
            self._cache = aligned_zeros((self.samples.size, self.network.cache_width), self.network.dtype)
        cache = self._cache if keep_cache else None
        try:
            loss, errors = self._sweep(x, cache)
        except OutOfTime:
            return self.glimpse(x)
        return self.assembled(x, self._mu, loss, errors, cache)

    def evaluated(self, x: np.ndarray, samples: int) -> Snapshot:
        """Loss and error at x, without the gradient. With `samples` = 0 they are those of all samples.

        Otherwise they are computed from about that many samples: from blocks that are evenly spread over the data, and
        that are the same in each call. Where the time limit ends a sweep, it is `glimpse`.
        """
        blocks = _blocks(self.samples.size, -(-samples // EVALUATED), EVALUATED)
        try:
            sums = self._sums(self.samples, x, blocks, self.threads)
        except OutOfTime:
            return self.glimpse(x)
        return self._evaluation(x, blocks, sums)

    def glimpse(self, x: np.ndarray) -> Snapshot:
        """Loss and error at x from a few samples, evenly spread: what there is time for when none is left."""
        blocks = self._few(self.samples)
        return self._evaluation(x, blocks, self._sums_of_few(self.samples, x, blocks))

    def _few(self, samples: Samples) -> Blocks:
        return _blocks(samples.size, max(2, min(FEW_PRODUCTS // (FEW * self.d), MOST_BLOCKS)), FEW)

    def _sums_of_few(self, samples: Samples, x: np.ndarray, blocks: Blocks) -> Sums:
        with time_limit(math.inf):
            return self._sums(samples, x, blocks, threads=1)  # several would wait for each other after each block

    def _sums(self, samples: Samples, x: np.ndarray, blocks: Blocks, threads: int) -> Sums:
        loss = errors = weight = 0.0
        for first, last in blocks:
            sums = self.network.sweep(samples, x, threads, rows=(first, last), parts=self.parts)
            loss, errors = loss + sums[0], errors + sums[1]
            given = samples.weight
            weight += last - first if given is None else float(given[first:last].sum(dtype=np.float64))
        return loss, errors, weight or 1.0

    def _evaluation(self, x: np.ndarray, blocks: Blocks, sums: Sums) -> Snapshot:
        loss, errors, weight = sums
        count = sum(last - first for first, last in blocks)
        return Snapshot(
            self.network.vector(x),
            self.unit * (loss / weight + self._squares(x) / 2),
            self._error(errors * self.n / weight),
            self._mu,
            None,
            None,
            count if count < self.n else 0,
        )

    def _error(self, errors: float) -> float:
        """The error, from the sum of the errors of all samples."""
        if self._spread is None and KIND_OF_LOSS[self.network.loss] == "reals":
            self._spread = spread_of(self.samples)[1]
        return self._relative_error(self.samples, errors, self.n, self._spread)

    def _squares(self, x: np.ndarray) -> float:
        """Sum over all weights of alpha times the squared weight. It needs no array as large as x."""
        total = 0.0
        with np.errstate(over="ignore", invalid="ignore"):
            for alpha, (weights, _) in zip(self.alphas, self.network.slices, strict=True):
                W = x[weights].reshape(len(alpha), -1)
                of_rows = np.vdot(W, W) if len(alpha) == 1 else np.einsum("ij,ij->i", W, W)
                total += float(np.vdot(alpha, of_rows))
        return total

    def _sweep(self, x: np.ndarray, cache: np.ndarray | None = None) -> tuple[float, float]:
        """Sums the gradient over the samples into `_mu`; returns the sums of loss and errors."""
        sums = self.network.sweep(self.samples, x, self.threads, self._gradients, cache, parts=self.parts)
        with np.errstate(over="ignore", invalid="ignore"):
            for part in self._gradients[1:]:
                self._mu += part
        return sums

    def assembled(
        self, x: np.ndarray, gradient: np.ndarray, loss: float, errors: float, cache: np.ndarray | None = None
    ) -> Snapshot:
        """The snapshot at x from sums over all samples. Overwrites mu of the previous snapshot."""
        with np.errstate(over="ignore", invalid="ignore"):  # the epoch loop handles a diverged x
            np.divide(gradient, self.n, out=self._mu, casting="same_kind")
            vector = self.with_l2(self.network.vector(), x)
            vector += self._mu  # the whole gradient
            norm = float(np.vdot(vector, vector))
        vector[:] = x  # the same memory now holds x~, which saves a vector at the peak
        return Snapshot(
            vector,
            self.unit * (loss / self.n + self._squares(vector) / 2),
            self._error(errors),
            self._mu,
            norm,
            cache,
        )

    def _columns(self) -> Iterator[np.ndarray]:
        """Each layer's alpha as a column: one for each row, or a single one for all."""
        inputs = self.network.widths[0]
        alpha = np.broadcast_to(self.alpha, inputs + len(self.network.slices) - 1)
        with np.errstate(over="ignore"):  # the epoch loop reports it
            alpha = alpha.astype(self.network.dtype)[:, None]
        first = alpha[:inputs]
        yield first[:1] if first.min() == first.max() else first
        yield from alpha[inputs:, None]

    def gradient(self, x: np.ndarray) -> np.ndarray:
        """The full gradient at x, l2 term included. Overwrites mu of the previous snapshot. May be `OutOfTime`."""
        self._sweep(x)
        return self.with_l2(self._mu / self.n, x)

    def with_l2(self, gradient: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Adds the l2 term's gradient at x to `gradient`, in place."""
        for alpha, (weights, _) in zip(self.alphas, self.network.slices, strict=True):
            W, total = x[weights], gradient[weights]
            if len(alpha) == 1:
                self._axpy(W, total, a=alpha[0, 0])
                continue
            W, total = W.reshape(len(alpha), -1), total.reshape(len(alpha), -1)
            for first in range(0, len(alpha), ROWS):  # in blocks: no temporary array as large as x
                rows = slice(first, first + ROWS)
                total[rows] += alpha[rows] * W[rows]
        return gradient

    def on_others(self, x: np.ndarray, samples: Samples) -> tuple[float, float]:
        """Error (1 - score) and mean loss on other samples; on a few of them if no time is left."""
        try:
            loss, errors, weight = self._sums(samples, x, [(0, samples.size)], self.threads)
        except OutOfTime:
            loss, errors, weight = self._sums_of_few(samples, x, self._few(samples))
        return self._relative_error(samples, errors * (samples.size / weight), samples.size), loss / weight

    def _relative_error(self, samples: Samples, errors: float, n: int, spread: float | None = None) -> float:
        if KIND_OF_LOSS[self.network.loss] != "reals":
            return errors / n
        # 1 - R^2, by scikit-learn's convention where the targets do not vary.
        total = spread_of(samples)[1] if spread is None else spread
        return errors / total if total > 0 else float(errors > 0)


def _blocks(size: int, count: int, rows: int) -> Blocks:
    """So many blocks of rows, evenly spread over all; or all, where these are no more."""
    if not 0 < count * rows < size:
        return [(0, size)]
    return [(size * i // count, size * i // count + rows) for i in range(count)]


def spread_of(samples: Samples) -> tuple[np.ndarray, float]:
    """Weighted mean of the targets, of shape (outputs,), and weighted sum of their squared distances from it."""
    y = samples.y.astype(np.float64, copy=False)
    weight = samples.weight if samples.weight is not None else np.ones(samples.size)
    mean = np.average(y, axis=0, weights=weight)
    return mean, float(weight @ ((y - mean) ** 2).sum(axis=1))


def constant_error(network: Network, samples: Samples) -> float:
    """The error of the best constant prediction: 1 of targets, else that of samples with other labels than most."""
    if KIND_OF_LOSS[network.loss] == "reals":
        return 1.0
    y = samples.y
    weight = np.ones(samples.size) if samples.weight is None else samples.weight.astype(np.float64)
    if y.ndim == 1:
        return float(1 - np.bincount(y, weight).max() / weight.sum())
    usual = np.average(y, axis=0, weights=weight) > 0.5
    return float(np.average(((y > 0.5) != usual).any(axis=1), weights=weight))


def initial_parameters(network: Network, random_state: np.random.RandomState) -> np.ndarray:
    """Uniform initial parameters (Glorot & Bengio, 2010) within the bounds of scikit-learn's MLP, biases included."""
    x = network.vector()
    factor = 2.0 if network.activation == "logistic" else 6.0
    for weights, biases in network.layers(x):
        bound = np.sqrt(factor / sum(weights.shape))
        weights[:] = random_state.uniform(-bound, bound, weights.shape)
        if network.intercepts:
            biases[:] = random_state.uniform(-bound, bound, biases.shape)
    return x
