"""ONNX: converters for skl2onnx, which then converts the estimators and `RobustClip`, alone or in a pipeline.

A graph computes as the estimator does: input is scaled in its own precision, the network computes in the fitted one.
onnxruntime lacks double precision for Erf, LeakyRelu and Mean; the first is computed in single precision, the others
are written as sums and maxima.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from asysvrg.fitted import Fitted
from asysvrg.preprocessing import FAR, LIMIT, RobustClip

ZIPMAP = {"zipmap": [True, False, "columns"], "output_class_labels": [False, True], "nocl": [True, False]}


def register_onnx() -> None:
    """Tells skl2onnx how to convert the estimators and `RobustClip`. Call it before `skl2onnx.to_onnx`.

    The classifier has skl2onnx's usual options `zipmap`, `nocl` and `output_class_labels`. Labels are text or whole
    numbers. Of an indicator matrix the first output is the matrix of predicted labels.

    Raises
    ------
    ImportError
        If skl2onnx is not installed.
    """
    try:
        from skl2onnx import update_registered_converter
    except ImportError:
        raise ImportError("register_onnx() needs skl2onnx: pip install skl2onnx") from None
    from asysvrg.estimators import AsySVRGClassifier, AsySVRGRegressor

    update_registered_converter(
        AsySVRGClassifier, "AsySVRGClassifier", _classifier_shapes, _convert_classifier, options=ZIPMAP
    )
    update_registered_converter(AsySVRGRegressor, "AsySVRGRegressor", _regressor_shapes, _convert_regressor)
    update_registered_converter(RobustClip, "AsySVRGRobustClip", _scaler_shapes, _convert_scaler)


# The types and shapes of outputs.


def _classifier_shapes(operator: Any) -> None:
    from skl2onnx.common.data_types import Int64TensorType, StringTensorType

    model, rows = operator.raw_operator, operator.inputs[0].get_first_dimension()
    several = model._network.loss == "binary"
    label = StringTensorType if _classes(operator).dtype.kind == "U" else Int64TensorType
    operator.outputs[0].set_type(label([rows, model.n_outputs_] if several else [rows]))
    operator.outputs[1].type.shape = [rows, model.n_outputs_]


def _regressor_shapes(operator: Any) -> None:
    model = operator.raw_operator
    wide = model._network.dtype == np.float64 or model.intercepts_[-1].dtype == np.float64
    _set_output(operator, model.n_outputs_, wide=wide)


def _scaler_shapes(operator: Any) -> None:
    _set_output(operator, len(operator.raw_operator.center_), wide=False)


def _set_output(operator: Any, columns: int, *, wide: bool) -> None:
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType

    kind = FloatTensorType if _dtype_of_input(operator) == np.float32 and not wide else DoubleTensorType
    operator.outputs[0].set_type(kind([operator.inputs[0].get_first_dimension(), columns]))


def _dtype_of_input(operator: Any) -> Any:
    from skl2onnx.common.data_types import FloatTensorType

    return np.float32 if isinstance(operator.inputs[0].type, FloatTensorType) else np.float64


def _classes(operator: Any) -> np.ndarray:
    """The labels: numbers as int64, others as text."""
    from skl2onnx.common.utils_classifier import get_label_classes

    found = np.asarray(get_label_classes(operator.scope_inst, operator.raw_operator))
    labels = np.array(found.tolist())  # of objects, the type that they have in common
    if labels.dtype.kind == "f" and (labels == np.rint(labels)).all():
        labels = labels.astype(np.int64)
    if labels.dtype.kind not in "biU":
        raise ValueError(f"ONNX has text or whole numbers as labels; got {found[:5].tolist()}")
    return labels if labels.dtype.kind == "U" else labels.astype(np.int64)


# Graphs.


class _Graph:
    """Operators of one version, by which a converter writes its formula."""

    def __init__(self, container: Any):
        self.version = container.target_opset

    def __getattr__(self, name: str) -> Callable[..., Any]:
        from skl2onnx.algebra import onnx_ops

        make = getattr(onnx_ops, f"Onnx{name}")
        return lambda *inputs, **more: make(*inputs, op_version=self.version, **more)

    def cast(self, value: Any, dtype: Any, **more: Any) -> Any:
        from onnx.helper import np_dtype_to_tensor_dtype

        return self.Cast(value, to=np_dtype_to_tensor_dtype(np.dtype(dtype)), **more)

    def clipped(self, value: Any, limit: Any) -> Any:
        return self.Max(self.Min(value, limit), -limit)


def _convert_classifier(scope: Any, operator: Any, container: Any) -> None:
    graph, model = _Graph(container), operator.raw_operator
    label, probabilities = operator.outputs
    outputs = _outputs(graph, operator)  # in the fitted precision, which labels are chosen in
    graph.cast(outputs, _dtype_of_output(probabilities), output_names=[probabilities]).add_to(scope, container)
    if model._network.loss == "binary":
        half = np.array([0.5], dtype=model._network.dtype)
        found = graph.cast(graph.Greater(outputs, half), np.int64, output_names=[label])
    else:
        place = graph.ArgMax(outputs, axis=1, keepdims=0)
        found = graph.Gather(_classes(operator), place, axis=0, output_names=[label])
    found.add_to(scope, container)


def _convert_regressor(scope: Any, operator: Any, container: Any) -> None:
    graph = _Graph(container)
    result = graph.cast(
        _outputs(graph, operator), _dtype_of_output(operator.outputs[0]), output_names=operator.outputs[:1]
    )
    result.add_to(scope, container)


def _convert_scaler(scope: Any, operator: Any, container: Any) -> None:
    graph, dtype = _Graph(container), _dtype_of_input(operator)
    scaled = _scaled(graph, graph.cast(operator.inputs[0], dtype), operator.raw_operator, dtype)
    graph.Identity(scaled, output_names=operator.outputs[:1]).add_to(scope, container)


def _dtype_of_output(variable: Any) -> Any:
    from skl2onnx.common.data_types import DoubleTensorType

    return np.float64 if isinstance(variable.type, DoubleTensorType) else np.float32


def _outputs(graph: _Graph, operator: Any) -> Any:
    """The mean of what the networks make of the input."""
    model, given = operator.raw_operator, operator.inputs[0]
    scaler, network = getattr(model, "scaler_", None), model._network
    if scaler is not None:
        dtype = np.float64 if network.dtype == np.float64 else _dtype_of_input(operator)
        given = _scaled(graph, graph.cast(given, dtype), scaler, dtype)
    given = graph.cast(given, network.dtype)
    members = getattr(model, "estimators_", [model])
    each = [_forward(graph, given, member) for member in members]
    if any(member._center() is not None for member in members):
        each = [graph.cast(one, np.float64) for one in each]
        network_dtype: Any = np.float64
    else:
        network_dtype = network.dtype
    return each[0] if len(each) == 1 else graph.Mul(graph.Sum(*each), np.array([1 / len(each)], dtype=network_dtype))


def _scaled(graph: _Graph, X: Any, scaler: RobustClip, dtype: Any) -> Any:
    """`RobustClip.clipped`."""
    z = graph.Sub(X, scaler.center_.astype(dtype)[None])
    z = graph.Div(graph.clipped(z, np.array([np.finfo(dtype).max])), scaler.scale_.astype(dtype)[None])
    z = graph.clipped(z, np.array([FAR], dtype=dtype))
    third = graph.Mul(z, np.array([1 / LIMIT], dtype=dtype))
    return graph.Div(z, graph.Sqrt(graph.Add(graph.Mul(third, third), np.array([1], dtype=dtype))))


def _forward(graph: _Graph, a: Any, model: Fitted) -> Any:
    """The outputs of one network."""
    network, center = model._network, model._center()
    biases = model.intercepts_ if center is None else [*model.intercepts_[:-1], np.zeros(model.n_outputs_)]
    for layer, (W, b) in enumerate(zip(model.coefs_, biases, strict=True)):
        z = graph.Add(graph.MatMul(a, W.astype(network.dtype)), b.astype(network.dtype)[None])
        a = _activation(graph, z, network.activation, network.dtype) if layer + 1 < len(model.coefs_) else z
    if center is not None:
        return graph.Add(graph.cast(a, np.float64), center[None])
    output = {"softmax": lambda z: graph.Softmax(z, axis=1), "binary": graph.Sigmoid, "poisson": graph.Exp}
    return output[network.loss](a) if network.loss in output else a


def _activation(graph: _Graph, z: Any, name: str, dtype: Any) -> Any:
    """A hidden layer's activation (csrc/activations.h)."""

    def number(value: float) -> np.ndarray:
        return np.array([value], dtype=dtype)

    if name == "gelu":
        erf = graph.cast(graph.Erf(graph.cast(graph.Mul(z, number(0.5**0.5)), np.float32)), dtype)
        return graph.Mul(graph.Mul(z, number(0.5)), graph.Add(erf, number(1)))
    if name == "leaky_relu":
        return graph.Max(z, graph.Mul(z, number(0.01)))
    if name == "identity":
        return z
    return {"relu": graph.Relu, "tanh": graph.Tanh, "logistic": graph.Sigmoid}[name](z)
