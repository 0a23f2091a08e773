"""Prepares checked data for training: drops samples of weight zero, merges equal ones, scales weights to mean 1."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse
from sklearn.model_selection import ShuffleSplit, StratifiedShuffleSplit

from asysvrg.core.network import Samples

MERGED_ROWS, MERGED_NUMBERS = 1000, 2**21  # `_merged` is for sets of at most so many rows and numbers


def canonical(X: Any) -> Any:
    """CSR with sorted indices and without duplicates, as the kernels need it. The caller's matrix does not change."""
    if sparse.issparse(X) and not X.has_canonical_format:
        X = X.copy()
        X.sum_duplicates()
    return X


def refuse_complex(**arrays: Any) -> None:
    """Raises ValueError for complex numbers. The message of scikit-learn's own check quotes the whole array."""
    for name, array in arrays.items():
        if getattr(getattr(array, "dtype", None), "kind", None) == "c":
            raise ValueError(f"Complex data not supported: {name} is of type {array.dtype}")


def prepared(X: Any, y: np.ndarray, weight: np.ndarray | None) -> Samples:
    """Samples to train on or to validate with."""
    if weight is not None and (weight == 0).any():
        X, y, weight = rows(np.flatnonzero(weight), X, y, weight)
    X, y, weight = _merged(X, y, weight)
    if weight is not None:
        weight = (weight * (len(weight) / weight.sum(dtype=np.float64))).astype(X.dtype, copy=False)
    return Samples(X, y, weight)


def rows(index: np.ndarray, *arrays: Any) -> tuple[Any, ...]:
    """The same rows of each array; None stays None."""
    return tuple(None if array is None else array[index] for array in arrays)


def hold_out(
    X: Any, y: np.ndarray, weight: np.ndarray | None, fraction: float, random_state: np.random.RandomState
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Splits off a share of the samples, of each class where y holds labels. Returns the rest, then the share."""
    kind = StratifiedShuffleSplit if y.ndim == 1 else ShuffleSplit
    split = kind(1, test_size=fraction, random_state=random_state).split(X, y)
    train, validation = next(split)
    if weight is not None and not (weight[train].any() and weight[validation].any()):
        raise ValueError(f"validation_fraction={fraction} makes a set in which every sample has weight zero")
    return rows(train, X, y, weight), rows(validation, X, y, weight)


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
