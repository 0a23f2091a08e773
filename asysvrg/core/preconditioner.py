"""Shorter steps along the leading directions of each layer's inputs (csrc/deflate.h says why).

Inputs that are not centred have one direction, their mean, along which the curvature is many times that along all
others, and the activations above a rectifier have it again; the largest curvature bounds the learning rate for all
directions. Schraudolph ("Centering neural network gradient factors", 1998) takes the mean out of the gradient's
factors; here it is the leading eigenvectors of their second moments, which are what Martens & Grosse ("Optimizing
neural networks with Kronecker-factored approximate curvature", 2015) precondition with.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import linalg, sparse

from asysvrg.core.network import Network, Samples, aligned_zeros

ROWS = 128  # samples that second moments are taken from
EXACT = 64  # rows of moments up to which eigenvectors are exact; beyond, that would take a large part of an epoch
SPARE, TIMES = 7, 2  # columns more than are asked for, and iterations, of those that are not


class Deflation:
    """P = I - U U' for the inputs of each layer, with the bias as an input that is 1.

    Parameters
    ----------
    network : Network
    samples : Samples
        With labels or targets.
    rank : int
        Columns of U.
    seed : int
        Of the samples that are looked at.
    first : bool, default=True
        Whether to look at the first layer; without, its steps are as they are.
    threads : int, default=1
        That `look` may use.

    Attributes
    ----------
    bases : list of array of shape (1 + inputs, rank), or None
        U of each layer, the bias's row first; zeros for hidden layers before `look`.
    directions : array
        Those of all hidden layers, one behind the other.
    """

    def __init__(
        self, network: Network, samples: Samples, rank: int, seed: int, *, first: bool = True, threads: int = 1
    ):
        self.network, self.rank, self._threads = network, rank, threads
        self._some = _some(samples, seed)
        if samples.skips_zeros:
            self._some.compress(math.inf)
        weight = np.ones(self._some.size) if samples.weight is None else self._some.weight
        self._root_weight = np.sqrt(weight).astype(network.dtype)[:, None]
        self._start = np.random.default_rng(seed).standard_normal((ROWS, rank + 1 + SPARE), network.dtype)
        sizes = [(1 + width) * rank for width in network.widths[:-1]]
        ends = np.cumsum((0, *sizes[1:]))
        self.directions = aligned_zeros((int(ends[-1]),), network.dtype)
        hidden = [self.directions[low:high].reshape(-1, rank) for low, high in itertools.pairwise(ends)]
        self.bases = [aligned_zeros((1 + network.widths[0], rank), network.dtype) if first else None, *hidden]
        if first:
            self._take(self._some.X, self.bases[0])

    def look(self, x: np.ndarray, epoch: int) -> None:
        """Takes the hidden layers' directions from their activations at parameters x.

        They turn less and less: after epoch 0 in epochs 1, 4, 16, ... alone, and where there are none yet.
        """
        power_of_four = epoch & (epoch - 1) == 0 and epoch.bit_length() % 2 == 1
        if len(self.bases) == 1 or (epoch > 0 and not power_of_four and self.directions.any()):
            return
        hidden = aligned_zeros((self._some.size, self.network.cache_width), self.network.dtype)
        self.network.sweep(self._some, x, self._threads, cache=hidden)
        ends = np.cumsum((0, *self.network.widths[1:-1]))
        for layer, (low, high) in enumerate(itertools.pairwise(ends), start=1):
            self._take(hidden[:, low:high], self.bases[layer])

    def _take(self, inputs: Any, basis: np.ndarray) -> None:
        """U from rows of inputs: leading eigenvectors of their second moments, shortened to the eigenvalue after them.

        Or to the mean of all eigenvalues, if that is larger: with few inputs, that value may be next to nothing.
        """
        root = self._root_weight
        basis[:] = 0
        if sparse.issparse(inputs):
            factor = sparse.hstack([root, inputs.multiply(root)], format="csr")
        else:
            factor = np.empty((len(inputs), len(basis)), basis.dtype)
            factor[:, :1] = root
            np.multiply(inputs, root, out=factor[:, 1:])
        largest = abs(factor).max()
        if not largest < np.inf:  # the epoch loop says so
            return
        factor /= largest
        total = factor.multiply(factor).sum() if sparse.issparse(factor) else np.vdot(factor, factor)
        tall = factor.shape[0] >= factor.shape[1]
        moments = factor.T @ factor if tall else factor @ factor.T  # have the same eigenvalues
        moments = moments.toarray() if sparse.issparse(moments) else moments
        count = min(self.rank, min(factor.shape) - 1)
        values, vectors = self._leading(moments, count + 1)
        lowest = max(float(values[0]), float(total) / factor.shape[1])
        values, vectors = np.maximum(values[1:], lowest), vectors[:, 1:]
        vectors = vectors if tall else factor.T @ (vectors / np.sqrt(values))
        basis[:, :count] = vectors * np.sqrt(1 - lowest / values)

    def _leading(self, moments: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """The largest eigenvalues, in ascending order, and eigenvectors; of large matrices by orthogonal iteration.

        No matrix has more than ROWS rows: moments are those of inputs or of samples, whichever are fewer.
        """
        size = len(moments)
        if size <= EXACT:
            return linalg.eigh(moments, subset_by_index=(size - count, size - 1))
        vectors = self._start[:size, : count + SPARE]
        for _ in range(TIMES):
            vectors = np.linalg.qr(moments @ (moments @ vectors))[0]
        values, turned = np.linalg.eigh(vectors.T @ (moments @ vectors))
        return values[-count:], vectors @ turned[:, -count:]

    def along(self, v: np.ndarray) -> list[np.ndarray | None]:
        """U' v of each layer, shape (rank, outputs)."""
        return [
            None if basis is None else np.outer(basis[0], b) + basis[1:].T @ W
            for basis, (W, b) in zip(self.bases, self.network.layers(v), strict=True)
        ]

    def along_l2(self, x: np.ndarray, alphas: Sequence[np.ndarray]) -> list[np.ndarray | None]:
        """U' of the l2 term's gradient at x: alphas as `Objective.alphas`."""
        return [
            None if basis is None else (alpha * basis[1:]).T @ W
            for basis, alpha, (W, _) in zip(self.bases, alphas, self.network.layers(x), strict=True)
        ]

    def apply(self, v: np.ndarray) -> np.ndarray:
        """P v."""
        result = self.network.vector(v)
        for basis, along, (W, b) in zip(self.bases, self.along(v), self.network.layers(result), strict=True):
            if basis is not None:
                W -= basis[1:] @ along
                b -= basis[0] @ along
        return result


def _some(samples: Samples, seed: int) -> Samples:
    """At most ROWS samples; all of them, where there are no more."""
    if samples.size <= ROWS:
        return samples
    rows = np.sort(np.random.default_rng(seed).choice(samples.size, ROWS, replace=False))
    return Samples(samples.X[rows], samples.y[rows], None if samples.weight is None else samples.weight[rows])
