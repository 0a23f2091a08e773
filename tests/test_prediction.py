"""Predictions: parameters are read in place and never stale, few rows wake no threads, any number of rows agrees."""

import copy
import os
import pickle
import threading

import numpy as np
import pytest
from helpers.estimators import ESTIMATORS, data, forward, python, small
from scipy import sparse

from asysvrg import AsySVRGClassifier, load
from asysvrg.core import cpu
from asysvrg.plan import LEAST_PREDICTION, suits_threads
from asysvrg.prediction import viewed

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def is_viewed(model):
    return viewed(model._network, model.coefs_, model.intercepts_) is not None


def raw(model, X):
    return model.predict_proba(X) if hasattr(model, "predict_proba") else model.predict(X)


def check(model, X, dtype):
    """Against NumPy, from `coefs_` and `intercepts_` alone."""
    tol = 1e-12 if dtype == "float64" else 1e-5
    np.testing.assert_allclose(raw(model, X), forward(model, X), rtol=tol, atol=10 * tol)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("hidden", [(), (5,), (70, 19)], ids=str)
@pytest.mark.parametrize("kind", ESTIMATORS)
def test_changed_parameters_count(kind, hidden, dtype):
    X, y = data(kind, n=200)
    model = small(kind, hidden, dtype=dtype).fit(X, y)
    assert is_viewed(model)
    for rows in (1, 200):
        model.coefs_[0][0] += 1
        model.intercepts_[-1][:] -= [0.5, 0, 0.25, -1]
        check(model, X[:rows], dtype)
    assert is_viewed(model)  # in place
    changes = [
        lambda W: W + 1,
        lambda W: np.asfortranarray(W / 2),
        lambda W: W.astype("float64" if dtype == "float32" else "float32"),
        lambda W: np.repeat(W, 2, axis=0)[::2],
    ]
    for change in changes:
        other = copy.deepcopy(model)
        assert is_viewed(other)
        other.coefs_[-1] = change(other.coefs_[-1])
        assert not is_viewed(other)
        check(other, X[:1], dtype)
        other.coefs_[-1][:] /= 3
        check(other, X[:1], dtype)
    model.intercepts_ = [b.copy() for b in model.intercepts_]
    assert not is_viewed(model)
    model.intercepts_[0][:] = 2
    check(model, X, dtype)
    model.coefs_[0] = np.zeros((3, 3))
    with pytest.raises(ValueError, match="could not broadcast"):
        model.predict(X)


def test_views_of_another_vector_or_layer_count():
    X, y = data(ESTIMATORS[0])
    model, other = (small(ESTIMATORS[0], (4, 4), random_state=state).fit(X, y) for state in (0, 1))
    model.coefs_[1] = other.coefs_[1]
    assert not is_viewed(model)
    check(model, X[:2], "float32")
    other.coefs_[1], other.coefs_[2] = other.coefs_[2], other.coefs_[1]  # of the same shape and vector
    assert not is_viewed(other)
    check(other, X[:2], "float32")


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_copies_and_files_predict_the_same_bits(kind, tmp_path):
    X, y = data(kind, n=200)
    model = small(kind, (70, 19)).fit(X, y)
    model.save(tmp_path / "model.npz")
    copies = [pickle.loads(pickle.dumps(model, protocol)) for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)]
    for other in [*copies, copy.copy(model), copy.deepcopy(model), load(tmp_path / "model.npz")]:
        assert is_viewed(other)
        for rows in (1, 31, 200):
            np.testing.assert_array_equal(raw(other, X[:rows]), raw(model, X[:rows]))
    held = copies[0].coefs_[0]
    copies[0].predict(X[:1])
    held[:] = 0
    check(copies[0], X[:1], "float32")
    assert raw(model, X).any()  # of its own arrays


def test_an_estimator_that_is_not_fitted_is_copied():
    model = pickle.loads(pickle.dumps(small(ESTIMATORS[0], (4,))))
    assert not hasattr(model, "coefs_")


@pytest.mark.parametrize("n_jobs", [1, 3])
@pytest.mark.parametrize("form", ["dense", "csr"])
@pytest.mark.parametrize("kind", ESTIMATORS)
def test_any_number_of_rows(kind, form, n_jobs, monkeypatch):
    monkeypatch.setattr("asysvrg.plan.LEAST_PREDICTION", 1)
    X, y = data(kind, n=200, form=form)
    model = small(kind, (70, 19), n_jobs=n_jobs).fit(X, y)
    expected = raw(model, X)
    alone = np.concatenate([raw(model, X[k : k + 1]) for k in range(70)])
    for rows in range(1, 71):
        found = raw(model, X[:rows])
        np.testing.assert_allclose(found, expected[:rows], rtol=1e-5, atol=1e-5 * abs(expected).max())
        np.testing.assert_array_equal(found, alone[:rows])
    with pytest.raises(ValueError, match="0 sample"):
        model.predict(X[:0])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("hidden", [(), (16,), (100,), (150,)], ids=str)
