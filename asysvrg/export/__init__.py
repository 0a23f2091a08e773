"""Fitted models in other forms: ONNX, safetensors, PyTorch modules. Each needs its library, which is imported late."""

from asysvrg.export.onnx import register_onnx
from asysvrg.export.tensors import save_safetensors
from asysvrg.export.torch import to_torch

__all__ = ["SKOPS_TYPES", "register_onnx", "save_safetensors", "to_torch"]

# What `skops.io.load` is to trust in order to read a fitted estimator: none of these runs code of the file.
SKOPS_TYPES = [
    "asysvrg.core.network.Network",
    "asysvrg.distributed.backend.MPI",
    "asysvrg.estimators.AsySVRGClassifier",
    "asysvrg.estimators.AsySVRGRegressor",
    "asysvrg.preprocessing.RobustClip",
    "numpy.dtype",
]
