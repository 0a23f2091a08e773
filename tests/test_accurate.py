"""Inputs that the estimator scales itself, and the settings `ACCURATE`."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.pipeline import make_pipeline

from asysvrg import ACCURATE, MPI, AsySVRGClassifier, AsySVRGRegressor, RobustClip, load
from asysvrg.settings import check

X, y = load_breast_cancer(return_X_y=True)
T, z = load_diabetes(return_X_y=True)
SMALL = {"hidden_layer_sizes": (8,), "max_iter": 3, "random_state": 0}


@pytest.mark.parametrize("n_models", [1, 2])
@pytest.mark.parametrize(("kind", "inputs", "targets"), [(AsySVRGClassifier, X, y), (AsySVRGRegressor, T, z)])
def test_scaled_inside_is_the_pipeline(kind, inputs, targets, n_models, tmp_path):
    inputs = np.column_stack([inputs, np.full(len(inputs), 7.0)]).astype(np.float32)  # a constant column, too
    inside = kind(**SMALL, scale="robust-clip", n_models=n_models).fit(inputs, targets, X_val=inputs, y_val=targets)
    outside = make_pipeline(RobustClip(), kind(**SMALL, n_models=n_models)).fit(inputs, targets)
    np.testing.assert_array_equal(inside.predict(inputs), outside.predict(inputs))
    if n_models == 1:
        assert inside.history_["epochs"][-1]["test_error"] == pytest.approx(1 - inside.score(inputs, targets), abs=1e-6)
    inside.save(tmp_path / "model")
    for other in (load(tmp_path / "model"), pickle.loads(pickle.dumps(inside)), clone(inside).fit(inputs, targets)):
        np.testing.assert_array_equal(other.predict(inputs), inside.predict(inputs))
    np.testing.assert_allclose(inside.to_sklearn().predict(inputs), inside.predict(inputs), rtol=1e-3)


def test_partial_fit_keeps_the_first_scale():
    model = AsySVRGClassifier(**SMALL, scale="robust-clip").partial_fit(X, y, classes=[0, 1])
    center = model.scaler_.center_
    model.partial_fit(X * 2, y)
    np.testing.assert_array_equal(model.scaler_.center_, center)


def test_a_fit_without_a_scale_leaves_none():
    model = AsySVRGClassifier(**SMALL, scale="robust-clip").fit(X, y)
    assert not hasattr(model.set_params(scale=None).fit(X, y), "scaler_")


def test_what_cannot_be_scaled_is_refused():
    with pytest.raises(ValueError, match="scale='robust-clip' needs all samples in one process"):
        check(AsySVRGClassifier(**SMALL, scale="robust-clip", backend=MPI()))
    with pytest.raises(ValueError, match="scale is one of None, robust-clip; got 'standard'"):
        AsySVRGClassifier(**SMALL, scale="standard").fit(X, y)


def test_a_file_with_a_bad_scaler_is_refused():
    for bad in (3, [[1.0]], [[1.0], [0.0]], [[None], [1.0]], [[1.0, 2.0], [1.0, 1.0]], [["a"], [1.0]]):
        with pytest.raises(ValueError, match=r"scaler|could not convert"):
            RobustClip.from_lists(bad, 1)


def test_accurate_settings_are_for_both_estimators(full):
    accurate = ACCURATE if full else ACCURATE | {"n_models": 2}
    assert AsySVRGClassifier(**accurate, random_state=0, n_jobs=2).fit(X[::2], y[::2]).score(X[1::2], y[1::2]) > 0.94
    t = np.sin(X[:, 0]) + X[:, 1] / 30
    assert AsySVRGRegressor(**accurate, random_state=0, n_jobs=2).fit(X[::2], t[::2]).score(X[1::2], t[1::2]) > 0.2
