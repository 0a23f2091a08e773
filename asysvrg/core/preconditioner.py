"""A low-rank preconditioner for each layer: shorter steps along the leading directions of the layer's inputs.

Inputs that are not centred have one direction, their mean, with many times the curvature of all others. The
activations above a rectifier have it again. The largest curvature bounds the learning rate for all directions.
Schraudolph ("Centering neural network gradient factors", 1998) takes the mean out of the gradient's factors. Here it
is the leading eigenvectors of the inputs' second moments, with which Martens & Grosse ("Optimizing neural networks
with Kronecker-factored approximate curvature", 2015) precondition. The parameter `deflation` is the rank.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import linalg, sparse

from asysvrg.core.network import Network, Samples, aligned_zeros

ROWS = 128  # samples in the estimate of the second moments
MOST_RANK = ROWS - 1  # of that estimate, without the direction that sets the others' length
EXACT = 64  # rows of moments up to which eigenvectors are exact; beyond, that would take a large part of an epoch
OVERSAMPLING, ITERATIONS = 7, 2  # of the orthogonal iteration beyond: columns more than asked for, and products


class LowRankPreconditioner:
    """P = I - U U' for the inputs of each layer, with the bias as an input that is 1, or 0 where there is none.

    Parameters
    ----------
    network : Network
    samples : Samples
        With labels or targets. Second moments are estimated from some of them.
    rank : int
        Columns of U.
    seed : int
        Determines these samples.
    first : bool, default=True
        Whether the first layer has a preconditioner.

    Attributes
    ----------
    bases : list of array of shape (1 + inputs, rank), or None
        U of each layer, the bias's row first. Zeros for hidden layers before `update`.
    hidden : array
        The bases of all layers above the first, one after the other.
    """

    def __init__(self, network: Network, samples: Samples, rank: int, seed: int, *, first: bool = True):
        self.network, self.rank = network, rank
        self._some = _some(samples, seed)
        weight = np.ones(self._some.size) if samples.weight is None else self._some.weight
        self._root_weight = np.sqrt(weight).astype(network.dtype)[:, None]
        self._start = np.random.default_rng(seed).standard_normal((ROWS, rank + 1 + OVERSAMPLING), network.dtype)
        sizes = [(1 + width) * rank for width in network.widths[:-1]]
        ends = np.cumsum((0, *sizes[1:]))
        self.hidden = aligned_zeros((int(ends[-1]),), network.dtype)
        hidden = [self.hidden[low:high].reshape(-1, rank) for low, high in itertools.pairwise(ends)]
        self.bases: list[Any] = [
            aligned_zeros((1 + network.widths[0], rank), network.dtype) if first else None,
            *hidden,
        ]
        self._epoch: int | None = None  # of the last `update` that computed bases
        if first:
            self._set_basis(self._some.X, self.bases[0])

    def update(self, x: np.ndarray, epoch: int) -> None:
        """Computes the bases above the first layer from the activations at x, the parameters at the epoch's start.

        They change less and less. After epoch 0 they are computed in epochs 1, 4, 16, ... only, and where there are
        none yet. A second call in an epoch does nothing.
        """
        power_of_four = epoch & (epoch - 1) == 0 and epoch.bit_length() % 2 == 1
        due = epoch == 0 or power_of_four or not self.hidden.any()
        if len(self.bases) == 1 or epoch == self._epoch or not due:
            return
        self._epoch = epoch
        activations = aligned_zeros((self._some.size, self.network.cache_width), self.network.dtype)
        self.network.sweep(self._some, x, 1, cache=activations)
        ends = np.cumsum((0, *self.network.widths[1:-1]))
        for layer, (low, high) in enumerate(itertools.pairwise(ends), start=1):
            self._set_basis(activations[:, low:high], self.bases[layer])

    def _set_basis(self, inputs: Any, basis: np.ndarray) -> None:
        """Writes U: the leading eigenvectors u of the inputs' second moments, with eigenvalues a.

        P shortens the step along u to b / a of it, where b is the eigenvalue after the leading ones. With few inputs
        that one may be next to nothing, hence b is at least the mean of all eigenvalues.
        """
        root, first = self._root_weight, self._root_weight * self.network.intercepts
        basis[:] = 0
        if sparse.issparse(inputs):
            factor = sparse.hstack([first, inputs.multiply(root)], format="csr")
        else:
            factor = np.empty((len(inputs), len(basis)), basis.dtype)
            factor[:, :1] = first
            np.multiply(inputs, root, out=factor[:, 1:])
        largest = abs(factor).max()
        if not 0 < largest < np.inf:  # all are 0; or the epoch loop reports it
            return
        factor /= largest
        total = factor.multiply(factor).sum() if sparse.issparse(factor) else np.vdot(factor, factor)
        tall = factor.shape[0] >= factor.shape[1]
        moments = factor.T @ factor if tall else factor @ factor.T  # both have the same non-zero eigenvalues
        moments = moments.toarray() if sparse.issparse(moments) else moments
        count = min(self.rank, min(factor.shape) - 1)
        values, vectors = self._leading(moments, count + 1)
        lowest = max(float(values[0]), float(total) / factor.shape[1])
        values, vectors = np.maximum(values[1:], lowest), vectors[:, 1:]
        vectors = vectors if tall else factor.T @ (vectors / np.sqrt(values))
        basis[:, :count] = vectors * np.sqrt(1 - lowest / values)

    def _leading(self, moments: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """The largest eigenvalues in ascending order, and eigenvectors; of large matrices by orthogonal iteration.

        No matrix has more than ROWS rows: moments are those of inputs or of samples, whichever are fewer.
        """
        size = len(moments)
        if size <= EXACT:
            return linalg.eigh(moments, subset_by_index=(size - count, size - 1))
        vectors = self._start[:size, : count + OVERSAMPLING]
        for _ in range(ITERATIONS):
            vectors = np.linalg.qr(moments @ (moments @ vectors))[0]
        values, turned = np.linalg.eigh(vectors.T @ (moments @ vectors))
        return values[-count:], vectors @ turned[:, -count:]

    def terms(
        self, x: np.ndarray, alphas: Sequence[np.ndarray], mu: np.ndarray | None
    ) -> list[tuple[np.ndarray, np.ndarray] | None]:
        """U of each layer with U' (mu + alpha x), the part of U' v that all updates of an epoch have in common.

        Parameters
        ----------
        x : array of shape (d,)
            The snapshot.
        alphas : sequence of array
            As `Objective.alphas`.
        mu : array of shape (d,) or None
            None for directions without it.
        """
        projected = [None] * len(self.bases) if mu is None else self._project(mu)
        terms: list[tuple[np.ndarray, np.ndarray] | None] = []
        for basis, alpha, (W, _), of_mu in zip(self.bases, alphas, self.network.layers(x), projected, strict=True):
            if basis is None:
                terms.append(None)
                continue
            fixed = (alpha * basis[1:]).T @ W
            terms.append((basis, fixed if of_mu is None else fixed + of_mu))
        return terms

    def _project(self, v: np.ndarray) -> list[np.ndarray | None]:
        """U' v of each layer, shape (rank, outputs)."""
        return [
            None if basis is None else np.outer(basis[0], b) + basis[1:].T @ W
            for basis, (W, b) in zip(self.bases, self.network.layers(v), strict=True)
        ]

    def apply(self, v: np.ndarray) -> np.ndarray:
        """P v."""
        result = self.network.vector(v)
        for basis, along, (W, b) in zip(self.bases, self._project(v), self.network.layers(result), strict=True):
            if basis is not None:
                W -= basis[1:] @ along
                b -= basis[0] @ along
        return result


def _some(samples: Samples, seed: int) -> Samples:
    """At most ROWS samples; all of them where there are no more."""
    if samples.size <= ROWS:
        return samples
    rows = np.sort(np.random.default_rng(seed).choice(samples.size, ROWS, replace=False))
    weight = None if samples.weight is None else samples.weight[rows]
    return Samples(samples.X[rows], samples.y[rows], weight, skip_zeros=samples.skips_zeros)
