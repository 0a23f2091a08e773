"""What the defaults reach without tuning."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import load_wine, make_classification, make_friedman1
from sklearn.model_selection import train_test_split

from asysvrg import AsySVRGClassifier, AsySVRGRegressor, data


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


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize("n", [300, 10_000])
def test_an_int_as_random_state_is_the_same_model_at_any_n_jobs(n, form):
    """Bit by bit, with preconditioner, importance sampling and early stopping, too."""
    X, y = make_classification(n, 30, n_informative=12, n_classes=4, random_state=0)
    X = form(X * (abs(X) > 0.5))
    fits = [
        AsySVRGClassifier((20, 10), random_state=0, max_iter=3, n_jobs=jobs).fit(X, y) for jobs in (1, 2, 3, 8, None, 2)
    ]
    for other in fits[1:]:
        for one, same in zip(fits[0].coefs_ + fits[0].intercepts_, other.coefs_ + other.intercepts_, strict=True):
            np.testing.assert_array_equal(one, same)
        np.testing.assert_array_equal(fits[0].predict_proba(X), other.predict_proba(X))


def test_little_work_is_done_by_one_thread():
    X, y = load_wine(return_X_y=True)
    how = {"max_iter": 1, "tol": 0, "execution": "shared"}
    assert AsySVRGClassifier(**how).fit(X, y).history_["config"]["threads"] == 1
    assert AsySVRGClassifier(**how, n_jobs=2).fit(X, y).history_["config"]["threads"] == 2


@pytest.mark.slow
def test_defaults_on_mnist(data_home):
    sets = data.load("mnist", train_size=10_000, test_size=2_000)
    model = AsySVRGClassifier(alpha=1e-3, max_iter=40, target_loss=0.13, random_state=0)
    model.fit(sets.X_train, sets.y_train)
    assert model.stopped_ == "target_loss"
