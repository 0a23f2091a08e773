"""The transformer for tables."""

import pickle

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import RobustScaler, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from asysvrg import AsySVRGRegressor, RobustClip


@pytest.fixture
def rng():
    """The same numbers in each test, whatever runs before it."""
    return np.random.default_rng(0)


def bent(z):
    return z / np.sqrt(1 + (z / 3) ** 2)


@parametrize_with_checks([RobustClip()])
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 2, 100, 10_000])
def test_against_the_formula(rng, dtype, n):
    X = (rng.standard_normal((n, 3)) ** 3 * [1, 1e-3, 1e5] + [0, 5, -1e6]).astype(dtype)
    given = X.copy()
    model = RobustClip().fit(X)
    found = model.transform(X)
    assert found.dtype == dtype
    np.testing.assert_array_equal(X, given)
    exact = given.astype(np.float64)
    expected = bent(RobustScaler().fit_transform(exact)) if n > 1 else np.zeros((1, 3))
    rounding = np.finfo(dtype).eps * (1 + abs(model.center_ / model.scale_))  # of X and of the center
    assert (abs(found - expected) <= 4 * rounding).all()
    assert (abs(found) <= 3).all()


def test_columns_whose_quartiles_are_equal():
    X = np.zeros((100, 3))
    X[:10, 0] = 4.0  # 0 or 4
    X[:, 1] = 7.0
    X[:3, 2] = [-1.0, 2.0, 7.0]
    model = RobustClip().fit(X)
    np.testing.assert_array_equal(model.center_, [0, 7, 0])
    np.testing.assert_array_equal(model.scale_, [2, np.inf, 4])
    found = model.transform(X)
    np.testing.assert_allclose(found[[0, 99], 0], [bent(2.0), 0])
    np.testing.assert_array_equal(found[:, 1], 0)
    np.testing.assert_allclose(found[:4, 2], bent(np.array([-0.25, 0.5, 1.75, 0])))
    assert model.transform([[0, 1e300, 0]])[0, 1] == 0  # constant when it was fitted


def test_missing_values_are_ignored_and_stay(rng):
    X = rng.standard_normal((200, 3))
    holes = X.copy()
    holes[::3, 0] = np.nan
    holes[:, 2] = np.nan  # no value at all
    model = RobustClip().fit(holes)
    peer = RobustScaler().fit(holes[:, :2])
    np.testing.assert_allclose(model.center_[:2], peer.center_, rtol=1e-12)
    np.testing.assert_allclose(model.scale_[:2], peer.scale_, rtol=1e-12)
    found = model.transform(holes)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(holes))
    assert np.isnan(model.transform(X)[:, 2]).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_outliers_of_any_size_are_bounded(dtype):
    largest = np.finfo(dtype).max
    X = np.array([[-largest, 1], [largest, 1], [0, 1], [1, 1], [2, 1]], dtype=dtype)
    model = RobustClip().fit(X[2:])
    np.testing.assert_allclose(model.transform(X)[:2, 0], [-3, 3])
    assert np.isfinite(RobustClip().fit_transform(X)).all()
    X[:, 1] = largest  # constant, and then as far off as can be
    np.testing.assert_array_equal(RobustClip().fit(X).transform(-X)[:, 1], 0)


def test_the_order_of_values_stays(rng):
    x = np.sort(rng.standard_cauchy(500))[:, None]
    assert (np.diff(RobustClip().fit_transform(x).ravel()) > 0).all()


def test_refusals():
    with pytest.raises(ValueError, match=r"takes dense input, .*: give X\.toarray\(\), or .* MaxAbsScaler"):
        RobustClip().fit(sparse.csr_array(np.eye(3)))
    with pytest.raises(ValueError, match="dense input"):
        RobustClip().fit(np.eye(3)).transform(sparse.csr_array(np.eye(3)))
    with pytest.raises(ValueError, match="infinity"):
        RobustClip().fit([[np.inf], [1.0]])
    with pytest.raises(ValueError, match="3 features"):
        RobustClip().fit(np.eye(3)).transform(np.eye(2))
    with pytest.raises(NotFittedError):
        RobustClip().transform(np.eye(3))


def test_frames_keep_their_names(rng):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(rng.standard_normal((20, 2)), columns=["a", "b"])
    model = RobustClip().set_output(transform="pandas").fit(frame)
    found = model.transform(frame)
    assert model.get_feature_names_out().tolist() == found.columns.tolist() == ["a", "b"]
    np.testing.assert_array_equal(found, RobustClip().fit_transform(frame.to_numpy()))


def test_in_a_pipeline(rng):
    """A table with heavy tails: better than standardised columns; the pipeline is pickled with it."""
    X = rng.standard_t(1.2, size=(1500, 5))
    y = np.tanh(X[:, 0]) + np.tanh(X[:, 1]) * np.tanh(X[:, 2])
    scores = {}
    for scaler in (RobustClip(), StandardScaler()):
        model = make_pipeline(clone(scaler), AsySVRGRegressor(max_iter=20, random_state=0, n_jobs=1, tol=0))
        model = pickle.loads(pickle.dumps(model.fit(X[:1000], y[:1000])))
        scores[type(scaler)] = model.score(X[1000:], y[1000:])
    assert scores[RobustClip] > max(0.9, scores[StandardScaler] + 0.1)
