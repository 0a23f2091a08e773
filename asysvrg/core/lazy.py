"""Tables for the rows of the first layer whose dense updates wait (csrc/kernels/lazy.inc)."""

from __future__ import annotations

import numpy as np


def tables(
    rates: np.ndarray, alpha: np.ndarray, powers: int, precision: float
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """`sums` and `powers` of the kernels' `asv_lazy`, each None where it is not exact or not needed.

    Parameters
    ----------
    rates : array of shape (steps,)
        The learning rate of each iteration.
    alpha : array of shape (rows,)
        The l2 term's weight of each row.
    powers : int
        How many powers of the rates the kernels take.
    precision : float
        The smallest difference from 1 that the parameters can hold.
    """
    with np.errstate(all="ignore"):  # a rate that diverges is the epoch loop's business
        if alpha.min() == alpha.max():
            r = np.cumprod(np.concatenate([[1.0], 1 - rates * alpha[0]]))
            if np.abs(r).min() > 1e-100:  # else r has lost its digits
                s = r * np.cumsum(np.concatenate([[0.0], rates / r[1:]]))
                return np.ascontiguousarray(np.stack([s, r], axis=1)), None
        if (rates.max(initial=0) * alpha.max()) ** powers < precision:
            each = rates[:, None] ** np.arange(1, powers + 1)
            return None, np.cumsum(np.concatenate([np.zeros((1, powers)), each]), axis=0)
    return None, None
