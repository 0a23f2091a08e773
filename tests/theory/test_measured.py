"""L of Assumption 3, where it is known or can be computed."""

import numpy as np
import pytest
from helpers.estimators import data, small
from helpers.twin import Twin, l2_of_coordinates
from scipy import sparse

from asysvrg import AsySVRGClassifier, AsySVRGRegressor, theory


def hessian(twin, x):
    """By central differences of the twin's gradient."""
    step = 1e-5 * np.eye(x.size)
    found = np.array([twin.gradient(x + h) - twin.gradient(x - h) for h in step]) / 2e-5
    return (found + found.T) / 2


def of_linear_regression(X, alpha, weight=None):
    """The Hessian, where x is the weights and then the bias."""
    A = np.c_[X, np.ones(len(X))]
    return A.T @ (A * (np.ones(len(X)) if weight is None else weight / np.mean(weight))[:, None]) / len(X) + np.diag(
        [alpha] * X.shape[1] + [0]
    )


def vector(model):
    return np.concatenate([np.r_[W.ravel(), b] for W, b in zip(model.coefs_, model.intercepts_, strict=True)])


@pytest.mark.parametrize("form", ["dense", "csr"])
@pytest.mark.parametrize("weighted", [False, True])
def test_linear_regression(form, weighted):
    X, y = data(AsySVRGRegressor, n=90, p=4, outputs=1)
    weight = np.random.default_rng(1).uniform(0.1, 3, len(X)) if weighted else None
    exact = np.linalg.eigvalsh(of_linear_regression(X, 0.2, weight)).max()
    given = sparse.csr_array(X) if form == "csr" else X
    options = {"alpha": 0.2, "track_gradient_norm": 2, "solver": "svrg", "early_stopping": False}
    for dtype in ("float32", "float64"):
        model = small(AsySVRGRegressor, (), dtype=dtype, **options).fit(given, y, weight)
        assert theory.smoothness_of(model, given, y, sample_weight=weight) == pytest.approx(exact, rel=1e-3)
        rows = model.history_["epochs"]
        assert rows[0]["smoothness"] is None
        for row in rows[1:]:  # everywhere the same
            assert row["smoothness"] == pytest.approx(exact, rel=0.05)


@pytest.mark.parametrize(
    ("kind", "hidden", "activation"),
    [(AsySVRGClassifier, (), "relu"), (AsySVRGClassifier, (4,), "tanh"), (AsySVRGRegressor, (3, 2), "logistic")],
)
def test_hessian_at_the_fitted_parameters(kind, hidden, activation):
    X, y = data(kind, n=70, p=4, outputs=3)
    model = small(kind, hidden, activation=activation, alpha=0.05, dtype="float64", max_iter=20).fit(X, y)
    loss = "softmax" if kind is AsySVRGClassifier else "squared_error"
    twin = Twin((4, *hidden, 3), activation, loss, X, model._encode_known(y, "y"), alpha=0.05)
    exact = np.abs(np.linalg.eigvalsh(hessian(twin, vector(model)))).max()
    assert theory.smoothness_of(model, X, y) == pytest.approx(exact, rel=5e-3)
    if not hidden:  # a sample's Hessian is (diag(p) - p p') x (1, a)(1, a)', and the first factor at most 1/2
        assert exact <= (1 + (X**2).sum(1)).max() / 2 + 0.05


def test_mini_batches_of_one_sample():
    """All samples have the same norm: f_i has L = |(1, a)|^2 without an l2 term, and the whole objective less."""
    X, y = data(AsySVRGRegressor, n=50, p=5, outputs=1)
    X = np.random.default_rng(0).normal(size=X.shape)
    X *= 3 / np.linalg.norm(X, axis=1)[:, None]
    model = small(AsySVRGRegressor, (), alpha=0.0, track_gradient_norm=1, batch_size=1).fit(X, y)
    assert theory.smoothness_of(model, X, y, batch_size=1) == pytest.approx(10, rel=1e-3)
    assert model.history_["epochs"][-1]["batch_smoothness"] == pytest.approx(10, rel=1e-2)
    whole = theory.smoothness_of(model, X, y)
    assert whole == pytest.approx(np.linalg.eigvalsh(of_linear_regression(X, 0)).max(), rel=1e-3)
    assert whole < theory.smoothness_of(model, X, y, batch_size=5) < 10


def test_a_flat_objective():
    model = small(AsySVRGRegressor, (), alpha=0.0, loss="absolute_error").fit(np.eye(4), np.arange(4.0) + 50)
    assert theory.smoothness_of(model, np.eye(4), np.arange(4.0) + 50) == 0.0


def test_what_it_refuses():
    X, y = data(AsySVRGClassifier)
    with pytest.raises(ValueError, match="needs a fitted model: call fit first"):
        theory.smoothness_of(AsySVRGClassifier(), X, y)
    model = small(AsySVRGClassifier, (3,)).fit(X, y)
    with pytest.raises(ValueError, match="batch_size is a whole number of at least 1; got 0"):
        theory.smoothness_of(model, X, y, batch_size=0)
    with pytest.raises(ValueError, match="X has 119 samples, y has 120"):
        theory.smoothness_of(model, X[1:], y)
    with pytest.raises(ValueError, match="give it one of"):
        theory.smoothness_of(small(AsySVRGClassifier, (3,), n_models=2).fit(X, y), X, y)


def test_the_l2_term_of_a_fitted_model_counts():
    X, y = data(AsySVRGClassifier)
    model = small(AsySVRGClassifier, (), alpha=100.0, learning_rate_init=1e-3).fit(X, y)
    assert theory.smoothness_of(model, X, y) == pytest.approx(100, rel=0.1)
    assert l2_of_coordinates((11, 4), 100.0)[0] == 100
