"""safetensors: the weights of a fitted model, and what one must know to use them without this package."""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

LAST = "bias64"  # in the place of "bias": of targets far from zero


def save_safetensors(model: Any, path: str | os.PathLike[str]) -> None:
    """Writes the weights of a fitted model to a safetensors file.

    Tensors have the names and shapes that PyTorch gives to a `Sequential` of linear layers with an activation between
    them: "0.weight" of shape (units, inputs), "0.bias", "2.weight" and so on. With several networks (`n_models`) each
    name begins with "networks.0.", "networks.1." and so on; their outputs are averaged. The last bias is called
    "bias64" where it is float64 beside float32. With `scale` there are "scaler.center" and "scaler.scale", of which
    `RobustClip` has the formula.

    The file's metadata are text: "format" ("pt"), "class", "activation", "loss" and, as JSON, "classes" and
    "feature_names", null where there are none. The loss says what the outputs are made of: "softmax" and "binary"
    (logistic) of probabilities, "poisson" of an exponential, others of the sums themselves.

    Parameters
    ----------
    model : AsySVRGClassifier or AsySVRGRegressor
        Fitted.
    path : path
        The file; an older one is overwritten.

    Raises
    ------
    ImportError
        If safetensors is not installed.
    """
    try:
        from safetensors.numpy import save_file
    except ImportError:
        raise ImportError("save_safetensors() needs safetensors: pip install safetensors") from None
    check_is_fitted(model, "coefs_")
    members = getattr(model, "estimators_", None)
    tensors = _of_network(model, "") if members is None else {}
    for number, member in enumerate(members or ()):
        tensors |= _of_network(member, f"networks.{number}.")
    if hasattr(model, "scaler_"):
        tensors |= {"scaler.center": model.scaler_.center_, "scaler.scale": model.scaler_.scale_}
    classes, names = (getattr(model, name, None) for name in ("classes_", "feature_names_in_"))
    metadata = {
        "format": "pt",
        "class": type(model).__name__,
        "activation": model._network.activation,
        "loss": model._network.loss,
        "classes": json.dumps(None if classes is None else classes.tolist()),
        "feature_names": json.dumps(None if names is None else names.tolist()),
    }
    save_file(tensors, os.fspath(path), metadata)


def _of_network(model: Any, prefix: str) -> dict[str, np.ndarray]:
    """Copies, since a view of a larger array would be written as it lies in memory."""
    tensors = {}
    for layer, (weights, biases) in enumerate(zip(model.coefs_, model.intercepts_, strict=True)):
        last = model._center() is not None and layer + 1 == len(model.coefs_)
        tensors[f"{prefix}{2 * layer}.weight"] = np.array(weights.T, order="C")
        tensors[f"{prefix}{2 * layer}.{LAST if last else 'bias'}"] = np.array(biases)
    return tensors