def test_the_bits_of_a_sparse_row_do_not_depend_on_longer_ones(hidden, dtype):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 900)) * (rng.random((60, 900)) < np.linspace(0.2, 1, 60)[:, None])
    X, y = sparse.csr_array(X), np.arange(60) % 12
    model = small(ESTIMATORS[0], hidden, dtype=dtype, max_iter=1).fit(X, y)
    alone = np.concatenate([raw(model, X[k : k + 1]) for k in range(60)])
    np.testing.assert_array_equal(raw(model, X), alone)


@pytest.mark.parametrize(
    ("rows", "products", "several"),
    [(1, 10 * LEAST_PREDICTION, False), (2, LEAST_PREDICTION - 1, False), (2, LEAST_PREDICTION, True)],
)
def test_threads_of_a_prediction(rows, products, several):
    assert suits_threads(rows, products) == several


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
def test_few_rows_look_at_no_thread_pool(form, monkeypatch):
    X, y = data(ESTIMATORS[0])
    model = small(ESTIMATORS[0], (8,), n_jobs=-1).fit(X, y)
    expected = raw(model, form(X[:5]))

    def refuse(*arguments):
        raise AssertionError("thread pools are not for a few rows")

    monkeypatch.setattr(cpu, "count", refuse)
    monkeypatch.setattr(cpu, "one_blas_thread", refuse)
    np.testing.assert_array_equal(raw(model, form(X[:5])), expected)


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="counts this process's threads in /proc")
def test_one_row_starts_no_thread(tmp_path):
    """In a new process that only predicts. OpenBLAS's own threads, which it starts when it is loaded, do not count."""
    X, y = data(ESTIMATORS[0])
    small(ESTIMATORS[0], (8,)).fit(X, y).save(tmp_path / "model.npz")
    result = python(
        """
        import os, sys
        import numpy as np
        import asysvrg
        model = asysvrg.load(sys.argv[1]).set_params(n_jobs=4)
        threads = lambda: len(os.listdir("/proc/self/task"))
        before = threads()
        for rows in (1, 10, 100, 300):
            model.predict(np.ones((rows, 11)))
        print(threads() - before)
        """,
        str(tmp_path / "model.npz"),
    )
    assert result.stdout == "0\n", result.stderr


def test_python_threads_predict_at_the_same_time():
    X, y = data(ESTIMATORS[0], n=200)
    model = pickle.loads(pickle.dumps(small(ESTIMATORS[0], (70,)).fit(X, y)))
    expected, wrong = {rows: raw(model, X[:rows]) for rows in (1, 7, 200)}, []

    def predict():
        for _ in range(50):
            wrong.extend(rows for rows, found in expected.items() if (raw(model, X[:rows]) != found).any())

    workers = [threading.Thread(target=predict) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


# Values so large that sums overflow. Their size differs from column to column, so that sums are of both signs.

LARGE = (np.random.RandomState(0).uniform(-1, 1, (150, 12)) * 3.3e38).astype(np.float32)


@pytest.mark.parametrize("rows", [1, 150])
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize("hidden", [(), (7, 5)], ids=str)
@pytest.mark.parametrize("kind", ESTIMATORS)
def test_sums_that_float32_cannot_hold(kind, hidden, form, rows):
    """They would be NaN, of which relu makes a zero. Other rows keep their bits."""
    X, y = data(kind, n=200)
    model = small(kind, hidden).fit(X, y)
    usual = X[:rows].astype(np.float32)
    both = np.concatenate([usual, LARGE[:rows, : X.shape[1]]])
    found, expected = raw(model, form(both)), raw(model, form(usual))
    exact = forward(model, both.astype(np.float64))
    np.testing.assert_allclose(found, exact, rtol=1e-3, atol=1e-5)
    if rows == 1:
        np.testing.assert_array_equal(found[:1].astype(np.float32), expected.astype(np.float32))
    if hasattr(model, "predict_log_proba"):
        assert not np.isnan(model.predict_log_proba(form(both))).any()


def test_sums_that_float64_cannot_hold():
    X, y = data(AsySVRGClassifier, n=200)
    model = small(AsySVRGClassifier, (7,), dtype="float64").fit(X, y)
    X = X.copy()
    X[3, 2] = -1.7e308
    model.coefs_[0][2] = 100
    for form in (np.asarray, sparse.csr_matrix):
        with pytest.raises(ValueError, match=r"too large for this network, such as -1\.7e\+308 in column 2: give"):
            model.predict_proba(form(X))
    model.coefs_[0][2] = np.nan
    with pytest.raises(ValueError, match="coefs_ or intercepts_ have values that are too large, or not finite"):
        model.predict(X[:1])
