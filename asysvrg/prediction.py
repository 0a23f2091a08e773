"""Prediction: from checked input to the outputs of the fitted network, with little cost besides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted, validate_data

from asysvrg import inputs
from asysvrg.core import cpu
from asysvrg.core.network import FEW_ROWS, Network, Samples, start_of
from asysvrg.parameters import CACHE_LINE
from asysvrg.plan import suits_threads

FORMS = {"accept_sparse": "csr", "order": "C"}  # of X that the kernels take


class Predicting:
    """Mixin of the estimators that computes the outputs of the fitted network.

    Each call reads the parameters from `coefs_` and `intercepts_`, so that changes of these arrays count.
    """

    def __setstate__(self, state: Any) -> None:
        super().__setstate__(state)
        # A pickle holds an array for each layer. In one vector again, predictions need no copy; nobody has seen the
        # arrays yet, so later changes of any array count.
        if hasattr(self, "coefs_") and hasattr(self, "_network"):
            layers = self._network.layers(self._vector())
            self.coefs_, self.intercepts_ = [weights for weights, _ in layers], [biases for _, biases in layers]

    def _vector(self) -> np.ndarray:
        """A copy of the parameters in one vector, aligned as the kernels need it."""
        network = self._network
        x = network.vector()
        for into, values in zip(network.layers(x), zip(self.coefs_, self.intercepts_, strict=True), strict=True):
            into[0][:], into[1][:] = values
        return x

    def _check_X(self, X: Any, dtype: Any) -> Any:
        inputs.refuse_complex(X=X)
        X = validate_data(self, X, reset=False, dtype=np.dtype(dtype), **FORMS)
        return self._scaled(inputs.canonical(X))

    def _scaled(self, X: Any) -> Any:
        """X as the network gets it."""
        scaler = getattr(self, "scaler_", None)
        return X if scaler is None else scaler.transform(X)

    def _outputs(self, X: Any) -> np.ndarray:
        if not hasattr(self, "coefs_"):
            check_is_fitted(self, "coefs_")  # takes longer than one row through a small network
        network = self._network
        X = self._check_X(X, network.dtype)
        if hasattr(self, "estimators_"):
            return np.mean([member._outputs(X) for member in self.estimators_], axis=0)
        samples = Samples(X)
        x = viewed(network, self.coefs_, self.intercepts_)
        x = self._vector() if x is None else x
        rows = samples.size
        density = X.nnz / X.shape[1] / rows if samples.skips_zeros else 1.0
        threads = 1
        if suits_threads(rows, density * rows * network.size):
            threads = cpu.team(min(cpu.count(self.n_jobs), rows))
        if rows < FEW_ROWS:
            return network.outputs(samples, x, threads)
        with cpu.one_blas_thread():
            return network.outputs(samples, x, threads)


def viewed(network: Network, coefs: Sequence[Any], intercepts: Sequence[Any]) -> np.ndarray | None:
    """The vector that all these arrays are views of, as `fit` leaves them; None where one was replaced."""
    raw, start, end = getattr(coefs[0], "base", None), 0, 0
    if type(raw) is not np.ndarray or raw.itemsize != 1 or raw.ndim != 1 or not raw.flags.c_contiguous:
        return None
    widths, dtype = network.widths, network.dtype
    for layer, parts in enumerate(zip(coefs, intercepts, strict=True)):
        for part, shape in zip(parts, (widths[layer : layer + 2], widths[layer + 1 : layer + 2]), strict=True):
            if type(part) is not np.ndarray or part.base is not raw or part.shape != shape:
                return None
            if part.dtype != dtype or not part.flags.c_contiguous or (start and start_of(part) != end):
                return None
            start = start or start_of(part)
            end = start_of(part) + part.nbytes
    first, size = start - start_of(raw), network.size * dtype.itemsize
    # Kernels take vectors that start on a cache line and have as much spare behind them (`aligned_zeros`).
    if start % CACHE_LINE or first + size + CACHE_LINE > raw.size or end - start != size:
        return None
    return raw[first : first + size].view(dtype)
