"""Fitted models as files without code, as scikit-learn's MLP, and as PyTorch modules."""

from __future__ import annotations

import importlib
import json
import os
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import LabelBinarizer, LabelEncoder
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted

from asysvrg.core.network import ACTIVATIONS, KIND_OF_LOSS, LOSSES, Network
from asysvrg.distributed.backend import MPI
from asysvrg.fitted import Fitted
from asysvrg.precision import is_centred, layers_of
from asysvrg.preprocessing import RobustClip
from asysvrg.store import archive
from asysvrg.store.schema import Schema

SKLEARN_ACTIVATIONS = ("identity", "logistic", "tanh", "relu")
FORMAT, VERSION = "asysvrg-model", 1
# Fitted attributes that a file stores, and their types. A model may lack some of them.
FITTED: dict[str, type] = {
    "n_iter_": int, "loss_": float, "stopped_": str, "history_": dict, "n_outputs_": int, "_flat": bool,
    "_stream": int, "_factor": float, "schema_": dict,
}  # fmt: skip
LAST = "last_intercepts"  # beside them, where the last biases are float64 beside float32
CLASSES: dict[str, type] = {}


class Persistent(Fitted):
    """Mixin of the estimators: `save`, `to_sklearn`, `to_torch`."""

    def __init_subclass__(cls, **options: Any):
        super().__init_subclass__(**options)
        if not cls.__name__.startswith("_"):
            CLASSES.setdefault(cls.__name__, cls)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted model to one file, for `asysvrg.load` and `asysvrg predict`.

        The file is an .npz archive of arrays and JSON; reading it runs no code. An older file at `path` stays until
        all of the new one is on disk.

        Parameters
        ----------
        path : path
            Name of the file; no ending is added.
        """
        check_is_fitted(self, "coefs_")
        network, members = self._network, getattr(self, "estimators_", [self])
        values = {
            "class": type(self).__name__,
            "widths": list(network.widths),
            "activation": network.activation,
            "loss": network.loss,
            "dtype": network.dtype.name,
            "intercepts": network.intercepts,
            "parameters": {name: _packed(value) for name, value in self.get_params(deep=False).items()},
            "fitted": _fitted(self),
            "networks": [_fitted(member) for member in getattr(self, "estimators_", ())],
            "classes": _labels(self.classes_) if hasattr(self, "classes_") else None,
            "scaler": self.scaler_.to_lists() if hasattr(self, "scaler_") else None,
            "feature_names": [str(name) for name in getattr(self, "feature_names_in_", [])] or None,
        }
        archive.write(path, FORMAT, VERSION, values, {"x": np.concatenate([member._vector() for member in members])})

    def to_sklearn(self) -> BaseEstimator:
        """Convert to a fitted `MLPClassifier` or `MLPRegressor` with the same predictions.

        For two classes scikit-learn has one logistic output. Its weights are the difference of this model's two.
        Several networks (`n_models`) are a `VotingClassifier` or `VotingRegressor` of such models. With `scale` it is a
        pipeline that begins with `scaler_`.

        Returns
        -------
        estimator

        Raises
        ------
        ValueError
            If scikit-learn's MLP has no such activation or loss.
        """
        check_is_fitted(self, "coefs_")
        members = [member._mlp() for member in getattr(self, "estimators_", [self])]
        model = _voting(self, members) if hasattr(self, "estimators_") else members[0]
        if not hasattr(self, "scaler_"):
            return _named(self, model, *members)
        from sklearn.pipeline import make_pipeline  # here, since importing it takes long

        scaler = _named(self, deepcopy(self.scaler_)).set_output(transform="default")  # the network takes arrays
        return make_pipeline(scaler, model)

    def _mlp(self) -> MLPClassifier | MLPRegressor:
        network = self._network
        coefs, intercepts = [W.copy() for W in self.coefs_], [b.copy() for b in self.intercepts_]
        is_classifier = hasattr(self, "classes_")
        binary = is_classifier and network.loss == "softmax" and self.n_outputs_ == 2
        if binary:
            coefs[-1] = coefs[-1][:, 1:] - coefs[-1][:, :1]
            intercepts[-1] = intercepts[-1][1:] - intercepts[-1][:1]
        kind: Any = MLPClassifier if is_classifier else MLPRegressor
        losses = {"softmax", "binary", "squared_error"}
        given = {"activation": network.activation, "alpha": self.alpha, "max_iter": self.max_iter}
        if "loss" in kind().get_params():  # of regressors, from scikit-learn 1.7 on
            losses |= {"poisson"}
            given |= {"loss": network.loss}
        for name, choices in (("activation", SKLEARN_ACTIVATIONS), ("loss", losses)):
            if (value := getattr(network, name)) not in choices:
                raise ValueError(f"scikit-learn's {kind.__name__} has no {name}={value!r}, as this model")
        mlp = kind(hidden_layer_sizes=network.widths[1:-1], **given)
        mlp.coefs_, mlp.intercepts_ = coefs, intercepts
        mlp.n_layers_, mlp.n_outputs_ = len(network.widths), len(intercepts[-1])
        mlp.n_iter_, mlp.loss_ = self.n_iter_, self.loss_
        mlp.best_loss_ = min((row["loss"] for row in self.history_["epochs"]), default=self.loss_)
        mlp.loss_curve_ = [row["loss"] for row in self.history_["epochs"][1:]]
        mlp.t_ = 0
        mlp.out_activation_ = "exp" if network.loss == "poisson" else "identity"
        mlp.n_features_in_ = network.widths[0]
        if is_classifier:
            mlp.out_activation_ = "logistic" if binary or network.loss != "softmax" else "softmax"
            mlp.classes_ = self.classes_
            several = network.loss == "binary"  # labels of a sample, of which an indicator matrix is the form
            mlp._label_binarizer = LabelBinarizer().fit(
                np.eye(self.n_outputs_, dtype=np.int64) if several else self.classes_
            )
        return mlp

    def to_torch(self) -> Any:
        """Convert to a `torch.nn.Sequential` with the same predictions; see `asysvrg.export.to_torch`."""
        from asysvrg.export.torch import to_torch

        return to_torch(self)


def load(path: str | os.PathLike[str]) -> Any:
    """Load a model that `save` wrote.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    AsySVRGClassifier or AsySVRGRegressor
        The fitted model.

    Raises
    ------
    ValueError
        If the file is not a model, is damaged, or was written by a newer version.
    OSError
        If the file cannot be opened.
    """
    importlib.import_module("asysvrg.estimators")  # which are in CLASSES from then on
    path = Path(path)
    values, arrays = archive.read(path, FORMAT, VERSION, ("x",))
    try:
        return _model(values, arrays["x"])
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise ValueError(f"{path} is not a valid model ({reason[:200]}); save it again") from None


def _fitted(model: Any) -> dict[str, Any]:
    fitted, center = {name: getattr(model, name) for name in FITTED if hasattr(model, name)}, model._center()
    return fitted if center is None else fitted | {LAST: center.tolist()}


def _named(model: Any, *estimators: Any) -> Any:
    """Gives these estimators the names of the model's columns, if it has any; returns the first."""
    for estimator in estimators:
        if hasattr(model, "feature_names_in_"):
            estimator.feature_names_in_ = model.feature_names_in_
    return estimators[0]


