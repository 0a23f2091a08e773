"""What the server has workers do: each draw and each shard counts once, whatever happens (helpers/simulation.py)."""

import itertools

import numpy as np
import pytest
from asysvrg.distributed._message import Message
from helpers.simulation import Accountant, Network, accountants, some_faults, updates

from asysvrg.distributed.messages import PIECE, Kind
from asysvrg.distributed.server import Group
from asysvrg.distributed.tasks import Exchange, Farewell, FullGradient, shards_of
from asysvrg.distributed.worker import sharing

# ---- Accounting. ----


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("late", [None, "wait", "drop"])
def test_each_draw_is_applied_once_whatever_happens(seed, late):
    rng = np.random.default_rng(seed)
    count, steps = int(rng.integers(2, 7)), 120
    bound = None if late is None else int(rng.integers(0, count + 2))
    faults = list(some_faults(rng, range(1, count + 1), [1]))
    network, groups = accountants(count, steps, seed=seed, faults=faults, duplicates=0.2)
    for epoch in range(2):
        x = np.zeros(steps)
        job = network.run(updates(network, groups, x, steps, epoch=epoch, max_delay=bound, late=late or "wait"))
        assert (x == 1).all()
        assert job.applied == steps
        assert job.delays.min() >= 0
        assert bound is None or job.delays.max() <= bound
        assert job.delays[0] == 0


@pytest.mark.parametrize("seed", range(60))
def test_each_shard_is_counted_once_whatever_happens(seed):
    rng = np.random.default_rng(seed)
    count = int(rng.integers(2, 7))
    network, groups = accountants(
        count, 64, seed=seed, duplicates=0.2, faults=list(some_faults(rng, range(1, count + 1), [1], most=0.1))
    )
    shards = shards_of(groups, 64)
    for sweep in range(3):
        job = network.run(FullGradient(network.server, np.zeros(64), shards, sweep=sweep, keep=[False]))
        assert (job.gradient[: len(shards)] == 1).all()
        assert not job.gradient[len(shards) :].any()
        assert job.loss == 1000


def test_an_epoch_that_is_cut_short_leaves_nothing_behind():
    network, groups = accountants(4, 50, seed=1, speeds=dict.fromkeys(range(1, 5), 0.05))
    x = np.zeros(50)
    first = network.run(updates(network, groups, x, 50), until=0.2)
    assert 0 < first.applied < 50
    assert x.sum() == first.applied
    gradient = network.run(FullGradient(network.server, x, shards_of(groups, 50), sweep=2, keep=[False]))
    assert gradient.gradient.sum() == len(gradient.shards)
    x[:] = 0
    network.run(updates(network, groups, x, 50, epoch=1))
    assert (x == 1).all()
    assert network.server.dropped == 4  # what was under way


def test_a_bound_of_zero_serialises():
    network, groups = accountants(4, 40, seed=3)
    job = network.run(updates(network, groups, np.zeros(40), 40, max_delay=0))
    assert job.applied == 40
    assert not job.delays.any()


def test_without_a_bound_a_straggler_is_late():
    speeds = {1: 1e-3, 2: 1e-3, 3: 0.1}
    delays = []
    for bound in (None, 4):
        network, groups = accountants(3, 400, seed=3, speeds=speeds)
        delays.append(network.run(updates(network, groups, np.zeros(400), 400, max_delay=bound)).delays.max())
    assert delays[0] > 20
    assert delays[1] <= 4


@pytest.mark.parametrize("late", ["another epoch", "another draw", "another kind"])
def test_what_is_late_is_counted_and_dropped(late):
    network, groups = accountants(1, 9)
    server = network.server
    x, sent = np.zeros(9), []
    server.send = lambda rank, message: sent.append(message)
    server.start(updates(network, groups, x, 9, epoch=5), 1)
    server.receive(1, Message(Kind.READY, phase=1, seq=1), 0.0)
    task, v = sent[-1], np.ones(9).view(np.uint8)
    wrong = {"another epoch": {"a": 4}, "another draw": {"c": 7}, "another kind": {"kind": Kind.FULL}}[late]
    right = {"kind": Kind.GRAD, "phase": 1, "seq": 2, "a": task.a, "b": task.b, "c": task.c, "d": 1, "payload": v}
    server.receive(1, Message(**right | wrong), 0.0)
    assert not x.any()
    assert server.dropped == 1


def test_a_shard_that_two_deliver_is_counted_once():
    """A worker that was taken for lost delivers; so does the one that has its shard now."""
    for seed in range(20):
        back = 1.05 + 0.05 * seed
        network, groups = accountants(
            3, 64, seed=seed, speeds={1: 0.4, 2: 0.4, 3: 0.01}, faults=[(0.003, 3, "stopped"), (back, 3, "up")]
        )
        job = network.run(FullGradient(network.server, np.zeros(64), shards_of(groups, 64), sweep=1, keep=[False]))
        assert (job.gradient[: len(job.shards)] == 1).all()
        assert job.loss == 1000


