"""Real workers in a simulated network: the method itself, Algorithms 2 and 3."""

import numpy as np
import pytest
from helpers.problems import Problem
from helpers.simulation import some_faults, trainers, updates

from asysvrg.core.inner import InnerLoop
from asysvrg.distributed.gradient import FullGradient, data_shards
from asysvrg.distributed.server import Group


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_full_gradient_does_not_depend_on_who_computes_it_and_when(dtype):
    problem = Problem(dtype=dtype, n=1500, weighted=True)
    expected, shards = None, data_shards([Group(1500, (1, 2, 3))], problem.network.size)
    assert len(shards) >= 12
    for seed in range(6):
        faults = list(some_faults(np.random.default_rng(seed), [1, 2, 3], [1], most=0.02))
        network = trainers(problem, dict.fromkeys([1, 2, 3], problem.samples), seed, faults=faults, duplicates=0.3)
        network.server.group([Group(1500, (1, 2, 3))])
        task = network.run(FullGradient(network.server, problem.x, shards, sweep=1, keep_cache=[False]))
        if expected is None:  # the same shards, one after another
            total, buffer = np.zeros(problem.network.size), problem.vector()[None].copy()
            for _, first, last in shards:
                problem.network.sweep(problem.samples, problem.x, 1, buffer, rows=(first, last))
                total += buffer[0]
            expected = total, task.loss
        assert (task.gradient == expected[0]).all()
        assert task.loss == expected[1]
    exact = problem.twin.per_sample(problem.x)[1].sum(0)
    np.testing.assert_allclose(task.gradient, exact, rtol=1e-4, atol=1e-9 if dtype == np.float64 else 1e-3)


@pytest.mark.parametrize("form", ["dense", "csr"])
@pytest.mark.parametrize("kind", ["svrg", "svrg-uncached", "sgd"])
@pytest.mark.parametrize("threads", [1, 3])
def test_one_worker_is_the_serial_run(form, kind, threads):
    """Algorithms 2 and 3 with K = 1: every delay is 0, and x is that of Algorithm 1 to rounding."""
    problem = Problem(form=form, weighted=True, hidden=(19, 6))
    n, d = problem.samples.size, problem.network.size
    network = trainers(problem, {1: problem.samples}, threads=threads)
    groups = [Group(n, (1,))]
    network.server.group(groups)
    _, mu, cache = problem.snapshot(problem.x)
    keep = kind == "svrg"
    network.workers[1].may_keep = keep
    network.run(FullGradient(network.server, problem.x, data_shards(groups, d), sweep=1, keep_cache=[keep]))
    x, serial = problem.vector(problem.x), problem.vector(problem.x)
    svrg = kind != "sgd"
    task = updates(network, groups, x, 40, snapshot=problem.x, mu=mu if svrg else None, epoch=3, eta=0.05)
    network.run(task)
    loop: InnerLoop = problem.inner_loop()
    direction = "svrg" if svrg else "sgd"
    loop.run(serial, 40, direction=direction, eta=0.05, epoch=3, mu=mu, x_snap=problem.x, cache=cache)
    assert not task.delays.any()
    assert np.abs(serial - problem.x).max() > 1e-3
    np.testing.assert_allclose(x, serial, rtol=0, atol=1e-12)
    assert network.workers[1].known.all() == keep
    each = 2 if kind == "svrg-uncached" else 1
    assert network.server.evaluated == n + 40 * 4 * each
    # And another epoch.
    network.run(FullGradient(network.server, x, data_shards(groups, d), sweep=2, keep_cache=[keep]))
    mu, again = problem.snapshot(x)[1], problem.vector(x)
    task = updates(network, groups, again, 40, snapshot=x, mu=mu if svrg else None, sweep=2, epoch=4, eta=0.05)
    network.run(task)
    _, mu, cache = problem.snapshot(serial)
    snap = problem.vector(serial)
    loop.run(serial, 40, direction=direction, eta=0.05, epoch=4, mu=mu, x_snap=snap, cache=cache)
    np.testing.assert_allclose(again, serial, rtol=0, atol=1e-12)
    assert network.server.evaluated == 2 * (n + 40 * 4 * each)


def test_unequal_shards_and_speeds_do_not_bias_the_direction():
    """Shards 9:1 that differ much, the small one's worker ten times as fast: the mean of v is grad f (at eta = 0)."""
    problem = Problem(n=1000, outputs=2, hidden=())
    order = np.argsort(problem.samples.X[:, 0])  # the tenth with the largest first input
    kinds = type(problem.samples)
    split = [
        kinds(np.ascontiguousarray(problem.samples.X[rows]), problem.samples.y[rows])
        for rows in (order[:900], order[900:])
    ]
    groups, steps = [Group(900, (1,)), Group(100, (2,))], 6000
    full = problem.twin.gradient(problem.x)
    for speeds in ({1: 1e-2, 2: 1e-3}, {1: 1e-3, 2: 1e-2}):
        network = trainers(problem, {1: split[0], 2: split[1]}, speeds=speeds)
        network.server.group(groups)
        x, seen = problem.vector(problem.x), []
        task = updates(network, groups, x, steps, eta=0.0, start=0.3)
        task.shard.subtract = lambda v, seen=seen: seen.append(v.copy())
        network.run(task)
        seen = np.array(seen)
        allowed = 5 * seen.std(0) / np.sqrt(steps) + 1e-12
        assert (np.abs(seen.mean(0) - full) < allowed).all()
        for half in (seen[: steps // 2], seen[steps // 2 :]):  # at any time, not only in the end
            assert (np.abs(half.mean(0) - full) < 1.5 * allowed).all()
    by_turns = (problem_gradient(problem, order[:900]) + problem_gradient(problem, order[900:])) / 2
    assert (np.abs(by_turns - full) > 3 * allowed).any(), "a test that could not fail"


def problem_gradient(problem, rows):
    return problem.twin.mean_gradient(problem.x, rows) + problem.twin.decay * problem.x
