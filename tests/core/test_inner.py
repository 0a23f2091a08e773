"""The inner loop against the NumPy twin, for each problem, memory mode and subset of coordinates."""

import itertools
import signal
import threading
import time

import numpy as np
import pytest
from helpers.problems import DTYPES, MODES, TOLERANCE, Problem, each_problem

from asysvrg.core.objective import Objective


@each_problem(coordinates=[(0, 1), (9, 1), (12, 4), (12, 16)], direction=["sgd", "svrg"], dtype=DTYPES)
def test_inner_loop_against_the_twin(setting, coordinates, direction, dtype):
    problem = Problem(**setting, dtype=dtype, n=60, p=9)
    count, block = coordinates
    _, mu, cache = problem.snapshot(problem.x)
    expected = problem.twin.epoch(direction, problem.x, 25, 0.02, 4, count, block, seed=7, epoch=3)
    assert np.abs(expected - problem.x).max() > 1e-5
    modes = ["plain", "atomic"] + ["striped"] * (not count or block > 1) + ["lockstep"] * (not count)
    for mode, kept in itertools.product(modes, [None, cache] if direction == "svrg" else [None]):
        x, x_snap = problem.vector(problem.x), problem.vector(problem.x)
        how = {"direction": direction, "eta": 0.02, "epoch": 3, "mu": mu, "x_snap": x_snap, "cache": kept}
        delays = problem.inner_loop(count, block, **MODES[mode]).run(x, 25, **how)
        what = f"{mode}, with{'out' * (kept is None)} a cache"
        np.testing.assert_allclose(x, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype], err_msg=what)
        assert (delays == 0).all()


@pytest.mark.parametrize(
    ("mode", "coordinates"),
    [("plain", (0, 1)), ("striped", (0, 1)), ("lockstep", (0, 1)), ("atomic", (9, 1))],
    ids=str,
)
@pytest.mark.parametrize("lazy_rows", [False, True])
@pytest.mark.parametrize("direction", ["sgd", "svrg"])
def test_a_factor_of_the_l2_term_is_one_of_alpha(direction, lazy_rows, mode, coordinates):
    """For one epoch: the next one has alpha itself."""
    problem = Problem(hidden=(7, 6), form="csr", n=60, p=9, alpha=0.125)
    _, mu, cache = problem.snapshot(problem.x)
    how = {"direction": direction, "eta": 0.05, "epoch": 3, "mu": mu, "cache": cache}
    loops = MODES[mode] | {"lazy_rows": lazy_rows and not coordinates[0]}
    loop, x, after = problem.inner_loop(*coordinates, **loops), problem.vector(problem.x), problem.vector(problem.x)
    loop.run(x, 50, l2_factor=3, **how)
    loop.run(after, 50, **how)
    plain, expected = problem.vector(problem.x), problem.vector(problem.x)
    problem.inner_loop(*coordinates, **loops).run(plain, 50, **how)
    problem.alpha *= 3
    problem.inner_loop(*coordinates, **loops).run(expected, 50, **how)
    np.testing.assert_allclose(x, expected, rtol=1e-12, atol=1e-15)
    np.testing.assert_array_equal(after, plain)
    assert np.abs(plain - x).max() > 1e-2


@pytest.mark.parametrize("coordinates", [(0, 1), (9, 1), (24, 16)], ids=str)
@pytest.mark.parametrize("hidden", [(), (7,), (5, 4)], ids=str)
def test_an_l2_weight_for_each_row_and_layer(coordinates, hidden):
    alpha = np.random.default_rng(3).random(9 + len(hidden))
    problem = Problem(hidden=hidden, n=60, p=9, alpha=alpha)
    _, mu, cache = problem.snapshot(problem.x)
    count, block = coordinates
    x = problem.vector(problem.x)
    problem.inner_loop(count, block).run(x, 25, direction="svrg", eta=0.02, epoch=3, mu=mu, cache=cache)
    expected = problem.twin.epoch("svrg", problem.x, 25, 0.02, 4, count, block, seed=7, epoch=3)
    np.testing.assert_allclose(x, expected, rtol=1e-10, atol=1e-10)
    objective = Objective(problem.network, problem.samples, alpha=alpha, threads=1)
    snapshot = objective.snapshot(x, keep_cache=False)
    assert snapshot.loss == pytest.approx(problem.twin.loss(x), rel=1e-10)
    assert snapshot.gradient_norm_squared == pytest.approx((problem.twin.gradient(x) ** 2).sum(), rel=1e-10)


@pytest.mark.parametrize("coordinates", [0, 30])
def test_one_thread_is_bit_repeatable_and_never_late(coordinates):
    problem = Problem()
    _, mu, cache = problem.snapshot(problem.x)
    results = []
    for _ in range(2):
        x = problem.vector(problem.x)
        loop = problem.inner_loop(coordinates)
        delays = loop.run(x, 200, direction="svrg", eta=0.1, epoch=0, mu=mu, cache=cache)
        results.append(x)
        assert (delays == 0).all()
    np.testing.assert_array_equal(*results)


def test_a_deadline_in_the_past_leaves_x_alone():
    problem = Problem()
    _, mu, cache = problem.snapshot(problem.x)
    x = problem.vector(problem.x)
    delays = problem.inner_loop(threads=1).run(
        x, 50, direction="svrg", eta=0.1, epoch=0, mu=mu, cache=cache, deadline=0
    )
    assert (delays == -1).all()
    np.testing.assert_array_equal(x, problem.x)


@pytest.mark.parametrize("mode", ["plain", "lockstep"])
def test_subnormal_numbers_are_0_in_the_loop_and_nowhere_else(mode):
    """They would slow a diverging run down thirty times."""
    problem = Problem(dtype=np.float32, alpha=0.125)
    x = problem.vector(np.zeros_like(problem.x))
    (weights, _), *_ = problem.network.slices
    x[weights] = tiny = np.float32(1e-40)
    problem.inner_loop(**MODES[mode]).run(x, 1, direction="sgd", eta=0.0, epoch=0)
    assert (x[weights] == 0).all()
    assert tiny * np.float32(1) == tiny != 0


@pytest.mark.parametrize("mode", ["plain", "lockstep"])
def test_handlers_of_signals_see_subnormal_numbers(mode):
    problem, seen = Problem(hidden=(200,), n=500, p=40), []

    def handler(*_):
        seen.append(np.float32(1e-40) * np.float32(1))

    before = signal.signal(signal.SIGUSR1, handler)
    timer = threading.Timer(0.2, signal.raise_signal, [signal.SIGUSR1])
    timer.start()
    try:
        how = {"direction": "sgd", "eta": 1e-4, "epoch": 0, "deadline": time.monotonic() + 0.6}
        problem.inner_loop(**MODES[mode]).run(problem.vector(problem.x), 10**7, **how)
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, before)
    assert seen == [np.float32(1e-40)]
