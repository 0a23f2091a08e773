"""Small data, and estimators that are fitted quickly."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
from scipy import sparse

import asysvrg
from asysvrg import AsySVRGClassifier, AsySVRGRegressor
from helpers.twin import ACTIVATION

ESTIMATORS = [AsySVRGClassifier, AsySVRGRegressor]

ROOT = str(Path(asysvrg.__file__).parents[1])


def data(kind, n=120, p=11, outputs=4, form="dense", seed=0):
    """X with zeros in it, and labels 0, 2, 4, ... or targets."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)) * (rng.random((n, p)) < 0.5)
    scores = X @ rng.normal(size=(p, outputs)) + 0.3 * rng.normal(size=(n, outputs))
    y = 2 * scores.argmax(1) if kind is AsySVRGClassifier else scores.squeeze()
    return sparse.csr_array(X) if form == "csr" else X, y


def forward(model, X):
    """Probabilities or predictions, from coefs_ and intercepts_ alone."""
    a = X.toarray() if sparse.issparse(X) else np.asarray(X, dtype=float)
    activation = ACTIVATION[model.history_["config"]["activation"]][0]
    for i, (W, b) in enumerate(zip(model.coefs_, model.intercepts_, strict=True)):
        a = a @ W.astype(float) + b
        a = activation(a) if i + 1 < len(model.coefs_) else a
    if isinstance(model, AsySVRGClassifier):
        a = np.exp(a - a.max(1, keepdims=True))
        return a / a.sum(1, keepdims=True)
    return a


def objective(model, X, y, weight=None):
    """Mean loss + alpha / 2 * sum of squared weights."""
    outputs = forward(model, X)
    if isinstance(model, AsySVRGClassifier):
        losses = -np.log(outputs[np.arange(len(y)), np.searchsorted(model.classes_, y)])
    else:
        losses = ((outputs - y.reshape(len(y), -1)) ** 2).sum(1) / 2
    squares = sum((W.astype(float) ** 2).sum() for W in model.coefs_)
    return np.average(losses, weights=weight) + model.alpha / 2 * squares


def small(kind, *args, **options):
    """An estimator that is quickly through, on one thread."""
    usual = {"max_iter": 3, "n_jobs": 1, "random_state": 0, "learning_rate_init": 0.05, "batch_size": 10}
    return kind(*args, **usual | options)


def python(code, *arguments):
    """Runs code in a fresh interpreter; a hang is an error."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        env=os.environ | {"PYTHONPATH": ROOT},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def equal(model, other):
    return all((a == b).all() for a, b in zip(*(m.coefs_ + m.intercepts_ for m in (model, other)), strict=True))


def samples(kind, outputs=3, n=80, p=6, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)) * (rng.random((n, p)) < 0.6)
    scores = X @ rng.normal(size=(p, outputs))
    return X, scores.argmax(1) if kind is AsySVRGClassifier else scores.squeeze()


def fitted(kind, hidden=(5,), outputs=3, X=None, y=None, **options):
    if X is None:
        X, y = samples(kind, outputs)
    options = {"max_iter": 3, "learning_rate_init": 0.05, "n_jobs": 1, "random_state": 0} | options
    return kind(hidden, **options).fit(X, y)
