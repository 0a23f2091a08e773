"""ONNX: what onnxruntime computes is what the estimators predict."""

import builtins

import numpy as np
import pytest
from helpers.estimators import fitted, samples
from sklearn.base import is_classifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from asysvrg import AsySVRGClassifier, AsySVRGRegressor, RobustClip
from asysvrg.core.network import ACTIVATIONS, KIND_OF_LOSS
from asysvrg.export import register_onnx

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture
def run():
    """A function that converts a model and runs it."""
    onnxruntime = pytest.importorskip("onnxruntime")
    skl2onnx = pytest.importorskip("skl2onnx")
    register_onnx()

    def run(model, X, **options):
        options = {"zipmap": False} | options if is_classifier(model) else {}
        onnx = skl2onnx.to_onnx(model, X[:1], options=options)
        session = onnxruntime.InferenceSession(onnx.SerializeToString(), providers=["CPUExecutionProvider"])
        return session.run(None, {"X": X})

    return run


def assert_classifies(found, model, X):
    labels, probabilities = found
    np.testing.assert_allclose(probabilities, model.predict_proba(X), atol=1e-5)
    np.testing.assert_array_equal(labels, model.predict(X))
    assert probabilities.dtype == X.dtype


def assert_predicts(found, model, X):
    [targets] = found
    wanted = model.predict(X)
    np.testing.assert_allclose(targets, wanted.reshape(len(X), -1), atol=1e-5 * abs(wanted).max())
    assert targets.dtype == wanted.dtype


@pytest.mark.parametrize("given", ["float32", "float64"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_classifiers(run, activation, dtype, given):
    X, y = samples(AsySVRGClassifier)
    model = fitted(AsySVRGClassifier, (5, 4), X=X, y=y, activation=activation, dtype=dtype)
    X = X.astype(given)
    assert_classifies(run(model, X), model, X)


def test_labels_are_chosen_in_the_fitted_precision(run):
    """Float32 rounds these probabilities to equal ones."""
    X, y = samples(AsySVRGClassifier)
    model = fitted(AsySVRGClassifier, (), X=X, y=y, dtype="float64")
    model.coefs_[0][:] = 0
    model.intercepts_[0][:] = np.arange(len(model.classes_)) * 1e-10
    labels, _ = run(model, X.astype("float32"))
    np.testing.assert_array_equal(labels, model.classes_[-1])


@pytest.mark.parametrize("given", ["float32", "float64"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("loss", [name for name, kind in KIND_OF_LOSS.items() if kind == "reals"])
def test_regressors(run, loss, outputs, dtype, given):
    X, y = samples(AsySVRGRegressor, outputs)
    model = fitted(AsySVRGRegressor, X=X, y=abs(y), loss=loss, dtype=dtype)
    X = X.astype(given)
    assert_predicts(run(model, X), model, X)


def test_a_network_in_float64_scales_in_float64(run):
    """As `predict` does: near 1.7e9, float32 has steps of 128."""
    X = (1.7e9 + 3000 * np.random.default_rng(0).normal(size=(30, 8))).astype(np.float32)
    y = X.astype(np.float64).sum(axis=1) - 8 * 1.7e9
    model = AsySVRGRegressor((), dtype="float64", scale="robust-clip", random_state=0).fit(X, y)
    assert_predicts(run(model, X), model, X)


@pytest.mark.parametrize(
    "labels",
    [
        np.array(["no", "yes, ä中", "x" * 300]),
        np.array(["a", "b", "c"], dtype=object),
        np.array([-5, 0, 2**40]),
        np.array([0, 1, 255], dtype=np.uint8),
        np.array([0.0, 1.0, 7.0]),
        np.array([False, True]),
    ],
    ids=lambda labels: f"{labels.dtype}",
)
def test_labels(run, labels):
    X, y = samples(AsySVRGClassifier)
    model = fitted(AsySVRGClassifier, X=X, y=labels[y % len(labels)])
    X = X.astype(np.float32)
    assert_classifies(run(model, X), model, X)


def test_labels_that_onnx_has_not(run):
    X, y = samples(AsySVRGClassifier)
    model = fitted(AsySVRGClassifier, X=X, y=y)
    model.classes_ = np.array([0.5, 1.0, 1.5])
    with pytest.raises(ValueError, match=r"text or whole numbers as labels; got \[0.5"):
        run(model, X)


def test_options_of_classifiers(run):
    X, y = samples(AsySVRGClassifier)
    X, names = X.astype(np.float32), np.array(["a", "b", "c"])
    model = fitted(AsySVRGClassifier, X=X, y=names[y])
    labels, maps = run(model, X, zipmap=True)
    assert (labels == model.predict(X)).all()
    np.testing.assert_allclose([[row[name] for name in names] for row in maps], model.predict_proba(X), atol=1e-5)
    assert (names[run(model, X, nocl=True)[0]] == model.predict(X)).all()


def test_several_labels(run):
    X, y = samples(AsySVRGClassifier)
    model = fitted(AsySVRGClassifier, X=X, y=np.eye(3, dtype=int)[y] | np.eye(3, dtype=int)[(y + (X[:, 0] > 0)) % 3])
    X = X.astype(np.float32)
    assert_classifies(run(model, X), model, X)
    assert model.predict(X).sum(axis=1).max() > 1


@pytest.mark.parametrize("given", ["float32", "float64"])
@pytest.mark.parametrize("kind", [AsySVRGClassifier, AsySVRGRegressor])
def test_scale_and_several_networks(run, kind, given):
    X, y = samples(kind, 1 if kind is AsySVRGRegressor else 3)
    X[:, 1], X[0, 2] = 5.0, 1e30  # a constant column, and an outlier
    model = fitted(kind, X=X, y=y, scale="robust-clip", n_models=3)
    X = X.astype(given)
    check = assert_classifies if kind is AsySVRGClassifier else assert_predicts
    check(run(model, X), model, X)


@pytest.mark.parametrize("n_models", [1, 2])
def test_targets_far_from_zero(run, n_models):
    """Their offset is float64; so is the result, also of float32 input."""
    X, y = samples(AsySVRGRegressor, 1)
    X = X.astype(np.float32)
    model = fitted(AsySVRGRegressor, X=X, y=y + 1e9, n_models=n_models)
    [found] = run(model, X)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found.ravel() - 1e9, model.predict(X) - 1e9, atol=1e-5)


def test_own_scaling_of_wild_data(run):
    """Columns and targets of any size: the fit scales them, and stores the parameters for them as given."""
    X, y = samples(AsySVRGRegressor, 1)
    X, y = (X * [1e3, 1, 1e-3, 1, 1, 1] + [0, 50, 0, 0, 0, 0]).astype(np.float32), 200 * y + 500
    model = fitted(AsySVRGRegressor, X=X, y=y, learning_rate_init="auto")
    assert_predicts(run(model, X), model, X)


@pytest.mark.parametrize("first", [StandardScaler, RobustClip])
@pytest.mark.parametrize("given", ["float32", "float64", "int64"])
def test_pipelines(run, first, given):
    X, y = samples(AsySVRGClassifier)
    X = (10 * X).astype(given)
    model = make_pipeline(first(), AsySVRGClassifier((5,), max_iter=3, random_state=0)).fit(X, y)
    labels, probabilities = run(model, X)
    np.testing.assert_allclose(probabilities, model.predict_proba(X), atol=1e-5)
    np.testing.assert_array_equal(labels, model.predict(X))


def test_without_skl2onnx(monkeypatch):
    real = builtins.__import__

    def missing(name, *args, **kwargs):
        if name == "skl2onnx":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match="pip install skl2onnx"):
        register_onnx()
