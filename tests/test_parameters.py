"""The table of parameters: one entry is an argument, a default, a check, a paragraph of documentation."""

import contextlib
import inspect
import math
import pickle

import numpy as np
import pytest
from asysvrg.core.network import ACTIVATIONS
from helpers.estimators import ESTIMATORS, data, small
from sklearn.base import clone

from asysvrg import MPI, AsySVRGClassifier, AsySVRGRegressor
from asysvrg.core.directions import DIRECTIONS
from asysvrg.kinds import entries
from asysvrg.parameters import Parameters, Settings, check


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_an_entry_is_an_argument_and_a_paragraph(kind):
    arguments = inspect.signature(kind).parameters
    assert list(arguments) == list(entries(Parameters))
    assert "\n\n    Parameters\n    ----------\n" in kind.__doc__
    assert set(kind().get_params()) == set(arguments)
    for name, argument in arguments.items():
        kind_of_value = entries(Parameters)[name].kind.text
        default = f'"{argument.default}"' if isinstance(argument.default, str) else repr(argument.default)
        assert f"\n    {name} : {kind_of_value}, default={default}\n        " in kind.__doc__
    assert max(map(len, kind.__doc__.splitlines())) <= 120


def test_settings_are_checked_parameters_in_plain_types():
    given = {
        "hidden_layer_sizes": np.array([5, 4]), "alpha": np.float32(0.5), "batch_size": np.int32(7), "decay": 1,
        "early_stopping": np.True_, "coordinates": "lines:40", "dtype": np.float64, "cache_size": 2, "n_jobs": 1,
    }  # fmt: skip
    settings = check(AsySVRGClassifier(**given))
    assert isinstance(settings, Settings)
    found = {name: getattr(settings, name) for name in given}
    assert found == {
        "hidden_layer_sizes": (5, 4), "alpha": 0.5, "batch_size": 7, "decay": 1.0, "early_stopping": True,
        "coordinates": 40, "dtype": np.dtype("float64"), "cache_size": 2.0, "n_jobs": 1,
    }  # fmt: skip
    assert [type(found[name]) for name in ("alpha", "batch_size", "early_stopping")] == [float, int, bool]
    assert (settings.block, settings.cache_bytes, settings.threads, settings.threads_chosen) == (8, 2**21, 1, True)
    assert (settings.target_loss, settings.max_time, settings.backend) == (-math.inf, math.inf, "threads")
    with pytest.raises(AttributeError):
        settings.alpha = 1.0


@pytest.mark.parametrize(
    ("dtype", "coordinates", "expected"),
    [
        ("float32", "all", (0, 1)),
        ("float32", 9, (9, 1)),
        ("float32", "lines:9", (9, 16)),
        ("float64", "lines:9", (9, 8)),
    ],
)
def test_coordinates(dtype, coordinates, expected):
    settings = check(AsySVRGClassifier(coordinates=coordinates, dtype=dtype))
    assert (settings.coordinates, settings.block) == expected


@pytest.mark.parametrize(("backend", "expected"), [("mpi", MPI()), (MPI(servers=2), MPI(servers=2))])
def test_backend(backend, expected):
    """Options of ranks are one value, which goes wherever parameters go."""
    model = AsySVRGClassifier(backend=backend)
    settings = check(model)
    assert (settings.backend, settings.threads, settings.threads_chosen) == (expected, 1, True)
    assert clone(model).backend == pickle.loads(pickle.dumps(model)).backend == backend
    assert repr(backend).split("(")[0] in repr(model)


