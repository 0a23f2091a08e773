"""Class labels as the numbers that the kernels take; class weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.utils import check_array, column_or_1d
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target

MISSING = ("NoneType", "NAType", "NaTType")  # types of labels that are none


def classes_of(y: Any, union: Callable[[np.ndarray], np.ndarray] | None = None, name: str = "y") -> np.ndarray:
    """The sorted labels in y.

    Parameters
    ----------
    y : array-like
    union : callable, optional
        Adds the labels of other ranks to those here.
    name : str
        What errors call y.

    Raises
    ------
    ValueError
        If y does not hold labels, or fewer than two different ones.
    """
    refuse_columns(y, name)
    y = check_comparable(column_or_1d(y, warn=True), name)
    check_classification_targets(y)
    classes = np.unique(y)
    if union is not None:
        classes = union(classes)
    if len(classes) < 2:
        raise ValueError(f"{name} has one class only ({classes.tolist()[0]!r}); at least two are needed")
    return classes


def check_comparable(y: np.ndarray, name: str) -> np.ndarray:
    """The same labels. ValueError where some are missing, or are of kinds that have no order."""
    if y.dtype.kind != "O":
        return y
    kinds = {type(label) for label in y}
    if any(kind.__name__ in MISSING or issubclass(kind, float | np.floating) for kind in kinds):
        missing = sorted({str(label) for label in y if type(label).__name__ in MISSING or label != label})
        if missing:
            raise ValueError(
                f"{name} has missing labels ({', '.join(missing)}): leave these samples out, or give them a label"
            )
    if len({issubclass(kind, str) for kind in kinds}) > 1:
        names = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise ValueError(f"{name} has labels of kinds that cannot be compared: {names}; make them of one kind")
    return y


def encode(y: Any, classes: np.ndarray, name: str) -> np.ndarray:
    """The position of each label in `classes`. ValueError for a label that is not there."""
    y = np.asarray(y) if np.ndim(y) == 0 else y
    if getattr(y, "shape", None) == ():
        raise ValueError(f"{name} is a single value; a label for each sample is expected")
    refuse_columns(y, name)
    y = check_comparable(column_or_1d(check_array(y, ensure_2d=False, dtype=None, input_name=name)), name)
    if y.dtype.kind == "O" and classes.dtype.kind == "O":
        check_comparable(np.concatenate([classes, y]), f"{name}, beside the classes,")
    unknown = np.setdiff1d(y, classes)
    if unknown.size:
        raise ValueError(f"{name} has labels that are not among the classes: {unknown[:5].tolist()}")
    return np.searchsorted(classes, y).astype(np.int32)


def refuse_columns(y: Any, name: str) -> None:
    """Raises ValueError if y has several columns: where this is called, it is no indicator matrix of numbers."""
    shape = np.shape(y)
    if len(shape) != 2 or shape[1] < 2:
        return
    numbers = "a label is one column, and several labels of a sample are an indicator matrix of the numbers 0 and 1"
    as_numbers = f": give {name}.astype(int)" if _holds_indicators(y) else ""
    raise ValueError(f"{name} has {shape[1]} columns of type {np.asarray(y).dtype}; {numbers}{as_numbers}")


def _holds_indicators(y: Any) -> bool:
    return all(isinstance(value, Real | np.bool_) and value in (0, 1) for value in np.asarray(y).flat)


def is_indicator_matrix(y: Any) -> bool:
    """Whether y has a column for each label, non-zero where a sample has it."""
    return getattr(y, "ndim", 2) == 2 and type_of_target(y) == "multilabel-indicator"


def indicators(y: Any, classes: np.ndarray, dtype: np.dtype, name: str) -> np.ndarray:
    """An indicator matrix as zeros and ones. ValueError if it is none, or has another number of labels."""
    if not is_indicator_matrix(y):
        if not sparse.issparse(y):
            refuse_columns(y, name)
        raise ValueError(f"{name} is not what y was at first, an indicator matrix with a column for each label")
    y = y.toarray() if sparse.issparse(y) else np.asarray(y)
    if y.shape[1] != len(classes):
        raise ValueError(f"{name} has {y.shape[1]} labels, not {len(classes)} as at first")
    return np.ascontiguousarray(y != 0, dtype=dtype)


def _balanced(encoded: np.ndarray, classes: int, sample_weight: Any) -> np.ndarray:
    """A weight for each class. With these weights, all classes that y has count the same."""
    mass = np.bincount(encoded, weights=sample_weight, minlength=classes)
    return np.asarray(mass.sum() / ((mass > 0).sum() * np.where(mass > 0, mass, 1)))


def weights_of(encoded: np.ndarray, classes: np.ndarray, class_weight: Any, sample_weight: Any) -> np.ndarray:
    """The weight of each sample's class: scikit-learn's `compute_sample_weight`, for samples with weights, too.

    `class_weight` may name classes that this y does not have: `partial_fit` gets a part of the samples.
    """
    is_balanced = isinstance(class_weight, str) and class_weight == "balanced"
    if encoded.ndim == 2 and is_balanced:
        weights = [_balanced(label, 2, sample_weight)[label] for label in encoded.T.astype(int)]
        return np.asarray(np.prod(weights, axis=0))
    if encoded.ndim == 2:
        return _valid(compute_sample_weight(class_weight, encoded), class_weight)
    if is_balanced:
        weight = _balanced(encoded, len(classes), sample_weight)
    elif isinstance(class_weight, Mapping):
        numbers = {label: _number(weight, class_weight) for label, weight in class_weight.items()}
        weight = _valid(_of_classes(numbers, classes), class_weight)
    else:
        raise ValueError(f"class_weight is a dict, 'balanced' or None; got {class_weight!r}")
    return weight[encoded]


def _of_classes(numbers: Mapping[Any, float], classes: np.ndarray) -> np.ndarray:
    """The weight of each class, 1 where the dict does not name it.

    (scikit-learn's `compute_class_weight` takes the text "1" for the number.)
    """
    missing = [label for label in classes if label not in numbers]
    if missing and len(classes) - len(missing) < len(numbers):
        raise ValueError(f"The classes, {np.array(missing).tolist()}, are not in class_weight")
    return np.array([numbers.get(label, 1.0) for label in classes])


def _number(weight: Any, given: Any) -> float:
    try:
        return float(weight)
    except (TypeError, ValueError):
        raise ValueError(f"class_weight has a weight that is no number, {weight!r}: {given!r}") from None


def _valid(weight: np.ndarray, given: Any) -> np.ndarray:
    if not (np.isfinite(weight).all() and (weight >= 0).all()):
        raise ValueError(f"class_weight has weights that are negative or not finite: {given!r}")
    return weight
