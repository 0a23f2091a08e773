"""The curvature of mini-batches, from which the automatic learning rate follows, and that of a whole objective."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import sparse

from asysvrg.core.network import Network, Samples
from asysvrg.core.objective import Objective
from asysvrg.core.preconditioner import LowRankPreconditioner

BATCHES, FEWEST_BATCHES = 12, 4  # how many, within these limits, depends on n
ITERATIONS = 6
MOST_ITERATIONS = 500  # of `largest_eigenvalue`
STEP = {"float32": 1e-2, "float64": 1e-5}  # of the differences: small ones suffer from rounding, large ones from bias


def smoothness(
    network: Network,
    samples: Samples,
    alpha: float | np.ndarray,
    x: np.ndarray,
    batch_size: int,
    seed: int,
    preconditioner: LowRankPreconditioner | None = None,
) -> float:
    """L of a mini-batch (Assumption 3): mean over batches of the largest eigenvalue of the Hessian at x.

    Power iteration. Products with the Hessian are differences of gradients.

    Parameters
    ----------
    network : Network
    samples : Samples
    alpha : array
        As for `Objective`.
    x : array of shape (d,)
    batch_size : int
    seed : int
    preconditioner : LowRankPreconditioner, optional
        P: then the eigenvalue is that of P times the Hessian.

    Returns
    -------
    float
        Positive; 1.0 where the gradient does not change at all.
    """
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(min(max(samples.size // batch_size, FEWEST_BATCHES), BATCHES)):
        rows = rng.integers(samples.size, size=batch_size)
        weight = None if samples.weight is None else samples.weight[rows]
        X, part, penalty, at = samples.X[rows], network, alpha, x
        if sparse.issparse(X) and preconditioner is None:
            X, part, penalty, at = _without_empty_columns(X, network, alpha, x)
        batch = Objective(part, Samples(X, samples.y[rows], weight), alpha=penalty, threads=1)
        start = rng.standard_normal(batch.d).astype(at.dtype)
        found.append(list(_power_iteration(batch, at, start, preconditioner, ITERATIONS))[-1])
    found = [value for value in found if np.isfinite(value) and value > 0]
    return float(np.mean(found)) if found else 1.0


def _without_empty_columns(
    X: sparse.csr_matrix, network: Network, alpha: Any, x: np.ndarray
) -> tuple[sparse.csr_matrix, Network, np.ndarray, np.ndarray]:
    """The same problem without the rows of W_0 that these samples leave alone: of them only alpha is left."""
    used = np.unique(X.indices) if X.nnz else np.zeros(1, dtype=int)
    widths = (used.size, *network.widths[1:])
    part = network.changed(widths=widths)
    penalty = np.broadcast_to(alpha, network.widths[0] + len(network.widths) - 2)
    penalty = np.concatenate([penalty[used], penalty[network.widths[0] :]])
    (W_0, _), *_ = network.layers(x)
    at = part.vector(np.concatenate([W_0[used].ravel(), x[network.slices[0][1].start :]]))
    return X[:, used], part, penalty, at


def largest_eigenvalue(objective: Objective, x: np.ndarray, start: np.ndarray, *, close: float) -> float:
    """L of an objective (Assumption 3) around x: the largest absolute value of an eigenvalue of its Hessian at x.

    Power iteration as in `smoothness`, until a step, which takes a gradient, changes the value by a share of `close` or
    less. The value comes from below. Where the next eigenvalue is not much smaller, it may be some ten shares away.

    Parameters
    ----------
    objective : Objective
    x : array of shape (d,)
    start : array of shape (d,), of the type of x
        Where the iteration starts: a random vector. Overwritten.
    close : float

    Returns
    -------
    float
        0.0 where the gradient does not change at all; not finite where it is not.
    """
    value = 0.0
    for next_value in _power_iteration(objective, x, start, None, MOST_ITERATIONS):
        if abs(next_value - value) <= close * next_value:
            return next_value
        value = next_value
    return value


def _power_iteration(
    objective: Objective,
    x: np.ndarray,
    change: np.ndarray,
    preconditioner: LowRankPreconditioner | None,
    iterations: int,
) -> Iterator[float]:
    """Ever better values of the largest eigenvalue of P^1/2 H P^1/2, which has the eigenvalues of P H.

    Norms are those of P^-1/2 v. `change` is the start, and overwritten.
    """
    step = STEP[objective.network.dtype.name]
    start = objective.gradient(x)
    shortened = change if preconditioner is None else preconditioner.apply(change)
    for _ in range(iterations):
        with np.errstate(all="ignore"):
            v = shortened / np.sqrt(change @ shortened)
            change[:] = (objective.gradient(objective.network.vector(x + step * v)) - start) / step
            shortened = change if preconditioner is None else preconditioner.apply(change)
            value = float(np.sqrt(change @ shortened))
        yield value
        if not np.isfinite(value) or value == 0:
            break
