"""The direction v alone, Eq. (16), as a worker computes it, against the NumPy twin."""

import numpy as np
import pytest
from helpers.problems import DTYPES, TOLERANCE, Problem, each_problem

from asysvrg.core.draws import draw_batch
from asysvrg.core.network import aligned_zeros


@each_problem(kind=["sgd", "svrg"], threads=[1, 3], dtype=DTYPES)
def test_direction_against_the_twin(setting, kind, threads, dtype):
    """Eq. (16): v of a worker, at an x^ that is not the snapshot; threads have their parts of the mini-batch."""
    problem = Problem(**setting, dtype=dtype, n=60, p=9)
    _, mu, cache = problem.snapshot(problem.x)
    snap, loop = problem.vector(problem.x), problem.inner_loop(threads=threads, update="plain")
    x, v = problem.vector(problem.x), problem.vector()
    x += 0.1 * np.random.default_rng(2).standard_normal(len(x)).astype(dtype)
    for t in range(5):
        expected = problem.twin.direction(kind, x, snap, draw_batch(7, 3, t, 60, 4))
        for kept in [None, cache] if kind == "svrg" else [None]:
            v[:] = np.nan
            loop.direction(x, v, t, direction=kind, epoch=3, mu=mu, x_snap=snap, cache=kept)
            what = f"with{'out' * (kept is None)} a cache"
            np.testing.assert_allclose(v, expected, rtol=10 * TOLERANCE[dtype], atol=TOLERANCE[dtype], err_msg=what)


@pytest.mark.parametrize("form", ["dense", "zeros", "csr"])
def test_updates_and_directions_of_one_loop_are_those_of_two(form):
    """They share their scratch."""
    problem = Problem(form=form, dtype=np.float32, n=60, p=300, density=0.03)
    both, apart = problem.inner_loop(batch=4), [problem.inner_loop(batch=4) for _ in range(2)]
    x, v, expected = problem.vector(problem.x), problem.vector(), problem.vector()
    for epoch in range(3):
        y = problem.vector(x)
        both.run(x, 20, direction="sgd", eta=0.1, epoch=epoch)
        apart[0].run(y, 20, direction="sgd", eta=0.1, epoch=epoch)
        np.testing.assert_array_equal(x, y)
        both.direction(x, v, 0, direction="sgd", epoch=epoch)
        apart[1].direction(x, expected, 0, direction="sgd", epoch=epoch)
        np.testing.assert_array_equal(v, expected)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("form", ["dense", "zeros", "csr"])
@pytest.mark.parametrize("hidden", [(), (19, 6)], ids=str)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_cache_is_completed_where_a_direction_needs_it(hidden, form, threads, dtype):
    """Each sample is passed through the network at x~ once, whoever needs it, and its line is that of a sweep."""
    problem = Problem(hidden=hidden, form=form, dtype=dtype, weighted=True, n=30, p=9)
    _, mu, full = problem.snapshot(problem.x)
    snap, x, v = problem.vector(problem.x), problem.vector(1.1 * problem.x), problem.vector()
    cache, known = aligned_zeros(full.shape, dtype), np.zeros(30, np.int32)
    cache[:10], known[:10], cache[10:] = full[:10], 1, np.nan
    loop, seen = problem.inner_loop(threads=threads, update="plain", batch=7), np.arange(30) < 10
    for t in range(6):
        index = draw_batch(7, 3, t, 30, 7)
        how = {"direction": "svrg", "epoch": 3, "mu": mu, "x_snap": snap}
        passes = loop.direction(x, v, t, cache=cache, known=known, **how)
        assert passes == len(set(index) - set(np.flatnonzero(seen)))
        seen[index] = True
        np.testing.assert_array_equal(known, seen)
        expected = problem.twin.direction("svrg", x, snap, index)
        np.testing.assert_allclose(v, expected, rtol=10 * TOLERANCE[dtype], atol=TOLERANCE[dtype])
    assert 10 < seen.sum() < 30
    np.testing.assert_allclose(cache[seen], full[seen], rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    assert np.isnan(cache[~seen]).all()
    assert loop.direction(x, v, 0, cache=cache, known=known, **how) == 0
    assert loop.direction(x, v, 0, **how) == 7
    with pytest.raises(ValueError, match="needs x_snap"):
        loop.direction(x, v, 0, cache=cache, known=known, **(how | {"x_snap": None}))


@pytest.mark.parametrize("loop", [{"coordinates": 9}, {"update": "atomic"}, {"lazy_rows": True}], ids=str)
def test_other_loops_form_no_direction(loop):
    problem = Problem(form="csr")
    with pytest.raises(ValueError, match="formed by a loop of all coordinates"):
        problem.inner_loop(**loop).direction(problem.x, problem.vector(), 0, direction="sgd", epoch=0)
