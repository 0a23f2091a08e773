"""Default scores and times beside scikit-learn's MLP with its defaults: `python bench/defaults.py > docs/defaults.md`.

Both fit the same arrays one after the other, for each seed anew; scores are means over seeds, times medians.
Sets in files are looked up in ASYSVRG_DATA_HOME and left out where they are missing.
"""

from __future__ import annotations

import os
import statistics
import time
import warnings
from pathlib import Path

import numpy as np
from sklearn import datasets
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor

from asysvrg import AsySVRGClassifier, AsySVRGRegressor, data
from asysvrg.core.trace import environment

SEEDS = range(3)


def halves(X, y, classes=True):
    """Three quarters for training, one for testing."""
    train, test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y if classes else None)
    return train, y_train, test, y_test


def unscaled():
    """A table whose columns have units of their own: scales from 1e-3 to 1e4, offsets up to 1e3."""
    rng = np.random.default_rng(0)
    X, y = datasets.make_classification(5000, 20, n_informative=10, random_state=1)
    return halves(X * 10.0 ** rng.uniform(-3, 4, 20) + 10.0 ** rng.uniform(-1, 3, 20), y)


def offset():
    """Targets about 1e5 with a spread of some hundreds."""
    X, y = datasets.make_friedman1(5000, noise=1.0, random_state=0)
    return halves(X, 50 * y + 1e5, classes=False)


def from_file(name, **sizes):
    home = Path(os.environ.get("ASYSVRG_DATA_HOME", "."))
    path = home / "svmlight" / name
    sets = data.load(path if path.exists() else name, **sizes)
    return sets.X_train, sets.y_train, sets.X_test, sets.y_test


SETS = {
    "digits": lambda: halves(*datasets.load_digits(return_X_y=True)),
    "breast cancer": lambda: halves(*datasets.load_breast_cancer(return_X_y=True)),
    "wine": lambda: halves(*datasets.load_wine(return_X_y=True)),
    "iris": lambda: halves(*datasets.load_iris(return_X_y=True)),
    "moons": lambda: halves(*datasets.make_moons(5000, noise=0.2, random_state=0)),
    "table, 4 classes": lambda: halves(
        *datasets.make_classification(5000, 30, n_informative=12, n_classes=4, random_state=0)
    ),
    "table, unscaled": unscaled,
    "diabetes": lambda: halves(*datasets.load_diabetes(return_X_y=True), classes=False),
    "friedman1": lambda: halves(*datasets.make_friedman1(5000, noise=1.0, random_state=0), classes=False),
    "friedman1, offset": offset,
    "friedman2": lambda: halves(*datasets.make_friedman2(5000, noise=10.0, random_state=0), classes=False),
    "heart_scale (CSR)": lambda: from_file("heart_scale"),
    "a1a (CSR)": lambda: from_file("a1a"),
    "mushrooms (CSR)": lambda: from_file("agaricus.txt.train"),
    "CIFAR-10 features": lambda: from_file("cifar10-features", train_size=10_000),
    "MNIST": lambda: from_file("mnist", train_size=10_000),
}


def fit(model, sets):
    X, y, X_test, y_test = sets
    start = time.perf_counter()
    model.fit(X, y)
    return time.perf_counter() - start, model.score(X_test, y_test)


def main() -> None:
    warnings.simplefilter("ignore")
    machine = environment()
    print("# Defaults beside scikit-learn's MLP\n")
    print(
        f"`python bench/defaults.py`, on {machine['processor']}, {machine['cores']} cores, {machine['simd']}. Scores on"
    )
    print(f"held-out data (accuracy, or R^2), means over {len(SEEDS)} seeds; seconds of `fit`, medians. Tables and")
    print('friedman are scikit-learn\'s generators; "unscaled" and "offset" as in the file.\n')
    print("| data | samples x features | asysvrg | scikit-learn | seconds | seconds | times faster |")
    print("|---|---|---|---|---|---|---|")
    for name, load in SETS.items():
        try:
            sets = load()
        except OSError:
            continue
        kinds = (AsySVRGRegressor, MLPRegressor) if sets[1].dtype.kind == "f" else (AsySVRGClassifier, MLPClassifier)
        results = [[fit(kind(random_state=seed), sets) for kind in kinds] for seed in SEEDS]
        ours, theirs = (tuple(zip(*column, strict=True)) for column in zip(*results, strict=True))
        seconds = statistics.median(ours[0]), statistics.median(theirs[0])
        scores = statistics.mean(ours[1]), statistics.mean(theirs[1])
        shape = " x ".join(f"{size:,}" for size in sets[0].shape)
        print(
            f"| {name} | {shape} | {scores[0]:.3f} | {scores[1]:.3f} | {seconds[0]:.3f} | {seconds[1]:.3f} "
            f"| {seconds[1] / seconds[0]:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
