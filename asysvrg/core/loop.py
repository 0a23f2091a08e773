"""The epoch loop, once for every method: snapshot -> full gradient -> inner loop -> record.

Lines 2 to 4 and 11 of Algorithm 1 and of Algorithm 2. Executions differ only in who computes the full gradient and
who carries out the m inner iterations; directions, only in what an iteration subtracts.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from asysvrg.core.objective import Snapshot, boost_in
from asysvrg.core.trace import Clock, Trace, delay_summary
from asysvrg.core.warn import warn


class Execution(Protocol):
    """Who runs an epoch; `shared.SharedExecution` is one."""

    @property
    def lengths(self) -> np.ndarray: ...

    @property
    def directions(self) -> np.ndarray: ...

    def snapshot(self, x: np.ndarray, *, direction: str) -> Snapshot: ...

    def inner(
        self,
        x: np.ndarray,
        snapshot: Snapshot,
        *,
        direction: str,
        eta: float,
        boost: float,
        epoch: int,
        deadline: float,
    ) -> np.ndarray: ...

    def cost(self, snapshot: Snapshot, direction: str) -> tuple[int, int]: ...

    def report(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Plan:
    """What to do in each epoch, and when to stop.

    Attributes
    ----------
    solver : {"svrg", "sgd"}
    max_iter : int
        Epochs, those of SGD included.
    sgd_epochs : int
        Epochs of SGD before SVRG (the paper's SGD_SVRG).
    learning_rate : float
        eta of SVRG, constant; alpha of eta_s = alpha / (1 + s)^decay in epochs of SGD.
    decay : float or "linear"
        beta of the same; or a straight line to 0 at the end of the epochs of SGD, alpha (1 - s / epochs).
    alpha_boost : float
        In the first epoch the l2 term counts so many times, then less: `objective.boost_in`.
    tol, n_iter_no_change : float, int
        Stop when the loss has not fallen by `tol` below its best in so many epochs; tol 0 for never.
    early_stopping : bool
        Look at the validation set's error instead, and end with the parameters for which it was lowest.
    target_loss : float
        Stop at a loss of at most this.
    max_time : float
        Stop after so many seconds, in the middle of an epoch if need be.
    most_growth : float
        While the loss falls, the learning rate grows up to so many times what it was at first; 1 for never.
    first : int
        Number of the first epoch: the run is the continuation of one of so many epochs.
    """

    solver: str
    max_iter: int
    sgd_epochs: int = 0
    learning_rate: float = 0.1
    decay: float | str = 0.0
    alpha_boost: float = 1.0
    tol: float = 0.0
    n_iter_no_change: int = 10
    early_stopping: bool = False
    target_loss: float = -math.inf
    max_time: float = math.inf
    most_growth: float = 1.0
    first: int = 0

    def direction(self, epoch: int) -> str:
        return "sgd" if self.solver == "sgd" or epoch < self.sgd_epochs else "svrg"

    def eta(self, epoch: int) -> float:
        if self.direction(epoch) == "svrg":
            return self.learning_rate
        if self.decay == "linear":
            return self.learning_rate * (1 - epoch / (self.max_iter if self.solver == "sgd" else self.sgd_epochs))
        return self.learning_rate / (1 + epoch) ** self.decay


@dataclass
class Outcome:
    """Where a run ended.

    Attributes
    ----------
    x : array of shape (d,)
        The last parameters; after an interrupt, those with the lowest loss recorded; with early stopping, those with
        the lowest error on the validation set.
    epochs : int
        Epochs carried out, the plan's `first` included.
    reason : {"max_iter", "tol", "target_loss", "max_time", "callback", "interrupted"}
    loss : float
        At x.
    factor : float
        By which growth and roll-backs changed the learning rate.
    """

    x: np.ndarray
    epochs: int
    reason: str
    loss: float
    factor: float = 1.0


@dataclass
class State:
    """What an epoch leaves to the next one: with samples and settings, all that a run needs to go on.

    Attributes
    ----------
    x : array of shape (d,)
        Parameters when the row of `epoch` was recorded.
    best : array of shape (d,)
        Those with the lowest loss so far, or error on the validation set with early stopping.
    epoch : int
    lengths : array of shape (n,), or (0,)
        Of samples' gradients, which the next epoch's draws depend on; none without importance sampling.
    directions : array
        Along which hidden layers' steps are shortened, until they are looked for again.
    numbers : dict
        Clock, counts and the memory of the stopping rule: the attributes of the run that `KEPT` names.
    """

    x: np.ndarray
    best: np.ndarray
    epoch: int
    lengths: np.ndarray
    directions: np.ndarray
    numbers: dict[str, Any]


KEPT = ("seconds", "factor", "ceiling", "sample_gradients", "best_value", "best_loss", "last_gain", "lowest", "warned")
GROWTH = 2.0  # of the learning rate in an epoch
FAR_ABOVE = 2.0  # a loss beyond this many times the snapshot's ...
ALLOWANCE = 0.1  # ... and above it by this share of the starting loss is taken for divergence


def _finite(snapshot: Snapshot) -> bool:
    return math.isfinite(snapshot.loss) and math.isfinite(snapshot.gradient_norm_squared)


class _Run:
    """The state of `minimize`; each method is a line of the loop."""

    def __init__(self, execution: Execution, x: np.ndarray, plan: Plan, trace: Trace):
        self.execution, self.x, self.plan, self.trace = execution, x, plan, trace
        self.clock, self.started = Clock(), time.monotonic()
        self.factor = 1.0  # of the learning rate: halved at each roll-back, see `pace`
        self.ceiling = plan.most_growth
        self.sample_gradients = 0
        self.best, self.best_value, self.best_loss = x, math.inf, math.inf
        self.last_gain, self.lowest = plan.first, math.inf
        self.warned = False
        self.cut = False  # whether max_time was over before the epoch was

    @property
    def seconds(self) -> float:
        return self.clock.seconds

    @seconds.setter
    def seconds(self, seconds: float) -> None:
        self.clock.seconds = seconds

    def state(self, epoch: int, snapshot: Snapshot) -> State:
        numbers = {name: getattr(self, name) for name in KEPT}
        lengths, directions = self.execution.lengths.copy(), self.execution.directions.copy()
        return State(snapshot.x, self.best, epoch, lengths, directions, numbers)

    def restore(self, state: State) -> None:
        self.x[:] = state.x
        self.best = state.best
        self.execution.lengths[:] = state.lengths
        self.execution.directions[:] = state.directions
        for name in KEPT:
            setattr(self, name, state.numbers[name])

    def snapshot(self, epoch: int) -> Snapshot:
        """x~ <- x with its full gradient: training time only where the next epoch needs it."""
        direction = self.plan.direction(epoch)
        if direction == "sgd" or epoch == self.plan.max_iter:
            return self.execution.snapshot(self.x, direction="sgd")
        with self.clock.running():
            return self.execution.snapshot(self.x, direction="svrg")

    def diverged(self, new: Snapshot, old: Snapshot) -> bool:
        if not _finite(new):
            return True
        allowance = ALLOWANCE * abs(self.trace.epochs[0]["loss"])
        return new.loss > FAR_ABOVE * old.loss and new.loss > old.loss + allowance

    def pace(self, new: Snapshot, old: Snapshot) -> None:
        """The learning rate of the next epoch: larger while the loss falls, never again as large once it rose."""
        if new.loss < old.loss:
            self.factor = max(self.factor, min(self.factor * GROWTH, self.ceiling))
        elif self.plan.most_growth > 1:
            self.factor /= GROWTH
            self.ceiling = self.factor

    def roll_back(self, old: Snapshot, epoch: int) -> Snapshot:
        self.factor /= 2
        self.ceiling = min(self.ceiling, self.factor)
        if not self.warned:
            warn(
                f"the loss rose far above its value at the start of epoch {epoch}: going back there with half the "
                f"learning rate, {self.factor * self.plan.eta(epoch):.3g}. A smaller learning_rate_init avoids this",
                ConvergenceWarning,
            )
            self.warned = True
        self.x[:] = old.x
        self.last_gain = epoch
        return self.snapshot(epoch)

    def record(self, epoch: int, snapshot: Snapshot, seconds: float, **more: Any) -> dict[str, Any]:
        value = more["test_error"] if self.plan.early_stopping else snapshot.loss
        if (value, snapshot.loss) <= (self.best_value, self.best_loss):
            self.best, self.best_value, self.best_loss = snapshot.x, value, snapshot.loss
        if value < self.lowest - self.plan.tol:
            self.last_gain = epoch
            self.lowest = value
        row = {
            "epoch": epoch,
            "seconds": seconds,
            "loss": snapshot.loss,
            "train_error": snapshot.error,
            "test_error": None,
            "gradient_norm_squared": snapshot.gradient_norm_squared,
            "sample_gradients": self.sample_gradients,
            **more,
            **self.execution.report(),
        }
        self.trace.epochs.append(row)
        return row

    def reason_to_stop(self, epoch: int, snapshot: Snapshot) -> str | None:
        plan = self.plan
        if snapshot.loss <= plan.target_loss:
            return "target_loss"
        if time.monotonic() - self.started >= plan.max_time:
            return "max_time"
        if plan.tol > 0 and epoch - self.last_gain >= plan.n_iter_no_change:
            return "tol"
        return "max_iter" if epoch == plan.max_iter else None

    def outcome(self, epoch: int, reason: str, last: Snapshot | None) -> Outcome:
        """The last parameters; without them, and with early stopping, the best ones."""
        loss = self.best_loss
        if last is None or self.plan.early_stopping:
            self.x[:] = self.best
        else:
            loss = last.loss
        return Outcome(self.x, epoch, reason, loss, self.factor)

    def inner(self, epoch: int, snapshot: Snapshot) -> dict[str, Any]:
        """m updates of x; returns what the next row says of them."""
        direction, eta = self.plan.direction(epoch), self.factor * self.plan.eta(epoch)
        with self.clock.running():
            delays = self.execution.inner(
                self.x,
                snapshot,
                direction=direction,
                eta=eta,
                boost=boost_in(epoch, self.plan.alpha_boost),
                epoch=epoch,
                deadline=self.started + self.plan.max_time,
            )
        self.cut = time.monotonic() >= self.started + self.plan.max_time
        full, each = self.execution.cost(snapshot, direction)
        self.sample_gradients += full + each * len(delays)
        self.trace.count_delays(delays)
        return {"delay": delay_summary(delays), "direction": direction, "learning_rate": eta}


def minimize(
    execution: Execution,
    x: np.ndarray,
    plan: Plan,
    trace: Trace,
    *,
    test_error: Callable[[np.ndarray], float] | None = None,
    callback: Callable[[dict[str, Any]], Any] | None = None,
    start: State | None = None,
    keep: Callable[[State], Any] | None = None,
) -> Outcome:
    """Minimises f from x by the plan's epochs.

    Parameters
    ----------
    execution : Execution
    x : array of shape (d,)
        Start, overwritten.
    plan : Plan
    trace : Trace
        Rows are added to it.
    test_error : callable, optional
        Error of given parameters on a validation set.
    callback : callable, optional
        Called with each new row; a true answer stops the run.
    start : State, optional
        Go on from there instead of from x; the trace has the rows up to there.
    keep : callable, optional
        Called with the state after each complete epoch, when its row is in the trace.

    Returns
    -------
    Outcome

    Raises
    ------
    ValueError
        If the loss or its gradient is not finite at the start.

    Warns
    -----
    ConvergenceWarning
        At the first roll-back: after an epoch that ended with a loss not finite or far above the snapshot's, the run
        goes on from the snapshot with half the learning rate.
    """
    run = _Run(execution, x, plan, trace)
    epoch = plan.first
    more: dict[str, Any] = {
        "delay": delay_summary(np.zeros(0)),
        "direction": None,
        "learning_rate": None,
    }
    if start is not None:
        run.restore(start)
        epoch = start.epoch
    try:
        previous = None
        while True:
            seconds = run.seconds
            snapshot = run.snapshot(epoch)
            if previous is None and not _finite(snapshot):
                raise ValueError(
                    "the loss or its gradient is not finite at the initial parameters: scale the input "
                    "(for example with StandardScaler), or use dtype='float64'"
                )
            stopped = None
            if start is not None and epoch == start.epoch:
                run.seconds = seconds  # recorded before, and counted
            else:
                more["rolled_back"] = previous is not None and run.diverged(snapshot, previous)
                if more["rolled_back"]:
                    snapshot = run.roll_back(previous, epoch)
                elif previous is not None:
                    run.pace(snapshot, previous)
                more["test_error"] = None if test_error is None else test_error(x)
                row = run.record(epoch, snapshot, seconds, **more)
                if keep is not None and not run.cut:
                    keep(run.state(epoch, snapshot))
                stopped = "callback" if callback is not None and callback(row) else None
            reason = stopped or run.reason_to_stop(epoch, snapshot)
            if reason:
                return run.outcome(epoch, reason, snapshot)
            previous = snapshot  # and the one before is given back
            more = run.inner(epoch, snapshot)
            epoch += 1
    except KeyboardInterrupt:
        if run.best_loss == math.inf:
            raise
        return run.outcome(epoch, "interrupted", None)
