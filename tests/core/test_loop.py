"""The epoch loop: its order, clock, counts and schedules, roll-backs and stops."""

import math
import os
import signal
import subprocess
import sys
import textwrap
import time
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.problems import Problem, shared_execution
from sklearn.exceptions import ConvergenceWarning

import asysvrg
from asysvrg.core import loop, trace
from asysvrg.core.execution import Applied
from asysvrg.core.loop import minimize
from asysvrg.core.objective import Snapshot
from asysvrg.core.schedule import Schedule, l2_factor
from asysvrg.core.trace import Trace

STEPS, N, BATCH = 3, 7, 2  # of Quadratic


class Quadratic:
    """An Execution in plain NumPy: f(x) = 1/2 |x|^2, whose inner iteration is a step of gradient descent."""

    def __init__(self, log=None, tick=lambda seconds: None, losses=None):
        self.log, self.l2_factors = [] if log is None else log, []
        self.tick, self.losses = tick, losses

    def snapshot(self, x, *, keep_cache):
        self.log.append("snapshot with cache" if keep_cache else "snapshot")
        self.tick(5)
        with np.errstate(over="ignore"):
            square = float(x @ x)
        loss = square / 2 if self.losses is None else self.losses[round(x[0])]
        return Snapshot(x.copy(), loss, 0.0, x.copy(), square, None)

    def evaluate(self, x, samples):
        return self.snapshot(x, keep_cache=False)

    def inner(self, x, snapshot, epoch):
        np.testing.assert_array_equal(snapshot.x, x)
        self.log.append(f"inner {epoch.number} {epoch.direction.name}")
        self.l2_factors.append(epoch.l2_factor)
        self.tick(10)
        if self.losses is not None:
            x[0] += 1  # the number of the epoch, by which `snapshot` looks the loss up
        else:
            with np.errstate(over="ignore", invalid="ignore"):
                for _ in range(epoch.steps):
                    x -= epoch.eta * x
        return Applied(np.zeros(epoch.steps, dtype=np.int32), sum(epoch.direction.cost(N, epoch.steps * BATCH, True)))

    def state(self):
        return {}

    def restore(self, arrays):
        assert arrays == {}

    def report(self):
        return {}


def run(execution, x=(4.0, 3.0), *, solver="svrg", max_iter=100, errors=None, callback=None, **schedule):
    record = Trace({})
    start = np.array(x, dtype=float)
    schedule = Schedule(solver, max_iter, **{"inner_steps": STEPS} | schedule)
    told = {} if errors is None else {"errors": errors}
    return minimize(execution, start, schedule, record, callback=callback, **told), record.epochs


def scripted(losses, **plan):
    """A run whose row s has the loss losses[s]; the parameter is then s."""
    return run(Quadratic(losses=losses), x=(0.0,), max_iter=len(losses) - 1, **plan)


def column(rows, name):
    return [row[name] for row in rows]


@pytest.fixture
def fake_time(monkeypatch):
    """A clock that moves only when told to."""
    now = SimpleNamespace(seconds=100.0)

    def tick(seconds):
        now.seconds += seconds

    monkeypatch.setattr(trace, "time", SimpleNamespace(perf_counter=lambda: now.seconds))
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: now.seconds))
    return tick


def test_order_of_an_epoch_and_row_0_is_the_start():
    log = []
    outcome, rows = run(
        Quadratic(log),
        max_iter=2,
        errors=lambda x: log.append("errors") or {"validation_error": 0.5, "test_error": 0.25},
        callback=lambda row: log.append(f"row {row['epoch']}"),
    )
    recorded = ["errors"]
    assert log == [
        *["snapshot with cache", *recorded, "row 0", "inner 0 svrg"],
        *["snapshot with cache", *recorded, "row 1", "inner 1 svrg"],
        *["snapshot", *recorded, "row 2"],  # the last one serves no epoch: no cache, no training time
    ]
    assert (outcome.epochs, outcome.reason) == (2, "max_iter")
    assert rows[0]["loss"] == 12.5
    assert rows[0]["sample_gradients"] == rows[0]["seconds"] == 0
    assert rows[0]["direction"] is None
    assert column(rows, "epoch") == [0, 1, 2]
    assert column(rows, "validation_error") == [0.5] * 3
    assert column(rows, "test_error") == [0.25] * 3
    assert rows[1]["loss"] == pytest.approx(12.5 * 0.9 ** (2 * STEPS))
    assert rows[2]["gradient_norm_squared"] == pytest.approx(outcome.x @ outcome.x)


