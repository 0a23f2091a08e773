"""Several servers, each with a shard of x, as state machines: any schedule, any loss; see helpers/simulation.py."""

from types import SimpleNamespace

import numpy as np
import pytest
from helpers.problems import Problem
from helpers.simulation import LOST_AFTER, Network, direction, some_faults

from asysvrg.core.directions import DIRECTIONS
from asysvrg.core.schedule import Epoch, rates
from asysvrg.distributed import protocol
from asysvrg.distributed._message import Buffer
from asysvrg.distributed.codec import CODECS
from asysvrg.distributed.gradient import FullGradient, data_shards
from asysvrg.distributed.protocol import Kind, Lost, Message, Stage, parameter_shards
from asysvrg.distributed.server import Group, Server
from asysvrg.distributed.updates import OtherShards, ParameterShard, ShardServer, ShardUpdates, Updates
from asysvrg.distributed.worker import Worker

DOUBLE = np.dtype(float)


def codecs_of(shards, compress=None):
    return [CODECS[compress](where.stop - where.start, DOUBLE) for where in shards]


class Accountant(Worker):
    """Direction t is 1 at the t-th coordinate of each shard, else 0."""

    def __init__(self, shards, compress):
        d = shards[-1].stop
        self.network, self.step = SimpleNamespace(dtype=DOUBLE), None
        self.snapshot, self.mu, v = np.zeros((3, d))
        self.known = np.zeros(0, np.int32)
        self.divide(v, codecs_of(shards, compress), shards)

    def _compute(self, x, step):
        assert x.min() >= 0
        self.v[:] = 0
        self.v[[where.start + step.iteration for where in self.slices]] = 1
        return 1


class Divided(Network):
    """Rank 0, servers 1 to S - 1, workers from S on; every message takes its time."""

    def __init__(self, workers, shards, seed=0, *, compress=None, **options):
        self.shards, self.asked, self.shard_servers = shards, {}, {}
        others = range(1, len(shards))
        super().__init__(dict.fromkeys(others) | workers, seed, **options)
        self.server.servers = others
        for rank, where, codec in zip(others, shards[1:], codecs_of(shards, compress)[1:], strict=True):

            def send(worker, message, rank=rank):
                self.at(self.rng.exponential(1e-3), self.handle_shard, rank, worker, self.wire(message))

            server = Server(workers, send, 0.0, lost_after=LOST_AFTER, heartbeat=0.05, decides=False)
            self.shard_servers[rank] = ShardServer(server, where.stop - where.start, DOUBLE, codec)
            self.speeds[rank] = 1e-9

    def handle(self, rank, message):
        if self.state[rank] == "stopped":
            self.at(0.01, self.handle, rank, message)
        elif self.state[rank] != "up" or message.seq != self.seq[rank]:
            return
        elif rank in self.shard_servers:
            self.shard_servers[rank].hear(message, self.now)
            self.speak(rank)
        else:
            self.busy[rank] = True
            self.pose(rank, self.workers[rank].answer(message), 0.01 if message.kind == Kind.WAIT else None)

    def speak(self, rank):
        """A server's next word to rank 0, as soon as it has one."""
        message = self.shard_servers[rank].say(self.now, 0)
        if message is None:
            self.at(1e-3, self.speak, rank)
        elif self.state[rank] == "up":
            self.ask(rank, message, 0.0)

    def pose(self, rank, questions, after=None):
        """A worker's questions: they leave at the same time."""
        after = self.rng.exponential(self.speeds[rank]) if after is None else after
        for server, message in (questions or {}).items():
            if server == 0:
                self.ask(rank, message, after)
                continue
            seq = self.asked[rank, server] = self.asked.get((rank, server), 0) + 1
            message.stamp(self.stage[rank], message.run, seq)
            message = self.wire(message)
            for again in range(1 + (self.rng.random() < self.duplicates)):
                self.at(after + self.rng.exponential(1e-3 + again), self.arrive_shard, rank, server, message)

    def arrive_shard(self, rank, server, message):
        if self.state[rank] == "up" and self.state[server] == "up":
            self.shard_servers[server].server.receive(rank, message, self.now)
        elif "stopped" in (self.state[rank], self.state[server]):
            self.at(0.01, self.arrive_shard, rank, server, message)

    def handle_shard(self, server, rank, message):
        if self.state[rank] == "stopped":
            self.at(0.01, self.handle_shard, server, rank, message)
        elif self.state[rank] == "up" and message.seq == self.asked[rank, server]:
            self.pose(rank, self.workers[rank].answer(message, server), 0.01 if message.kind == Kind.WAIT else None)

    def step(self):
        super().step()
        for rank, shard_server in self.shard_servers.items():
            if self.state[rank] == "up":
                shard_server.server.tick(self.now)


