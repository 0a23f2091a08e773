"""The epoch loop, once for all methods: snapshot, full gradient, inner loop, record.

Lines 2 to 4 and 11 of Algorithm 1 and of Algorithm 2. An execution computes the full gradient and carries out the m
inner iterations. A direction says what an inner iteration subtracts.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from asysvrg.core.control import OutOfTime, out_of_time
from asysvrg.core.execution import Applied, Execution
from asysvrg.core.objective import Snapshot
from asysvrg.core.schedule import Epoch, Schedule
from asysvrg.core.trace import Clock, Trace, delay_summary
from asysvrg.core.warn import warn

GROWTH = 2.0  # the learning rate of an epoch is at most this many times the largest with which the loss fell
FAR_ABOVE = 2.0  # an epoch diverged if its loss exceeds the snapshot's this many times ...
ALLOWANCE = 0.1  # ... and by more than this share of the loss at the start
# Of a run without other samples.
NO_ERRORS: dict[str, float | None] = dict.fromkeys(("validation_error", "validation_loss", "test_error"))


@dataclass
class Outcome:
    """Where a run ended.

    Attributes
    ----------
    x : array of shape (d,)
        The last parameters. After an interrupt, those with the lowest recorded loss; with early stopping, those with
        the lowest error on the validation set, the last ones of several.
    epochs : int
        Epochs carried out, the schedule's `first` included.
    reason : {"max_iter", "tol", "target_loss", "max_time", "callback", "interrupted"}
    loss : float
        At x.
    factor : float
        Growth and roll-backs multiplied the learning rate by this.
    interrupt : KeyboardInterrupt or None
        What interrupted the run: for the caller to raise when x is kept.
    """

    x: np.ndarray
    epochs: int
    reason: str
    loss: float
    factor: float = 1.0
    interrupt: KeyboardInterrupt | None = None


@dataclass
class State:
    """All that a run needs to continue after an epoch, besides samples and settings.

    Attributes
    ----------
    x : array of shape (d,)
        Parameters when the row of `epoch` was recorded.
    best : array of shape (d,)
        Those with the lowest loss so far, or error on the validation set with early stopping.
    epoch : int
    arrays : dict of array
        The execution's state.
    numbers : dict
        Clock, counts and the memory of the stopping rule: the attributes of the run that `KEPT` names.
    """

    x: np.ndarray
    best: np.ndarray
    epoch: int
    arrays: dict[str, np.ndarray]
    numbers: dict[str, Any]


KEPT = (
    "seconds", "factor", "ceiling", "tried", "sample_gradients", "best_value", "best_loss", "last_gain", "lowest",
    "lowest_error", "samples", "warned",
)  # fmt: skip


def _finite(snapshot: Snapshot) -> bool:
    return math.isfinite(snapshot.loss) and math.isfinite(snapshot.gradient_norm_squared or 0.0)


class _Run:
    """The variables of `minimize`."""

    def __init__(self, execution: Execution, x: np.ndarray, schedule: Schedule, trace: Trace, clock: Clock | None):
        self.execution, self.x, self.schedule, self.trace = execution, x, schedule, trace
        self.clock = clock or Clock()
        self.deadline = time.monotonic() + schedule.max_time
        self.factor = schedule.factor  # of the learning rate: `pace` and `roll_back` change it
        self.ceiling = schedule.most_growth if schedule.most_growth > 1 else self.factor
        self.tried = math.inf  # the largest rate with which the loss fell; infinite before there is one
        self.sample_gradients = 0
        self.best, self.best_value, self.best_loss = x, math.inf, math.inf
        self.last_gain, self.lowest, self.lowest_error = schedule.first, math.inf, math.inf
        self.samples = 0  # whose losses `lowest` and `best_value` are: as `Snapshot.samples`
        self.warned = False
        self.cut = False  # whether max_time ended the epoch before its last iteration

    @property
    def seconds(self) -> float:
        return self.clock.seconds

    @seconds.setter
    def seconds(self, seconds: float) -> None:
        self.clock.seconds = seconds

    def state(self, epoch: int, snapshot: Snapshot) -> State:
        numbers = {name: getattr(self, name) for name in KEPT}
        arrays = {name: array.copy() for name, array in self.execution.state().items()}
        return State(snapshot.x, self.best, epoch, arrays, numbers)

    def restore(self, state: State) -> None:
        self.x[:] = state.x
        self.best = state.best
        self.execution.restore(state.arrays)
        for name in KEPT:
            setattr(self, name, state.numbers[name])

    def snapshot(self, epoch: int) -> Snapshot:
        """x~ <- x with its full gradient where the direction needs it; else with its loss.

        The time counts as training only where the next epoch needs the gradient.
        """
        direction, last = self.schedule.direction(epoch), epoch >= self.schedule.max_iter
        if not direction.needs_snapshot:
            return self.execution.evaluate(self.x, 0 if last else self.schedule.evaluated)
        if last:
            return self.execution.snapshot(self.x, keep_cache=False)
        with self.clock.running():
            return self.execution.snapshot(self.x, keep_cache=direction.uses_cache)

    def inner(self, snapshot: Snapshot, epoch: Epoch) -> Applied:
        """Updates x in place."""
        try:
            return self.execution.inner(self.x, snapshot, epoch)
        except OutOfTime:  # what comes before the first update took too long
            return Applied(np.zeros(0, dtype=np.int32), 0)

    def is_far_above(self, new: Snapshot, old: Snapshot) -> bool:
        allowance = ALLOWANCE * abs(self.trace.epochs[0]["loss"])
        return new.loss > FAR_ABOVE * old.loss and new.loss > old.loss + allowance

    def diverged(self, new: Snapshot, old: Snapshot) -> bool:
        if not _finite(new):
            return True
        if new.samples != old.samples and self.is_far_above(new, old):  # losses of different samples do not compare
            old = self.execution.evaluate(old.x, new.samples)
        return new.samples == old.samples and self.is_far_above(new, old)

    def epoch(self, number: int) -> Epoch:
        """The next epoch. Where a falling rate begins anew, it could be far above all that were tried: see GROWTH."""
        eta = self.schedule.eta(number)
        if self.schedule.most_growth > 1 and self.factor * eta > GROWTH * self.tried:
            self.factor = GROWTH * self.tried / eta
        return self.schedule.epoch(number, self.factor, self.deadline)

    def pace(self, new: Snapshot, old: Snapshot, rate: float) -> None:
        """The learning rate grows while the loss falls. A rate at which the loss rose is not tried again."""
        if new.samples != old.samples:
            return
        if new.loss < old.loss:
            self.tried = rate if math.isinf(self.tried) else max(self.tried, rate)
            self.factor = max(self.factor, min(self.factor * GROWTH, self.ceiling))
        elif self.schedule.most_growth > 1:
            self.factor /= GROWTH
            self.ceiling = self.factor

    def roll_back(self, old: Snapshot, epoch: int, rate: float) -> Snapshot:
        self.factor /= 2
        self.ceiling = min(self.ceiling, self.factor)
        if self.schedule.most_growth == 1 and not self.warned:  # a rate that grows finds its limit by this
            told = f"the loss rose far above its value at the start of epoch {epoch}: going back there with half the "
            told += f"learning rate, {rate / 2:.3g}. A smaller learning_rate_init avoids this"
            warn(told, ConvergenceWarning)
            self.warned = True
        self.x[:] = old.x
        self.last_gain = epoch
        return self.snapshot(epoch)

    def forget_losses(self, samples: int) -> None:
        """Forgets the lowest losses so far. The next losses are of other samples, and cannot be compared with them."""
        self.samples, self.lowest = samples, math.inf
        if not self.schedule.early_stopping:
            self.best_value = math.inf

    def record(self, epoch: int, snapshot: Snapshot, seconds: float, **more: Any) -> dict[str, Any]:
        schedule, error = self.schedule, more["validation_error"]
        partial = out_of_time()
        if snapshot.samples != self.samples and not partial:
            self.forget_losses(snapshot.samples)
        value = error if schedule.early_stopping else snapshot.loss
        value = math.inf if math.isnan(value) else value
        noise = 0.0
        if schedule.early_stopping == "auto" and math.isfinite(self.best_value):
            noise = schedule.error_noise(self.best_value)
        best = value <= self.best_value + noise and not (partial and math.isfinite(self.best_value))
        if best:
            self.best, self.best_value, self.best_loss = snapshot.x, min(value, self.best_value), snapshot.loss
        if schedule.early_stopping is not True and snapshot.loss < self.lowest - schedule.tol:
            self.last_gain, self.lowest = epoch, snapshot.loss
        if schedule.early_stopping and error < self.lowest_error - schedule.error_tol:
            self.last_gain, self.lowest_error = epoch, error
        row = {
            "epoch": epoch,
            "seconds": seconds,
            "loss": snapshot.loss,
            "train_error": snapshot.error,
            "gradient_norm_squared": snapshot.gradient_norm_squared,
            "sample_gradients": self.sample_gradients,
            "partial": partial,
            "best": best,
            **more,
            **self.execution.report(),
        }
        self.trace.epochs.append(row)
        return row

    def count(self, epoch: Epoch, applied: Applied) -> dict[str, Any]:
        """Adds an epoch to the counts; returns what the next row says of it."""
        self.cut = time.monotonic() >= self.deadline
        self.sample_gradients += applied.sample_gradients
        self.seconds -= applied.measured
        self.trace.count_delays(applied.delays)
        return {
            "delay": delay_summary(applied.delays),
            "direction": epoch.direction.name,
            "learning_rate": epoch.eta,
        }

    def reason_to_stop(self, epoch: int, snapshot: Snapshot) -> str | None:
        schedule = self.schedule
        if snapshot.loss <= schedule.target_loss and not out_of_time():
            return "target_loss"
        if time.monotonic() >= self.deadline:
            return "max_time"
        no_gain = epoch - self.last_gain >= schedule.n_iter_no_change
        if schedule.tol > 0 and (no_gain or schedule.is_settled(epoch, self.trace.epochs)):
            return "tol"
        return "max_iter" if epoch >= schedule.max_iter else None

    def outcome(self, epoch: int, reason: str, last: Snapshot | None) -> Outcome:
        """The last parameters; without them, and with early stopping, the best ones."""
        loss, chooses = self.best_loss, self.schedule.early_stopping
        if last is None or chooses:
            self.x[:] = self.best
        else:
            loss = self.trace.epochs[-1]["loss"] if out_of_time() else last.loss
        # The recorded losses may be those of a part of the samples.
        if self.schedule.evaluated and last is not None and not out_of_time():
            known = last.samples == 0 and np.array_equal(self.x, last.x)
            whole = last if known else self.execution.evaluate(self.x, 0)
            loss = loss if out_of_time() else whole.loss
        return Outcome(self.x, epoch, reason, loss, self.factor)


def minimize(
    execution: Execution,
    x: np.ndarray,
    schedule: Schedule,
    trace: Trace,
    *,
    errors: Callable[[np.ndarray], dict[str, float | None]] = lambda x: NO_ERRORS,
    callback: Callable[[dict[str, Any]], Any] | None = None,
    clock: Clock | None = None,
    start: State | None = None,
    keep: Callable[[State], Any] | None = None,
) -> Outcome:
    """Minimises f from x by the schedule's epochs.

    Parameters
    ----------
    execution : Execution
    x : array of shape (d,)
        Start, overwritten.
    schedule : Schedule
    trace : Trace
        Rows are added to it.
    errors : callable, optional
        The columns validation_error, validation_loss and test_error of given parameters. Early stopping needs the first
        two; nothing here looks at the third.
    callback : callable, optional
        Called with each new row. A true answer stops the run.
    clock : Clock, optional
        Of the seconds in the trace. Default: a new one.
    start : State, optional
        Continue from there instead of from x. The trace has the rows up to there.
    keep : callable, optional
        Called with the state after each complete epoch, once its row is in the trace.

    Returns
    -------
    Outcome

    Raises
    ------
    ValueError
        If the loss or its gradient is not finite at the start.
    KeyboardInterrupt
        Before the first row; later one is in the outcome.

    Warns
    -----
    ConvergenceWarning
        At the first roll-back, unless the learning rate grows: after an epoch whose loss is not finite or far above the
        snapshot's, the run continues from the snapshot with half the learning rate.
    """
    run = _Run(execution, x, schedule, trace, clock)
    number = schedule.first
    more: dict[str, Any] = {"delay": delay_summary(np.zeros(0)), "direction": None, "learning_rate": None}
    if start is not None:
        run.restore(start)
        number = start.epoch
    try:
        previous: Snapshot | None = None
        while True:
            seconds = run.seconds
            snapshot = run.snapshot(number)
            if previous is None and not _finite(snapshot):
                wider = ", or use dtype='float64'" if x.dtype == np.float32 else ""
                raise ValueError(
                    "the loss or its gradient is not finite at the initial parameters: scale the input, and real "
                    f"targets, for example with StandardScaler, or give a smaller alpha{wider}"
                )
            stopped = None
            if start is not None and number == start.epoch:
                run.seconds = seconds  # this snapshot is in the recorded time already
            else:
                more["rolled_back"] = previous is not None and run.diverged(snapshot, previous)
                if previous is not None and more["rolled_back"]:
                    snapshot = run.roll_back(previous, number, more["learning_rate"])
                elif previous is not None and not out_of_time():
                    run.pace(snapshot, previous, more["learning_rate"])
                more |= errors(x)
                row = run.record(number, snapshot, seconds, **more)
                if keep is not None and not run.cut and not row["partial"]:
                    keep(run.state(number, snapshot))
                stopped = "callback" if callback is not None and callback(row) else None
            reason = stopped or run.reason_to_stop(number, snapshot)
            if reason:
                return run.outcome(number, reason, snapshot)
            previous = snapshot  # frees the vectors of the one before
            epoch = run.epoch(number)
            with run.clock.running():
                applied = run.inner(snapshot, epoch)
            more = run.count(epoch, applied)
            number += 1
    except KeyboardInterrupt as interrupt:
        if run.best_loss == math.inf:
            raise
        outcome = run.outcome(number, "interrupted", None)
        outcome.interrupt = interrupt
        return outcome