@pytest.mark.parametrize(
    ("plan", "seconds"),
    [
        ({"solver": "svrg"}, [0, 15, 30, 45]),  # full gradient 5, inner loop 10
        ({"solver": "sgd"}, [0, 10, 20, 30]),  # SGD has no use for the gradient: recording only
        ({"sgd_epochs": 1}, [0, 10, 25, 40]),
    ],
    ids=str,
)
def test_seconds_are_training_time_only(fake_time, plan, seconds):
    _, rows = run(
        Quadratic(tick=fake_time),
        max_iter=3,
        errors=lambda x: fake_time(100) or loop.NO_ERRORS,
        callback=lambda row: fake_time(1000),
        **plan,
    )
    assert column(rows, "seconds") == seconds


@pytest.mark.parametrize(
    ("how", "epochs", "kept"),
    [
        (False, 6, 6),  # by the loss: the last parameters
        (True, 4, 3),  # by the error; the last of the best ones
        ("auto", 7, 5),  # until neither falls
    ],
    ids=str,
)
def test_what_stops_a_run_and_what_it_keeps(how, epochs, kept):
    losses = [10.0, 9.0, 8.0, 8.0, 7.0, 7.0, 7.0, 7.0, 7.0]
    found = [0.5, 0.4, 0.2, 0.2, 0.3, 0.1, 0.3, 0.3, 0.0]
    outcome, rows = scripted(
        losses,
        early_stopping=how,
        tol=0.01,
        error_tol=0.01,
        n_iter_no_change=2,
        errors=lambda x: {"validation_error": found[int(x[0])], "test_error": None},
    )
    assert (outcome.epochs, outcome.reason, outcome.x[0]) == (epochs, "tol", kept)
    assert outcome.loss == losses[kept]
    assert len(rows) == epochs + 1


@pytest.mark.parametrize(("how", "kept"), [("auto", 3), (True, 1)], ids=str)
def test_errors_that_differ_by_noise_are_equal_for_auto(how, kept):
    """0.12 is within a standard error of 0.1, 0.03; 0.14 is not."""
    found = [0.5, 0.1, 0.14, 0.12, 0.14]
    outcome, _ = scripted(
        [5.0, 4.0, 3.0, 2.0, 1.0],
        early_stopping=how,
        error_noise=lambda error: (error * (1 - error) / 100) ** 0.5,
        errors=lambda x: {"validation_error": found[int(x[0])], "test_error": None},
    )
    assert outcome.x[0] == kept


@pytest.mark.parametrize(
    ("plan", "cache", "counts"),
    [
        ({"solver": "svrg"}, True, [0, 80, 160, 240]),  # n + m b
        ({"solver": "svrg"}, False, [0, 100, 200, 300]),  # n + 2 m b
        ({"solver": "sgd"}, True, [0, 20, 40, 60]),  # m b
        ({"sgd_epochs": 2}, True, [0, 20, 40, 120]),
    ],
    ids=str,
)
def test_sample_gradients_are_counted(plan, cache, counts):
    problem = Problem(n=60)
    _, rows = run(shared_execution(problem, cache=cache), max_iter=3, inner_steps=5, x=problem.x, **plan)
    assert column(rows, "sample_gradients") == counts


def test_loop_on_the_real_execution_is_algorithm_1():
    """Two epochs of SGD, then two of SVRG, against the NumPy twin."""
    problem = Problem(n=60, p=9)
    x, record = problem.vector(problem.x), Trace({})
    schedule = Schedule("svrg", max_iter=4, inner_steps=20, sgd_epochs=2, learning_rate=0.05, decay=0.5)
    outcome = minimize(shared_execution(problem), x, schedule, record)
    expected, losses = np.array(problem.x), [problem.twin.loss(problem.x)]
    for s, (kind, eta) in enumerate([("sgd", 0.05), ("sgd", 0.05 / 2**0.5), ("svrg", 0.05), ("svrg", 0.05)]):
        expected = problem.twin.epoch(kind, expected, 20, eta, 4, 0, 1, seed=3, epoch=s)
        losses.append(problem.twin.loss(expected))
    np.testing.assert_allclose(outcome.x, expected, rtol=1e-9)
    np.testing.assert_allclose(column(record.epochs, "loss"), losses, rtol=1e-9)
    assert record.epochs[-1]["gradient_norm_squared"] == pytest.approx((problem.twin.gradient(expected) ** 2).sum())


