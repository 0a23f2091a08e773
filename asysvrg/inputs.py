"""From checked X, y and weights to what is trained on: no zero weights, no row twice, weights of mean 1."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse
from sklearn.model_selection import ShuffleSplit, StratifiedShuffleSplit

from asysvrg.core.network import Samples

MERGED_ROWS, MERGED_NUMBERS = 1000, 2**21  # sets of at most so many rows and numbers are brought into normal form


def canonical(X: Any) -> Any:
    """CSR with sorted indices and no duplicates, as the kernels need it; never changes the caller's matrix."""
    if sparse.issparse(X) and not X.has_canonical_format:
        X = X.copy()
        X.sum_duplicates()
    return X


def refuse_complex(**arrays: Any) -> None:
    """ValueError for complex numbers, in one line: scikit-learn's own quotes all of them."""
    for name, array in arrays.items():
        if getattr(getattr(array, "dtype", None), "kind", None) == "c":
            raise ValueError(f"Complex data not supported: {name} is of type {array.dtype}")


def prepared(X: Any, y: np.ndarray, weight: np.ndarray | None) -> Samples:
    """Samples to train on, or to validate with."""
    if weight is not None and (weight == 0).any():
        X, y, weight = rows(np.flatnonzero(weight), X, y, weight)
    X, y, weight = _merged(X, y, weight)
    if weight is not None:
        weight = (weight * (len(weight) / weight.sum(dtype=np.float64))).astype(X.dtype, copy=False)
    return Samples(X, y, weight)


def rows(index: np.ndarray, *arrays: Any) -> tuple[Any, ...]:
    """The same rows of each array, None of None."""
    return tuple(None if array is None else array[index] for array in arrays)


def hold_out(
    X: Any, y: np.ndarray, weight: np.ndarray | None, fraction: float, random_state: np.random.RandomState
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """What is left to train on, and a share of the samples to validate with: of each class, where y holds labels."""
    kind = StratifiedShuffleSplit if y.ndim == 1 else ShuffleSplit
    split = kind(1, test_size=fraction, random_state=random_state).split(X, y)
    train, validation = next(split)
    if weight is not None and not (weight[train].any() and weight[validation].any()):
        raise ValueError(f"validation_fraction={fraction} leaves a part in which every sample has weight zero")
    return rows(train, X, y, weight), rows(validation, X, y, weight)


def _merged(X: Any, y: np.ndarray, weight: np.ndarray | None) -> tuple[Any, np.ndarray, np.ndarray | None]:
    """Small sets in a normal form: sorted, equal samples merged, their weights added; None for equal weights.

    Mini-batches are drawn by the rows' numbers. In normal form a sample of weight 3, and the sample three times, train
    the same model to the last bit, in whichever order samples come; scikit-learn's checks ask for that. Of large sets
    it would cost time and a copy; there, both have the same optimum.
    """
    n, p = X.shape
    if n > MERGED_ROWS or n * p > MERGED_NUMBERS:
        return X, y, weight
    parts = [X.toarray() if sparse.issparse(X) else X, y.reshape(n, -1)]
    # Adding 0 turns -0 into 0. Bytes are sorted faster than numbers, and any order will do.
    keys = np.concatenate([np.ascontiguousarray(part + part.dtype.type(0)).view(np.uint8) for part in parts], axis=1)
    _, first, group = np.unique(keys.view(f"V{keys.shape[1]}").ravel(), return_index=True, return_inverse=True)
    sums = np.bincount(group, weights=weight)
    X, y = rows(first, X, y)
    return X, y, None if (sums == sums[0]).all() else sums
