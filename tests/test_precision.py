"""What float32 cannot hold: targets far from zero, columns far from zero, thousands of probabilities, odd weights."""

import pickle
import warnings

import numpy as np
import pytest
from helpers.estimators import small
from scipy import sparse
from sklearn.base import clone
from sklearn.metrics import log_loss, roc_auc_score

from asysvrg import AsySVRGClassifier, AsySVRGRegressor, load, precision
from asysvrg.core.network import Network, Samples
from asysvrg.prediction import viewed

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(400, 4))
SIGNAL = X @ [1, 2, 3, 4.0]
FAR = 1.7e9


def linear(**options):
    return AsySVRGRegressor((), n_jobs=1, random_state=0, **options)


# Targets.


@pytest.fixture(scope="module")
def far():
    return linear().fit(X, SIGNAL + FAR, X_val=X, y_val=SIGNAL + FAR)


@pytest.mark.parametrize("offset", [1e7, 1e8, FAR, -1e12])
@pytest.mark.parametrize("options", [{}, {"loss": "huber"}, {"loss": "absolute_error"}, {"n_models": 2}], ids=str)
def test_an_offset_of_the_targets_costs_nothing(offset, options):
    near, model = linear(**options).fit(X, SIGNAL), linear(**options).fit(X, SIGNAL + offset)
    assert model.score(X, SIGNAL + offset) == pytest.approx(near.score(X, SIGNAL), abs=1e-6)
    assert model.loss_ == pytest.approx(near.loss_, rel=0.2)
    assert (model.intercepts_[-1].dtype, near.intercepts_[-1].dtype) == (np.float64, np.float32)
    assert model.intercepts_[-1] == pytest.approx(offset, abs=5)  # in the units of the targets


def test_errors_and_layers_of_a_model_far_from_zero(far):
    row = far.history_["epochs"][-1]
    assert row["train_error"] == pytest.approx(1 - far.score(X, SIGNAL + FAR), rel=1e-3)
    assert row["test_error"] == pytest.approx(row["train_error"], rel=1e-3)
    np.testing.assert_allclose(X @ far.coefs_[0] + far.intercepts_[0], far.predict(X)[:, None], atol=1e-5)
    assert far.predict(X.astype("f")).dtype == np.float64
    stopped = linear(early_stopping=True).fit(X, SIGNAL + FAR)
    assert stopped.history_["epochs"][-1]["validation_error"] < 1e-3


