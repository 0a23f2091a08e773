"""The attributes of fitted estimators, for the mixins that read them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from asysvrg.core.network import Network
from asysvrg.precision import is_centred
from asysvrg.preprocessing import RobustClip


class Fitted:
    """What `fit` leaves. An estimator has `classes_`, `scaler_` and `estimators_` only where they make sense."""

    _network: Network
    _flat: bool
    coefs_: list[np.ndarray]
    intercepts_: list[np.ndarray]
    history_: dict[str, Any]
    loss_: float
    n_iter_: int
    n_outputs_: int
    classes_: np.ndarray
    scaler_: RobustClip
    estimators_: list[Any]

    alpha: Any
    max_iter: Any
    n_jobs: Any
    get_params: Callable[..., dict[str, Any]]  # scikit-learn's

    def _center(self) -> np.ndarray | None:
        """The last biases where they are float64 beside float32, and the targets are centred; else None."""
        last = self.intercepts_[-1]
        wider = isinstance(last, np.ndarray) and last.dtype == np.float64 and self._network.dtype == np.float32
        return last if wider and is_centred(self._network.loss) else None

    def _vector(self) -> np.ndarray:
        """A copy of the parameters in one vector, aligned as the kernels need it; without the last biases in float64.

        These are what `_center` returns, and are added to the outputs.
        """
        network, center = self._network, self._center()
        x = network.vector()
        for into, values in zip(network.layers(x), zip(self.coefs_, self.intercepts_, strict=True), strict=True):
            into[0][:], into[1][:] = values
        if center is not None:
            x[network.slices[-1][1]] = 0
        return x
