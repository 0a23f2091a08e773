"""PyTorch: a fitted model as a module. torch is imported by the call."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted


def to_torch(model: Any) -> Any:
    """Converts a fitted model to a `torch.nn.Sequential` with the same predictions.

    Its last module makes probabilities (or, of a Poisson loss, means) of the sums, so that those of a classifier of one
    network are ``net[:-1](X)``. With `scale` the first module is the scaler. Several networks (`n_models`) are one
    module, which averages what they predict; ``net[-1].networks[i]`` is the i-th.

    Parameters
    ----------
    model : AsySVRGClassifier or AsySVRGRegressor
        Fitted.

    Returns
    -------
    torch.nn.Sequential
        In evaluation mode, with parameters of its own. It takes tensors of the fitted dtype (with `scale` also wider
        ones) and shape (n_samples, n_features), and returns (n_samples, n_outputs).

    Raises
    ------
    ImportError
        If torch is not installed.
    """
    try:
        from torch import nn

        from asysvrg.export import modules
    except ImportError:
        raise ImportError("to_torch() needs PyTorch: pip install torch") from None
    check_is_fitted(model, "coefs_")
    layers = []
    if hasattr(model, "scaler_"):
        layers.append(modules.RobustClip(model.scaler_.center_, model.scaler_.scale_, _dtype(model)))
    if hasattr(model, "estimators_"):
        layers.append(modules.Average([nn.Sequential(*_layers(member)) for member in model.estimators_]))
    else:
        layers += _layers(model)
    return nn.Sequential(*layers).eval()


def _dtype(model: Any) -> Any:
    import torch

    return torch.float32 if model._network.dtype == np.float32 else torch.float64


def _layers(model: Any) -> list[Any]:
    """The modules of one network."""
    import torch
    from torch import nn

    from asysvrg.export import modules

    kinds = {
        "relu": nn.ReLU, "tanh": nn.Tanh, "logistic": nn.Sigmoid, "identity": nn.Identity, "leaky_relu": nn.LeakyReLU,
        "gelu": nn.GELU,
    }  # fmt: skip
    center, layers = model._center(), []
    for weights, biases in zip(model.coefs_, model.intercepts_, strict=True):
        linear = nn.Linear(*weights.shape, dtype=_dtype(model))
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(np.ascontiguousarray(weights.T)))
            linear.bias.copy_(torch.from_numpy(np.array(biases)))
        layers += [linear, kinds[model._network.activation]()]
    layers.pop()
    if center is not None:
        nn.init.zeros_(layers[-1].bias)
        return [*layers, modules.Shift(center)]
    outputs = {"softmax": lambda: nn.Softmax(dim=1), "binary": nn.Sigmoid, "poisson": modules.Exp}
    return [*layers, outputs[model._network.loss]()] if model._network.loss in outputs else layers