def test_schedule_decays_for_sgd_and_is_constant_for_svrg():
    plan = {"learning_rate": 0.4, "decay": 0.5, "max_iter": 4}
    decaying = [0.4 / (1 + s) ** 0.5 for s in range(4)]
    _, rows = run(Quadratic(), solver="sgd", **plan)
    assert column(rows[1:], "learning_rate") == pytest.approx(decaying)
    _, rows = run(Quadratic(), **plan)
    assert column(rows[1:], "learning_rate") == [0.4] * 4
    _, rows = run(Quadratic(), sgd_epochs=3, **plan)
    assert column(rows[1:], "direction") == ["sgd", "sgd", "sgd", "svrg"]
    assert column(rows[1:], "learning_rate") == pytest.approx([*decaying[:3], 0.4])


@pytest.mark.parametrize("solver", [{"solver": "sgd"}, {"solver": "svrg"}, {"sgd_epochs": 2}], ids=str)
def test_a_line_falls_to_zero_from_update_to_update(solver):
    plan = {"learning_rate": 0.4, "decay": "linear", "max_iter": 4}
    _, rows = run(Quadratic(), **solver, **plan)
    assert column(rows[1:], "learning_rate") == pytest.approx([0.4, 0.3, 0.2, 0.1])
    schedule = Schedule(**({"solver": "svrg"} | solver), inner_steps=5, **plan)
    rates = np.concatenate([schedule.epoch(number).rates for number in range(4)])
    np.testing.assert_allclose(rates, 0.4 * (1 - (np.arange(20) + 0.5) / 20))
    np.testing.assert_array_equal(Schedule("svrg", max_iter=4, inner_steps=3).epoch(2).rates, [0.1] * 3)


def test_a_line_that_falls_to_zero_twice():
    schedule = Schedule("sgd", max_iter=4, inner_steps=2, learning_rate=1.0, decay="linear", restart=1)
    rates = [schedule.epoch(number).rates.tolist() for number in range(4)]
    np.testing.assert_allclose(rates, [[3 / 4, 1 / 4], *(np.arange(11, 0, -2) / 12).reshape(3, 2)])


def test_a_loss_without_a_gradient_is_of_some_samples_until_the_last_epoch():
    execution = Quadratic()
    asked = []
    execution.evaluate = lambda x, samples: asked.append(samples) or execution.snapshot(x, keep_cache=False)
    run(execution, solver="sgd", max_iter=3, evaluated=7)
    assert asked == [7, 7, 7, 0]
    asked.clear()
    run(execution, sgd_epochs=1, max_iter=3, evaluated=7)
    assert asked == [7]


@pytest.mark.parametrize(
    ("first", "factors"), [(1, [1] * 6), (4, [4, 2, 1, 1, 1, 1]), (10.0, [10, 5, 2.5, 1.25, 1, 1])], ids=str
)
def test_the_l2_term_counts_less_from_epoch_to_epoch_down_to_once(first, factors):
    execution = Quadratic()
    run(execution, alpha_boost=first, max_iter=6)
    assert execution.l2_factors == factors
    execution = Quadratic()
    run(execution, alpha_boost=first, max_iter=6, first=1)
    assert execution.l2_factors == factors[1:]
    assert l2_factor(10_000, 1e300) == 1


SETTLED = [2.3, 0.9, 0.6, 0.5, 0.49, 0.485, 0.482, *[0.4] * 6]  # of the first six epochs, the last two gain 2%


