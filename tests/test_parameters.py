"""The table of parameters: one entry is an argument, a default, a check, a paragraph of documentation."""

import contextlib
import inspect
import math
import pickle

import numpy as np
import pytest
from helpers.estimators import ESTIMATORS, data, equal, small
from sklearn.base import clone

from asysvrg import MPI, AsySVRGClassifier, AsySVRGRegressor
from asysvrg.core import memory, system
from asysvrg.core.directions import DIRECTIONS
from asysvrg.core.network import ACTIVATIONS
from asysvrg.kinds import entries
from asysvrg.parameters import Parameters
from asysvrg.settings import Settings, check


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


@pytest.mark.parametrize("wrap", [np.array, lambda value: np.array([value])[0]], ids=["0-d array", "scalar"])
def test_values_of_numpy_are_pythons(wrap):
    """Each parameter takes them, to the same settings."""
    given = {
        "hidden_layer_sizes": 5, "activation": "tanh", "alpha": 0.5, "alpha_boost": 2, "solver": "svrg",
        "batch_size": 7, "sampling": "shuffle", "learning_rate_init": 0.1, "decay": 1, "max_iter": 2, "inner_steps": 3,
        "sgd_epochs": 1, "deflation": 0, "coordinates": 9, "execution": "shared", "update": "atomic", "max_delay": 3,
        "cache_size": 1, "tol": 0.0, "n_iter_no_change": 2, "early_stopping": False, "validation_fraction": 0.2,
        "target_loss": 0.1, "max_time": 5, "resume": False, "label_smoothing": 0.1, "n_models": 2, "warm_start": True,
        "delay_adaptive": True, "n_jobs": 2, "random_state": 3, "verbose": True,
    }  # fmt: skip
    plain = check(AsySVRGClassifier(**given))
    wrapped = check(AsySVRGClassifier(**{name: wrap(value) for name, value in given.items()}))
    assert wrapped == plain
    assert MPI(servers=wrap(2), compress=wrap("float16"), wait=wrap("spin")) == MPI(2, "float16", "spin")


@pytest.mark.parametrize("verbose", [0, 2, np.int64(3), np.False_, np.True_])
def test_verbose_may_be_a_number(verbose, capsys):
    small(AsySVRGClassifier, (5,), verbose=verbose).fit(*data(AsySVRGClassifier))
    assert bool(capsys.readouterr().err) == bool(verbose)


@pytest.mark.parametrize("option", [{"decay": 1e300}, {"tol": 5e-324}, {"target_loss": -1e300}], ids=str)
def test_extreme_numbers_are_numbers(option):
    model = small(AsySVRGClassifier, (5,), solver="sgd", **option).fit(*data(AsySVRGClassifier))
    assert np.isfinite(model.loss_)
    assert model.stopped_ == "max_iter"


@pytest.mark.usefixtures("no_training")
def test_what_takes_more_memory_than_there_is_is_refused(monkeypatch):
    """Where a process is killed for it, an error comes too late."""
    monkeypatch.setattr("asysvrg.core.system.free_memory", lambda: 2.0**20)
    X, y = data(AsySVRGClassifier)
    for option, words in (
        ({"hidden_layer_sizes": (400, 400)}, r"hidden_layer_sizes=\(400, 400\): training takes at least 0.0 GB"),
        ({"inner_steps": 10**6}, "inner_steps=1000000: .* give a smaller inner_steps"),
        ({"hidden_layer_sizes": (1000,), "batch_size": 100, "solver": "sgd"}, "batch_size=100"),
    ):
        with pytest.raises(ValueError, match=words):
            small(AsySVRGClassifier, **option).fit(X, y)


def test_the_free_memory_is_known():
    assert system.free_memory() > 0
    assert memory.check({"n_jobs": (2, 1.0)}) is None


