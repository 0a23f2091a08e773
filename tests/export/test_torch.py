"""PyTorch modules predict what the estimators predict."""

import builtins
import pickle

import numpy as np
import pytest
from helpers.estimators import fitted, samples
from scipy.special import log_softmax

from asysvrg import AsySVRGClassifier, AsySVRGRegressor
from asysvrg.core.network import ACTIVATIONS, KIND_OF_LOSS

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def outputs(net, X):
    torch = pytest.importorskip("torch")
    with torch.no_grad():
        return net(torch.from_numpy(X)).numpy()


def assert_predicts(model, X):
    pytest.importorskip("torch")
    found = outputs(model.to_torch(), X)
    if isinstance(model, AsySVRGClassifier):
        np.testing.assert_allclose(found, model.predict_proba(X), atol=1e-6)
    else:
        np.testing.assert_allclose(found, model.predict(X).reshape(len(X), -1), rtol=1e-5, atol=1e-6)
    return found


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("hidden", [(), (5,), (4, 3)], ids=str)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_classifiers(activation, hidden, dtype):
    X, y = samples(AsySVRGClassifier)
    model = fitted(AsySVRGClassifier, hidden, X=X, y=y, activation=activation, dtype=dtype)
    assert assert_predicts(model, X.astype(dtype)).dtype == dtype


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("loss", [name for name, kind in KIND_OF_LOSS.items() if kind == "reals"])
def test_regressors(loss, outputs):
    X, y = samples(AsySVRGRegressor, outputs)
    assert_predicts(fitted(AsySVRGRegressor, X=X, y=abs(y), loss=loss), X.astype(np.float32))


def test_several_labels():
    X, y = samples(AsySVRGClassifier)
    assert_predicts(fitted(AsySVRGClassifier, X=X, y=np.eye(3, dtype=int)[y]), X.astype(np.float32))


@pytest.mark.parametrize("given", ["float32", "float64"])
def test_scale_and_several_networks(given):
    X, y = samples(AsySVRGClassifier)
    X[:, 1], X[0, 2] = 5.0, 1e30
    assert_predicts(fitted(AsySVRGClassifier, X=X, y=y, scale="robust-clip", n_models=3), X.astype(given))


def test_targets_far_from_zero():
    X, y = samples(AsySVRGRegressor, 1)
    model = fitted(AsySVRGRegressor, X=X, y=y + 1e9)
    found = assert_predicts(model, X.astype(np.float32))
    np.testing.assert_allclose(found.ravel() - 1e9, model.predict(X) - 1e9, atol=1e-5)


def test_logits_and_a_copy():
    torch = pytest.importorskip("torch")
    X, y = samples(AsySVRGClassifier)
    model = fitted(AsySVRGClassifier, X=X, y=y)
    net, X = model.to_torch(), X.astype(np.float32)
    logits = outputs(net[:-1], X)
    np.testing.assert_allclose(log_softmax(logits, axis=1), model.predict_log_proba(X), atol=1e-5)
    before = model.predict_proba(X)
    loss = torch.nn.functional.cross_entropy(net[:-1](torch.from_numpy(X)), torch.from_numpy(y))
    loss.backward()
    torch.optim.SGD(net.parameters(), lr=1.0).step()
    assert abs(outputs(net, X) - before).max() > 1e-3
    np.testing.assert_array_equal(model.predict_proba(X), before)
    np.testing.assert_array_equal(outputs(pickle.loads(pickle.dumps(net)), X), outputs(net, X))


def test_without_torch(monkeypatch):
    real = builtins.__import__

    def refuse(name, *args, **options):
        if name == "torch":
            raise ImportError(name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ImportError, match="pip install torch"):
        fitted(AsySVRGClassifier).to_torch()
