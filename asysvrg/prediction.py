"""Prediction: from checked input to the outputs of the fitted network, with little cost besides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted, validate_data

from asysvrg import inputs
from asysvrg.core import cpu
from asysvrg.core.network import FEW_ROWS, Network, Samples, start_of
from asysvrg.fitted import Fitted
from asysvrg.plan import suits_threads
from asysvrg.precision import layers_of
from asysvrg.preprocessing import KEPT
from asysvrg.settings import CACHE_LINE

FORMS = {"accept_sparse": "csr", "order": "C"}  # of X that the kernels take


class Predicting(Fitted):
    """Mixin of the estimators that computes the outputs of the fitted network.

    Each call reads the parameters from `coefs_` and `intercepts_`, so that changes of these arrays count.
    """

    def __setstate__(self, state: Any) -> None:
        super().__setstate__(state)  # type: ignore[misc]  # scikit-learn's
        # A pickle holds an array for each layer. In one vector again, predictions need no copy; nobody has seen the
        # arrays yet, so later changes of any array count.
        if hasattr(self, "coefs_") and hasattr(self, "_network"):
            self.coefs_, self.intercepts_ = layers_of(self._network, self._vector(), self._center())

    def _check_X(self, X: Any, dtype: Any) -> Any:
        inputs.refuse_malformed(X=X)
        X = validate_data(self, X, reset=False, dtype=self._dtypes(np.dtype(dtype)), **FORMS)
        return self._scaled(inputs.canonical(X), dtype)

    def _dtypes(self, dtype: np.dtype) -> Any:
        """The types that X may have: the fitted one, or what a scaler takes, which rounds nothing before."""
        return dtype if not hasattr(self, "scaler_") or dtype == np.float64 else KEPT

    def _scaled(self, X: Any, dtype: Any) -> Any:
        """X as the network gets it."""
        scaler = getattr(self, "scaler_", None)
        return X if scaler is None else scaler.clipped(X, dtype)

    def _outputs(self, X: Any) -> np.ndarray:
        each = self._each(X)
        return each[0] if len(each) == 1 else np.mean(each, axis=0)

    def _each(self, X: Any, sums: bool = False) -> list[np.ndarray]:
        """The outputs of each network; or the sums that a softmax or a logistic function makes them of."""
        if not hasattr(self, "coefs_"):
            check_is_fitted(self, "coefs_")  # takes longer than one row through a small network
        network = self._network
        if sums:
            network = Network(network.widths, network.activation, "squared_error", network.dtype)
        X = self._check_X(X, network.dtype)
        if hasattr(self, "estimators_"):
            return [member._each(X, sums)[0] for member in self.estimators_]
        samples, center = Samples(X), self._center()
        x = viewed(network, self.coefs_, self.intercepts_, apart=center is not None)
        x = self._vector() if x is None else x
        rows = samples.size
        density = X.nnz / X.shape[1] / rows if samples.skips_zeros else 1.0
        threads = 1
        if suits_threads(rows, density * rows * network.size):
            threads = cpu.team(min(cpu.count(self.n_jobs), rows))
        if rows < FEW_ROWS:
            outputs = network.outputs(samples, x, threads)
        else:
            with cpu.one_blas_thread():
                outputs = network.outputs(samples, x, threads)
        return [outputs if center is None else outputs + center]


def viewed(network: Network, coefs: Sequence[Any], intercepts: Sequence[Any], apart: bool = False) -> np.ndarray | None:
    """The vector that all these arrays are views of, as `fit` leaves them; None where one was replaced.

    apart: the last biases are float64, and stand elsewhere.
    """
    raw, start, end = getattr(coefs[0], "base", None), 0, 0
    if type(raw) is not np.ndarray or raw.itemsize != 1 or raw.ndim != 1 or not raw.flags.c_contiguous:
        return None
    widths, dtype = network.widths, network.dtype
    for layer, parts in enumerate(zip(coefs, intercepts, strict=True)):
        for part, shape in zip(parts, (widths[layer : layer + 2], widths[layer + 1 : layer + 2]), strict=True):
            if apart and part is intercepts[-1]:
                continue
            if type(part) is not np.ndarray or part.base is not raw or part.shape != shape:
                return None
            if part.dtype != dtype or not part.flags.c_contiguous or (start and start_of(part) != end):
                return None
            start = start or start_of(part)
            end = start_of(part) + part.nbytes
    end += apart * widths[-1] * dtype.itemsize
    first, size = start - start_of(raw), network.size * dtype.itemsize
    # Kernels take vectors that start on a cache line and have as much spare behind them (`aligned_zeros`).
    if start % CACHE_LINE or first + size + CACHE_LINE > raw.size or end - start != size:
        return None
    x = raw[first : first + size].view(dtype)
    return None if apart and x[network.slices[-1][1]].any() else x