@pytest.mark.parametrize("name", ["block", "wait", "late", "compress", "servers"])
def test_old_names_are_unknown(name):
    with pytest.raises(TypeError, match=f"unexpected keyword argument '{name}'"):
        AsySVRGClassifier(**{name: 1})
    with pytest.raises(ValueError, match=f"Invalid parameter '{name}'"):
        AsySVRGClassifier().set_params(**{name: 1})


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
    ({"decay": "square"}, ValueError, "decay is a number or 'linear'; got 'square'"),
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
    ({"track_gradient_norm": 0}, ValueError, "track_gradient_norm"),
    ({"track_gradient_norm": 1.5}, TypeError, "track_gradient_norm"),
    ({"learning_rate_init": 0}, ValueError, "learning_rate_init"),
    ({"learning_rate_init": float("nan")}, ValueError, "learning_rate_init"),
    ({"learning_rate_init": None}, TypeError, "learning_rate_init"),
    ({"learning_rate_init": "best"}, ValueError, "learning_rate_init is a number or 'auto'; got 'best'"),
    ({"early_stopping": "yes"}, TypeError, "early_stopping"),
    ({"warm_start": 1}, TypeError, "warm_start"),
    ({"validation_fraction": 0}, ValueError, "validation_fraction"),
    ({"label_smoothing": -0.1}, ValueError, "label_smoothing"),
    ({"label_smoothing": 1}, ValueError, "label_smoothing"),
    ({"validation_fraction": 1.0}, ValueError, "validation_fraction"),
    ({"validation_fraction": float("nan")}, ValueError, "validation_fraction"),
    ({"class_weight": "heavy"}, ValueError, "class_weight"),
    ({"target_loss": "low"}, TypeError, "target_loss"),
    ({"target_loss": float("nan")}, ValueError, "target_loss"),
    ({"max_time": -1}, ValueError, "max_time"),
    ({"coordinates": 0}, ValueError, "coordinates"),
    ({"coordinates": 2.5}, TypeError, "coordinates"),
    ({"coordinates": "some"}, ValueError, "coordinates is 'all', a number of coordinates, or 'lines:' and a number"),
    ({"coordinates": "lines:"}, ValueError, "got 'lines:'"),
    ({"coordinates": "lines:0"}, ValueError, "coordinates == 0, must be >= 1"),
    ({"coordinates": "lines:-3"}, ValueError, "got 'lines:-3'"),
    ({"coordinates": f"lines:{10**20}"}, ValueError, "coordinates"),
    ({"execution": "serial"}, ValueError, "execution is one of auto, shared, lockstep; got 'serial'"),
    ({"execution": "lockstep", "coordinates": 9}, ValueError, "for updates of all coordinates; got coordinates=9"),
    ({"execution": "lockstep", "coordinates": "lines:9"}, ValueError, "got coordinates='lines:9'"),
    ({"execution": "lockstep", "update": "atomic"}, ValueError, "update='atomic' is for execution='shared'"),
    ({"update": "striped", "coordinates": 9}, ValueError, "coordinates='lines:9'; got coordinates=9"),
    ({"activation": "sine"}, ValueError, f"activation is one of {', '.join(ACTIVATIONS)}; got 'sine'"),
    ({"solver": "adam"}, ValueError, f"solver is one of None, {', '.join(DIRECTIONS)}; got 'adam'"),
    ({"loss": "hinge"}, ValueError, "loss is one of squared_error, .*; got 'hinge'"),
    ({"update": "wild"}, ValueError, "update is one of auto, plain, atomic, striped; got 'wild'"),
    ({"update": "plain", "n_jobs": 2, "execution": "shared"}, ValueError, "loses updates"),
    ({"backend": "gpu"}, ValueError, r"backend is one of threads, mpi, MPI\(...\); got 'gpu'"),
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

    monkeypatch.setattr(base.script, "open_session", lambda wanted: contextlib.nullcontext())


@pytest.mark.usefixtures("mpi", "without_ranks")
def test_several_servers_keep_no_bound_of_delays():
    with pytest.raises(ValueError, match=r"max_delay=3 is kept by one server, .* got servers=2"):
        AsySVRGRegressor(max_delay=3, backend=MPI(servers=2)).fit([[0.0], [1.0]], [0, 1])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("coordinates", 5), ("coordinates", "lines:5"), ("execution", "lockstep"), ("update", "atomic")],
        *[("deflation", 2), ("sampling", "importance")],
    ],
)
@pytest.mark.usefixtures("mpi", "without_ranks")
def test_parameters_of_threads(name, value):
    with pytest.raises(ValueError, match=f"{name}={value!r} is for threads"):
        AsySVRGClassifier(backend="mpi", **{name: value}).fit([[0.0], [1.0]], [0, 1])
