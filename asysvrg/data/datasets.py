"""Data loaders: named sets, and files or folders in the usual formats."""

from __future__ import annotations

import difflib
import math
import os
from dataclasses import dataclass, field, replace
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse
from sklearn import datasets as bundled
from sklearn.model_selection import train_test_split

from asysvrg.data import download, formats, targets
from asysvrg.data.formats import TABLES, XY, Features, Sets
from asysvrg.data.reading import Reading
from asysvrg.store.schema import Schema

BUNDLED = {
    "digits": bundled.load_digits,
    "breast-cancer": bundled.load_breast_cancer,
    "wine": bundled.load_wine,
    "iris": bundled.load_iris,
    "diabetes": bundled.load_diabetes,
}
NAMES = (*BUNDLED, *download.NAMES)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A training set and a test set.

    Attributes
    ----------
    name : str
        Name of the data set, or of the file or folder that it was read from.
    X_train : ndarray or CSR matrix of shape (n_train, n_features)
        Features, one row per sample. Pixels are float32 in [0, 1].
    y_train : ndarray of shape (n_train,)
        Targets: int64 or text (classes), or floats.
    X_test : ndarray or CSR matrix of shape (n_test, n_features), or None
        None if no test set was asked for (``test_size=0``).
    y_test : ndarray of shape (n_test,), or None
        Targets of `X_test`.
    schema : Schema
        Names of the columns, and what else a model must remember of the file.
    """

    name: str
    X_train: Features
    y_train: np.ndarray
    X_test: Features | None
    y_test: np.ndarray | None
    schema: Schema = field(default_factory=Schema)


def load(
    source: str | os.PathLike[str] = "digits",
    *,
    data_home: str | os.PathLike[str] | None = None,
    train_size: int | None = None,
    test_size: int | None = None,
    target: str | int | None = None,
    delimiter: str | None = None,
    decimal: str = ".",
    encoding: str | None = None,
    zero_based: bool | None = None,
    seed: int = 0,
) -> Dataset:
    """Load a training set and a test set.

    A set without a test set of its own is split. If you ask for fewer rows than there are, rows are drawn.
    Both are random and depend on `seed` alone; they are stratified if the targets are whole numbers or text and
    every class is large enough. (The first rows of a file are not a random sample: the two halves of
    MNIST's test set come from different groups of writers.)
    Features are not standardised. Only pixels are scaled, to [0, 1].

    Parameters
    ----------
    source : str or path, default="digits"
        ``digits``, ``breast-cancer``, ``wine``, ``iris``, ``diabetes`` (bundled with
        scikit-learn), ``mnist``, ``fashion-mnist`` (downloaded if missing),
        ``cifar10-features``, or a file or folder: IDX, CIFAR-10 binary, .npz (``X_train``,
        ``y_train``, ``X_test``, ``y_test``, or ``X`` and ``y``), svmlight, CSV, Parquet or Feather (these two need
        ``asysvrg[parquet]``). The test set of an svmlight file is the file beside it that is named ``NAME.t``, or
        ``test`` in place of ``train``. Write ``./mnist`` for a folder that is named like a set.
    data_home : path, default=None
        Folder of the named sets. None means the environment variable ``ASYSVRG_DATA_HOME``; if that
        is not set, the user's cache folder.
    train_size : int, default=None
        Number of training rows; None means all.
    test_size : int, default=None
        Number of test rows, 0 for no test set. None means all rows of the set's own test set, or a
        fifth of the rows if it has none.
    target : str or int, default=None
        Name or index (from 0) of a table's target column; None means the last. Its text stays as it is written: 01 is
        a label, not the number 1. Where all of it are numbers, it is numbers.
    delimiter : str, default=None
        What separates the columns of a CSV file: one character, "tab", or " " for runs of blanks. None: the one of
        comma, semicolon, tab, bar and blanks that makes a table of the first rows.
    decimal : {".", ","}, default="."
        The decimal point of a CSV file.
    encoding : str, default=None
        Of a CSV file. None: what its byte order mark says, else UTF-8, and cp1252 with a warning if it is not that.
    zero_based : bool, default=None
        Whether the indices of an svmlight file start from 0. None: if one of them is 0.
    seed : int, default=0
        Seed of the random split.

    Returns
    -------
    Dataset
        The rows, as C-contiguous arrays or CSR matrices.

    Raises
    ------
    ValueError
        If a file is malformed, or a size is larger than the set.
    OSError
        If there is no such set or file (FileNotFoundError), or if a download failed.
    """
    reading = Reading(target, delimiter, decimal, encoding, zero_based)
    named = isinstance(source, str) and source in NAMES
    if named:
        reading.refuse_all_but(str(source))
    if named and source in BUNDLED:
        name, (train, test, schema) = str(source), Sets(_bundled(str(source)))
    else:
        path = download.locate(str(source), data_home) if named else _existing(source, NAMES)
        name = str(source) if named else os.path.basename(os.path.abspath(path))
        train, test, schema = formats.read(path, reading)
    if train[1] is None or (test is not None and test[1] is None):
        raise ValueError(
            f"{name} has no targets: IDX images need their labels file beside them, an .npz file "
            "needs the key y, a CSV file a target column"
        )
    if test is None:
        train, test = _hold_out(name, train, train_size, test_size, seed)
    else:
        columns = train[0].shape[1], test[0].shape[1]
        if columns[0] != columns[1]:
            raise ValueError(
                f"{name}: {columns[0]} features in the training set but {columns[1]} in the test set; they must agree"
            )
        y_train, y_test = targets.alike(name, train[1], test[1])
        train, test = (train[0], y_train), (test[0], y_test)
        n_train = _count("train_size", train_size, 1, len(train[1]), name)
        n_test = _count("test_size", test_size, 0, len(test[1]), name)
        train = _sampled(train, n_train, seed)
        test = _sampled(test, n_test, seed) if n_test else None
    held_out: tuple[Any, Any] = (None, None) if test is None else (formats.finished(test[0]), test[1])
    return Dataset(name, formats.finished(train[0]), train[1], *held_out, schema)


def load_file(
    path: str | os.PathLike[str], target: str | int | bool | None = None, **reading: Any
) -> tuple[Features, np.ndarray | None]:
    """Load the rows of one file.

    Parameters
    ----------
    path : path
        IDX images (the labels are taken from the file beside them), CIFAR-10 binary, .npz, svmlight, CSV, Parquet or
        Feather. Of an .npz file with a training and a test set, the test set is returned.
    target : str, int or False, default=None
        Name or index (from 0) of a table's target column. None means the last column, False
        means that the file has no target column.
    **reading
        `delimiter`, `decimal`, `encoding`, `zero_based` of `load`.

    Returns
    -------
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Features; pixels as float32 in [0, 1]. The largest index in an svmlight file decides the
        number of columns.
    y : ndarray of shape (n_samples,), or None
        Targets; None if the file has none.

    Raises
    ------
    ValueError
        If the file is malformed.
    FileNotFoundError
        If there is no such file.
    """
    sets = formats.read_file(_one_file(path, ()), Reading(target, **reading))
    X, y = sets.test or sets.train
    return formats.finished(X), y


def load_to_predict(
    source: str | os.PathLike[str],
    schema: Schema,
    width: int,
    *,
    data_home: str | os.PathLike[str] | None = None,
    target: str | int | None = None,
    zero_based: bool | None = None,
    **reading: Any,
) -> Features:
    """Load the rows that a fitted model is to predict, with the features that it takes.

    Parameters
    ----------
    source : str or path
        As for `load`; of a named set, the test rows.
    schema : Schema
        That of the training file.
    width : int
        Features of the model.
    data_home, target, zero_based, **reading
        As for `load`. By default, `schema` says which column is the target and where indices start.

    Returns
    -------
    ndarray or CSR matrix of shape (n_samples, width)
    """
    if isinstance(source, str) and source in NAMES:
        X: Any = load(source, data_home=data_home, target=target, zero_based=zero_based, **reading).X_test
    else:
        path = _one_file(source, NAMES)
        kind, raw = formats.opened(path)
        if kind in TABLES:
            how = Reading(False if target is None else target, zero_based=zero_based, **reading)
            X = formats.read_table(path, kind, raw, how).to_predict(schema, width)
            return formats.checked(path, (X, None))[0]
        how = Reading(target, zero_based=schema.zero_based if zero_based is None else zero_based, **reading)
        sets = formats.sets_of(path, kind, raw, how if kind == "svmlight" else replace(how, zero_based=zero_based))
        X = formats.finished((sets.test or sets.train)[0])
    if sparse.issparse(X) and X.shape[1] < width:  # these rows may not use the last features
        return sparse.csr_matrix((X.data, X.indices, X.indptr), shape=(X.shape[0], width))
    if X.shape[1] != width:
        raise ValueError(f"{source} has {X.shape[1]} features; the model was trained on {width}")
    return X


def _one_file(source: str | os.PathLike[str], names: tuple[str, ...]) -> Path:
    path = _existing(source, names)
    if path.is_dir():
        raise ValueError(f"{path} is a folder; give one file ({formats.FORMATS})")
    return path


def _existing(source: str | os.PathLike[str], names: tuple[str, ...]) -> Path:
    path = Path(source).expanduser()
    if path.exists():
        return path
    beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    known = {name.lower(): name for name in (*beside, *names)}
    close = difflib.get_close_matches(path.name.lower(), known)
    hint = f"; did you mean {' or '.join(known[c] for c in close)}?" if close else ""
    sets = f" (data sets with a name: {', '.join(names)})" if names else ""
    raise FileNotFoundError(f"there is no file or folder {str(source)!r}{hint}{sets}")


def _bundled(name: str) -> XY:
    X, y = BUNDLED[name](return_X_y=True)
    if name == "digits":
        X = (X / 16).astype(np.float32)
    return X, y.astype(np.int64) if y.dtype.kind == "i" else y


def _count(what: str, value: int | None, least: int, most: int, where: str) -> int:
    if value is None:
        return most
    if isinstance(value, bool) or not isinstance(value, Integral) or not least <= value <= most:
        raise ValueError(f"{what} is {value!r}, but {where} allows a whole number from {least} to {most}")
    return int(value)


def _hold_out(name: str, xy: XY, train_size: int | None, test_size: int | None, seed: int) -> tuple[XY, XY | None]:
    """Split rows into a training set and a test set (None if `test_size` is 0)."""
    X, y = xy
    n = len(y)
    if n == 1 and test_size is None:
        raise ValueError(f"{name} has one row, too few to hold out a test set; give test_size=0")
    n_test = math.ceil(n / 5) if test_size is None else test_size
    n_test = _count("test_size", n_test, 0, n - 1, f"{name} ({n} rows)")
    where = f"{name} ({n} rows, {n_test} of them held out for testing)"
    n_train = _count("train_size", train_size, 1, n - n_test, where)
    if n_train == n:
        return xy, None
    train, test = _split(y, n_train, n_test, seed)
    return (X[train], y[train]), (X[test], y[test]) if n_test else None


def _sampled(xy: XY, size: int, seed: int) -> XY:
    """Draw `size` random rows and keep their order."""
    X, y = xy
    if size == len(y):
        return xy
    rows = np.sort(_split(y, size, 0, seed)[0])
    return X[rows], y[rows]


def _split(y: np.ndarray, n_train: int, n_test: int, seed: int) -> list[np.ndarray]:
    """Random row indices of the two sides; stratified if y holds classes and both sides can have each class.

    Where they cannot, the first side has each class that the second one has, as far as it has rows enough.
    """
    stratify, codes, sizes = None, np.zeros(0, dtype=int), np.zeros(0, dtype=int)
    if y.dtype.kind in "iuUSb":
        _, codes, sizes = np.unique(y, return_inverse=True, return_counts=True)
        if sizes.min() > 1 and min(n_train, n_test or len(y) - n_train) >= len(sizes):
            stratify = y
    train, rest = train_test_split(
        np.arange(len(y)), train_size=n_train, test_size=n_test or None, random_state=seed, stratify=stratify
    )
    if 0 < len(sizes) <= len(y) // 2:  # more different values are amounts, not classes
        _complete(train, rest, codes, len(sizes))
    return [train, rest]


def _complete(train: np.ndarray, rest: np.ndarray, codes: np.ndarray, classes: int) -> None:
    """Exchanges rows, in place: `train` gets one of each class that only `rest` has, for one of its largest class."""
    counts = np.bincount(codes[train], minlength=classes)
    found, places = np.unique(codes[rest], return_index=True)
    for code, place in zip(found, places, strict=True):
        largest = counts.argmax()
        if counts[code] == 0 and counts[largest] > 1:
            given = np.flatnonzero(codes[train] == largest)[-1]
            train[given], rest[place] = rest[place], train[given]
            counts[code], counts[largest] = 1, counts[largest] - 1
