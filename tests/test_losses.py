"""The regressor's losses: what each fits, and what it refuses."""

import numpy as np
import pytest
from sklearn.linear_model import HuberRegressor, PoissonRegressor

from asysvrg import AsySVRGClassifier, AsySVRGRegressor

rng = np.random.default_rng(0)
X = rng.standard_normal((400, 3))
LINE = X @ [1.0, -2.0, 0.5] + 3
HOW = {"alpha": 1e-6, "max_iter": 60, "tol": 0, "random_state": 0, "dtype": "float64", "n_jobs": 1}


def outliers():
    y = LINE + 0.1 * rng.standard_normal(400)
    y[::10] += 100
    return y


@pytest.mark.parametrize("loss", ["absolute_error", "huber"])
def test_outliers_move_the_line_little(loss):
    """A tenth of the targets is far off, which moves the line of squared errors by 10."""
    y = outliers()
    rate = {
        "solver": "sgd",
        "learning_rate_init": 0.3,
        "decay": "linear",
    }  # a rate that falls
    model = AsySVRGRegressor((), loss=loss, **rate, **HOW).fit(X, y)
    squared = AsySVRGRegressor((), **HOW).fit(X, y)
    assert np.abs(model.predict(X) - LINE).mean() < 0.5 < 5 < np.abs(squared.predict(X) - LINE).mean()


def test_huber_is_that_of_scikit_learn():
    """Its threshold is a multiple of a scale that is fitted, too; here the scale is 1, as are the residuals."""
    y = LINE + rng.standard_normal(400)
    ours = AsySVRGRegressor((), loss="huber", learning_rate_init=0.1, sgd_epochs=0, **HOW).fit(X, y)
    theirs = HuberRegressor(epsilon=1.0, alpha=0, tol=1e-8).fit(X, y)
    np.testing.assert_allclose(ours.coefs_[0].ravel(), theirs.coef_, atol=0.05)


def test_poisson_is_that_of_scikit_learn():
    y = rng.poisson(np.exp(0.3 * LINE - 1)).astype(float)
    ours = AsySVRGRegressor((), loss="poisson", solver="svrg", **HOW).fit(X, y)
    theirs = PoissonRegressor(alpha=1e-6, tol=1e-10).fit(X, y)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-2)
    assert ours.loss_ > 0


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error"])
@pytest.mark.parametrize("hidden", [(), (10,)], ids=str)
def test_units_of_the_targets_do_not_matter(loss, hidden):
    """Losses with a degree: scaled inside, in the objective's own units. l2 is next to nothing."""
    y = LINE + 0.1 * rng.standard_normal(400)
    how = HOW | {"alpha": 1e-12, "max_iter": 3}
    small, large = (AsySVRGRegressor(hidden, loss=loss, **how).fit(X, unit * y) for unit in (1e3, 1e6))
    ratio = 1e3 ** (2 if loss == "squared_error" else 1)
    for one, other in zip(small.history_["epochs"], large.history_["epochs"], strict=True):
        assert other["loss"] == pytest.approx(one["loss"] * ratio, rel=3e-2)
        assert other["train_error"] == pytest.approx(one["train_error"], rel=3e-2)


def test_negative_counts_are_refused(no_training):
    with pytest.raises(ValueError, match="loss='poisson' needs targets that are not negative; y has -1"):
        AsySVRGRegressor(loss="poisson").fit(X, np.where(LINE > 0, 1, -1))


def test_losses_of_real_targets_are_for_regressors(no_training):
    with pytest.raises(ValueError, match="loss='huber' is for regressors"):
        AsySVRGClassifier(loss="huber").fit(X, LINE > 0)
    with pytest.raises(ValueError, match="loss is one of squared_error, absolute_error, huber, poisson; got 'softmax'"):
        AsySVRGRegressor(loss="softmax").fit(X, LINE)