def test_several_targets_and_a_constant_one():
    Y = np.stack([SIGNAL + FAR, SIGNAL, 0 * SIGNAL + FAR, SIGNAL - 1e7], axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = linear().fit(X, Y)
    assert model.score(X, Y) > 0.99
    np.testing.assert_allclose(model.predict(X)[:, 2], FAR, rtol=0, atol=0.1)


def test_files_pickles_and_other_libraries_keep_the_offset(far, tmp_path):
    far.save(tmp_path / "model.npz")
    saved = load(tmp_path / "model.npz")
    for other in (saved, pickle.loads(pickle.dumps(far))):
        np.testing.assert_array_equal(other.predict(X), far.predict(X))
        assert viewed(other._network, other.coefs_, other.intercepts_, apart=True) is not None
        other.intercepts_[-1] += 3  # in place, and a new array
        np.testing.assert_allclose(other.predict(X) - far.predict(X), 3, atol=1e-6)
        other.intercepts_[-1] = other.intercepts_[-1] - 3
        np.testing.assert_array_equal(other.predict(X), far.predict(X))
    np.testing.assert_allclose(far.to_sklearn().predict(X), far.predict(X), atol=1e-5)
    several = linear(n_models=2, max_iter=2).fit(X, SIGNAL + FAR)
    several.save(tmp_path / "model.npz")
    np.testing.assert_array_equal(load(tmp_path / "model.npz").predict(X), several.predict(X))


def test_a_user_may_give_the_last_biases_in_float64():
    model = linear().fit(X, SIGNAL)
    model.intercepts_[-1] = model.intercepts_[-1] + np.array([FAR])
    assert model.score(X, SIGNAL + FAR) > 0.99


def test_further_fits_keep_the_offset(far):
    parts = small(AsySVRGRegressor, (), learning_rate_init="auto")
    near = clone(parts)
    for first in range(0, 400, 40):
        part = slice(first, first + 40)
        parts.partial_fit(X[part], SIGNAL[part] + FAR)
        near.partial_fit(X[part], SIGNAL[part])
    assert parts.score(X, SIGNAL + FAR) == pytest.approx(near.score(X, SIGNAL), abs=0.02)
    again = pickle.loads(pickle.dumps(far)).set_params(warm_start=True, learning_rate_init=1e-3)
    again.fit(X, SIGNAL + FAR)
    assert again.history_["epochs"][0]["train_error"] == pytest.approx(1 - far.score(X, SIGNAL + FAR), rel=0.05)
    one = linear().partial_fit(X[:1], SIGNAL[:1] + FAR)  # a single sample has no spread
    assert abs(one.predict(X[:1]) - FAR) < 100


def test_a_resumed_run_has_the_same_offset(tmp_path):
    model = linear(checkpoint_dir=tmp_path, resume=True, decay=0.0)
    model.fit(X, SIGNAL + FAR, callback=lambda row: row["epoch"] == 3)
    whole = linear(decay=0.0).fit(X, SIGNAL + FAR)
    np.testing.assert_array_equal(model.fit(X, SIGNAL + FAR).predict(X), whole.predict(X))
    with pytest.raises(ValueError, match="y has other values"):
        model.fit(X, SIGNAL + FAR + 2**20)


def test_ranks_with_samples_of_their_own_agree_on_the_offset():
    y = (SIGNAL + FAR)[:, None]
    each = [precision.moments(part) for part in (y[:100], y[100:150] + 3, y[150:])]
    center = precision.center_of(each)
    assert center == pytest.approx(np.concatenate([y[:100], y[100:150] + 3, y[150:]]).mean())
    assert precision.center_of([precision.moments(SIGNAL[:, None] + 1000)]) is None
    constants = [precision.moments(np.full((3, 1), at)) for at in (0.0, FAR)]
    assert precision.center_of(constants) is None  # they vary from rank to rank


def test_targets_that_cannot_be_held():
    with pytest.raises(
        ValueError, match=r"y has values of up to [\d.]+e\+40, which float32 cannot hold: give dtype='float64'"
    ):
        linear().fit(X, SIGNAL * 1e39)
    for dtype in ("float32", "float64"):
        with pytest.raises(ValueError, match=r"y has values of up to [\d.]+e\+301, .* add up: give smaller units$"):
            linear(dtype=dtype).fit(X, SIGNAL * 1e300)
    assert linear(dtype="float64").fit(X, SIGNAL * 1e140).score(X, SIGNAL * 1e140) > 0.9
    linear().fit(X, SIGNAL.astype(np.float32))  # without a warning
    with pytest.warns(UserWarning, match="float32 cannot hold the differences within y"):
        linear(loss="poisson", max_iter=1).fit(X, SIGNAL + FAR)  # its link is a logarithm: no offset


# Inputs.


def far_column(X, at=FAR):
    X = X.copy()
    X[:, 2] += at
    return X


def frame(X):
    return pytest.importorskip("pandas").DataFrame(X, columns=["a", "b", "time", "d"])


@pytest.mark.parametrize(
    ("form", "named"),
    [
        (np.asarray, "column 2, values near 1.7e"),
        (frame, r"column 2 \('time'\)"),
        (np.ndarray.tolist, "column 2,"),
        (sparse.csc_array, "column 2,"),
        (lambda X: (X * 100).astype(np.int64), "column 2,"),
        (lambda X: (X - [0, 0, FAR - 1e6, 0]).astype("f"), "column 2,"),
        (lambda X: X * 1e-44, "column 0,.*column 1"),
    ],
)
def test_columns_that_float32_cannot_hold_are_named(form, named):
    given = form(far_column(X))
    with pytest.warns(UserWarning, match=f"float32 cannot hold .*{named}.*give dtype='float64'") as told:
        linear(max_iter=1, n_models=2).fit(given, SIGNAL)
    assert len(told) == 1


@pytest.mark.parametrize("remedy", [{"dtype": "float64"}, {"scale": "robust-clip"}], ids=str)
def test_the_remedies_help(remedy):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = AsySVRGRegressor((20,), n_jobs=1, random_state=0, max_iter=40, **remedy)
        model.fit(far_column(X), SIGNAL, X_val=far_column(X), y_val=SIGNAL)
    assert model.score(far_column(X), SIGNAL) > 0.98
    assert model.history_["epochs"][-1]["test_error"] < 0.02


def test_usual_columns_raise_no_alarm():
    n = 3000
    rare = np.zeros(n)
    rare[5] = 1e6
    year, day = 1990 + RNG.integers(0, 30, n), FAR + 86_400 * RNG.integers(0, 365, n)
    usual = np.stack([rare, year, day, np.full(n, FAR), RNG.lognormal(0, 10, n), 1e9 * RNG.random(n), np.ones(n)], 1)
    late = np.where(np.arange(n) < n - 3, 1e8, 2e8)  # most rows alone are constant
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for some in (usual, sparse.csr_array(usual), np.c_[usual, late], usual[:1], np.zeros((3, 2))):
            precision.look_at(some, None)


def test_constant_columns_of_any_size_change_nothing():
    plain = linear().fit(np.c_[5 * X, np.ones(400)], SIGNAL)
    for size in (1e7, FAR, 1e20):
        model = linear().fit(np.c_[5 * X, np.full(400, size)], SIGNAL)
        assert model.score(np.c_[5 * X, np.full(400, size)], SIGNAL) > 0.999
        np.testing.assert_allclose(model.coefs_[0][:4], plain.coefs_[0][:4], atol=1e-3)


# Probabilities.


@pytest.fixture(scope="module")
def many():
    """A model of thousands of classes, as a longer training would leave it."""
    k = 6000
    how = {"solver": "sgd", "learning_rate_init": 1e-3, "max_iter": 1, "inner_steps": 1, "batch_size": 5}
    model = AsySVRGClassifier((), n_jobs=1, random_state=0, **how)
    model.fit(RNG.normal(size=(2 * k, 3)), np.tile(np.arange(k), 2))
    model.coefs_[0][:], model.intercepts_[0][:] = 3 * RNG.normal(size=(3, k)), RNG.normal(size=k)
    return model


def test_probabilities_of_many_classes_sum_to_one(many):
    inputs = RNG.normal(size=(150, 3))
    found = many.predict_proba(inputs)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.sum(axis=1, dtype=np.float64), 1, rtol=0, atol=1e-6)
    y = np.arange(150)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # log_loss warns of sums that are not 1
        log_loss(y, found, labels=many.classes_)
    warnings.simplefilter("ignore")
    roc_auc_score(y, found, multi_class="ovr", labels=many.classes_)


