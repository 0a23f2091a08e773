"""Sparse inputs (csrc/lazy.h): rows of the first layer that wait for their next sample."""

import numpy as np
import pytest
from asysvrg.core.network import Samples
from helpers.problems import TOLERANCE, Problem

from asysvrg.core import inner


@pytest.mark.parametrize("alpha", [0.0, 0.03, 9.0, "rows"])
@pytest.mark.parametrize("direction", ["sgd", "svrg"])
@pytest.mark.parametrize(("form", "dtype"), [("zeros", np.float32), ("csr", np.float64)])
@pytest.mark.parametrize("hidden", [(), (7,), (150, 4)], ids=str)
def test_rows_put_off_against_the_twin(monkeypatch, hidden, form, dtype, direction, alpha):
    """csrc/lazy.h: columns without an entry in the batch wait, and end where the twin's do."""
    monkeypatch.setattr(inner, "SPARSE_ENOUGH", np.inf)
    if alpha == "rows":
        alpha = np.random.default_rng(3).random(30 + len(hidden))
    problem = Problem(hidden=hidden, form=form, dtype=dtype, n=60, p=30, alpha=alpha, density=0.03)
    _, mu, cache = problem.snapshot(problem.x)
    expected = problem.twin.epoch(direction, problem.x, 100, 0.1, 2, 0, 1, seed=7, epoch=3)
    for update in ["serial", "atomic", "striped"]:
        loop, x = problem.inner_loop(update=update, batch=2), problem.vector(problem.x)
        assert loop.puts_off
        loop.run(x, 100, direction=direction, eta=0.1, epoch=3, mu=mu, cache=cache)
        np.testing.assert_allclose(x, expected, rtol=4 * TOLERANCE[dtype], atol=4 * TOLERANCE[dtype])


@pytest.mark.parametrize("update", ["serial", "striped"])
def test_rows_put_off_shrink_by_a_small_alpha(monkeypatch, update):
    """1 - eta alpha, rounded to float32, would shrink them a ninth too fast."""
    monkeypatch.setattr(inner, "SPARSE_ENOUGH", np.inf)
    alpha = 4.5 * 2.0**-24
    problem = Problem(hidden=(), form="csr", dtype=np.float32, n=40, p=300, alpha=alpha, density=0.9)
    problem.samples = Samples(problem.samples.X, problem.samples.y, np.zeros(40, np.float32))
    x = problem.vector(problem.x)
    problem.inner_loop(update=update).run(x, 1000, direction="sgd", eta=1.0, epoch=0)
    weights = slice(0, 300 * 5)
    shrunk = 1 - (x[weights].astype(float) / problem.x[weights]).mean()
    assert shrunk == pytest.approx(1000 * alpha, rel=0.02)


def test_rows_are_put_off_where_the_mini_batch_leaves_most_of_them_out():
    problem = Problem(form="csr", p=100, density=0.03)
    X = problem.samples.X
    assert problem.samples.density == pytest.approx(X.nnz / np.prod(X.shape))
    assert problem.inner_loop(batch=4).puts_off
    assert not problem.inner_loop(batch=40).puts_off
    assert not problem.inner_loop(10, batch=4).puts_off
    assert Problem().samples.density == 1
    assert not Problem().inner_loop(batch=1).puts_off
