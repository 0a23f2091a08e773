"""Lazy rows (csrc/kernels/lazy.inc): rows of the first layer that wait for their next sample."""

import numpy as np
import pytest
from helpers.problems import TOLERANCE, Problem

from asysvrg.core.network import Samples


@pytest.mark.parametrize("alpha", [0.0, 0.03, 9.0, "rows"])
@pytest.mark.parametrize("direction", ["sgd", "svrg"])
@pytest.mark.parametrize(("form", "dtype"), [("zeros", np.float32), ("csr", np.float64)])
@pytest.mark.parametrize("hidden", [(), (7,), (150, 4)], ids=str)
def test_lazy_rows_against_the_twin(hidden, form, dtype, direction, alpha):
    """Columns without an entry in the mini-batch wait, and end where the twin's do."""
    if alpha == "rows":
        alpha = np.random.default_rng(3).random(30 + len(hidden))
    problem = Problem(hidden=hidden, form=form, dtype=dtype, n=60, p=30, alpha=alpha, density=0.03)
    _, mu, cache = problem.snapshot(problem.x)
    expected = problem.twin.epoch(direction, problem.x, 100, 0.1, 2, 0, 1, seed=7, epoch=3)
    for update in ["plain", "atomic", "striped"]:
        loop, x = problem.inner_loop(update=update, batch=2, lazy_rows=True), problem.vector(problem.x)
        loop.run(x, 100, direction=direction, eta=0.1, epoch=3, mu=mu, cache=cache)
        np.testing.assert_allclose(x, expected, rtol=4 * TOLERANCE[dtype], atol=4 * TOLERANCE[dtype])


@pytest.mark.parametrize("update", ["plain", "striped"])
def test_lazy_rows_shrink_by_a_small_alpha(update):
    """1 - eta alpha, rounded to float32, would shrink them a ninth too fast."""
    alpha = 4.5 * 2.0**-24
    problem = Problem(hidden=(), form="csr", dtype=np.float32, n=40, p=300, alpha=alpha, density=0.9)
    problem.samples = Samples(problem.samples.X, problem.samples.y, np.zeros(40, np.float32))
    x = problem.vector(problem.x)
    problem.inner_loop(update=update, lazy_rows=True).run(x, 1000, direction="sgd", eta=1.0, epoch=0)
    weights = slice(0, 300 * 5)
    shrunk = 1 - (x[weights].astype(float) / problem.x[weights]).mean()
    assert shrunk == pytest.approx(1000 * alpha, rel=0.02)


def test_lazy_rows_are_refused_where_nothing_waits():
    for problem, loop in ((Problem(), {}), (Problem(form="csr"), {"coordinates": 10})):
        with pytest.raises(ValueError, match="lazy_rows is for updates of all coordinates"):
            problem.inner_loop(**loop, lazy_rows=True)


@pytest.mark.parametrize("alpha", [0.0, 1e-3, 0.03, 9.0, "small rows", "rows"])
@pytest.mark.parametrize("direction", ["sgd", "svrg"])
@pytest.mark.parametrize(("form", "dtype"), [("zeros", np.float32), ("csr", np.float64)])
def test_lazy_rows_with_a_rate_for_each_iteration(form, dtype, direction, alpha):
    """Rates that fall to 0, a table where it is exact; of alpha = 9 the product of all 1 - eta alpha is too small."""
    if isinstance(alpha, str):
        alpha = np.random.default_rng(3).random(31) * (1 if alpha == "rows" else 1e-4)
    problem = Problem(form=form, dtype=dtype, n=60, p=30, alpha=alpha, density=0.03)
    _, mu, cache = problem.snapshot(problem.x)
    rates = np.linspace(0.1, 0, 300)
    expected = problem.twin.epoch(direction, problem.x, 300, rates, 2, 0, 1, seed=7, epoch=3)
    loop, x = problem.inner_loop(batch=2, lazy_rows=True), problem.vector(problem.x)
    loop.run(x, 300, direction=direction, eta=rates, epoch=3, mu=mu, cache=cache)
    np.testing.assert_allclose(x, expected, rtol=4 * TOLERANCE[dtype], atol=4 * TOLERANCE[dtype])