@pytest.mark.parametrize(
    ("losses", "plan", "epochs"),
    [
        (SETTLED, {}, 6),
        (SETTLED, {"restart": 0}, 12),  # the rate falls once
        (SETTLED, {"tol": 0.0}, 12),  # never stop
        (SETTLED, {"is_convex": False}, 12),  # more may be learned
        (SETTLED, {"is_convex": False, "constant_error": 1.2}, 6),  # it overfits
        (SETTLED, {"is_convex": False, "constant_error": 1.0}, 12),  # but it has not learned most yet
        (SETTLED, {"is_convex": False, "constant_error": 1.2, "error_noise": lambda error: 0.1}, 12),  # or by chance
        (SETTLED, {"is_convex": False, "constant_error": 1.2, "learning_rate": 1e-6}, 12),  # the training loss is flat
        ([*SETTLED[:6], 0.47, *SETTLED[7:]], {}, 12),  # the last two gain 4%
        (SETTLED, {"early_stopping": True, "n_iter_no_change": 20}, 12),  # the error alone decides
    ],
    ids=[
        "settled",
        "one fall",
        "no tolerance",
        "hidden layers",
        "overfits",
        "early",
        "chance",
        "flat",
        "gains",
        "error alone",
    ],
)
def test_where_a_fall_of_the_rate_gains_little_there_is_no_second_one(losses, plan, epochs):
    found = iter(losses)
    outcome, rows = run(
        Quadratic(),
        solver="sgd",
        max_iter=12,
        errors=lambda x: {"validation_error": 0.28, "validation_loss": next(found), "test_error": None},
        **{"decay": "linear", "early_stopping": "auto", "is_convex": True, "restart": 6, "tol": 1e-4} | plan,
    )
    assert (outcome.epochs, outcome.reason) == (epochs, "tol" if epochs == 6 else "max_iter")
    assert column(rows, "validation_loss") == losses[: epochs + 1]


# Growth: gradient descent on 1/2 |x|^2 shrinks x by |1 - eta|; scripted losses say when it rises.


def test_the_rate_grows_while_the_loss_falls_up_to_its_limit():
    _, rows = run(Quadratic(), learning_rate=0.1, max_iter=5, most_growth=5.0)
    assert column(rows[1:], "learning_rate") == pytest.approx([0.1, 0.2, 0.4, 0.5, 0.5])
    _, rows = run(Quadratic(), learning_rate=0.1, max_iter=5)
    assert column(rows[1:], "learning_rate") == [0.1] * 5


def test_a_rate_at_which_the_loss_rose_is_not_tried_again():
    _, rows = scripted([1.0, 0.9, 0.8, 0.85, 0.7, 0.6, 0.5], learning_rate=0.1, most_growth=8.0)
    assert column(rows[1:], "learning_rate") == pytest.approx([0.1, 0.2, 0.4, 0.2, 0.2, 0.2])


def test_the_rate_is_at_most_twice_one_that_went_well_where_it_begins_to_fall_anew():
    plan = {"solver": "sgd", "learning_rate": 0.1, "decay": "linear", "restart": 3, "most_growth": 6.0}
    _, rows = scripted([1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4], **plan)
    falling = [0.1, 2 * 0.1 * 2 / 3, 4 * 0.1 / 3]  # the factor is 4 then, and 6 times the rate may be next
    assert column(rows[1:], "learning_rate") == pytest.approx([*falling, 2 * 0.4 / 3, 2 * 2 * 0.4 / 9 * 2, 6 * 0.1 / 3])
    _, rows = scripted([1.0, 0.9, 0.8, 0.7, 0.6], **plan | {"most_growth": 1.0, "learning_rate": 0.3, "restart": 2})
    assert column(rows[1:], "learning_rate") == pytest.approx([0.3, 0.15, 0.3, 0.15])


def test_growth_goes_on_from_the_run_before_up_to_the_same_limit():
    outcome, rows = run(Quadratic(), learning_rate=0.1, max_iter=3, most_growth=5.0, factor=2.0)
    assert column(rows[1:], "learning_rate") == pytest.approx([0.2, 0.4, 0.5])
    assert outcome.factor == 5
    outcome, rows = run(Quadratic(), learning_rate=0.1, max_iter=3, factor=0.5)  # a given rate, halved by a roll-back
    assert column(rows[1:], "learning_rate") == [0.05] * 3
    assert outcome.factor == 0.5


def test_a_roll_back_ends_the_growth_and_is_no_reason_to_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, rows = scripted([1.0, 0.9, 5.0, 0.8, 0.7], learning_rate=0.1, most_growth=8.0)  # never past 5.0
    assert column(rows[1:], "learning_rate") == pytest.approx([0.1, 0.2, 0.1, 0.05])


# Roll-back: gradient descent on 1/2 |x|^2 diverges for eta > 2.


