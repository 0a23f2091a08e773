"""Networks without biases: `fit_intercept=False`."""

import numpy as np
import pytest
from helpers.combinations import combinations
from helpers.estimators import data, equal
from helpers.problems import MODES, TOLERANCE, Problem, at_snapshot
from scipy import sparse
from sklearn.linear_model import LogisticRegression, Ridge

from asysvrg import AsySVRGClassifier, AsySVRGRegressor, load
from asysvrg.core.network import Network

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def without_biases(**setting):
    """A problem whose biases are zeros, for the kernels and for the twin."""
    problem = Problem(**setting)
    given, gradient = problem.network, problem.twin.mean_gradient
    problem.network = Network(
        given.widths, given.activation, given.loss, given.dtype, 0, given.smoothing, intercepts=False
    )
    biases = np.zeros(given.size, dtype=bool)
    for _, b in given.slices:
        biases[b] = True
    problem.x[biases] = 0
    problem.twin.mean_gradient = lambda *args, **more: np.where(biases, 0, gradient(*args, **more))
    return problem


def has_a_kernel(setting):
    """Lockstep is for all coordinates; the memory mode "striped" for lines of them, or for all."""
    coordinates, mode = setting["coordinates"], setting["mode"]
    return not coordinates[0] or (mode != "lockstep" and not (mode == "striped" and coordinates[1] == 1))


@combinations(
    has_a_kernel,
    mode=list(MODES),
    coordinates=[(0, 1), (30, 1), (64, 8)],
    form=["dense", "zeros", "csr"],
    hidden=[(), (7,), (19, 6)],
    direction=["sgd", "svrg", "svrg-uncached"],
    dtype=[np.float64, np.float32],
)
def test_inner_loop_against_the_twin(setting):
    mode, (coordinates, block), direction = (setting.pop(name) for name in ("mode", "coordinates", "direction"))
    problem = without_biases(**setting)
    given = at_snapshot(problem, direction)
    x = problem.vector(problem.x)
    loop = problem.inner_loop(coordinates, block, **MODES[mode])
    loop.run(x, 25, eta=0.05, epoch=2, **given)
    wanted = problem.twin.epoch(given["direction"], problem.x, 25, 0.05, 4, coordinates, block, 7, 2)
    tolerance = TOLERANCE[setting["dtype"]]
    np.testing.assert_allclose(x, wanted, rtol=tolerance, atol=tolerance)
    assert all((b == 0).all() for _, b in problem.network.layers(x))
    assert abs(x - problem.x).max() > 1e-3


@pytest.mark.parametrize("form", ["dense", "zeros", "csr"])
def test_lazy_rows_and_the_direction_as_a_vector(form):
    problem = without_biases(form=form, density=0.05, hidden=(6,))
    given = at_snapshot(problem, "svrg")
    v = problem.vector()
    problem.inner_loop().direction(problem.vector(problem.x), v, 3, epoch=2, **given)
    assert all((b == 0).all() for _, b in problem.network.layers(v))
    if form != "dense":
        x = problem.vector(problem.x)
        problem.inner_loop(lazy_rows=True).run(x, 25, eta=0.05, epoch=2, **given)
        wanted = problem.twin.epoch("svrg", problem.x, 25, 0.05, 4, 0, 1, 7, 2)
        np.testing.assert_allclose(x, wanted, rtol=1e-10, atol=1e-10)


WAYS = [
    {},
    {"solver": "svrg"},
    {"solver": "lsvrg"},
    {"solver": "page"},
    {"solver": "svrg", "deflation": 3},
    {"solver": "svrg", "n_jobs": 2, "execution": "shared"},
    {"solver": "svrg", "n_jobs": 2, "execution": "lockstep"},
    {"solver": "svrg", "coordinates": "lines:8", "max_iter": 200},
]