def test_a_batch_larger_than_the_data_is_all_of_them():
    X, y = data(AsySVRGClassifier)
    with pytest.warns(UserWarning, match="batch_size=2147483647 is more than the 120 different samples") as caught:
        model = small(AsySVRGClassifier, (5,), batch_size=2**31 - 1).fit(X, y)
    assert [w.filename for w in caught] == [__file__]
    assert equal(model, small(AsySVRGClassifier, (5,), batch_size=len(y)).fit(X, y))


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
    ({"hidden_layer_sizes": ""}, TypeError, "hidden_layer_sizes is a sequence of whole numbers"),
    ({"hidden_layer_sizes": {5, 4}}, TypeError, "hidden_layer_sizes"),
    ({"hidden_layer_sizes": (2**32, 2**32)}, ValueError, "hidden_layer_sizes"),
    ({"hidden_layer_sizes": (2**31 - 1, 2**31 - 1, 2**31 - 1)}, ValueError, "fewer than 2\\*\\*31"),
    ({"random_state": -1}, ValueError, "random_state is a whole number from 0 to 2\\*\\*32 - 1, .* got -1"),
    ({"random_state": "0"}, ValueError, "random_state"),
    ({"alpha": 10**400}, ValueError, "alpha is beyond the range of floats"),
    ({"max_time": 10**400}, ValueError, "max_time is beyond"),
    ({"max_time": float("nan")}, ValueError, "max_time is nan"),
    ({"inner_steps": 2**31 - 1}, ValueError, "inner_steps == 2147483647, must be <= 100000000"),
    ({"deflation": 128}, ValueError, "deflation == 128, must be <= 127"),
    ({"n_models": 10**9}, ValueError, "n_models == 1000000000, must be <= 10000"),
    ({"n_models": np.array([1, 2])}, TypeError, "n_models"),
    ({"coordinates": np.array([1, 2])}, TypeError, "coordinates"),
    ({"coordinates": "lines:" + "9" * 5000}, ValueError, "coordinates"),
    ({"coordinates": 10**6}, ValueError, "coordinates=1000000 of a network with .* give as many at most, or 'all'"),
    ({"coordinates": f"lines:{10**6}"}, ValueError, "coordinates=1000000 of a network with"),
    ({"backend": np.array(["mpi"])}, ValueError, "backend is one of"),
    ({"activation": np.array(["relu", "tanh"])}, ValueError, "activation is one of"),
    ({"dtype": np.array([1.0])}, ValueError, "dtype is float32 or float64"),
    ({"verbose": "yes"}, TypeError, "verbose is True, False or a whole number of at least 0; got 'yes'"),
    ({"verbose": -1}, TypeError, "verbose"),
    ({"n_jobs": True}, ValueError, "n_jobs is a number of threads, .* got True"),
    ({"n_jobs": np.True_}, ValueError, "n_jobs is a number of threads"),
    ({"n_jobs": "2"}, ValueError, "n_jobs is a number of threads"),
    ({"n_jobs": float("nan")}, ValueError, "n_jobs is a number of threads"),
    ({"n_jobs": 2**63}, ValueError, "n_jobs=9223372036854775808, but there are .* core.s., for which .* are the most"),
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
    with pytest.raises(ValueError, match=r"max_delay=3 needs one server, .* got servers=2"):
        AsySVRGRegressor(max_delay=3, backend=MPI(servers=2)).fit([[0.0], [1.0]], [0, 1])
    with pytest.raises(ValueError, match=r"delay_adaptive=True needs one server, .* got servers=2"):
        AsySVRGRegressor(delay_adaptive=True, backend=MPI(servers=2)).fit([[0.0], [1.0]], [0, 1])
    with pytest.raises(ValueError, match="delay_adaptive=True is for execution='shared'"):
        AsySVRGRegressor(delay_adaptive=True, execution="lockstep").fit([[0.0], [1.0]], [0, 1])
    with pytest.raises(ValueError, match="takes delay_adaptive=False; got True"):
        AsySVRGRegressor(delay_adaptive=True, solver="page").fit([[0.0], [1.0]], [0, 1])


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
