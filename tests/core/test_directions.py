"""Directions beyond the paper's, against plain loops in NumPy."""

import numpy as np
import pytest
from helpers.problems import Problem

from asysvrg import AsySVRGClassifier
from asysvrg.core.directions import DIRECTIONS
from asysvrg.core.draws import draw_batch
from asysvrg.core.loop import minimize
from asysvrg.core.network import Samples
from asysvrg.core.objective import Objective
from asysvrg.core.schedule import Schedule
from asysvrg.core.threaded import ThreadedExecution
from asysvrg.core.trace import Trace


def minimized(problem, solver, epochs, steps, **loop):
    """x after some epochs by the kernels, and the number of updates in each."""
    objective = Objective(problem.network, problem.samples, alpha=problem.alpha, threads=loop.pop("threads", 1))
    execution = ThreadedExecution(
        objective, batch_size=4, seed=7, **({"execution": "serial", "update": "plain"} | loop)
    )
    schedule = Schedule(solver, epochs, inner_steps=steps, learning_rate=0.05, seed=7)
    x = problem.vector(problem.x)
    minimize(execution, x, schedule, Trace({}))
    return x, [schedule.steps(epoch) for epoch in range(epochs)]


def test_loopless_svrg_renews_its_snapshot_with_probability_1_over_m():
    """One loop without epochs: after each update a coin says whether x~ becomes x."""
    problem, m = Problem(n=60, p=9), 10
    expected, lengths = minimized(problem, "lsvrg", 6, m)
    assert len(set(lengths)) > 2
    renewals = np.cumsum(lengths)
    x = np.array(problem.x)
    snapshot, epoch, t = x.copy(), 0, 0
    for k in range(renewals[-1]):
        x -= 0.05 * problem.twin.direction("svrg", x, snapshot, draw_batch(7, epoch, t, 60, 4))
        t += 1
        if k + 1 in renewals:
            snapshot, epoch, t = x.copy(), epoch + 1, 0
    np.testing.assert_allclose(expected, x, rtol=1e-10, atol=1e-10)


def test_lengths_between_renewals_are_geometric():
    schedule = Schedule("lsvrg", 1, inner_steps=20, seed=3)
    lengths = np.array([schedule.steps(epoch) for epoch in range(4000)])
    assert lengths.min() == 1
    assert lengths.mean() == pytest.approx(20, rel=0.06)  # four standard errors
    assert (lengths > 20).mean() == pytest.approx((1 - 1 / 20) ** 20, abs=0.035)
    assert [schedule.steps(epoch) for epoch in range(4000)] == lengths.tolist()


def page(problem, lengths):
    """Li et al. (2021), Algorithm 1, with the l2 term's exact gradient at each x."""
    x = np.array(problem.x)
    for epoch, length in enumerate(lengths):
        v, before = problem.twin.gradient(x) - problem.twin.decay * x, x.copy()
        for t in range(length):
            index = draw_batch(7, epoch, t, 60, 4)
            v += problem.twin.mean_gradient(x, index) - problem.twin.mean_gradient(before, index)
            before = x.copy()
            x = x - 0.05 * (v + problem.twin.decay * x)
    return x


@pytest.mark.parametrize("form", ["dense", "zeros", "csr"])
@pytest.mark.parametrize("hidden", [(), (7,), (19, 6)], ids=str)
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_page_against_a_plain_loop(hidden, form, threads):
    problem = Problem(hidden=hidden, form=form, weighted=True, n=60, p=9)
    loop = {"execution": "lockstep", "threads": threads, "parts": 4} if threads > 1 else {}
    x, lengths = minimized(problem, "page", 4, 10, **loop)
    np.testing.assert_allclose(x, page(problem, lengths), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "loop",
    [{"coordinates": 9}, {"update": "atomic"}, {"lazy_rows": True}],
    ids=str,
)
def test_page_refuses_other_loops(loop):
    problem = Problem(form="csr")
    _, mu, _ = problem.snapshot(problem.x)
    with pytest.raises(ValueError, match="direction='page' updates all coordinates"):
        problem.inner_loop(**loop).run(problem.x, 1, direction="page", eta=0.1, epoch=0, mu=mu, x_snap=problem.x)


@pytest.mark.parametrize(
    "given",
    [{"coordinates": 3}, {"execution": "shared"}, {"update": "striped"}, {"deflation": 2}],
    ids=str,
)
def test_page_refuses_what_is_not_one_after_the_other(given, no_training):
    """Of the estimator's parameters, in one line that names them."""
    [name] = given
    with pytest.raises(ValueError, match=rf"solver='page' takes {name}="):
        AsySVRGClassifier((5,), solver="page", n_jobs=2, **given).fit(np.eye(20), np.arange(20) % 2)


@pytest.mark.parametrize("solver", [name for name in DIRECTIONS if name != "sgd"])
def test_variance_reduced_directions_converge_to_the_optimum(solver):
    """A strongly convex problem, where the floor of SGD at this rate is far above."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((300, 5)), rng.integers(3, size=300)
    how = {"alpha": 0.1, "learning_rate_init": 0.1, "batch_size": 5, "max_iter": 60, "tol": 0, "dtype": "float64"}
    norms = {}
    for name in (solver, "sgd"):
        model = AsySVRGClassifier((), solver=name, random_state=0, n_jobs=1, **how).fit(X, y)
        objective = Objective(model._network, Samples(X, y.astype(np.int32)), alpha=0.1, threads=1)
        norms[name] = (objective.gradient(model._vector()) ** 2).sum()
    assert norms[solver] < 1e-12 < norms["sgd"]