def _voting(model: Any, members: list[Any]) -> BaseEstimator:
    """The average of scikit-learn's models."""
    from sklearn.ensemble import VotingClassifier, VotingRegressor  # here, since importing it takes half a second

    named = [(f"network {i}", member) for i, member in enumerate(members)]
    if hasattr(model, "classes_"):
        if model._network.loss != "softmax":
            raise ValueError("scikit-learn's VotingClassifier has one label a sample; this model has several")
        voting = VotingClassifier(named, voting="soft")
        voting.le_ = LabelEncoder().fit(model.classes_)
        voting.classes_ = voting.le_.classes_
    elif not model._flat:
        raise ValueError("scikit-learn's VotingRegressor has one target; this model has several")
    else:
        voting = VotingRegressor(named)
    voting.estimators_, voting.named_estimators_ = members, Bunch(**dict(named))
    return voting


def _model(values: dict[str, Any], x: np.ndarray) -> Any:
    """The model of a file; its networks are models of their own, with all else in common."""
    several = values.get("networks", [])
    if not isinstance(several, list) or len(x) % max(len(several), 1):
        raise ValueError("its networks are no list, or have no equal parts of x")
    if not several:
        return _one_model(values, x)
    members = [
        _one_model(values | {"fitted": fitted, "scaler": None, "feature_names": None}, part)
        for fitted, part in zip(several, np.split(x, len(several)), strict=True)
    ]
    model = _one_model(values, x[: len(x) // len(several)])
    model.coefs_, model.intercepts_, model.estimators_ = members[0].coefs_, members[0].intercepts_, members
    for member in members:
        member.set_params(n_models=1, scale=None)
    return model


def _one_model(values: dict[str, Any], x: np.ndarray) -> Any:
    network = _network(values, x)
    name, classes, fitted = values["class"], values["classes"], dict(values["fitted"])
    if not isinstance(name, str) or name not in CLASSES:
        raise ValueError(f"class {str(name)[:40]!r} is not one of {', '.join(CLASSES)}")
    kind = CLASSES[name]
    model = kind(**_parameters(kind, values["parameters"]))
    model._network = network
    model.coefs_, model.intercepts_ = layers_of(network, network.vector(x), _last(network, fitted.pop(LAST, None)))
    model.n_features_in_ = network.widths[0]
    for name, value in fitted.items():
        if name not in FITTED or type(value) is not FITTED[name]:
            raise ValueError(f"attribute {name[:40]!r} is unknown or of another type")
        setattr(model, name, value)
    is_classifier = hasattr(kind, "predict_proba")
    wanted = {"n_iter_", "loss_", "n_outputs_", "history_"} | (set() if is_classifier else {"_flat"})
    if not wanted <= set(fitted) or model.n_outputs_ != network.widths[-1]:
        raise ValueError("fitted attributes are missing or do not match the network")
    if not is_classifier and model._flat and model.n_outputs_ != 1:
        raise ValueError("a model of one target has several outputs")
    rows = model.history_.get("epochs")
    if not isinstance(rows, list) or not all(isinstance(row, dict) and "loss" in row for row in rows):
        raise ValueError("its history has no list of epochs")
    if is_classifier != (classes is not None) or is_classifier != (KIND_OF_LOSS[network.loss] != "reals"):
        raise ValueError(f"classes or the loss {network.loss!r} do not match {kind.__name__}")
    if classes is not None:
        model.classes_, model._loss = _classes(classes), network.loss
        if len(model.classes_) != model.n_outputs_:
            raise ValueError(f"{len(model.classes_)} classes for {model.n_outputs_} outputs")
    if values.get("scaler") is not None:
        model.scaler_ = RobustClip.from_lists(values["scaler"], network.widths[0])
    Schema(**getattr(model, "schema_", {}))  # refuses what it does not know
    names = values["feature_names"]
    if names is not None:
        if not isinstance(names, list) or [type(n) for n in names] != [str] * network.widths[0]:
            raise ValueError(f"feature names are not {network.widths[0]} strings")
        model.feature_names_in_ = np.array(names, dtype=object)
    return model


def _network(values: dict[str, Any], x: np.ndarray) -> Network:
    widths, activation, loss, dtype = (values[name] for name in ("widths", "activation", "loss", "dtype"))
    if not isinstance(widths, list) or any(type(width) is not int or not 0 < width < 2**31 for width in widths):
        raise ValueError("widths are not a list of positive integers")
    if activation not in list(ACTIVATIONS) or loss not in list(LOSSES) or dtype not in ["float32", "float64"]:
        raise ValueError(f"activation, loss or dtype is unknown: {activation!r}, {loss!r}, {dtype!r}")
    intercepts = values["intercepts"]
    if not isinstance(intercepts, bool):
        raise ValueError(f"intercepts is {intercepts!r}, neither true nor false")
    network = Network(widths, activation, loss, dtype, intercepts=intercepts)
    if x.shape != (network.size,) or x.dtype != network.dtype:
        raise ValueError(f"x is {x.dtype} of shape {x.shape}, not {dtype} of shape ({network.size},)")
    if not np.isfinite(x).all():
        raise ValueError("x has values that are not finite")
    return network


def _last(network: Network, biases: Any) -> np.ndarray | None:
    """The last biases of a model that has them in float64."""
    if biases is None:
        return None
    last = np.array(biases, dtype=np.float64)
    if last.shape != network.widths[-1:] or not np.isfinite(last).all():
        raise ValueError(f"its last biases are not {network.widths[-1]} finite numbers")
    if not is_centred(network.loss) or network.dtype != np.float32:
        raise ValueError(f"it has last biases in float64 beside {network.dtype} and the loss {network.loss!r}")
    return last


def _parameters(kind: Any, packed: Any) -> dict[str, Any]:
    given = {name: _unpacked(value) for name, value in packed.items()}
    unknown = sorted(set(given) - set(kind._get_param_names()))
    if unknown:
        raise ValueError(f"parameters {', '.join(unknown)[:80]} are unknown")
    return given


# JSON has no tuples, and only strings as keys: they are stored as {"tuple": [...]} and {"dict": [[key, value], ...]}.


def _packed(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, tuple | list):
        items = [_packed(item) for item in value]
        return {"tuple": items} if isinstance(value, tuple) else items
    if isinstance(value, dict):
        return {"dict": [[_packed(key), _packed(item)] for key, item in value.items()]}
    if isinstance(value, np.dtype | type):
        return np.dtype(value).name
    if isinstance(value, os.PathLike):
        return str(value)
    if isinstance(value, MPI):
        return {"MPI": asdict(value)}
    # Other objects, such as a RandomState, matter to `fit` only, and reading them would run code: None is stored.
    return value if isinstance(value, bool | int | float | str | type(None)) else None


def _unpacked(value: Any) -> Any:
    if isinstance(value, list):
        return [_unpacked(item) for item in value]
    if isinstance(value, dict) and set(value) == {"tuple"}:
        return tuple(_unpacked(item) for item in value["tuple"])
    if isinstance(value, dict) and set(value) == {"MPI"}:
        return MPI(**value["MPI"])
    if isinstance(value, dict):
        return {_unpacked(key): _unpacked(item) for key, item in value["dict"]}
    return value


def _labels(classes: np.ndarray) -> dict[str, Any]:
    """Class labels as JSON values, from which `_classes` makes the same array."""
    if not _may_be_labels(classes.dtype, classes.tolist()):
        raise ValueError(f"classes_ of type {classes.dtype} cannot be saved; use numbers, bools or text as labels")
    return {"dtype": classes.dtype.str, "labels": classes.tolist()}


def _classes(packed: Any) -> np.ndarray:
    dtype, labels = np.dtype(packed["dtype"]), packed["labels"]
    if not isinstance(labels, list) or not _may_be_labels(dtype, labels):
        raise ValueError(f"labels of type {dtype} are neither numbers nor text")
    classes = np.array(labels, dtype=dtype)
    if json.dumps(classes.tolist()) != json.dumps(labels) or len(np.unique(classes)) != len(classes):
        raise ValueError(f"labels are not distinct values of type {dtype}")
    return classes


def _may_be_labels(dtype: np.dtype, labels: list[Any]) -> bool:
    is_plain = dtype.kind in "biufUO" and not dtype.shape and dtype.itemsize <= 10**6
    return is_plain and all(isinstance(label, bool | int | float | str) for label in labels)