def accountants(count, servers, steps, *, compress=None, **options):
    shards = parameter_shards(servers * steps, 8, servers)
    assert [where.stop - where.start for where in shards] == [steps] * servers
    workers = {rank: Accountant(shards, compress) for rank in range(servers, servers + count)}
    network = Divided(workers, shards, compress=compress, **options)
    groups = [Group(1000, tuple(workers))]
    network.server.group(groups)
    return network, groups


def updates(network, groups, x, steps, *, epoch=0, compress=None, snapshot=None, mu=None, eta=-1.0, l2_factor=1.0):
    snapshot = x.copy() if snapshot is None else snapshot
    epoch = Epoch(epoch, DIRECTIONS["svrg"], eta, steps, l2_factor)
    return Updates(
        network.server, x, snapshot, mu, epoch, sweep=epoch.number + 1,
        groups=groups, codec=codecs_of(network.shards, compress)[0], shards=network.shards,
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("servers", [2, 4])
def test_each_shard_has_each_iteration_once_whatever_happens(seed, servers):
    """Workers die, or stop and come back, between the shards of a direction, too."""
    rng = np.random.default_rng(seed)
    count, steps, compress = int(rng.integers(2, 6)), 64, rng.choice(["float16", None])
    ranks = range(servers, servers + count)
    network, groups = accountants(
        count, servers, steps, seed=seed, duplicates=0.2, compress=compress,
        faults=list(some_faults(rng, ranks, [servers])),
    )  # fmt: skip
    for epoch in range(3):
        x = np.zeros(servers * steps)
        task = network.run(updates(network, groups, x, steps, epoch=epoch, compress=compress))
        assert (x == 1).all()
        assert task.applied == steps
        assert all(shard_server.shard.complete for shard_server in network.shard_servers.values())


def test_schedules_contain_what_they_are_for():
    """Of the schedules above, some leave a direction with some servers only, so that it is scheduled once more."""
    again = 0
    for seed in range(20):
        faults = [(0.01 * rank, rank, "dead") for rank in (3, 4, 5)]
        network, groups = accountants(4, 2, 64, seed=seed, speeds=dict.fromkeys(range(1, 6), 1e-3), faults=faults)
        x = np.zeros(128)
        task = network.run(updates(network, groups, x, 64))
        assert (x == 1).all()
        again += network.server.dropped + task.others.dropped > 0
    assert again > 10


def begun(steps=8):
    """Rank 0's server with another one, rank 1, and workers 2 and 3; and what it sends."""
    server, sent = Server([1, 2, 3], None, 0.0), []
    server.send = lambda rank, message: sent.append((rank, message))
    server.servers, x, shards = [1], np.zeros(2 * steps), parameter_shards(2 * steps, 8, 2)
    groups = [Group(9, (2, 3))]
    server.group(groups)
    network = SimpleNamespace(server=server, shards=shards)
    task = updates(network, groups, x, steps)
    server.start(task, Stage.EPOCHS)
    return server, sent, task, x


def test_an_epoch_of_any_length_begins_by_a_short_message():
    """The rates are a line, which a shard server draws again, bit by bit."""
    for end in (None, 0.0, 0.07):
        epoch = Epoch(3, DIRECTIONS["sgd"], 0.1, 200_000, eta_end=end)
        first = SimpleNamespace(epoch=3)
        message = OtherShards(first, np.arange(8.0), {1: slice(4, 8)}, epoch).offer(1)
        buffer = Buffer(np.zeros(1000, dtype=np.uint8))
        buffer.write(message)
        line, x = protocol.begun(buffer.read())
        np.testing.assert_array_equal(rates(*line), epoch.rates)
        np.testing.assert_array_equal(x.view(np.float64), [4, 5, 6, 7])


def ready(seq):
    return Message(Kind.READY, stage=Stage.EPOCHS, seq=seq)


def test_both_iterations_of_a_lost_worker_are_scheduled_again():
    """The one that it was computing, and the one before: its shard may not have reached every server."""
    server, sent, task, x = begun()
    v = np.ones(8)
    server.receive(2, ready(1), 0.0)
    for seq in (2, 3):
        server.receive(2, direction(sent[-1][1], seq, v), 0.0)
    assert [message.iteration for _, message in sent] == [0, 1, 2]
    server.lose(2, "a test")
    server.receive(3, ready(1), 0.0)
    for seq in range(2, 9):
        server.receive(3, direction(sent[-1][1], seq, v), 0.0)
    assert [message.iteration for rank, message in sent if rank == 3] == [1, 2, 3, 4, 5, 6, 7]
    assert server.dropped == 1  # iteration 1, here already
    assert (x[:8] == 8).all()
    assert task.applied == 8
    assert not task.done
    server.receive(1, ready(1), 0.0)
    server.receive(1, ready(2), 0.0)
    assert [message.kind for rank, message in sent if rank == 1] == [Kind.BEGIN, Kind.COLLECT]
    mine = np.concatenate([np.array([7, 100]).view(np.uint8), np.full(8, 5.0).view(np.uint8)])
    server.receive(1, Message(Kind.HANDOVER, mine, stage=Stage.EPOCHS, seq=3, epoch=1), 0.0)  # of another epoch
    assert not task.done
    server.receive(1, Message(Kind.HANDOVER, mine, stage=Stage.EPOCHS, seq=4, epoch=0), 0.0)
    assert task.done
    assert (x[8:] == 5).all()
    assert (task.others.dropped, task.others.carried) == (7, 100)


@pytest.mark.parametrize(("late", "dropped"), [({}, 0), ({"epoch": 4}, 1), ({"iteration": 2}, 1)])
def test_a_direction_that_is_late_or_known_is_dropped_and_answered(late, dropped):
    server, sent = Server([2], lambda rank, message: sent.append(message), 0.0), []
    shard = ParameterShard(np.zeros(8), np.zeros(8), epoch=5, rates=-np.ones(8), codec=codecs_of([slice(0, 8)])[0])
    server.start(ShardUpdates(server, shard), Stage.EPOCHS)
    step, v = protocol.step(5, 0, 2, 1.0, 0, ()), np.ones(8)
    server.receive(2, direction(step, 1, v), 0.0)
    assert (sent[-1].kind, sent[-1].epoch, sent[-1].version) == (Kind.PARAMETERS, 5, 1)
    server.receive(2, direction(step, 2, v, **{"iteration": 3} | late), 0.0)
    assert server.dropped == dropped
    assert (shard.x == 2 - dropped).all()
    assert len(sent) == 2
    question = Message(Kind.READY, stage=Stage.EPOCHS, seq=3, epoch=6)  # rank 0 has begun an epoch; not here
    server.receive(2, question, 0.0)
    assert len(sent) == 2
    following = ParameterShard(shard.x, shard.x, epoch=6, rates=np.ones(8), codec=shard.codec)
    server.start(ShardUpdates(server, following), Stage.EPOCHS)
    assert (sent[-1].kind, sent[-1].epoch) == (Kind.PARAMETERS, 6)


def test_an_epoch_that_is_cut_short_is_handed_over_as_it_is():
    network, groups = accountants(3, 3, 64, seed=1, speeds=dict.fromkeys(range(1, 6), 0.02))
    x = np.zeros(3 * 64)
    task = network.run(updates(network, groups, x, 64), until=0.2)
    assert not task.done
    task.cut()
    network.run(task)
    sums = x.reshape(3, 64).sum(1)
    assert sums[0] == task.applied
    assert (sums > 0).all()
    assert (sums < 64).all()
    assert np.abs(sums - sums[0]).max() <= 3  # directions under way
    x[:] = 0
    network.run(updates(network, groups, x, 64, epoch=1))
    assert (x == 1).all()


def test_all_workers_lost():
    network, groups = accountants(2, 3, 64, faults=[(0.01, rank, "dead") for rank in (3, 4)])
    with pytest.raises(Lost, match="all workers were lost"):
        network.run(updates(network, groups, np.zeros(3 * 64), 64))


def test_a_lost_server_ends_the_run():
    network, groups = accountants(3, 3, 64, speeds=dict.fromkeys(range(1, 6), 0.1), faults=[(0.2, 2, "dead")])
    with pytest.raises(Lost, match=r"^rank 2, a server, was lost: silent"):
        network.run(updates(network, groups, np.zeros(3 * 64), 64))
    assert not network.server.events


def test_rank_0_says_when_the_work_is_done():
    """A server that is done may say so to a worker that waits for its shard; that worker hears the rest from rank 0."""
    worker = Accountant(parameter_shards(16, 8, 2), None)
    step = Message(Kind.STEP, np.zeros(8).view(np.uint8))
    assert {rank: message.kind for rank, message in worker.answer(step).items()} == {1: Kind.READY}
    assert {rank: message.kind for rank, message in worker.answer(Message(Kind.DONE), 1).items()} == {0: Kind.READY}
    assert worker.answer(Message(Kind.DONE), 1) == {}
    assert worker.answer(Message(Kind.DONE)) is None


@pytest.mark.parametrize("compress", [None, "float16"])
@pytest.mark.parametrize("servers", [2, 3])
def test_one_worker_is_the_serial_run(servers, compress):
    """Every server has every update when the next direction is computed; in half precision, nearly the same."""
    problem = Problem(weighted=True, hidden=(19, 6))
    n, d = problem.samples.size, problem.network.size
    shards = parameter_shards(d, 8, servers)
    worker = Worker(
        problem.network, problem.samples, alpha=problem.alpha, batch_size=4, seed=7, threads=1,
        may_keep=True, codecs=codecs_of(shards, compress), shards=shards,
    )  # fmt: skip
    network = Divided({servers: worker}, shards, compress=compress)
    groups = [Group(n, (servers,))]
    network.server.group(groups)
    x, serial = problem.vector(problem.x), problem.vector(problem.x)
    loop = problem.inner_loop()
    for epoch in range(2):
        full = network.run(FullGradient(network.server, x, data_shards(groups, d), sweep=epoch + 1, keep_cache=[True]))
        snap, mu = x.copy(), problem.vector(full.gradient / n)
        boost = (6.0, 3.0)[epoch]
        given = {"snapshot": snap, "mu": mu, "eta": 0.05, "compress": compress, "l2_factor": boost}
        task = updates(network, groups, x, 40, epoch=epoch, **given)
        network.run(task)
        _, mu, cache = problem.snapshot(serial)
        at = problem.vector(serial)
        loop.run(serial, 40, direction="svrg", eta=0.05, epoch=epoch, l2_factor=boost, mu=mu, x_snap=at, cache=cache)
        assert not task.delays.any()
    far = np.abs(x - serial).max()
    assert far < 1e-12 if compress is None else 0 < far < 1e-3
    assert np.abs(serial - problem.x).max() > 1e-2
    assert network.server.evaluated == 2 * (n + 40 * 4)


@pytest.mark.parametrize(
    ("size", "itemsize", "servers"), [(650, 8, 2), (79_510, 4, 7), (64, 4, 4), (9, 8, 1), (5, 4, 1)]
)
def test_shards_cover_all_coordinates(size, itemsize, servers):
    shards = parameter_shards(size, itemsize, servers)
    assert [i for where in shards for i in range(where.start, where.stop)] == list(range(size))
    lengths = [where.stop - where.start for where in shards]
    assert max(lengths) - min(lengths) <= 2 * 64 // itemsize
    assert all(where.start * itemsize % 64 == 0 for where in shards)


def test_more_servers_than_lines_are_refused():
    with pytest.raises(ValueError, match=r"servers=3 for 40 parameters: take at most 2"):
        parameter_shards(40, 4, 3)


def test_a_shard_server_is_not_asked_for_its_shard_before_an_epoch_has_begun():
    server = ShardServer(
        Server([2], lambda rank, message: None, 0.0, decides=False), 8, DOUBLE, codecs_of([slice(0, 8)])[0]
    )
    with pytest.raises(ValueError, match="COLLECT from rank 0"):
        server.hear(protocol.collect(at_once=True), 0.0)