@pytest.mark.parametrize("classes", [63, 64, 65, 129, 1000])
def test_softmax_of_any_number_of_classes(classes):
    network = Network((1, classes), "relu", "softmax", np.float64)
    x = network.vector(RNG.normal(size=2 * classes))
    inputs, y = RNG.normal(size=(9, 1)), np.arange(9, dtype=np.int32)
    z = inputs * x[:classes] + x[classes:]
    expected = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(network.outputs(Samples(inputs), x, 1), expected, rtol=1e-13)
    loss, _ = network.sweep(Samples(inputs, y), x, 1)
    assert loss == pytest.approx(-np.log(expected[np.arange(9), y]).sum(), rel=1e-13)


@pytest.mark.parametrize("n_models", [1, 3])
@pytest.mark.parametrize("several", [False, True])
def test_log_probabilities_are_finite(several, n_models):
    y = SIGNAL.round().astype(int) % 3
    model = small(AsySVRGClassifier, (5,), n_models=n_models).fit(X, np.eye(3, dtype=int)[y] if several else y)
    np.testing.assert_allclose(model.predict_log_proba(X), np.log(model.predict_proba(X)), atol=1e-5)
    found = model.predict_log_proba(1e4 * X.astype("f"))
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    assert found.min() < -1000


# Weights.


@pytest.mark.parametrize("kind", [AsySVRGRegressor, AsySVRGClassifier])
@pytest.mark.parametrize("unit", [1e-60, 1e200])
def test_the_unit_of_weights_does_not_matter(kind, unit):
    y = SIGNAL if kind is AsySVRGRegressor else SIGNAL > 0
    weight = RNG.random(400)
    plain, model = (small(kind, ()).fit(X, y, sample_weight=w) for w in (weight, weight * unit))
    np.testing.assert_allclose(model.coefs_[0], plain.coefs_[0], rtol=1e-4)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_weights_of_very_different_size(early_stopping):
    y = (SIGNAL > 0).astype(int) + (SIGNAL > 3)
    model = small(AsySVRGClassifier, (), max_iter=20, early_stopping=early_stopping)
    weight = np.where(y == 2, 1e-30, 1e30)
    model.fit(X, y, sample_weight=weight)
    assert model.score(X, y, weight) > 0.9
    np.testing.assert_array_equal(model.classes_, [0, 1, 2])
