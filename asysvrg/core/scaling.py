"""Internal scaling: the same objective in variables in which one learning rate suits all inputs and targets.

With inputs (X - mean) / scale and targets (y - target_mean) / target_scale in place of X and y, f / target_scale^p is
an objective of the same form, where p is the degree of the loss (csrc/losses.h). Its variables are W_0' = scale W_0
(row by row) and b_0' = b_0 + mean W_0, and the last layer is divided by target_scale. Only the l2 weights change:
alpha / scale_i^2 for row i of the first layer; the last layer's is multiplied by target_scale^2, and all are divided by
target_scale^p. The minimiser is the same; fewer iterations reach it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from asysvrg.core.blocks import blocks
from asysvrg.core.network import DEGREE_OF_LOSS, Network

USUAL = (0.1, 10.0)  # range of root mean squares (of the largest column) that need no scaling
FAR = 3.0  # times a column's standard deviation: a mean further from 0 than this, and than 1, needs scaling
SPARSE_USUAL = 10.0  # the same for sparse input: its largest number


@dataclass(frozen=True)
class Scaling:
    """Means and scales. None stands for no scaling.

    Attributes
    ----------
    mean, scale : array of shape (p,) or None
        Of the inputs, float64.
    target_mean : array of shape (outputs,) or None
    target_scale : float
    """

    mean: np.ndarray | None
    scale: np.ndarray | None
    target_mean: np.ndarray | None
    target_scale: float

    def as_dict(self) -> dict[str, Any]:
        """The scaling for `from_dict` in another process, without what is None."""
        return {name: value for name, value in vars(self).items() if value is not None}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Scaling:
        """The inverse of `as_dict`. Ignores other entries."""
        mean, scale, target_mean = (values.get(name) for name in ("mean", "scale", "target_mean"))
        return cls(mean, scale, target_mean, values["target_scale"])

    def inputs(self, X: Any) -> Any:
        """Scaled inputs: a copy, or X itself without scaling."""
        if self.scale is None:
            return X
        if sparse.issparse(X):
            scaled = X.copy()
            scaled.data /= self.scale.astype(X.dtype)[X.indices]
            return scaled
        assert self.mean is not None  # of dense input
        scaled = X - self.mean.astype(X.dtype)
        scaled /= self.scale.astype(X.dtype)
        return scaled

    def targets(self, y: np.ndarray) -> np.ndarray:
        """Scaled targets. Labels do not change."""
        return y if self.target_mean is None else ((y - self.target_mean) / self.target_scale).astype(y.dtype)

    def l2(self, alpha: float, network: Network) -> np.ndarray:
        """alpha of each row of the first layer, then of each further layer."""
        rows = np.full(network.widths[0], alpha, dtype=np.float64)
        if self.scale is not None:
            rows /= self.scale**2
        weights = np.concatenate([rows, np.full(len(network.widths) - 2, alpha)])
        last, degree = network.widths[0] if len(network.widths) == 2 else 1, DEGREE_OF_LOSS[network.loss]
        weights[:-last] /= self.target_scale**degree
        weights[-last:] *= self.target_scale ** (2 - degree)
        return weights

    def scaled(self, network: Network, x: np.ndarray) -> np.ndarray:
        """Parameters for the scaled data, from those for the data as given. The inverse of `unscaled`."""
        x = network.vector(x)
        layers = network.layers(x)
        if self.target_mean is not None:
            W, b = layers[-1]
            W /= self.target_scale
            b -= self.target_mean.astype(b.dtype)
            b /= self.target_scale
        if self.scale is not None:
            W, b = layers[0]
            if self.mean is not None:
                b += (self.mean @ W.astype(np.float64)).astype(b.dtype)
            W *= self.scale.astype(W.dtype)[:, None]
        return x

    def unscaled(self, network: Network, x: np.ndarray) -> np.ndarray:
        """Parameters for inputs and targets as given; x itself without scaling."""
        if self.scale is None and self.target_mean is None:
            return x
        x = network.vector(x)
        layers = network.layers(x)
        if self.scale is not None:
            W, b = layers[0]
            W /= self.scale.astype(W.dtype)[:, None]
            if self.mean is not None:
                b -= (self.mean @ W.astype(np.float64)).astype(b.dtype)
        if self.target_mean is not None:
            W, b = layers[-1]
            W *= self.target_scale
            b *= self.target_scale
            b += self.target_mean.astype(b.dtype)
        return x


NEUTRAL = Scaling(None, None, None, 1.0)


def choose(X: Any, y: np.ndarray | None, alpha: float, *, centre: bool = True) -> Scaling:
    """The scaling of inputs and targets (None: not to be scaled): none where they have usual sizes.

    Without biases, whoever calls says centre=False, and means are 0.

    Scales are at least sqrt(alpha): below, the l2 term determines the weights, not the data.
    """
    mean = scale = target_mean = None
    target_scale, least = 1.0, max(math.sqrt(alpha), 1e-12)
    if sparse.issparse(X):
        if X.nnz and max(X.data.max(), -X.data.min()) > SPARSE_USUAL:
            largest = abs(X).max(axis=0).toarray().ravel().astype(np.float64)
            scale = np.where(largest > 0, np.maximum(largest, least), 1.0)
    else:
        mean, variance = _moments(X)
        if not centre:
            mean, variance = np.zeros_like(mean), variance + mean**2
        size = np.sqrt((mean**2 + variance).max())
        if not USUAL[0] <= size <= USUAL[1] or (abs(mean) > np.maximum(FAR * np.sqrt(variance), 1))[variance > 0].any():
            # Constant columns by their size: what they add to the biases is then as exact as these are.
            scale = np.where(variance > 0, np.maximum(np.sqrt(variance), least), np.maximum(abs(mean), 1.0))
    if y is not None:
        center, variance = y.mean(axis=0, dtype=np.float64), y.var(axis=0, dtype=np.float64)
        if not centre:
            center, variance = np.zeros_like(center), variance + center**2
        spread = float(np.sqrt(variance.max()))
        if spread > 0 and (not USUAL[0] <= spread <= USUAL[1] or (abs(center) > USUAL[1]).any()):
            target_mean, target_scale = center, max(spread, least)
    return Scaling(mean, scale, target_mean, target_scale)


def _moments(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of each column in float64. In blocks of rows: ndarray.var would copy X to float64."""
    n, p = X.shape
    sums, squares = np.zeros(p), np.zeros(p)
    largest = next(blocks(X), X)
    near = largest.mean(axis=0, dtype=np.float64)  # squares of differences from it are exact enough
    ones, differences = np.ones(len(largest)), np.empty(largest.shape)
    with np.errstate(over="ignore", invalid="ignore"):
        for block in blocks(X):
            d, one = differences[: len(block)], ones[: len(block)]
            np.subtract(block, near, out=d)
            sums += one @ d
            np.square(d, out=d)
            squares += one @ d
        offset = sums / n
        variance = squares / n - offset**2
    return near + offset, np.where(np.isnan(variance), np.inf, np.maximum(variance, 0.0))
