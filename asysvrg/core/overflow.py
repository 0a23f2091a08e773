"""Outputs of samples that are too large for the precision of the network."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse


def in_float64(network: Any, samples: Any, x: np.ndarray, threads: int, outputs: np.ndarray) -> np.ndarray:
    """Outputs with those that are NaN computed in float64, in which they stay if the network's dtype cannot hold them.

    Raises
    ------
    ValueError
        If float64 cannot hold the sums in the network. Names the column with the largest value. Or if parameters are
        not finite.
    """
    lost = np.flatnonzero(np.isnan(outputs).any(axis=1))
    X = samples.X[lost]
    if network.dtype == np.float64 or not np.isfinite(x).all():
        raise ValueError(_why(X, x))
    wide = network.changed(dtype=np.float64)
    found = wide.outputs(type(samples)(X.astype(np.float64)), wide.vector(x), threads)
    if (abs(found) > np.finfo(outputs.dtype).max).any():
        outputs = outputs.astype(np.float64)
    outputs[lost] = found
    return outputs


def _why(X: np.ndarray | sparse.csr_matrix, x: np.ndarray) -> str:
    """Why the sums of these rows in a network with parameters x are not finite."""
    entries = sparse.coo_matrix(X)
    if not np.isfinite(x).all() or not entries.nnz:
        return "the outputs overflow: coefs_ or intercepts_ have values that are too large, or not finite"
    largest = abs(entries.data).argmax()
    return (
        f"X has values too large for this network, such as {entries.data[largest]:.3g} in column "
        f"{entries.col[largest]}: give smaller units, or a model with scale='robust-clip' or a StandardScaler in front"
    )
