"""Mini-batches that hold more of those samples whose gradients were long (importance sampling).

Sample i is drawn with probability p_i and its gradient multiplied by 1 / (n p_i), so that E[v] stays the gradient of
f. The variance of v is least where p_i is proportional to |grad l_i| (Zhao & Zhang, "Stochastic optimization with
importance sampling for regularized loss minimization", 2015). The length of the derivative by the network's outputs
stands for it (Katharopoulos & Fleuret, "Not all samples are created equal", 2018): that of the sample's last draw,
which is there for nothing. As it may be old, half of the probability is uniform, and no gradient is multiplied by more
than 2.

Many of the samples drawn turn out to have next to no gradient nevertheless. Once the forward pass has shown that, a
sample whose gradient would count less than is usual is left out by lot, and counts as much more where it stays in
(csrc/step.h: `after_lot`): E[v] is the same again, the variance hardly larger, and the work after the forward pass
less.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from asysvrg.core.inner import resample

UNIFORM = 0.5  # share of the probability that all samples have in equal parts
UNSEEN = 1.0  # in the place of the length of a sample that has not been drawn
ENOUGH = 0.8  # of the mean length; the variance hardly grows (tests/test_importance.py)


class Draws(NamedTuple):
    """What an epoch draws from.

    Attributes
    ----------
    listed : int32 array of shape (n,)
        Sample i stands here n p_i times, rounded up or down at random.
    ratio : array of shape (n,)
        1 / (n p_i), of each sample.
    lengths : array of shape (n,)
        Of each sample's derivative by the outputs when it was drawn last; the inner loop writes it.
    enough : float
        A sample with ratio x length below this is left out by lot.
    """

    listed: np.ndarray
    ratio: np.ndarray
    lengths: np.ndarray
    enough: float = 0.0


class Importance:
    """Lengths of all samples' gradients, and what follows from them for the next epoch.

    Parameters
    ----------
    n : int
        Samples; at first all are alike.
    dtype : dtype
    seed : int
    """

    def __init__(self, n: int, dtype: np.dtype, seed: int):
        self.lengths, self._seed = np.full(n, UNSEEN, dtype=dtype), seed

    def draws(self, epoch: int) -> Draws:
        """For an epoch, by systematic resampling (Kitagawa, 1996): as little as possible is left to chance."""
        listed, ratio, mean = resample(self.lengths, UNIFORM, UNSEEN, self._seed, epoch)
        return Draws(listed, ratio, self.lengths, ENOUGH * mean)  # mean: also that of ratio x length over a pass
