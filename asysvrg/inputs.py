"""Prepares checked data for training: drops samples of weight zero, merges equal ones, scales weights to mean 1."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.utils.validation import _check_sample_weight

from asysvrg.core.network import Samples

MERGED_ROWS, MERGED_NUMBERS = 1000, 2**21  # `_merged` is for sets of at most so many rows and numbers


def canonical(X: Any) -> Any:
    """CSR with sorted indices and without duplicates, as the kernels need it. The caller's matrix does not change."""
    if sparse.issparse(X) and not X.has_canonical_format:
        X = X.copy()
        X.sum_duplicates()
    return X


def size_of(X: Any) -> int:
    """Bytes of an array or a CSR matrix."""
    return sum(part.nbytes for part in ((X.data, X.indices, X.indptr) if sparse.issparse(X) else (X,)))


def refuse_malformed(**arrays: Any) -> None:
    """Raises ValueError for complex numbers, and for sparse matrices whose indices are out of bounds.

    scikit-learn refuses complex numbers, too, but its message quotes the whole array. It does not check indices, and
    wrong ones can crash the process.
    """
    for name, array in arrays.items():
        if getattr(getattr(array, "dtype", None), "kind", None) == "c":
            raise ValueError(f"Complex data not supported: {name} is of type {array.dtype}")
        if sparse.issparse(array) and array.format in ("csr", "csc"):
            _refuse_loose_indices(name, array)


def _refuse_loose_indices(name: str, X: Any) -> None:
    """Raises ValueError if SciPy and the kernels would read memory outside of a sparse matrix."""
    if X.ndim != 2:
        return
    starts, (n, p) = X.indptr, X.shape if X.format == "csr" else X.shape[::-1]
    if len(starts) != n + 1 or starts[0] != 0 or (np.diff(starts) < 0).any() or starts[-1] > len(X.indices):
        raise ValueError(f"{name} is damaged: its indptr does not rise from 0 to the number of its entries")
    used = X.indices[: starts[-1]]
    if used.size and not 0 <= used.min() <= used.max() < p:
        raise ValueError(f"{name} is damaged: its indices go from {used.min()} to {used.max()}, not from 0 to {p - 1}")


def refuse_missing(**columns: Any) -> None:
    """Raises ValueError for missing values of pandas, of which NumPy says that NA is ambiguous."""
    for name, column in columns.items():
        if hasattr(column, "isna") and np.asarray(column.isna()).any():
            raise ValueError(f"{name} has missing values (NaN or NA): leave these samples out, or give them a value")


def weights(sample_weight: Any, X: Any, of_class: Callable[[Any], np.ndarray] | None) -> np.ndarray | None:
    """Weights of the samples, times those of their classes, where there are any; float64. `of_class` finds these.

    Raises
    ------
    ValueError
        If a weight is negative or not finite, if none is positive, or if their sum is infinite.
    """
    weight = None
    if sample_weight is not None:
        weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True, copy=True)
        if not weight.any():
            raise ValueError("sample_weight is zero for every sample; at least one must be positive")
    if of_class is not None:
        weight = of_class(weight) if weight is None else weight * of_class(weight)
        if not weight.any():
            raise ValueError("class_weight and sample_weight leave no sample a positive weight")
    with np.errstate(over="ignore"):
        if weight is not None and not np.isfinite(weight.sum()):
            raise ValueError(
                "the sum of sample_weight is infinite: give smaller weights, of which only the ratios count"
            )
    return weight


def counted(X: Any, y: np.ndarray, weight: np.ndarray | None) -> tuple[Any, np.ndarray, np.ndarray | None]:
    """The samples without those of weight zero."""
    return rows(np.flatnonzero(weight), X, y, weight) if weight is not None and (weight == 0).any() else (X, y, weight)


