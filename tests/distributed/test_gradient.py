"""The full gradient in a simulated network (helpers/simulation.py): each data shard counts once."""

import numpy as np
import pytest
from helpers.simulation import accountants, some_faults

from asysvrg.distributed.gradient import FullGradient, data_shards
from asysvrg.distributed.server import Group


@pytest.mark.parametrize("seed", range(60))
def test_each_shard_is_counted_once_whatever_happens(seed):
    rng = np.random.default_rng(seed)
    count = int(rng.integers(2, 7))
    network, groups = accountants(
        count, 64, seed=seed, duplicates=0.2, faults=list(some_faults(rng, range(1, count + 1), [1], most=0.1))
    )
    shards = data_shards(groups, 64)
    for sweep in range(3):
        task = network.run(FullGradient(network.server, np.zeros(64), shards, sweep=sweep, keep_cache=[False]))
        assert (task.gradient[: len(shards)] == 1).all()
        assert not task.gradient[len(shards) :].any()
        assert task.loss == 1000


def test_a_shard_that_two_deliver_is_counted_once():
    """A worker that was taken for lost delivers; so does the one that has its shard now."""
    for seed in range(20):
        back = 1.05 + 0.05 * seed
        network, groups = accountants(
            3, 64, seed=seed, speeds={1: 0.4, 2: 0.4, 3: 0.01}, faults=[(0.003, 3, "stopped"), (back, 3, "up")]
        )
        task = network.run(
            FullGradient(network.server, np.zeros(64), data_shards(groups, 64), sweep=1, keep_cache=[False])
        )
        assert (task.gradient[: len(task.shards)] == 1).all()
        assert task.loss == 1000


def test_shards_cover_every_row_once():
    for groups in ([Group(1000, (1, 2))], [Group(5, (1,)), Group(70_000, (2, 3)), Group(64, (4,))]):
        shards = data_shards(groups, 100)
        for number, group in enumerate(groups):
            rows = [row for g, first, last in shards if g == number for row in range(first, last)]
            assert rows == list(range(group.n_rows))
    assert len(data_shards([Group(10**6, (1,))], 10**6)) >= 400
