"""The settings of bench/panel.py: data, each made anew from a seed or read from ASYSVRG_DATA_HOME, and a network.

Columns of tables and targets of regressions are standardised by the training set, for all contenders alike. All numbers
are float32.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse
from sklearn import datasets
from sklearn.model_selection import train_test_split

QUICK = 10  # with --quick, one row in so many
FEWEST = 400  # but at least these, where there are as many
Sets = tuple[Any, np.ndarray, Any, np.ndarray]  # X, y, X_test, y_test


@dataclass(frozen=True)
class Setting:
    """A problem that all contenders get.

    Attributes
    ----------
    make : callable
        Given the number of training rows and of test rows, returns X, y, X_test, y_test.
    rows, test_rows : int
        How many there are.
    hidden : tuple of int
        The network's hidden layers.
    about : str
        One line for the table.
    trees : bool
        Whether it is a table, on which LightGBM takes part.
    classes : bool
        Classification or regression.
    """

    make: Callable[[int, int], Sets]
    rows: int
    test_rows: int
    hidden: tuple[int, ...]
    about: str
    trees: bool = True
    classes: bool = True

    def load(self, quick: bool = False) -> Sets:
        """X and y of the training set, then those of the test set; OSError if a file is missing."""
        sizes = (max(size // QUICK, min(size, FEWEST)) if quick else size for size in (self.rows, self.test_rows))
        X, y, X_test, y_test = self.make(*sizes)
        kind = np.int64 if self.classes else np.float32
        return X.astype(np.float32), y.astype(kind), X_test.astype(np.float32), y_test.astype(kind)


def standardised(X: np.ndarray, X_test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean, scale = X.mean(axis=0), X.std(axis=0)
    scale = np.where(scale > 0, scale, 1)
    return (X - mean) / scale, (X_test - mean) / scale


def cut(X: np.ndarray, y: np.ndarray, rows: int, classes: bool = True) -> Sets:
    """The first rows for training, the rest for testing; standardised."""
    y_train, y_test = y[:rows], y[rows:]
    if not classes:
        y_train, y_test = standardised(y_train, y_test)
    X_train, X_test = standardised(X[:rows], X[rows:])
    return X_train, y_train, X_test, y_test


# ---- Our own generators. ----


def bundled(load: Callable[..., Any]) -> Callable[[int, int], Sets]:
    """A set that comes with scikit-learn, split at random."""

    def make(rows: int, test_rows: int) -> Sets:
        sizes = {"train_size": rows, "test_size": test_rows}
        X, y = load(return_X_y=True)
        train, test, y_train, y_test = train_test_split(X, y, **sizes, random_state=0, stratify=y)
        train, test = standardised(train, test)
        return train, y_train, test, y_test

    return make


CATEGORIES = (9, 16, 7, 15, 6, 5, 2, 42)  # of a census: work, education, marriage, occupation, ...


def census(rows: int, test_rows: int) -> Sets:
    """Eight categories as 102 columns of 0 and 1, and six numbers, all driven by eight hidden traits of a person.

    A quarter of the labels is 1; they depend on the traits, and in part on chance.
    """
    n = rows + test_rows
    rng = np.random.default_rng(24)
    traits = rng.normal(size=(n, 8))
    columns, effect = [], np.zeros(n)
    for size in CATEGORIES:
        common = -1.2 * np.log(np.arange(1, size + 1))  # a few values are common, most are rare
        logits = common + traits @ rng.normal(size=(8, size)) + rng.gumbel(size=(n, size))
        value = logits.argmax(axis=1)
        columns.append(np.eye(size)[value])
        effect += rng.normal(size=size)[value] * 0.5
    numbers = np.tanh(traits @ rng.normal(size=(8, 6)) * 0.5) + 0.5 * rng.normal(size=(n, 6))
    rare = rng.random((n, 2)) < 0.08
    numbers[:, :2] = np.where(rare, np.exp(1.0 + 0.5 * traits[:, :2]), 0)  # gains and losses: most have none
    effect += traits[:, 0] + 2 * np.sin(2 * numbers[:, 2]) * numbers[:, 3] + 0.5 * numbers[:, 0]
    effect += 0.7 * rng.logistic(size=n)
    numbers, _ = standardised(numbers, numbers)
    X, y = np.hstack([*columns, numbers]), effect > np.quantile(effect, 0.76)
    return X[:rows], y[:rows], X[rows:], y[rows:]


def physics(rows: int, test_rows: int) -> Sets:
    """28 columns; the label is the sign of a network of 16 tanh units with noise on its output."""
    rng = np.random.default_rng(28)
    inner, outer = rng.normal(size=(28, 16)) / 28**0.5 * 2, rng.normal(size=16)
    X = rng.normal(size=(rows + test_rows, 28)).astype(np.float32)
    value = np.tanh(X @ inner) @ outer
    return cut(X, value + 0.15 * value.std() * rng.normal(size=value.shape) > 0, rows)


def waves(rows: int, test_rows: int) -> Sets:
    """Eight targets of 40 columns: a network of 24 tanh units with noise."""
    rng = np.random.default_rng(8)
    inner, outer = rng.normal(size=(40, 24)) / 40**0.5 * 2, rng.normal(size=(24, 8)) / 24**0.5
    X = rng.normal(size=(rows + test_rows, 40))
    return cut(X, np.tanh(X @ inner) @ outer + 0.2 * rng.normal(size=(len(X), 8)), rows, classes=False)


WORDS = 50_000


def text(rows: int, test_rows: int, topics: int) -> Sets:
    """Documents as CSR: logarithms of counts of 50,000 words whose frequencies follow a power law, rows of length 1.

    Three words of ten are a topic's own: for each topic the words have another order. A twentieth of labels are wrong.
    """
    n = rows + test_rows
    rng = np.random.default_rng(50)
    y = rng.integers(topics, size=n)
    lengths = np.clip(rng.lognormal(4.4, 0.6, size=n), 10, 1000).astype(int)
    document = np.repeat(np.arange(n), lengths)
    word = np.minimum(rng.pareto(0.9, document.size) * 5, rng.integers(0, WORDS, document.size)).astype(int)
    orders = np.stack([rng.permutation(WORDS) for _ in range(topics)])
    own = rng.random(document.size) < 0.3
    word[own] = orders[y[document[own]], word[own]]
    X = sparse.csr_matrix((np.ones(word.size, np.float32), (document, word)), (n, WORDS))
    X.data = 1 + np.log(X.data)
    X = sparse.csr_matrix(X.multiply(1 / sparse.linalg.norm(X, axis=1)[:, None]))
    wrong = rng.random(n) < 0.05
    y[wrong] = rng.integers(topics, size=int(wrong.sum()))
    return X[:rows], y[:rows], X[rows:], y[rows:]


# ---- scikit-learn's generators, and files. ----


def classes(features: int, informative: int, number: int, clusters: int) -> Callable[[int, int], Sets]:
    def make(rows: int, test_rows: int) -> Sets:
        shape = {"n_features": features, "n_informative": informative, "n_classes": number}
        more = {"n_clusters_per_class": clusters, "class_sep": 1.5, "flip_y": 0.02, "random_state": 1}
        X, y = datasets.make_classification(rows + test_rows, **shape, **more)
        return cut(X, y, rows)

    return make


def friedman(features: int) -> Callable[[int, int], Sets]:
    def make(rows: int, test_rows: int) -> Sets:
        X, y = datasets.make_friedman1(rows + test_rows, features, noise=1.0, random_state=0)
        return cut(X, y, rows, classes=False)

    return make


def from_file(name: str, path: str) -> Callable[[int, int], Sets]:
    """A set in ASYSVRG_DATA_HOME; nothing is downloaded."""

    def make(rows: int, test_rows: int) -> Sets:
        from asysvrg import data

        home = os.environ.get("ASYSVRG_DATA_HOME")
        if not home or not (Path(home) / path).exists():
            raise FileNotFoundError(f"{path} is not in ASYSVRG_DATA_HOME")
        found = data.load(name, train_size=rows, test_size=test_rows)
        return found.X_train, found.y_train, found.X_test, found.y_test

    return make


MNIST, CIFAR = from_file("mnist", "mnist"), from_file("cifar10-features", "cifar10-features.npz")
SETTINGS = {
    "breast cancer": Setting(bundled(datasets.load_breast_cancer), 384, 185, (32,), "a small table"),
    "digits": Setting(bundled(datasets.load_digits), 1_300, 497, (100,), "small images of 8 x 8"),
    "census": Setting(census, 24_420, 8_140, (100,), "a table, one-hot, made"),
    "28 columns, 100,000": Setting(physics, 100_000, 20_000, (64, 64, 64), "noisy tanh network"),
    "28 columns, 900,000": Setting(physics, 900_000, 20_000, (100,), "noisy tanh network"),
    "table, 5 classes, wide": Setting(classes(50, 25, 5, 4), 12_000, 8_000, (1024,), "make_classification"),
    "table, 4 classes, deep": Setting(classes(30, 12, 4, 4), 20_000, 10_000, (64,) * 4, "make_classification"),
    "table, 100 classes": Setting(classes(64, 24, 100, 1), 30_000, 10_000, (256,), "make_classification"),
    "text, 20 classes": Setting(lambda n, m: text(n, m, 20), 20_000, 5_000, (64,), "sparse counts, power law"),
    "text, 2 classes": Setting(lambda n, m: text(n, m, 2), 20_000, 5_000, (), "sparse counts, power law"),
    "regression, 5 columns": Setting(friedman(5), 200_000, 20_000, (32, 32), "make_friedman1", classes=False),
    "regression, 20 columns": Setting(friedman(20), 5_000, 5_000, (100,), "make_friedman1", classes=False),
    "regression, 8 targets": Setting(waves, 20_000, 5_000, (128, 64), "noisy tanh network", False, classes=False),
    "MNIST, 10,000": Setting(MNIST, 10_000, 10_000, (100,), "images of 28 x 28", trees=False),
    "MNIST, 60,000": Setting(MNIST, 60_000, 10_000, (100,), "images of 28 x 28", trees=False),
    "MNIST, 60,000, two layers": Setting(MNIST, 60_000, 10_000, (512, 256), "images of 28 x 28", trees=False),
    "CIFAR-10 features": Setting(CIFAR, 20_000, 4_000, (100,), "of a convolutional network", trees=False),
    "CIFAR-10 features, linear": Setting(CIFAR, 20_000, 4_000, (), "the same", trees=False),
}
