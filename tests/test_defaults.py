"""No tuning: the scaling inside, the automatic learning rate, and what the defaults reach."""

import joblib
import numpy as np
import pytest
from asysvrg.core.network import Network, Samples
from scipy import sparse
from sklearn.datasets import load_wine, make_friedman1
from sklearn.model_selection import train_test_split

from asysvrg import AsySVRGClassifier, AsySVRGRegressor, data
from asysvrg.core import cpu
from asysvrg.core.objective import Objective, initial_parameters
from asysvrg.core.scaling import choose
from asysvrg.core.smoothness import smoothness


def table(form, outputs=3, n=60, p=6):
    """Columns of very different size; targets far from zero."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, p)) * 10.0 ** np.arange(-1, p - 1)
    if form == "dense":
        X += 10.0 ** np.arange(p)
    else:
        X = sparse.csr_array(X * (rng.random((n, p)) < 0.5))
    return X, 300 * rng.normal(size=(n, outputs)) + 5000


@pytest.mark.parametrize("form", ["dense", "csr"])
@pytest.mark.parametrize("hidden", [(), (4,), (4, 3)], ids=str)
@pytest.mark.parametrize("loss", ["softmax", "squared"])
def test_scaling_changes_the_variables_and_not_the_objective(form, hidden, loss):
    X, y = table(form)
    if loss == "softmax":
        y = (np.arange(60) % 3).astype(np.int32)
    network = Network((6, *hidden, 3), "tanh", loss, np.float64)
    scaling = choose(X, y, 0.01)
    assert scaling.scale is not None
    x = initial_parameters(network, np.random.RandomState(1))
    inside = Objective(
        network, Samples(scaling.inputs(X), scaling.targets(y)), alpha=scaling.l2(0.01, network), threads=1,
        cache_bytes=0, unit=scaling.target_scale**2,
    )  # fmt: skip
    outside = Objective(network, Samples(X, y), alpha=0.01, threads=1, cache_bytes=0)
    raw = scaling.unscaled(network, x)
    assert not np.allclose(raw, x)
    assert inside.snapshot(x, keep_cache=False).loss == pytest.approx(outside.snapshot(raw, keep_cache=False).loss)
    np.testing.assert_allclose(scaling.scaled(network, raw), x, atol=1e-7)


def test_usual_data_are_left_alone():
    X = np.random.default_rng(0).random((50, 4))
    scaling = choose(X, X[:, :1], 1e-4)
    assert scaling.inputs(X) is X
    assert scaling.targets(X) is X
    assert scaling.target_scale == 1


def test_scales_stop_where_the_l2_term_rules():
    """A column of size 1e-9 gets an l2 weight that a learning rate can live with."""
    X, y = np.random.default_rng(0).normal(size=(50, 2)) * [100, 1e-9], np.zeros((50, 1))
    scaling = choose(X, y, 1e-4)
    assert scaling.l2(1e-4, Network((2, 1), "relu", "squared", np.float64)).max() <= 1.0001


def test_smoothness_is_the_largest_eigenvalue_of_a_batch():
    """Linear regression, every sample the same row: the Hessian is (a, 1)(a, 1)' + alpha on the weights."""
    row = np.array([1.0, 2.0, -1.0])
    network = Network((3, 1), "relu", "squared", np.float64)
    samples = Samples(np.tile(row, (10, 1)), np.ones((10, 1)))
    x = initial_parameters(network, np.random.RandomState(0))
    hessian = np.outer([*row, 1], [*row, 1]) + np.diag([0.5, 0.5, 0.5, 0])
    found = smoothness(network, samples, 0.5, x, 4, seed=0)
    assert found == pytest.approx(np.linalg.eigvalsh(hessian).max(), rel=1e-3)


def test_smoothness_of_a_flat_objective_is_positive():
    network = Network((3, 1), "relu", "squared", np.float32)
    samples = Samples(np.zeros((10, 3), np.float32), np.zeros((10, 1), np.float32), np.zeros(10, np.float32))
    assert smoothness(network, samples, 0.0, initial_parameters(network, np.random.RandomState(0)), 4, seed=0) == 1.0


def test_defaults_learn_unscaled_columns():
    X, y = load_wine(return_X_y=True)  # columns from 0.1 to 1,000
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)
    model = AsySVRGClassifier(random_state=0).fit(X_train, y_train)
    assert model.score(X_test, y_test) > 0.95
    assert model.history_["config"]["learning_rate"] > 0


def test_defaults_learn_targets_with_a_large_offset():
    X, y = make_friedman1(3000, noise=1.0, random_state=0)
    X_train, X_test, y_train, y_test = train_test_split(X, 50 * y + 1e5, random_state=0)
    model = AsySVRGRegressor(random_state=0).fit(X_train, y_train)
    assert model.score(X_test, y_test) > 0.9


def test_loss_is_reported_in_the_units_of_the_targets():
    X, y = make_friedman1(500, random_state=0)
    model = AsySVRGRegressor((8,), random_state=0, dtype="float64", alpha=0.1).fit(X, 1000 * y)
    squares = sum((W**2).sum() for W in model.coefs_)
    expected = ((model.predict(X) - 1000 * y) ** 2).mean() / 2 + 0.05 * squares
    assert model.loss_ == pytest.approx(expected, rel=1e-6)


def test_little_work_is_done_by_one_thread():
    X, y = load_wine(return_X_y=True)
    assert AsySVRGClassifier(max_iter=1, tol=0).fit(X, y).history_["config"]["threads"] == 1
    assert AsySVRGClassifier(max_iter=1, tol=0, n_jobs=2).fit(X, y).history_["config"]["threads"] == 2


def test_nested_jobs_share_the_cores():
    cores = joblib.cpu_count()
    counts = joblib.Parallel(n_jobs=2)(joblib.delayed(cpu.count)(None) for _ in range(2))
    assert counts == 2 * [max(1, cores // 2)]


def test_omp_num_threads_bounds_the_default_only(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert cpu.count(None) == 1
    assert cpu.count(3) == 3


@pytest.mark.slow
def test_defaults_on_mnist(data_home):
    sets = data.load("mnist", train_size=10_000, test_size=2_000)
    model = AsySVRGClassifier(alpha=1e-3, max_iter=40, target_loss=0.13, random_state=0)
    model.fit(sets.X_train, sets.y_train)
    assert model.stopped_ == "target_loss"