@pytest.mark.parametrize("solver", ["svrg", "sgd"])
@pytest.mark.parametrize(
    ("eta", "roll_backs"), [(5.0, 2), (20.0, 4), (1e60, 199)], ids=["far above", "further", "not finite"]
)
def test_a_diverging_run_rolls_back_halves_the_rate_and_warns_once(solver, eta, roll_backs):
    """1e60: the loss overflows at first; halving it 199 times is what it takes to come below 2."""
    with pytest.warns(ConvergenceWarning, match="half the learning rate") as caught:
        outcome, rows = run(Quadratic(), solver=solver, learning_rate=eta, max_iter=roll_backs + 5)
    assert len(caught) == 1
    assert column(rows, "rolled_back") == [False] + [True] * roll_backs + [False] * 5
    assert set(column(rows[: roll_backs + 1], "loss")) == {12.5}  # where it went back to
    tried = column(rows[1:], "learning_rate")
    assert tried[: roll_backs + 1] == [eta / 2**k for k in range(roll_backs + 1)]
    assert len(set(tried[roll_backs:])) == 1
    assert rows[-1]["loss"] < 0.2
    assert outcome.x @ outcome.x / 2 == pytest.approx(rows[-1]["loss"])


def test_a_roll_back_in_the_last_epoch_leaves_the_snapshot():
    with pytest.warns(ConvergenceWarning):
        outcome, _ = run(Quadratic(), learning_rate=1e200, max_iter=1)
    np.testing.assert_array_equal(outcome.x, [4.0, 3.0])


@pytest.mark.parametrize(("after", "rolled_back"), [(1.9, False), (2.1, True), (math.nan, True), (math.inf, True)])
def test_how_far_above_is_too_far(after, rolled_back):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        outcome, rows = scripted([1.0, after])
    assert rows[1]["rolled_back"] == rolled_back
    assert rows[1]["loss"] == (1.0 if rolled_back else after)
    assert outcome.x[0] == (0 if rolled_back else 1)


@pytest.mark.parametrize(("at_start", "rolled_back"), [(2.0, True), (30.0, False)])
def test_losses_of_different_samples_do_not_say_what_an_epoch_did(at_start, rolled_back):
    """The last loss is that of all samples, some of which cost far more. `at_start`: that of the epoch before."""

    class OfSome(Quadratic):
        def evaluate(self, x, samples):
            found = super().evaluate(x, samples)
            whole = {1: at_start, 2: 31.0}.get(round(x[0])) if samples == 0 else None
            return replace(found, samples=samples, loss=found.loss if whole is None else whole)

    how = {"solver": "sgd", "evaluated": 5, "most_growth": 8.0, "learning_rate": 0.1}
    outcome, rows = run(OfSome(losses=[1.0, 0.9, 0.8]), x=(0.0,), max_iter=2, **how)
    assert rows[2]["rolled_back"] == rolled_back
    assert outcome.x[0] == (1 if rolled_back else 2)
    assert outcome.loss == (at_start if rolled_back else 31)
    assert outcome.factor == (1 if rolled_back else 2)  # what grew after the first epoch, and was halved


@pytest.mark.parametrize("ends", ["max_iter", "interrupted"])
def test_the_best_is_one_of_losses_of_the_same_samples(ends):
    """SGD's losses are of some samples, which cost a tenth of the others; SVRG's are of all."""

    class OfSome(Quadratic):
        def evaluate(self, x, samples):
            found = super().evaluate(x, samples)
            return replace(found, samples=samples, loss=found.loss / (10 if samples else 1))

    def press(row):
        if row["epoch"] == 6 and ends == "interrupted":
            raise KeyboardInterrupt

    how = {"sgd_epochs": 2, "evaluated": 5, "tol": 1e-3, "n_iter_no_change": 3}
    losses = [6.0, 5.5, 5.0, 4.5, 4.0, 3.5, 3.0, 2.5]
    outcome, rows = run(OfSome(losses=losses), x=(0.0,), max_iter=7, callback=press, **how)
    assert column(rows, "loss")[:4] == [0.6, 0.55, 5.0, 4.5]
    assert all(column(rows, "best"))
    assert (outcome.reason, outcome.x[0]) == (ends, {"max_iter": 7, "interrupted": 6}[ends])


def test_noise_near_a_loss_of_zero_is_no_divergence():
    """Twice a loss of 1e-9 is nothing beside the 1.0 of the start."""
    _, rows = scripted([1.0, 1e-9, 0.05, 1e-9])
    assert not any(column(rows, "rolled_back"))


def test_an_error_that_is_not_a_number_is_the_worst():
    found = iter([math.nan, math.nan, 0.5, math.nan])
    outcome, _ = run(
        Quadratic(),
        max_iter=3,
        early_stopping=True,
        errors=lambda x: {"validation_error": next(found), "validation_loss": 0.0, "test_error": None},
    )
    assert outcome.x @ outcome.x / 2 == pytest.approx(outcome.loss)
    assert 0 < outcome.loss < 12.5
    assert outcome.x @ outcome.x < 0.9**8 * 25  # after two epochs


