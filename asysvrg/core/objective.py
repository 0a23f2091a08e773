"""The objective f of Eq. (1) on given samples: loss, error, gradient, snapshot."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.linalg import get_blas_funcs

from asysvrg.core.network import Network, Samples, aligned_zeros

ROWS = 64  # of a weight matrix that are worked on at once


@dataclass(frozen=True)
class Snapshot:
    """x~ and what a sweep over all samples found there.

    Attributes
    ----------
    x : array of shape (d,)
        A copy of the parameters.
    loss : float
        f(x~), l2 term included.
    error : float
        Share of misclassified samples; 1 - R^2 in regression.
    mu : array of shape (d,)
        Gradient of f at x~ without its l2 term (csrc/step.h says why).
    gradient_norm_squared : float
        Of the whole gradient, l2 term included.
    cache : array of shape (n, cache_width) or None
        Each sample's activations and deltas, from which grad f_i(x~) is had for nothing.
    """

    x: np.ndarray
    loss: float
    error: float
    mu: np.ndarray
    gradient_norm_squared: float
    cache: np.ndarray | None


class Objective:
    """f(x) = 1/n sum_i w_i loss_i(x) + sum of alpha/2 times squared weights; biases are free.

    Parameters
    ----------
    network : Network
    samples : Samples
        With labels or targets; weights of mean 1.
    alpha : float or array of shape (inputs + layers - 1,)
        For all weights; or for each row of the first layer's matrix, then for each further layer.
    threads : int
    cache_bytes : float
        The most memory that may be taken to save work: for the non-zero entries of dense samples with many zeros,
        then for the snapshot's cache. What needs more is left out.
    unit : float, default=1
        What losses are multiplied by when they are reported (the targets' squared scale).
    n : int, optional
        Number of samples that sums are over, where `samples` are only some of them.
    spread : float, optional
        Weighted sum of the squares of all centred targets, likewise.

    Attributes
    ----------
    alphas : list of array of shape (rows, 1) or (1, 1)
        Each layer's alpha: a number for each row of its matrix, or one for all.
    """

    def __init__(
        self,
        network: Network,
        samples: Samples,
        *,
        alpha: float | np.ndarray,
        threads: int,
        cache_bytes: float,
        unit: float = 1.0,
        n: int | None = None,
        spread: float | None = None,
    ):
        self.network, self.samples = network, samples
        self.alpha, self.threads, self.unit = alpha, threads, unit
        self.alphas = list(self._columns())
        self._axpy = get_blas_funcs("axpy", dtype=network.dtype)
        self.n, self.d, self._spread = n or samples.size, network.size, spread
        self.has_cache = save_work(network, samples, cache_bytes)
        self._cache: np.ndarray | None = None
        self._gradients = aligned_zeros((threads, self.d), network.dtype)
        self._mu = self._gradients[0]
        self.spare = self._gradients[1:]  # what nobody needs but while there is a sweep

    def snapshot(self, x: np.ndarray, *, keep_cache: bool) -> Snapshot:
        """Loss, error and full gradient at x; overwrites the mu and the cache of the snapshot before."""
        if keep_cache and self.has_cache and self._cache is None:
            self._cache = aligned_zeros((self.samples.size, self.network.cache_width), self.network.dtype)
        cache = self._cache if keep_cache and self.has_cache else None
        loss, errors = self._sweep(x, cache)
        return self.assembled(x, self._mu, loss, errors, cache)

    def _sweep(self, x: np.ndarray, cache: np.ndarray | None = None) -> tuple[float, float]:
        """Sums over the samples: of the gradient in `_mu`, loss, errors."""
        sums = self.network.sweep(self.samples, x, self.threads, self._gradients, cache)
        with np.errstate(over="ignore", invalid="ignore"):
            for part in self._gradients[1:]:
                self._mu += part
        return sums

    def assembled(
        self, x: np.ndarray, gradient: np.ndarray, loss: float, errors: float, cache: np.ndarray | None = None
    ) -> Snapshot:
        """The snapshot at x from sums over all samples; overwrites the mu of the snapshot before."""
        with np.errstate(over="ignore", invalid="ignore"):  # a diverged x is the epoch loop's business
            np.divide(gradient, self.n, out=self._mu, casting="same_kind")
            vector = self.with_l2(self.network.vector(), x)
            squares = float(np.vdot(vector, x))
            vector += self._mu  # now the whole gradient
            norm = float(np.vdot(vector, vector))
        vector[:] = x  # and at last x~: one vector less at the peak of memory
        return Snapshot(
            vector,
            self.unit * (loss / self.n + squares / 2),
            self._relative_error(self.samples, errors, self.n, self._spread),
            self._mu,
            norm,
            cache,
        )

    def _columns(self) -> Iterator[np.ndarray]:
        """Each layer's alpha as a column: one for each row, or a single one for all."""
        inputs = self.network.widths[0]
        alpha = np.broadcast_to(self.alpha, inputs + len(self.network.slices) - 1).astype(self.network.dtype)[:, None]
        first = alpha[:inputs]
        yield first[:1] if first.min() == first.max() else first
        yield from alpha[inputs:, None]

    def gradient(self, x: np.ndarray) -> np.ndarray:
        """The full gradient at x, l2 term included; overwrites the mu of the snapshot before."""
        self._sweep(x)
        return self.with_l2(self._mu / self.n, x)

    def with_l2(self, gradient: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Adds the l2 term's gradient at x to a vector, in place."""
        for alpha, (weights, _) in zip(self.alphas, self.network.slices, strict=True):
            W, total = x[weights], gradient[weights]
            if len(alpha) == 1:
                self._axpy(W, total, a=alpha[0, 0])
                continue
            W, total = W.reshape(len(alpha), -1), total.reshape(len(alpha), -1)
            for first in range(0, len(alpha), ROWS):  # no second vector of parameters
                rows = slice(first, first + ROWS)
                total[rows] += alpha[rows] * W[rows]
        return gradient

    def error(self, x: np.ndarray, samples: Samples) -> float:
        """Error on other samples (1 - score)."""
        _, errors = self.network.sweep(samples, x, self.threads)
        return self._relative_error(samples, errors, samples.size)

    def _relative_error(self, samples: Samples, errors: float, n: int, spread: float | None = None) -> float:
        if self.network.loss != "squared":
            return errors / n
        # 1 - R^2, with scikit-learn's convention where the targets do not vary.
        total = spread_of(samples)[1] if spread is None else spread
        return errors / total if total > 0 else float(errors > 0)


def boost_in(epoch: int, first: float) -> float:
    """What the l2 term is multiplied by in an epoch: `first` in epoch 0, half of it in each further one, at last 1.

    Weights that start at random are far too large in all directions that the data say little of, and alpha alone makes
    them smaller so slowly that it is what most epochs wait for. Continuation: to begin with a strong penalty and to
    weaken it, as Hale, Yin & Zhang ("Fixed-point continuation for l1-minimization", 2008) do. The objective is that
    of alpha itself from the epoch on in which this is 1.
    """
    return max(1.0, math.ldexp(first, -epoch))


def save_work(network: Network, samples: Samples, cache_bytes: float) -> bool:
    """Spends memory on speed: has samples skip zeros, and says whether the snapshot's cache fits into what is left."""
    needed = samples.size * network.cache_width * network.dtype.itemsize
    return needed <= cache_bytes - samples.compress(cache_bytes)


def spread_of(samples: Samples) -> tuple[np.ndarray, float]:
    """Weighted mean of the targets, shape (outputs,), and weighted sum of their squared distances from it."""
    y = samples.y.astype(np.float64, copy=False)
    weight = samples.weight if samples.weight is not None else np.ones(samples.size)
    mean = np.average(y, axis=0, weights=weight)
    return mean, float(weight @ ((y - mean) ** 2).sum(axis=1))


def initial_parameters(network: Network, random_state: np.random.RandomState) -> np.ndarray:
    """Uniform start of Glorot & Bengio (2010), with the bounds of scikit-learn's MLP, biases included."""
    x = network.vector()
    factor = 2.0 if network.activation == "logistic" else 6.0
    for weights, biases in network.layers(x):
        bound = np.sqrt(factor / sum(weights.shape))
        weights[:] = random_state.uniform(-bound, bound, weights.shape)
        biases[:] = random_state.uniform(-bound, bound, biases.shape)
    return x