@pytest.mark.parametrize("form", ["dense", "csr"])
@pytest.mark.parametrize("options", WAYS, ids=str)
def test_optimum_is_that_of_scikit_learn(options, form):
    """Columns and targets have means far from 0, which nothing may subtract."""
    if form == "csr" and "deflation" in options:
        pytest.skip("for dense input")
    X, y = data(AsySVRGRegressor, outputs=1)
    X, y = X + 2, y + 30
    usual = {"alpha": 0.1, "fit_intercept": False, "tol": 0, "random_state": 0, "dtype": "float64", "max_iter": 60}
    model = AsySVRGRegressor((), **usual | options).fit(sparse.csr_array(X) if form == "csr" else X, y)
    wanted = Ridge(alpha=0.1 * len(y), fit_intercept=False).fit(X, y)
    exact = options.get("solver") is not None
    np.testing.assert_allclose(model.predict(X), wanted.predict(X), rtol=1e-4 if exact else 0.05, atol=0.05)
    assert (model.intercepts_[0] == 0).all()


def test_optimum_of_two_classes():
    """As in benchopt's benchmark of l2 logistic regression: the difference of two outputs' weights."""
    X, y = data(AsySVRGClassifier, outputs=2)
    options = {"solver": "svrg", "tol": 0, "max_iter": 60, "dtype": "float64", "random_state": 0}
    model = AsySVRGClassifier((), alpha=2 * 0.01, fit_intercept=False, **options).fit(X, y)
    wanted = LogisticRegression(C=1 / (0.01 * len(y)), fit_intercept=False, tol=1e-10).fit(X, y)
    np.testing.assert_allclose(model.coefs_[0][:, 1] - model.coefs_[0][:, 0], wanted.coef_[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [AsySVRGClassifier, AsySVRGRegressor])
@pytest.mark.parametrize("options", [{}, {"n_models": 2}, {"scale": "robust-clip"}, {"solver": "svrg"}], ids=str)
def test_biases_stay_zero(kind, options, tmp_path):
    X, y = data(kind, outputs=3)
    X = 100 * X + 1e4  # scaled internally
    y = y if kind is AsySVRGClassifier else y + 1e6
    model = kind((8, 5), fit_intercept=False, max_iter=3, random_state=0, **options).fit(X, y)
    model.save(tmp_path / "model.npz")
    again = load(tmp_path / "model.npz")
    assert equal(again, model)
    for one in (model, again):
        members = getattr(one, "estimators_", [one])
        assert not any(b.any() for member in members for b in member.intercepts_)
    if "n_models" not in options:
        again.partial_fit(X, y)
        assert not any(b.any() for b in again.intercepts_)
        assert not equal(again, model)
        np.testing.assert_array_equal(again.partial_fit(X, y).n_iter_, 5)


def test_a_warm_start_does_not_change_it():
    X, y = data(AsySVRGClassifier)
    model = AsySVRGClassifier((5,), max_iter=2, warm_start=True, random_state=0).fit(X, y)
    with pytest.raises(ValueError, match="warm_start needs the fit_intercept of the fit before, True; got False"):
        model.set_params(fit_intercept=False).fit(X, y)


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    X, y = data(AsySVRGClassifier)
    options = {"max_iter": 2, "random_state": 0, "checkpoint_dir": tmp_path}
    AsySVRGClassifier((5,), **options).fit(X, y)
    with pytest.raises(ValueError, match="fit_intercept"):
        AsySVRGClassifier((5,), fit_intercept=False, resume=True, **options).fit(X, y)


def test_wrong_type():
    X, y = data(AsySVRGClassifier)
    with pytest.raises(TypeError, match="fit_intercept is True or False; got 1"):
        AsySVRGClassifier(fit_intercept=1).fit(X, y)


def test_a_network_keeps_it():
    network = Network((3, 4, 2), "relu", "softmax", np.float64, intercepts=False)
    function, values = network.__reduce__()
    for one in (function(*values), network.changed(smoothing=0.1), network.changed(dtype=np.float32)):
        assert not one.intercepts
    assert Network((3, 4, 2), "relu", "softmax", np.float64).intercepts