def test_roll_backs_do_not_count_as_epochs_without_gain():
    with pytest.warns(ConvergenceWarning):
        outcome, rows = run(Quadratic(), learning_rate=60.0, tol=1e-3, n_iter_no_change=2)
    assert sum(column(rows, "rolled_back")) > 2
    assert outcome.reason == "tol"
    assert rows[-1]["loss"] < 1e-2


def test_a_loss_that_is_not_finite_at_the_start_is_an_error():
    with pytest.raises(ValueError, match="not finite at the initial parameters"):
        run(Quadratic(), x=(1e200, 0.0))


def test_a_real_run_recovers_from_a_rate_far_too_large():
    """Convex, and mini-batches of nearly the whole set: what is too large for it diverges until it is not."""
    problem = Problem(hidden=(), n=20)
    losses = {}
    for eta in (1.0, 500.0):
        x, record = problem.vector(problem.x), Trace({})
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            schedule = Schedule("svrg", max_iter=40, inner_steps=50, learning_rate=eta)
            minimize(shared_execution(problem, batch_size=400), x, schedule, record)
        losses[eta] = column(record.epochs, "loss")
        assert len(caught) == any(column(record.epochs, "rolled_back")) == (eta == 500)
    assert np.isfinite(losses[500]).all()
    assert losses[500][-1] == pytest.approx(losses[1][-1], rel=0.01)


# Stops.


def test_max_iter_is_the_last_resort():
    assert scripted([5, 4, 3])[0].reason == "max_iter"


@pytest.mark.parametrize(
    ("losses", "epochs"),
    [
        ([5, 4, 3, 3, 3], 4),  # two epochs without gain
        ([5, 4, 3, 2.95, 2.92], 4),  # a gain below tol is none
        ([5, 4, 3, 3.5, 2.8, 2.85, 2.84], 6),  # measured from the best
        ([5, 4.94, 4.88, 4.82, 4.76, 4.7, 4.69], 6),  # small gains add up: 0.12 in two epochs
        ([5, 5, 5], 2),  # the start counts, too
    ],
    ids=str,
)
def test_tol_stops_when_the_loss_has_not_fallen_for_n_iter_no_change_epochs(losses, epochs):
    outcome, rows = scripted([*losses, 0, 0], tol=0.1, n_iter_no_change=2)
    assert (outcome.epochs, outcome.reason, len(rows)) == (epochs, "tol", epochs + 1)


def test_tol_0_never_stops():
    assert scripted([1.0] * 30, tol=0.0, n_iter_no_change=1)[0].epochs == 29


@pytest.mark.parametrize(("target", "epochs"), [(3, 2), (5, 0), (3.5, 2)])
def test_target_loss(target, epochs):
    outcome, _ = scripted([5, 4, 3, 2], target_loss=target)
    assert (outcome.epochs, outcome.reason) == (epochs, "target_loss")


@pytest.mark.parametrize(("max_time", "epochs"), [(0, 0), (16, 1), (21, 2)])
def test_max_time_stops_after_the_epoch_in_which_it_is_over(fake_time, max_time, epochs):
    outcome, _ = run(Quadratic(tick=fake_time), max_time=max_time)  # rows at 5, 20, 35, ... seconds
    assert (outcome.epochs, outcome.reason) == (epochs, "max_time")


@pytest.mark.parametrize("threads", [1, 3])
def test_max_time_cuts_a_long_epoch(threads):
    """10^6 iterations of this size take several seconds at the very least."""
    problem = Problem(hidden=(100,), n=500)
    x, record = problem.vector(problem.x), Trace({})
    start = time.monotonic()
    schedule = Schedule("svrg", max_iter=5, inner_steps=10**6, learning_rate=1e-6, max_time=0.3)
    outcome = minimize(shared_execution(problem, threads=threads), x, schedule, record)
    assert time.monotonic() - start < 3
    assert (outcome.epochs, outcome.reason) == (1, "max_time")
    applied = sum(record.delay_histogram)
    assert 0 < applied < 10**6
    assert record.epochs[-1]["sample_gradients"] == 500 + 4 * applied
    assert (outcome.x != problem.x).any()


