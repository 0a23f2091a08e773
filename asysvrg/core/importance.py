"""Importance sampling: samples with large gradient norms are drawn more often and count less each time.

Sample i is drawn with probability p_i and its gradient multiplied by 1 / (n p_i), so that E[v] stays the gradient of
f. The variance of v is least where p_i is proportional to |grad l_i| (Zhao & Zhang, "Stochastic optimization with
importance sampling for regularized loss minimization", 2015). The norm of the derivative by the last layer's sums is
a substitute for it (Katharopoulos & Fleuret, "Not all samples are created equal", 2018). The inner loop has it at no
cost when it draws the sample. As it may be out of date, half of the probability is uniform, so that no gradient is
multiplied by more than 2.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from asysvrg.core.draws import resample

UNIFORM = 0.5  # share of the probability that all samples have in equal parts
UNSEEN = 1.0  # gradient norm of a sample that has not been drawn yet


class Draws(NamedTuple):
    """What an epoch draws from.

    Attributes
    ----------
    listed : int32 array of shape (n,)
        Sample i is n p_i times in it, rounded up or down at random.
    ratio : array of shape (n,)
        1 / (n p_i) of each sample.
    norms : array of shape (n,)
        Gradient norm of each sample when it was last drawn. The inner loop writes it.
    """

    listed: np.ndarray
    ratio: np.ndarray
    norms: np.ndarray


class Importance:
    """The gradient norms of all samples, and the draws of the next epoch that follow from them.

    Parameters
    ----------
    n : int
        Number of samples. At first all have the same norm.
    dtype : dtype
    seed : int
    """

    def __init__(self, n: int, dtype: np.dtype, seed: int):
        self.norms, self._seed = np.full(n, UNSEEN, dtype=dtype), seed

    def draws(self, epoch: int) -> Draws:
        """The draws of an epoch, by systematic resampling (Kitagawa, 1996), which adds the least variance."""
        listed, ratio = resample(self.norms, UNIFORM, self._seed, epoch)
        return Draws(listed, ratio, self.norms)