def prepared(X: Any, y: np.ndarray, weight: np.ndarray | None) -> Samples:
    """Samples to train on or to validate with. No weight is zero."""
    X, y, weight = _merged(X, y, weight)
    if weight is not None:
        weight = (weight * (len(weight) / weight.sum(dtype=np.float64))).astype(X.dtype, copy=False)
    return Samples(X, y, weight)


def rows(index: np.ndarray | slice, *arrays: Any) -> tuple[Any, ...]:
    """The same rows of each array; None stays None."""
    return tuple(None if array is None else array[index] for array in arrays)


def hold_out(
    X: Any,
    y: np.ndarray,
    weight: np.ndarray | None,
    fraction: float,
    random_state: np.random.RandomState,
    *,
    exact: bool = False,
    indicators: bool = False,
) -> tuple[tuple[Any, ...], tuple[Any, ...]] | None:
    """Splits off a share of the samples, of each class where y holds labels. Returns the rest, then the share.

    Shares are rounded: a class with too few samples stays in the rest; with `exact`, some of these give samples, too,
    so that the whole share is as asked for, and not empty. Each class keeps a sample in the rest. So does each label
    of `indicators` if possible. Returns None where no sample is split off. (A million rows take scikit-learn's
    StratifiedShuffleSplit several times as long.)
    """
    classes = y if y.ndim == 1 else np.zeros(len(y), dtype=np.int16)
    counts = np.bincount(classes)
    shares = np.minimum((counts * fraction + 0.5).astype(np.int64), np.maximum(counts - 1, 0))
    if exact:
        missing = max(int(len(y) * fraction), 1) - shares.sum()
        more = np.argsort(-(counts * fraction - shares), kind="stable")  # those that rounding took most from
        shares[more[shares[more] < counts[more] - 1][: max(missing, 0)]] += 1
    if not shares.any():
        return None
    order = random_state.permutation(len(y))
    if indicators:
        order = _rare_last(y, order)
    if len(counts) < 2**15:
        classes = classes.astype(np.int16, copy=False)  # NumPy sorts these without comparisons
    order = order[np.argsort(classes[order], kind="stable")]
    first = np.cumsum(counts) - counts
    is_held = np.zeros(len(y), dtype=bool)
    is_held[order[np.arange(len(y)) < np.repeat(first + shares, counts)]] = True
    return rows(np.flatnonzero(~is_held), X, y, weight), rows(np.flatnonzero(is_held), X, y, weight)


def _rare_last(y: np.ndarray, order: np.ndarray) -> np.ndarray:
    """The same order of samples, but for each label one that has it, and one that has not, at the end."""
    backwards = y[order[::-1]]
    last = np.unique([(backwards != value).argmin(axis=0) for value in (0, 1)])
    is_last = np.zeros(len(y), dtype=bool)
    is_last[len(y) - 1 - last] = True
    return np.concatenate([order[~is_last], order[is_last]])


def _merged(X: Any, y: np.ndarray, weight: np.ndarray | None) -> tuple[Any, np.ndarray, np.ndarray | None]:
    """Sorts the samples of a small set, and replaces equal ones by one with the sum of their weights.

    A sample of weight 3 and the same sample three times then train the same model to the last bit, in any order of the
    samples, as scikit-learn's checks ask for. For large sets that would take time and a copy; there, both have the same
    optimum. Weights that are all equal are returned as None.
    """
    n, p = X.shape
    if n > MERGED_ROWS or n * p > MERGED_NUMBERS:
        return X, y, weight
    parts = [X.toarray() if sparse.issparse(X) else X, y.reshape(n, -1)]
    # Adding 0 turns -0 into 0. Any order will do, and bytes are sorted faster than numbers.
    keys = np.concatenate([np.ascontiguousarray(part + part.dtype.type(0)).view(np.uint8) for part in parts], axis=1)
    _, first, group = np.unique(keys.view(f"V{keys.shape[1]}").ravel(), return_index=True, return_inverse=True)
    sums = np.bincount(group, weights=weight)
    X, y = rows(first, X, y)
    return X, y, None if (sums == sums[0]).all() else sums
