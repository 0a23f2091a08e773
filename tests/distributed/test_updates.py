"""Rank 0's updates in a simulated network: each iteration counts once, whatever happens (helpers/simulation.py)."""

import itertools

import numpy as np
import pytest
from helpers.simulation import Accountant, Network, accountants, direction, some_faults, updates

from asysvrg.distributed.gradient import FullGradient, data_shards
from asysvrg.distributed.protocol import Kind, Message, Stage
from asysvrg.distributed.server import Group
from asysvrg.distributed.updates import scheduled_groups


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("late", [None, "wait", "drop"])
def test_each_iteration_is_applied_once_whatever_happens(seed, late):
    rng = np.random.default_rng(seed)
    count, steps = int(rng.integers(2, 7)), 120
    bound = None if late is None else int(rng.integers(0, count + 2))
    faults = list(some_faults(rng, range(1, count + 1), [1]))
    network, groups = accountants(count, steps, seed=seed, faults=faults, duplicates=0.2)
    for epoch in range(2):
        x = np.zeros(steps)
        task = network.run(updates(network, groups, x, steps, epoch=epoch, max_delay=bound, late=late or "wait"))
        assert (x == 1).all()
        assert task.applied == steps
        assert task.delays.min() >= 0
        assert bound is None or task.delays.max() <= bound
        assert task.delays[0] == 0


def test_an_update_subtracts_eta_times_the_direction_of_one_message():
    """Eq. (15): x <- x - eta v for each v that arrives, from the workers' own, in the order in which they come."""
    rng, eta, d, steps = np.random.default_rng(0), 0.3, 30, 80
    directions = rng.standard_normal((steps, d))
    network = Network({rank: Accountant(d, directions=directions) for rank in (1, 2, 3)}, seed=4)
    groups = [Group(1000, (1, 2, 3))]
    network.server.group(groups)
    x = rng.standard_normal(d)
    start, order = x.copy(), []
    task = updates(network, groups, x, steps, eta=eta)
    subtract = task.shard.subtract

    def checked(v):
        expected = x - eta * v
        subtract(v)
        np.testing.assert_allclose(x, expected, rtol=0, atol=1e-15)
        order.append(int(np.flatnonzero((directions == v).all(1))[0]))

    task.shard.subtract = checked
    network.run(task)
    assert sorted(order) == list(range(steps))
    assert order != sorted(order)
    np.testing.assert_allclose(x, start - eta * directions.sum(0), rtol=0, atol=1e-12)


def test_an_epoch_that_is_cut_short_leaves_nothing_behind():
    network, groups = accountants(4, 50, seed=1, speeds=dict.fromkeys(range(1, 5), 0.05))
    x = np.zeros(50)
    first = network.run(updates(network, groups, x, 50), until=0.2)
    assert 0 < first.applied < 50
    assert x.sum() == first.applied
    gradient = network.run(FullGradient(network.server, x, data_shards(groups, 50), sweep=2, keep_cache=[False]))
    assert gradient.gradient.sum() == len(gradient.shards)
    x[:] = 0
    network.run(updates(network, groups, x, 50, epoch=1))
    assert (x == 1).all()
    assert network.server.dropped == 4  # what was under way


def test_a_bound_of_zero_serialises():
    network, groups = accountants(4, 40, seed=3)
    task = network.run(updates(network, groups, np.zeros(40), 40, max_delay=0))
    assert task.applied == 40
    assert not task.delays.any()


def test_without_a_bound_a_straggler_is_late():
    speeds = {1: 1e-3, 2: 1e-3, 3: 0.1}
    delays = []
    for bound in (None, 4):
        network, groups = accountants(3, 400, seed=3, speeds=speeds)
        delays.append(network.run(updates(network, groups, np.zeros(400), 400, max_delay=bound)).delays.max())
    assert delays[0] > 20
    assert delays[1] <= 4


@pytest.mark.parametrize("late", ["another epoch", "another iteration", "another kind"])
def test_what_is_late_is_counted_and_dropped(late):
    network, groups = accountants(1, 9)
    server = network.server
    x, sent = np.zeros(9), []
    server.send = lambda rank, message: sent.append(message)
    server.start(updates(network, groups, x, 9, epoch=5), Stage.EPOCHS)
    server.receive(1, Message(Kind.READY, stage=Stage.EPOCHS, seq=1), 0.0)
    wrong = {
        "another epoch": {"epoch": 4}, "another iteration": {"iteration": 7}, "another kind": {"kind": Kind.GRADIENT},
    }[late]  # fmt: skip
    server.receive(1, direction(sent[-1], 2, np.ones(9), **wrong), 0.0)
    assert not x.any()
    assert server.dropped == 1


def test_iterations_of_groups_stay_together():
    """However fast one group is, its iterations are not far ahead: at any time the updates so far are a fair sample."""
    workers = {1: Accountant(900), 2: Accountant(900)}
    network = Network(workers, speeds={1: 1e-2, 2: 1e-4})
    groups = [Group(900, (1,)), Group(100, (2,))]
    network.server.group(groups)
    task, order = updates(network, groups, np.zeros(900), 900, start=0.4), []
    task.shard.subtract = lambda v: order.append(int(v.argmax()))
    network.run(task)
    ahead = np.array(order) - np.arange(900)
    assert sorted(order) == list(range(900))
    assert 2 < ahead.max() <= 8


def test_an_iteration_of_a_lost_worker_is_the_next_one():
    network, groups = accountants(2, 50)
    server, sent = network.server, []
    server.send = lambda rank, message: sent.append(message)
    server.start(updates(network, groups, np.zeros(50), 50), Stage.EPOCHS)
    seq = itertools.count(1)
    for rank in (1, 2):
        server.receive(rank, Message(Kind.READY, stage=Stage.EPOCHS, seq=next(seq)), 0.0)
    for _ in range(5):
        server.receive(2, direction(sent[-1], next(seq), np.ones(50)), 0.0)
    server.lose(1, "so it is")
    server.receive(2, direction(sent[-1], next(seq), np.ones(50)), 0.0)
    assert [message.iteration for message in sent] == [0, 1, 2, 3, 4, 5, 6, 0]


def test_scheduled_groups():
    shares = np.array([9, 1, 5])
    counts = np.array(
        [np.bincount(scheduled_groups(s, shares, 200), minlength=3) for s in np.linspace(0, 1, 50, False)]
    )
    np.testing.assert_allclose(counts / 200, np.broadcast_to(shares / 15, counts.shape), atol=0.02)
    first = [scheduled_groups(s, shares, 1)[0] for s in (np.arange(3000) + 0.5) / 3000]
    np.testing.assert_allclose(np.bincount(first) / 3000, shares / 15, atol=1e-3)
    assert (scheduled_groups(0.999999, [1.0], 50) == 0).all()


@pytest.mark.parametrize("adaptive", [False, True])
def test_late_steps_are_shorter(adaptive):
    """With 3 workers an update of delay tau takes 3 / (tau + 1) of its step, at most all of it."""
    network, groups = accountants(3, 8)
    x = np.zeros(8)
    task = updates(network, groups, x, 8, adaptive=adaptive)
    for iteration, delay in enumerate([0, 1, 2, 3, 4, 1, 6, 7]):
        task.shard.apply(np.eye(8)[iteration] * -1.0, iteration, iteration - delay)
    shares = [1, 1, 1, 3 / 4, 3 / 5, 1, 3 / 7, 3 / 8] if adaptive else np.ones(8)
    np.testing.assert_allclose(x, task.shard.rates * shares)
    assert task.delays.tolist() == [0, 1, 2, 3, 4, 1, 6, 7]
