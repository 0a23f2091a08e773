"""safetensors: predictions follow from the file alone."""

import builtins
import json

import numpy as np
import pandas as pd
import pytest
from helpers.estimators import fitted, samples
from scipy.special import softmax

from asysvrg import AsySVRGClassifier, AsySVRGRegressor
from asysvrg.export import save_safetensors

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def read(path):
    """Tensors and metadata of a file."""
    with pytest.importorskip("safetensors").safe_open(path, "np") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118


def sums(tensors, X, prefix=""):
    """What a network of rectified linear units makes of X before its output function."""
    layers = sum(name.startswith(prefix) and name.endswith(".weight") for name in tensors)
    for layer in range(layers):
        X = np.maximum(X, 0) if layer else X
        biases = tensors.get(f"{prefix}{2 * layer}.bias", tensors.get(f"{prefix}{2 * layer}.bias64"))
        X = X @ tensors[f"{prefix}{2 * layer}.weight"].T + biases
    return X


@pytest.fixture
def save(tmp_path):
    pytest.importorskip("safetensors")

    def save(model):
        save_safetensors(model, tmp_path / "model.safetensors")
        return read(tmp_path / "model.safetensors")

    return save


@pytest.mark.parametrize("labels", [["a", "b", "c"], [5, 7, 9]], ids=str)
@pytest.mark.parametrize("hidden", [(), (5,), (4, 3)], ids=str)
def test_classifiers(save, hidden, labels):
    X, y = samples(AsySVRGClassifier)
    X = pd.DataFrame(X, columns=list("uvwxyz"))
    model = fitted(AsySVRGClassifier, hidden, X=X, y=np.array(labels)[y])
    tensors, about = save(model)
    np.testing.assert_allclose(softmax(sums(tensors, X.to_numpy()), axis=1), model.predict_proba(X), atol=1e-6)
    assert json.loads(about["classes"]) == labels
    assert json.loads(about["feature_names"]) == list("uvwxyz")
    del about["classes"], about["feature_names"]
    assert about == {"format": "pt", "class": "AsySVRGClassifier", "activation": "relu", "loss": "softmax"}


def test_several_networks(save):
    X, y = samples(AsySVRGRegressor, 1)
    model = fitted(AsySVRGRegressor, X=X, y=y, n_models=3)
    tensors, about = save(model)
    each = [sums(tensors, X, f"networks.{number}.") for number in range(3)]
    np.testing.assert_allclose(np.mean(each, axis=0).ravel(), model.predict(X), atol=1e-5)
    assert (about["classes"], about["loss"]) == ("null", "squared_error")


def test_scale(save):
    X, y = samples(AsySVRGClassifier)
    model = fitted(AsySVRGClassifier, X=X, y=y, scale="robust-clip")
    tensors, _ = save(model)
    z = (X - tensors["scaler.center"]) / tensors["scaler.scale"]
    found = softmax(sums(tensors, z / np.sqrt(1 + (z / 3) ** 2)), axis=1)
    np.testing.assert_allclose(found, model.predict_proba(X), atol=1e-6)


def test_targets_far_from_zero(save):
    X, y = samples(AsySVRGRegressor, 1)
    model = fitted(AsySVRGRegressor, X=X, y=y + 1e9)
    tensors, _ = save(model)
    assert tensors["2.bias64"].dtype == np.float64
    np.testing.assert_allclose(sums(tensors, X).ravel() - 1e9, model.predict(X) - 1e9, atol=1e-5)


def test_pytorch_loads_the_file(tmp_path):
    torch = pytest.importorskip("torch")
    load_file = pytest.importorskip("safetensors.torch").load_file
    model = fitted(AsySVRGClassifier)
    save_safetensors(model, tmp_path / "model.safetensors")
    net = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.ReLU(), torch.nn.Linear(5, 3))
    net.load_state_dict(load_file(tmp_path / "model.safetensors"))
    X = samples(AsySVRGClassifier)[0].astype(np.float32)
    found = net(torch.from_numpy(X)).softmax(dim=1).detach().numpy()
    np.testing.assert_allclose(found, model.predict_proba(X), atol=1e-6)


def test_without_safetensors(monkeypatch, tmp_path):
    real = builtins.__import__

    def refuse(name, *args, **options):
        if name.startswith("safetensors"):
            raise ImportError(name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ImportError, match="pip install safetensors"):
        save_safetensors(fitted(AsySVRGClassifier), tmp_path / "model.safetensors")
