"""Parameters that are refused before anything starts."""

import contextlib

import numpy as np
import pytest
from helpers.estimators import ESTIMATORS, data, small

from asysvrg import AsySVRGClassifier, AsySVRGRegressor

pytestmark = [pytest.mark.timeout(180), pytest.mark.usefixtures("mpi")]

# What cannot be trained is refused before any thread starts.

BAD_PARAMETERS = [
    ({"alpha": -1}, ValueError, "alpha"),
    ({"alpha": "much"}, TypeError, "alpha"),
    ({"alpha": float("nan")}, ValueError, "alpha"),
    ({"alpha": float("inf")}, ValueError, "alpha"),
    ({"alpha_boost": 0.5}, ValueError, "alpha_boost"),
    ({"alpha_boost": "auto"}, TypeError, "alpha_boost"),
    ({"alpha_boost": float("nan")}, ValueError, "alpha_boost"),
    ({"alpha_boost": float("inf")}, ValueError, "alpha_boost is inf; a finite number is expected"),
    ({"decay": -0.5}, ValueError, "decay"),
    ({"decay": float("nan")}, ValueError, "decay"),
    ({"decay": float("inf")}, ValueError, "decay is inf; a finite number is expected"),
    ({"decay": "square"}, ValueError, "decay is a number that is not negative, or 'linear'; got 'square'"),
    ({"deflation": -1}, ValueError, "deflation"),
    ({"deflation": "auto"}, TypeError, "deflation"),
    ({"sampling": "yes"}, ValueError, "sampling is one of None, replacement, shuffle, importance; got 'yes'"),
    ({"tol": -1e-3}, ValueError, "tol"),
    ({"cache_size": -1}, ValueError, "cache_size"),
    ({"batch_size": 0}, ValueError, "batch_size"),
    ({"batch_size": 2.5}, TypeError, "batch_size"),
    ({"max_iter": 0}, ValueError, "max_iter"),
    ({"n_iter_no_change": 0}, ValueError, "n_iter_no_change"),
    ({"sgd_epochs": -1}, ValueError, "sgd_epochs"),
    ({"inner_steps": 0}, ValueError, "inner_steps"),
    ({"inner_steps": 10**20}, ValueError, "inner_steps"),
    ({"max_delay": -1}, ValueError, "max_delay"),
    ({"learning_rate_init": 0}, ValueError, "learning_rate_init"),
    ({"learning_rate_init": float("nan")}, ValueError, "learning_rate_init"),
    ({"learning_rate_init": None}, TypeError, "learning_rate_init"),
    ({"early_stopping": "yes"}, TypeError, "early_stopping"),
    ({"warm_start": 1}, TypeError, "warm_start"),
    ({"validation_fraction": 0}, ValueError, "validation_fraction"),
    ({"validation_fraction": 1.0}, ValueError, "validation_fraction"),
    ({"validation_fraction": float("nan")}, ValueError, "validation_fraction"),
    ({"class_weight": "heavy"}, ValueError, "class_weight"),
    ({"target_loss": "low"}, TypeError, "target_loss"),
    ({"target_loss": float("nan")}, ValueError, "target_loss"),
    ({"max_time": -1}, ValueError, "max_time"),
    ({"coordinates": 0}, ValueError, "coordinates"),
    ({"coordinates": "some"}, TypeError, "coordinates"),
    ({"block": 0}, ValueError, "block"),
    ({"block": "page"}, TypeError, "block"),
    ({"block": 10**20}, ValueError, "block"),
    ({"activation": "sine"}, ValueError, "activation is one of relu, tanh, logistic, identity; got 'sine'"),
    ({"solver": "adam"}, ValueError, "solver is one of svrg, sgd; got 'adam'"),
    ({"update": "wild"}, ValueError, "update is one of auto, serial, atomic, striped, owned, replicated; got 'wild'"),
    ({"update": "serial", "n_jobs": 2}, ValueError, "loses updates"),
    ({"dtype": "float16"}, ValueError, "dtype is float32 or float64; got 'float16'"),
    ({"dtype": "no such type"}, ValueError, "dtype is float32 or float64"),
    ({"dtype": None}, ValueError, "dtype is float32 or float64"),
    ({"n_jobs": 0}, ValueError, "n_jobs"),
    ({"n_jobs": 1.5}, ValueError, "n_jobs"),
    ({"hidden_layer_sizes": (5, 0)}, ValueError, "hidden_layer_sizes"),
    ({"hidden_layer_sizes": -1}, ValueError, "hidden_layer_sizes"),
    ({"hidden_layer_sizes": None}, TypeError, "hidden_layer_sizes"),
    ({"hidden_layer_sizes": "100"}, TypeError, "hidden_layer_sizes"),
    ({"hidden_layer_sizes": (10**9, 10**9)}, ValueError, "fewer than 2\\*\\*31"),
    ({"random_state": -1}, ValueError, "Seed"),
]


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize(("options", "error", "words"), BAD_PARAMETERS, ids=str)
@pytest.mark.parametrize("kind", ESTIMATORS)
def test_bad_parameters(kind, options, error, words):
    with pytest.raises(error, match=words) as caught:
        small(kind, **options).fit(*data(kind))
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize("kind", ESTIMATORS)
def test_a_line_to_the_last_epoch_is_not_for_partial_fit(kind):
    X, y = data(kind)
    more = {"classes": np.unique(y)} if kind is AsySVRGClassifier else {}
    with pytest.raises(ValueError, match="partial_fit does not know which that is: give decay a number"):
        small(kind, decay="linear").partial_fit(X, y, **more)


@pytest.fixture
def without_ranks(monkeypatch):
    """What is wrong is said before a rank is asked."""
    from asysvrg import base

    monkeypatch.setattr(base, "together", lambda wanted: contextlib.nullcontext())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"compress": "float16"}, "compress='float16' is for messages between ranks: backend='mpi'"),
        ({"servers": 2}, "servers=2 is for messages between ranks: backend='mpi'"),
        ({"servers": 0}, "servers == 0, must be >= 1"),
        ({"servers": 2, "max_delay": 3, "backend": "mpi"}, "max_delay=3 is kept by one server"),
    ],
)
@pytest.mark.usefixtures("without_ranks")
def test_parameters_of_ranks(given, message):
    with pytest.raises(ValueError, match=message):
        AsySVRGRegressor(**given).fit([[0.0], [1.0]], [0, 1])


def test_unknown_compression():
    with pytest.raises(ValueError, match=r"compress is one of None, float16; got 'zip'"):
        AsySVRGClassifier(compress="zip").fit([[0.0], [1.0]], [0, 1])


@pytest.mark.parametrize(
    ("name", "value"), [("coordinates", 5), ("update", "atomic"), ("deflation", 2), ("sampling", "importance")]
)
@pytest.mark.usefixtures("without_ranks")
def test_parameters_of_threads(name, value):
    with pytest.raises(ValueError, match=f"{name}={value!r} is for threads"):
        AsySVRGClassifier(backend="mpi", **{name: value}).fit([[0.0], [1.0]], [0, 1])