def test_a_true_answer_of_the_callback_stops():
    outcome, rows = run(Quadratic(), callback=lambda row: row["epoch"] == 3)
    assert (outcome.epochs, outcome.reason, len(rows)) == (3, "callback", 4)


def interrupt_at(epoch):
    def callback(row):
        if row["epoch"] == epoch:
            raise KeyboardInterrupt

    return callback


@pytest.mark.parametrize(("epoch", "best"), [(0, 0), (3, 1), (5, 5)])
def test_an_interrupt_keeps_the_parameters_of_the_lowest_loss(epoch, best):
    outcome, rows = scripted([5, 2, 3, 3.5, 3, 1, 4], callback=interrupt_at(epoch))
    assert (outcome.reason, outcome.epochs, len(rows)) == ("interrupted", epoch, epoch + 1)
    assert outcome.x[0] == best


def test_an_interrupt_within_an_epoch_keeps_the_best_of_the_rows():
    class Interrupted(Quadratic):
        def inner(self, x, snapshot, epoch):
            applied = super().inner(x, snapshot, epoch)
            if epoch.number == 2:
                raise KeyboardInterrupt
            return applied

    outcome, rows = run(Interrupted(losses=[5, 3, 4, 1]), x=(0.0,))
    assert (outcome.reason, len(rows), outcome.x[0]) == ("interrupted", 3, 1)


def test_an_interrupt_before_the_first_row_is_passed_on():
    class Interrupted(Quadratic):
        def snapshot(self, x, *, keep_cache):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(Interrupted())


# A child says where it is before Ctrl-C is to reach it there, and when it is through, what became of it.
CHILD = """
import time
import numpy as np
from asysvrg.core.network import Network, Samples
from asysvrg.core.loop import minimize
from asysvrg.core.objective import Objective, initial_parameters
from asysvrg.core.schedule import Schedule
from asysvrg.core.threaded import ThreadedExecution
from asysvrg.core.trace import Trace

network = Network((50, *{hidden}, 3), "relu", "softmax", np.float32)
rng = np.random.default_rng(0)

def objective(n):
    X, y = np.ones((n, 50), np.float32), rng.integers(3, size=n).astype(np.int32)
    return Objective(network, Samples(X, y), alpha=0.0, threads=2)

class Telling(ThreadedExecution):
    def inner(self, *args, **options):
        print("inner loop", flush=True)
        return super().inner(*args, **options)

    def snapshot(self, *args, **options):
        if self._objective is big:
            print("full gradient", flush=True)
        return super().snapshot(*args, **options)

execution = Telling(objective(100), batch_size=4, seed=0, execution="shared", update="striped")
big = objective({big})

def callback(row):
    if big.n:
        execution._objective = big  # from now on a full gradient takes its time

x, trace = initial_parameters(network, np.random.RandomState(0)), Trace({{}})
start = x.copy()
schedule = Schedule("svrg", max_iter=3, inner_steps={steps}, learning_rate=1e-3)
outcome = minimize(execution, x, schedule, trace, callback=callback)
print(time.monotonic(), outcome.reason, outcome.epochs, len(trace.epochs), (x == start).all(), flush=True)
"""


@pytest.mark.parametrize(
    ("where", "hidden", "steps", "big"),
    [("inner loop", (100,), 10**6, 0), ("full gradient", (2000, 2000), 1, 100_000)],
    ids=["inner loop", "full gradient"],
)
def test_ctrl_c_is_heard_at_once(where, hidden, steps, big):
    """Both take half a minute where they are not interrupted: 10^6 iterations, or 2.5 Tflop."""
    code = textwrap.dedent(CHILD).format(hidden=hidden, steps=steps, big=big)
    root = str(Path(asysvrg.__file__).parents[1])
    child = subprocess.Popen(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": root}, stdout=subprocess.PIPE, text=True
    )
    try:
        while child.stdout.readline() != f"{where}\n":
            assert child.poll() is None
        time.sleep(0.3)
        sent = time.monotonic()
        child.send_signal(signal.SIGINT)
        ended, reason, epochs, rows, kept = child.stdout.readline().split()
    finally:
        child.kill()
        child.communicate()
    assert float(ended) - sent < 5  # a tenth of a second, but other programs may take most of both cores
    assert (reason, rows, kept) == ("interrupted", "1", "True")  # row 0 is the only one, and thus the best
    assert epochs == ("0" if where == "inner loop" else "1")
