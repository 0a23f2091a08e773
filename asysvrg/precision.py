"""What the fitted precision cannot hold: targets far from zero are centred in double precision, columns are named."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.utils import _safe_indexing, check_array

from asysvrg.core.network import KIND_OF_LOSS, Network
from asysvrg.core.warn import warn

FAR = 1000.0  # standard deviations of a target: if its mean is farther from zero than this, it is centred
LOST = 0.01  # of a column's standard deviation: rounding by more is worth a warning
SEEN = 50, 2**15  # a first look at columns takes at least so many rows, and about so many numbers
CONSTANT = 1e-12  # share of its mean that the standard deviation of a constant target has at most, by rounding
LARGEST = 1e150  # of a target: sums of squares stay finite
NAMED = 5  # columns of a warning


def is_centred(loss: str) -> bool:
    """Whether targets of this loss may be centred: it depends on outputs minus targets alone."""
    return KIND_OF_LOSS[loss] == "reals" and loss != "poisson"


def moments(y: np.ndarray) -> dict[str, Any]:
    """The number of targets, and mean and variance of each."""
    with np.errstate(over="ignore", invalid="ignore"):
        return {"n": len(y), "mean": y.mean(axis=0, dtype=np.float64), "variance": y.var(axis=0, dtype=np.float64)}


def center_of(parts: Iterable[dict[str, Any]]) -> np.ndarray | None:
    """Returns what to subtract from each target: 0 where the targets are near zero. The moments come in parts.

    Returns None if all are.
    """
    parts = list(parts)
    if len({len(part["mean"]) for part in parts}) > 1:
        return None  # ranks that do not go together, as `agreed_samples` will say
    n = np.array([part["n"] for part in parts], dtype=np.float64)
    means, variances = (np.array([part[name] for part in parts]) for name in ("mean", "variance"))
    with np.errstate(over="ignore", invalid="ignore"):
        mean = n @ means / n.sum()
        spread = np.sqrt(n @ (variances + (means - mean) ** 2) / n.sum())
        constant = spread <= CONSTANT * abs(mean)
        far = np.isfinite(spread) & (abs(mean) > FAR * np.where(constant, 1.0, spread))
    return np.where(far, mean, 0.0) if far.any() else None


def centred(y: np.ndarray, center: np.ndarray | None, dtype: Any, name: str) -> np.ndarray:
    """Targets less their center, in the fitted precision."""
    y = y if center is None else y - center
    with np.errstate(over="ignore"):
        rounded = np.ascontiguousarray(y, dtype=dtype)
    largest = float(abs(y).max(initial=0))
    if largest > LARGEST:
        raise ValueError(
            f"{name} has values of up to {largest:.3g}, whose squares float64 cannot add up: give smaller units"
        )
    if not np.isfinite(rounded).all():
        raise ValueError(
            f"{name} has values of up to {largest:.3g}, which float32 cannot hold: give dtype='float64', or smaller "
            "units"
        )
    return rounded


def look_at_targets(mean: np.ndarray, variance: np.ndarray, center: np.ndarray | None) -> None:
    """Warns of targets with these moments that float32 cannot tell apart, less their center."""
    size, spread = abs(mean if center is None else mean - center), np.sqrt(variance)
    lost = (spread > CONSTANT * abs(mean)) & (_rounding(size + spread) > LOST * spread)
    if lost.any():
        about = f"values near {abs(mean[lost]).max():.3g}, standard deviation {spread[lost].min():.2g}"
        warn(f"float32 cannot hold the differences within y ({about}): give dtype='float64', or other units")


def layers_of(network: Network, x: np.ndarray, center: np.ndarray | None) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """`coefs_` and `intercepts_` as views of x. With a center the last biases are float64, and those in x are 0."""
    coefs, intercepts = map(list, zip(*network.layers(x), strict=True))
    if center is not None:
        biases = intercepts.pop()
        intercepts.append(center + biases)
        biases[:] = 0
    return coefs, intercepts


def look_at(X: Any, names: Any) -> None:
    """Warns of columns whose values differ by less than float32 can hold. X is as the user gave it, and valid.

    Looks at some rows first, and then at all rows of those columns that seem to be so.
    """
    if sparse.issparse(X):
        X = X.tocsr()
    elif not hasattr(X, "shape"):
        X = np.asarray(X)
    n, p = X.shape
    count = max(SEEN[0], SEEN[1] // p)
    rows = np.unique(np.random.RandomState(0).randint(n, size=count)) if n > count else np.arange(n)
    columns, values = _full_columns(_safe_indexing(X, rows))
    columns = columns[_lost(values)]
    if not columns.size:
        return
    _, values = _full_columns(_safe_indexing(X, columns, axis=1))
    lost = _lost(values)
    if not lost.any():
        return
    found = [
        (f"{column} ({str(names[column])!r})" if names is not None else f"{column}") + f", {_described(values[:, k])}"
        for k, column in enumerate(columns)
        if lost[k]
    ]
    more = f"; and {len(found) - NAMED} more" if len(found) > NAMED else ""
    scaled = "" if sparse.issparse(X) else ", take scale='robust-clip', or put a StandardScaler in front"
    warn(
        f"float32 cannot hold the differences within some columns of X "
        f"(column {'; column '.join(found[:NAMED])}{more}): give dtype='float64'{scaled}"
    )


def _lost(values: np.ndarray) -> np.ndarray:
    """For each column, whether float32 rounds it by more than a small share of its standard deviation."""
    varies = values.max(axis=0) > values.min(axis=0)
    return varies & (_rounding(abs(values).max(axis=0)) > LOST * values.std(axis=0))


def _rounding(size: np.ndarray) -> np.ndarray:
    """By how much float32 may round numbers of this size."""
    single = np.finfo(np.float32)
    return np.maximum(size * (float(single.eps) / 2), float(single.smallest_subnormal) / 2)


def _full_columns(X: Any) -> tuple[np.ndarray, np.ndarray]:
    """The columns of X that have a value in every row, and these values; zeros of sparse input count as none."""
    X = check_array(X, accept_sparse="csc", dtype=np.float64)
    if not sparse.issparse(X):
        return np.arange(X.shape[1]), X
    full = np.flatnonzero(np.diff(X.indptr) == X.shape[0])
    return full, X[:, full].toarray()


def _described(values: np.ndarray) -> str:
    return f"values near {abs(values).max():.3g}, standard deviation {values.std():.2g}"
