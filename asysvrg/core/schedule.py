"""What each epoch does: its direction, learning rate, number of iterations and l2 factor; and when a run stops."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from asysvrg.core.directions import DIRECTIONS, Direction

# The learning rate falls to 0 twice. With early_stopping="auto" a run may end after the first fall. It does if, in the
# last third of this fall, the validation loss decreased by less than the share FLAT. With hidden layers this can happen
# long before the network has learned everything. So three more conditions must hold then. The training loss decreased
# by more than FASTER times as much as the validation loss. The validation error exceeds the training error by more than
# GAP times its own random variation. The validation error is at most LEARNED times that of the best constant
# prediction.
FLAT, FASTER, GAP, LEARNED = 0.03, 2.0, 4.0, 0.25


@dataclass(frozen=True)
class Epoch:
    """One epoch of inner iterations.

    Attributes
    ----------
    number : int
        s. With the seed and the iteration it determines every draw.
    direction : Direction
    eta : float
        Learning rate of the first iteration.
    steps : int
        m, the number of inner iterations.
    l2_factor : float
        Updates take alpha this many times, see `l2_factor`.
    deadline : float
        Seconds on the monotonic clock after which no iteration starts.
    eta_end : float, optional
        What the rate reaches in a straight line at the end of the epoch. Default: it is constant.
    """

    number: int
    direction: Direction
    eta: float
    steps: int
    l2_factor: float = 1.0
    deadline: float = math.inf
    eta_end: float | None = None

    @property
    def rates(self) -> np.ndarray:
        """The learning rate of each iteration."""
        return rates(self.steps, self.eta, self.eta if self.eta_end is None else self.eta_end)


def rates(steps: int, eta: float, end: float) -> np.ndarray:
    """The learning rate of each iteration. It falls from eta to `end`, and is taken in the middle of the iteration."""
    return eta + (end - eta) * ((np.arange(steps) + 0.5) / steps) if end != eta else np.full(steps, eta)


def l2_factor(epoch: int, first: float) -> float:
    """The factor of the l2 term in an epoch: `first` in epoch 0, then half the factor before, at least 1.

    Random initial weights are far too large in directions that the data hardly determine. alpha alone shrinks them so
    slowly that most epochs wait for it. This is continuation: start with a strong penalty and weaken it (Hale, Yin &
    Zhang, "Fixed-point continuation for l1-minimization", 2008). The objective has alpha itself in every epoch.
    """
    return max(1.0, math.ldexp(first, -epoch))


@dataclass(frozen=True)
class Schedule:
    """What each epoch does, and when the run stops.

    Attributes
    ----------
    solver : str
        Direction of an update, a key of `DIRECTIONS`.
    max_iter : int
        Number of epochs, those of SGD included.
    inner_steps : int
        m, the inner iterations of an epoch.
    sgd_epochs : int
        Epochs of SGD before the solver takes over (the paper's SGD_SVRG).
    learning_rate : float
        eta, constant; alpha of eta_s = alpha / (1 + s)^decay for directions whose rate decays.
    decay : float or "linear"
        A number is beta of the same formula. With "linear" the rate falls in a straight line, from iteration to
        iteration and for each direction, to 0 at the end of the last epoch.
    restart : int
        With "linear": the epoch at whose start the rate has fallen to 0 and begins anew. 0: it falls once.
    alpha_boost : float
        Factor of the l2 term in epoch 0, see `l2_factor`.
    tol, n_iter_no_change : float, int
        Stop when the loss has not fallen by `tol` below its best in that many epochs. With tol 0 never.
    early_stopping : bool or "auto"
        If not False, the result is the parameters with the lowest error on the validation set. True: the run stops if
        that error no longer falls. "auto": it stops if neither the error nor the loss falls any longer.
    error_tol : float
        `tol` of the error on the validation set.
    error_noise : callable
        How much that error varies by chance, from its value. With "auto", an error that exceeds the lowest one by less
        counts as equal to it, and of equal epochs the last one is kept, because its rate is smaller.
    is_convex : bool
        Whether there are no hidden layers.
    constant_error : float
        The validation error of the best constant prediction.
    evaluated : int
        In epochs that need no full gradient: how many samples the recorded loss is computed from; 0 for all.
    target_loss : float
        Stop at a loss of at most this.
    max_time : float
        Stop after this many seconds, in the middle of an epoch if necessary.
    most_growth : float
        The learning rate grows to at most this many times its initial value while the loss falls; 1 for never.
    first : int
        Number of the first epoch. The run continues one of this many epochs.
    factor : float
        The rate is multiplied by this from the start. A run that continues another one has the last factor of that.
    seed : int
        Of random lengths.
    """

    solver: str
    max_iter: int
    inner_steps: int
    sgd_epochs: int = 0
    learning_rate: float = 0.1
    decay: float | str = 0.0
    restart: int = 0
    alpha_boost: float = 1.0
    tol: float = 0.0
    n_iter_no_change: int = 10
    early_stopping: bool | str = False
    error_tol: float = 0.0
    error_noise: Callable[[float], float] = lambda error: 0.0
    is_convex: bool = False
    constant_error: float = 0.0
    evaluated: int = 0
    target_loss: float = -math.inf
    max_time: float = math.inf
    most_growth: float = 1.0
    first: int = 0
    factor: float = 1.0
    seed: int = 0

    def direction(self, epoch: int) -> Direction:
        """The direction of an epoch's updates."""
        return DIRECTIONS["sgd" if epoch < self.sgd_epochs else self.solver]

    def eta(self, epoch: int, passed: float = 0.0) -> float:
        """The learning rate after a share of an epoch has passed, without growth and roll-backs."""
        if self.decay == "linear":
            first, last = (0, self.restart) if epoch < self.restart else (self.restart, self.max_iter)
            return self.learning_rate * (last - epoch - passed) / (last - first)
        if not self.direction(epoch).decays:
            return self.learning_rate
        try:
            return self.learning_rate / (1 + epoch) ** float(self.decay)
        except OverflowError:
            return 0.0

    def steps(self, epoch: int) -> int:
        """The number of an epoch's updates."""
        if not self.direction(epoch).random_length:
            return self.inner_steps
        return int(np.random.default_rng([self.seed, epoch]).geometric(1 / self.inner_steps))

    def epoch(self, number: int, factor: float = 1.0, deadline: float = math.inf) -> Epoch:
        """Epoch `number` with `factor` times its learning rate."""
        return Epoch(
            number,
            self.direction(number),
            eta=factor * self.eta(number),
            steps=self.steps(number),
            l2_factor=l2_factor(number, self.alpha_boost),
            deadline=deadline,
            eta_end=factor * self.eta(number, 1.0) if self.decay == "linear" else None,
        )

    def is_settled(self, epoch: int, rows: Sequence[dict[str, Any]]) -> bool:
        """Whether the run ends here, after the first fall of the rate (see FLAT). `rows` are the trace so far."""
        if self.early_stopping != "auto" or not self.restart or epoch != self.restart:
            return False
        before, now = {row["epoch"]: row for row in rows}.get(epoch - math.ceil(epoch / 3)), rows[-1]
        if before is None:
            return False
        gain, error = before["validation_loss"] - now["validation_loss"], now["validation_error"]
        if gain >= FLAT * before["validation_loss"]:
            return False
        overfits = before["loss"] - now["loss"] > FASTER * gain
        overfits = overfits and error - now["train_error"] > GAP * self.error_noise(error)
        return self.is_convex or (overfits and error <= LEARNED * self.constant_error)
