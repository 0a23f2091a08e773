"""Targets: which text is a number, and which numbers are classes. The rules are the same for all formats."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from asysvrg.core.warn import warn

# Codes such as 01 and 1_11 are text: as numbers, they would not be what was written.
INTEGER = r"[-+]?(?:0|[1-9][0-9]*)"
FRACTION = r"[-+]?(?:(?:0|[1-9][0-9]*)(?:{0}[0-9]*)?|{0}[0-9]+)(?:[eE][-+]?[0-9]+)?"
MISSING = ("", "?", "NA", "N/A", "n/a", "<NA>", "nan", "NaN", "null", "NULL", "None")  # as text among labels
EXACT = 2**53  # float64 holds all whole numbers below
MANY, FEW = 50, 10  # more classes than this, with fewer samples each than that, may be amounts or names


def parsed(targets: Sequence[str], decimal: str = ".") -> np.ndarray:
    """Text as int64 where all of it are whole numbers, else as float64 where all are numbers, else as it is."""
    bare = [text.strip() for text in targets]
    if all(map(re.compile(INTEGER).fullmatch, bare)):
        try:
            return np.array(list(map(int, bare)), np.int64)
        except (OverflowError, ValueError):  # long ones are identifiers
            return np.array(targets)
    if all(map(re.compile(FRACTION.format(re.escape(decimal))).fullmatch, bare)):
        return whole(np.array([float(text.replace(decimal, ".")) for text in bare]))
    return np.array(targets)


def whole(y: np.ndarray) -> np.ndarray:
    """Numbers that are all whole as int64: scikit-learn, too, takes these for classes. Others are returned as given."""
    if y.dtype.kind in "iu":
        fits = not y.size or y.max() <= np.iinfo(np.int64).max
        return y.astype(np.int64) if fits else y.astype(str)  # long ones are identifiers
    if y.dtype.kind != "f":
        return y
    y = y.astype(np.float64, copy=False)
    is_whole = np.isfinite(y).all() and (np.abs(y) < EXACT).all() and (y == np.rint(y)).all()
    return y.astype(np.int64) if is_whole else y


def alike(name: str, y_train: np.ndarray, y_test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both targets; as float64 if one of them has fractions. ValueError where only one of them is text."""
    kinds = y_train.dtype.kind + y_test.dtype.kind
    if ("U" in kinds) and kinds != "UU":
        raise ValueError(f"{name}: the targets of the training set are {y_train.dtype}, of the test set {y_test.dtype}")
    if "f" in kinds:
        return y_train.astype(np.float64, copy=False), y_test.astype(np.float64, copy=False)
    return y_train, y_test


def task_of(y: np.ndarray) -> str:
    """What `--task` is by default: regression for fractional numbers, else classification.

    Raises
    ------
    ValueError
        If there are so many classes that the target may be an amount or a name. The message says what to do.

    Warns
    -----
    UserWarning
        If whole numbers are many classes.
    """
    if y.dtype.kind == "f":
        return "regression"
    classes = len(np.unique(y))
    if classes > MANY and len(y) < FEW * classes:
        amounts = "--task regression takes them as amounts, " if y.dtype.kind == "i" else ""
        odd = None if y.dtype.kind == "i" else _no_number(y.tolist())
        text = "" if odd is None else f" ({odd!r} is no number)"
        raise ValueError(
            f"the target has {classes:,} different values in {len(y):,} rows, as many as a list of prices or names"
            f"{text}: {amounts}--task classification takes each as a class, --target chooses another column"
        )
    if classes > MANY and y.dtype.kind == "i":
        warn(f"the target's {classes:,} whole numbers are taken as classes; --task regression takes them as amounts")
    return "classification"


def _no_number(y: list[str]) -> str | None:
    number = re.compile(FRACTION.format(r"\."))
    return next((text for text in y if not number.fullmatch(text.strip())), None)


def for_task(y: np.ndarray, task: str) -> np.ndarray:
    """The target as the task needs it. ValueError where it cannot be."""
    if task == "classification" and y.dtype.kind == "f":
        odd = y != np.rint(y)
        row, what = (int(odd.argmax()), "fractional") if odd.any() else (int(abs(y).argmax()), "too large")
        raise ValueError(f"the target {y[row]:g} in row {row} (from 0) is {what}, no class; --task regression")
    if task == "regression" and y.dtype.kind == "U":
        return np.array([_amount(text) for text in y.tolist()])
    return y


def _amount(text: str) -> float:
    try:
        return float("" if "_" in text else text)
    except ValueError:
        raise ValueError(f"the target holds the text {text!r}; regression needs numbers") from None