def test_draws_of_groups_stay_together():
    """However fast one group is, its draws are not far ahead: at any time the updates so far are a fair sample."""
    workers = {1: Accountant(900), 2: Accountant(900)}
    network = Network(workers, speeds={1: 1e-2, 2: 1e-4})
    groups = [Group(900, (1,)), Group(100, (2,))]
    network.server.group(groups)
    job, order = updates(network, groups, np.zeros(900), 900, start=0.4), []
    job.part.subtract = lambda v: order.append(int(v.argmax()))
    network.run(job)
    ahead = np.array(order) - np.arange(900)
    assert sorted(order) == list(range(900))
    assert 2 < ahead.max() <= 8


def test_farewell_reaches_whoever_is_there():
    network, groups = accountants(4, 30, faults=[(0.0, 4, "dead")])
    network.run(updates(network, groups, np.zeros(30), 30))
    network.run(Farewell(network.server, Message(Kind.DONE)))
    assert network.sent.count(Kind.DONE) >= 3
    for rank in (1, 2, 3):
        network.ask(rank, Message(Kind.BYE), 0.0)
    network.drain()
    assert not network.server.live
    assert network.server.events == ["worker 4 was lost: silent for 6 s"]


# ---- Exchanges. ----


class Sharer:
    """A worker that takes part in exchanges, one after another."""

    def __init__(self, network, rank, values):
        self.network, self.rank, self.values, self.got = network, rank, iter(values), []
        self.talk = sharing(next(self.values))
        next(self.talk)
        self.started = False

    def answer(self, message):
        if not self.started:  # the READY that Network sends first stands for nothing here
            self.started = True
        try:
            return self.talk.send(message)
        except StopIteration as end:
            self.got.append(end.value)
        following = next(self.values, None)
        if following is None:
            return None
        self.network.phase[self.rank] += 1
        self.talk = sharing(following)
        return next(self.talk)


@pytest.mark.parametrize("seed", range(10))
def test_exchange(seed):
    """Blobs of several pieces, ranks that are ahead of others, one that dies on the way."""
    rng = np.random.default_rng(seed)
    big = {rank: rng.random(3 * PIECE // 8 + rank) for rank in range(1, 5)}
    network = Network(dict.fromkeys(range(1, 5)), seed, capacity=PIECE + 200, faults=[(rng.uniform(0, 0.5), 4, "dead")])
    network.workers = {
        rank: Sharer(network, rank, [{"big": big[rank], "n": rank}, {"n": 10 * rank}]) for rank in range(1, 5)
    }
    seen = []

    def combine(given):
        seen.append(sorted(given))
        for rank in given:
            assert rank == 0 or (given[rank]["big"] == big[rank]).all()
        return {"sum": sum(one["n"] for one in given.values()), "big": big[2]}

    first = network.run(Exchange(network.server, {"n": 100}, combine), 1)
    job = Exchange(network.server, {"n": 1000}, lambda given: {k: {"for": k} for k in given}, own=True)
    network.run(job, 2)
    network.drain(1)
    assert seen in ([[0, 1, 2, 3, 4]], [[0, 1, 2, 3]])
    for rank in (1, 2, 3):
        answer, own = network.workers[rank].got
        assert answer["sum"] == first.answer["sum"]
        assert (answer["big"] == big[2]).all()
        assert own == {"for": rank}
    assert job.answer == {"for": 0}


def test_shards_cover_every_row_once():
    for groups in ([Group(1000, (1, 2))], [Group(5, (1,)), Group(70_000, (2, 3)), Group(64, (4,))]):
        shards = shards_of(groups, 100)
        for number, group in enumerate(groups):
            rows = [row for g, first, last in shards if g == number for row in range(first, last)]
            assert rows == list(range(group.rows))
    assert len(shards_of([Group(10**6, (1,))], 10**6)) >= 400


def test_a_draw_that_a_worker_lost_is_the_next_one():
    network, groups = accountants(2, 50)
    server, sent = network.server, []
    server.send = lambda rank, message: sent.append(message)
    server.start(updates(network, groups, np.zeros(50), 50), 1)
    seq = itertools.count(1)
    for rank in (1, 2):
        server.receive(rank, Message(Kind.READY, phase=1, seq=next(seq)), 0.0)
    for _ in range(5):
        task = sent[-1]
        grad = Message(Kind.GRAD, 0, 1, 0, next(seq), task.a, task.b, task.c, 1, np.ones(50).view(np.uint8))
        server.receive(2, grad, 0.0)
    server.lose(1, "so it is")
    task = sent[-1]
    grad = Message(Kind.GRAD, 0, 1, 0, next(seq), task.a, task.b, task.c, 1, np.ones(50).view(np.uint8))
    server.receive(2, grad, 0.0)
    assert [message.c for message in sent] == [0, 1, 2, 3, 4, 5, 6, 0]
