"""Server and workers as state machines, without MPI: any schedule, any loss; the clock is a number.

A schedule is drawn by its seed: workers of different speeds, messages that take their time or come twice, workers that
die, or stop and come back.
"""

import heapq
import itertools
from types import SimpleNamespace

import numpy as np
import pytest
from asysvrg.core.inner import InnerLoop
from asysvrg.distributed._link import ServerLink, WorkerLink
from asysvrg.distributed._message import HEADER, Buffer, Message
from conftest import Problem

from asysvrg.distributed.codec import CODECS
from asysvrg.distributed.endpoint import TICK, Desk
from asysvrg.distributed.execution import DistributedExecution
from asysvrg.distributed.messages import (
    PIECE,
    Backoff,
    Kind,
    Lost,
    Mask,
    RankError,
    pack,
    stop,
    systematic,
    unpack,
    vectors,
)  # fmt: skip
from asysvrg.distributed.server import Group, Server
from asysvrg.distributed.tasks import Exchange, Farewell, FullGradient, Updates, shards_of
from asysvrg.distributed.worker import Worker, sharing

LOST_AFTER, HEARTBEAT, PULSE = 1.0, 0.05, 0.2


class Accountant:
    """A worker that answers draw t with the t-th unit vector, and shard i with the i-th."""

    def __init__(self, d, compress=None):
        self.d, self.codec = d, CODECS[compress](d, np.dtype(float))

    def answer(self, message):
        v = np.zeros(self.d)
        if message.kind == Kind.STEP:
            assert vectors(message, v.dtype, self.codec.nbytes)[Mask.X].size == self.codec.nbytes
            v[message.c] = 1
            v = self.codec.direction(v, message.a)
            return Message(Kind.GRAD, a=message.a, b=message.b, c=message.c, d=1, payload=(v,))
        if message.kind == Kind.SHARD:
            v[message.b] = 1
            parts = v, np.array([message.d - message.c, 0.0])
            return Message(Kind.FULL, a=message.a, b=message.b, c=message.d - message.c, payload=parts)
        return None if message.kind in (Kind.DONE, Kind.STOP) else Message(Kind.READY)


class Network:
    """Ranks in one process: every message is written to a buffer and read from it, and takes a while."""

    def __init__(self, workers, seed=0, *, speeds=None, faults=(), duplicates=0.0, capacity=2**16, **options):
        self.rng, self.now, self.count = np.random.default_rng(seed), 0.0, itertools.count()
        self.queue, self.capacity, self.duplicates = [], capacity, duplicates
        self.workers, self.ranks = workers, sorted(workers)
        self.speeds = speeds or {rank: self.rng.choice([1e-3, 1e-3, 1e-2, 1e-1]) for rank in self.ranks}
        self.seq, self.phase = dict.fromkeys(self.ranks, 0), dict.fromkeys(self.ranks, 1)
        self.state = dict.fromkeys(self.ranks, "up")
        self.busy = dict.fromkeys(self.ranks, True)
        self.sent = []  # kinds of all messages of the server
        self.bytes = 0
        self.server = Server(self.ranks, self.to_worker, 0.0, lost_after=LOST_AFTER, heartbeat=HEARTBEAT, **options)
        for rank in self.ranks:
            self.ask(rank, Message(Kind.READY), 0.0)
            self.at(PULSE, self.pulse, rank)
        for when, rank, state in faults:
            self.at(when, self.change, rank, state)

    def at(self, delay, action, *arguments):
        heapq.heappush(self.queue, (self.now + delay, next(self.count), action, arguments))

    def wire(self, message):
        buffer = np.zeros(self.capacity, np.uint8)
        size = Buffer(buffer).write(message)
        self.bytes += size
        return Buffer(buffer[:size]).read()

    def ask(self, rank, message, after):
        self.seq[rank] += 1
        run = message.run or self.server.run
        message = message.stamped(self.phase[rank], run, self.seq[rank])
        latency = self.rng.exponential(1e-3)
        self.at(after + latency, self.arrive, rank, self.wire(message), False)
        if self.rng.random() < self.duplicates:
            self.at(after + latency + self.rng.exponential(0.1), self.arrive, rank, self.wire(message), True)

    def arrive(self, rank, message, again):
        if self.state[rank] == "up" or again:
            self.busy[rank] = self.busy[rank] and again
            self.server.receive(rank, message, self.now)
        elif self.state[rank] == "stopped":
            self.at(0.01, self.arrive, rank, message, again)

    def pulse(self, rank):
        if self.state[rank] == "up" and self.busy[rank]:
            self.server.receive(rank, Message(Kind.ALIVE), self.now)
        if self.state[rank] != "dead":
            self.at(PULSE, self.pulse, rank)

    def change(self, rank, state):
        self.state[rank] = state

    def to_worker(self, rank, message):
        self.sent.append(message.kind)
        self.at(self.rng.exponential(1e-3), self.handle, rank, self.wire(message))

    def handle(self, rank, message):
        if self.state[rank] == "stopped":
            self.at(0.01, self.handle, rank, message)
        elif self.state[rank] == "up" and message.seq == self.seq[rank]:
            self.busy[rank] = True
            answer = self.workers[rank].answer(message)
            answer = answer[0] if isinstance(answer, dict) else answer
            if answer is not None:
                self.ask(rank, answer, 0.0 if message.kind == Kind.WAIT else self.rng.exponential(self.speeds[rank]))

    def step(self):
        """The next thing that happens, or the next tick of the clock."""
        if self.queue and self.queue[0][0] <= self.now + HEARTBEAT:
            when, _, action, arguments = heapq.heappop(self.queue)
            self.now = max(self.now, when)
            action(*arguments)
        else:
            self.now += HEARTBEAT
        self.server.tick(self.now)

    def drain(self, seconds=10):
        """Lets that much time pass without a job."""
        end = self.now + seconds
        while self.now < end:
            self.step()

    def run(self, job, phase=1, until=np.inf):
        """Does a job; returns it."""
        self.server.start(job, phase)
        end = self.now + 1000
        while not job.done and self.server.failure is None and self.now < until:
            assert self.now < end, "no end"
            self.step()
        self.server.pause()
        if self.server.failure is not None:
            raise self.server.failure
        return job


def accountants(count, d, compress=None, **options):
    network = Network({rank: Accountant(d, compress) for rank in range(1, count + 1)}, **options)
    everyone = [Group(1000, tuple(network.ranks))]
    network.server.group(everyone)
    return network, everyone


def updates(network, groups, x, steps, snap=None, mu=None, compress=None, **options):
    options = {"sweep": 1, "epoch": 0, "eta": -1.0, "codec": CODECS[compress](x.size, x.dtype)} | options
    return Updates(network.server, x, x.copy() if snap is None else snap, mu, steps=steps, groups=groups, **options)


def some_faults(rng, ranks, spared, least=0.0, most=0.6):
    """What may happen to all but the spared ranks."""
    for rank in set(ranks) - set(spared):
        fate, when = rng.choice(["dead", "stopped", "back", "fine"]), rng.uniform(least, most)
        if fate != "fine":
            yield when, rank, "dead" if fate == "dead" else "stopped"
        if fate == "back":
            yield when + rng.uniform(0.1, 4), rank, "up"


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


# ---- Losses. ----


def test_silence_and_return():
    network, groups = accountants(2, 500, speeds={1: 0.01, 2: 0.01}, faults=[(0.3, 2, "stopped"), (2.5, 2, "up")])
    network.run(updates(network, groups, np.zeros(500), 500))
    assert network.server.events == ["worker 2 was lost: silent for 1 s", "worker 2 is back"]
    assert len(network.server.live) == 2


def test_a_process_that_ended_is_noticed_before_silence_is():
    dead = set()
    network = Network({1: Accountant(9), 2: Accountant(9)}, ended=dead.__contains__)
    network.server.lost_after = 1000.0
    network.server.group([Group(9, (1, 2))])
    network.at(0.0, network.change, 2, "dead")
    network.at(0.0, dead.add, 2)
    network.run(updates(network, [Group(9, (1, 2))], np.zeros(9), 9), until=5)
    network.run(updates(network, [Group(9, (1, 2))], np.zeros(9), 9))
    assert network.server.events == ["worker 2 was lost: its process ended"]


def test_all_workers_lost():
    network, groups = accountants(3, 500, faults=[(0.1 * rank, rank, "dead") for rank in (1, 2, 3)])
    with pytest.raises(Lost, match="all workers were lost"):
        network.run(updates(network, groups, np.zeros(500), 500))


def test_samples_lost_with_their_only_holder():
    network = Network({1: Accountant(500), 2: Accountant(500)}, faults=[(0.1, 2, "dead")])
    groups = [Group(10, (1,)), Group(10, (2,))]
    network.server.group(groups)
    with pytest.raises(Lost, match=r"worker 2 was lost .*samples that no other rank has"):
        network.run(updates(network, groups, np.zeros(500), 500))


@pytest.mark.parametrize(("flag", "kind"), [(1, ValueError), (0, RankError)])
def test_a_failure_of_a_rank_names_it(flag, kind):
    network, _ = accountants(2, 9)
    text = np.frombuffer(b"no such file", dtype=np.uint8)
    network.at(0.0, network.ask, 2, Message(Kind.FAIL, a=flag, payload=(text,)), 0.0)
    with pytest.raises(kind, match=r"^rank 2: no such file$"):
        network.run(Exchange(network.server, {}, dict.popitem))
    network.server.close(stop("rank 2: no such file", kind))
    network.at(0.1, network.ask, 1, Message(Kind.READY), 0.0)
    network.drain(1)
    assert Kind.STOP in network.sent


def test_a_rank_that_begins_the_next_fit_is_kept_for_it():
    network, _ = accountants(2, 9, run=3)
    network.drain(0.1)
    network.server.receive(1, Message(Kind.BLOB, run=4, phase=1, seq=50, payload=np.arange(3, dtype=np.uint8)), 0.1)
    assert [peer.rank for peer in network.server.live] == [2]
    assert network.server.ahead[1].payload.tolist() == [0, 1, 2]
    assert not network.server.events
    network.ask(2, Message(Kind.READY, run=2), 0.0)
    network.drain(0.1)
    assert network.sent[-1] == Kind.STOP


def test_a_question_answered_by_wait_is_not_answered_again_in_its_phase():
    """A worker is ahead, is told to wait, and its next question is on the way when its phase begins."""
    network, groups = accountants(1, 9)
    server, sent = network.server, []
    server.send = lambda rank, message: sent.append(message.kind)
    server.receive(1, Message(Kind.READY, phase=1, seq=1), 0.0)
    assert sent == []
    server.tick(1.0)
    assert sent == [Kind.WAIT]
    server.start(updates(network, groups, np.zeros(9), 9), 1)
    assert sent == [Kind.WAIT]
    server.receive(1, Message(Kind.READY, phase=1, seq=2), 1.0)
    assert len(sent) == 2
    server.start(updates(network, groups, np.zeros(9), 9), 2)
    assert len(sent) == 2
    assert server.peers[1].held is None


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


# ---- The method itself, by real workers. ----


def trainers(problem, owners, seed=0, threads=1, compress=None, **options):
    """Real workers: owners gives each its rows of the problem."""
    network = problem.network
    made = {
        rank: Worker(
            network, samples, alpha=problem.alpha, batch_size=4, seed=7, threads=threads, cache_bytes=1e9,
            codecs=[CODECS[compress](network.size, network.dtype)],
        )
        for rank, samples in owners.items()
    }  # fmt: skip
    return Network(made, seed, **options)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_full_gradient_does_not_depend_on_who_computes_it_and_when(dtype):
    problem = Problem(dtype=dtype, n=1500, weighted=True)
    expected, shards = None, shards_of([Group(1500, (1, 2, 3))], problem.network.size)
    assert len(shards) >= 12
    for seed in range(6):
        faults = list(some_faults(np.random.default_rng(seed), [1, 2, 3], [1], most=0.02))
        network = trainers(problem, dict.fromkeys([1, 2, 3], problem.samples), seed, faults=faults, duplicates=0.3)
        network.server.group([Group(1500, (1, 2, 3))])
        job = network.run(FullGradient(network.server, problem.x, shards, sweep=1, keep=[False]))
        if expected is None:  # the same shards, one after another
            total, buffer = np.zeros(problem.network.size), problem.vector()[None].copy()
            for _, first, last in shards:
                problem.network.sweep(problem.samples, problem.x, 1, buffer, rows=(first, last))
                total += buffer[0]
            expected = total, job.loss
        assert (job.gradient == expected[0]).all()
        assert job.loss == expected[1]
    exact = problem.twin.per_sample(problem.x)[1].sum(0)
    np.testing.assert_allclose(job.gradient, exact, rtol=1e-4, atol=1e-9 if dtype == np.float64 else 1e-3)


@pytest.mark.parametrize(("workers", "passes"), [(1, 2), (2, 2), (4, 0.5), (10, 5), (10, 1)])
def test_share_of_draws_that_a_worker_finds_in_its_cache(workers, passes):
    """Its shard is there, and what it drew before; by drawing."""
    n, rng = 20_000, np.random.default_rng(0)
    execution = DistributedExecution.__new__(DistributedExecution)
    peers = [SimpleNamespace(rank=rank) for rank in range(1, workers + 1)]
    execution.team = SimpleNamespace(server=SimpleNamespace(workers=peers))
    execution.objective = SimpleNamespace(n=n)
    execution.batch_size, execution.inner_steps = 10, round(n * passes / 10)
    drawn = rng.integers(n, size=round(n * passes / workers))
    new = np.unique(drawn[drawn >= n / workers])
    expected = 1 - len(new) / len(drawn)
    assert execution._found(Group(n, tuple(range(1, 20)))) == pytest.approx(expected, abs=0.02)


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
    network.run(FullGradient(network.server, problem.x, shards_of(groups, d), sweep=1, keep=[keep]))
    x, serial = problem.vector(problem.x), problem.vector(problem.x)
    svrg = kind != "sgd"
    job = updates(network, groups, x, 40, snap=problem.x, mu=mu if svrg else None, epoch=3, eta=0.05)
    network.run(job)
    loop: InnerLoop = problem.inner_loop(update="serial")
    direction = "svrg" if svrg else "sgd"
    loop.run(serial, 40, direction=direction, eta=0.05, epoch=3, mu=mu, x_snap=problem.x, cache=cache)
    assert not job.delays.any()
    assert np.abs(serial - problem.x).max() > 1e-3
    np.testing.assert_allclose(x, serial, rtol=0, atol=1e-12)
    assert network.workers[1].known.all() == keep
    each = 2 if kind == "svrg-uncached" else 1
    assert network.server.evaluated == n + 40 * 4 * each
    network.run(FullGradient(network.server, x, shards_of(groups, d), sweep=2, keep=[keep]))  # and another epoch
    mu, again = problem.snapshot(x)[1], problem.vector(x)
    job = updates(network, groups, again, 40, snap=x, mu=mu if svrg else None, sweep=2, epoch=4, eta=0.05)
    network.run(job)
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
        job = updates(network, groups, x, steps, eta=0.0, start=0.3)
        job.part.subtract = lambda v, seen=seen: seen.append(v.copy())
        network.run(job)
        seen = np.array(seen)
        allowed = 5 * seen.std(0) / np.sqrt(steps) + 1e-12
        assert (np.abs(seen.mean(0) - full) < allowed).all()
        for half in (seen[: steps // 2], seen[steps // 2 :]):  # at any time, not only in the end
            assert (np.abs(half.mean(0) - full) < 1.5 * allowed).all()
    by_turns = (problem_gradient(problem, order[:900]) + problem_gradient(problem, order[900:])) / 2
    assert (np.abs(by_turns - full) > 3 * allowed).any(), "a test that could not fail"


def problem_gradient(problem, rows):
    return problem.twin.per_sample(problem.x, rows)[1].mean(0) + problem.twin.decay * problem.x


# ---- Pieces. ----


def test_systematic_draws():
    shares = np.array([9, 1, 5])
    counts = np.array([np.bincount(systematic(s, shares, 200), minlength=3) for s in np.linspace(0, 1, 50, False)])
    np.testing.assert_allclose(counts / 200, np.broadcast_to(shares / 15, counts.shape), atol=0.02)
    first = [systematic(s, shares, 1)[0] for s in (np.arange(3000) + 0.5) / 3000]
    np.testing.assert_allclose(np.bincount(first) / 3000, shares / 15, atol=1e-3)
    assert (systematic(0.999999, [1.0], 50) == 0).all()


def test_shards_cover_every_row_once():
    for groups in ([Group(1000, (1, 2))], [Group(5, (1,)), Group(70_000, (2, 3)), Group(64, (4,))]):
        shards = shards_of(groups, 100)
        for number, group in enumerate(groups):
            rows = [row for g, first, last in shards if g == number for row in range(first, last)]
            assert rows == list(range(group.rows))
    assert len(shards_of([Group(10**6, (1,))], 10**6)) >= 400


def test_messages_come_out_as_they_went_in():
    array = np.zeros(1000, np.uint8)
    buffer = Buffer(array)
    x, v = np.arange(5.0), np.ones(5)
    message = Message(Kind.STEP, Mask.X | Mask.SNAP, 3, 70_000, 12, -1, 2**40, 7, 8, (x, v))
    size = buffer.write(message)
    assert size == HEADER + 80
    found = buffer.read()
    for name in ("kind", "mask", "phase", "run", "seq", "a", "b", "c", "d"):
        assert getattr(found, name) == getattr(message, name)
    given = vectors(found, np.dtype(float), 40)
    assert (given[Mask.X].view(float) == x).all()
    assert (given[Mask.SNAP] == v).all()
    array[0] += 1
    with pytest.raises(ValueError, match="protocol version 2, expected 1"):
        buffer.read()
    with pytest.raises(ValueError, match="more than 1000 bytes"):
        buffer.write(message.carrying((np.zeros(200),)))
    with pytest.raises(ValueError, match="less than a header"):
        Buffer(np.zeros(HEADER - 1, np.uint8))


def test_a_message_changes_its_stamp_or_its_payload():
    message = Message(Kind.GRAD, Mask.X, 1, 2, 3, 4, 5, 6, 7, (np.ones(3),))
    stamped, carrying = message.stamped(10, -1, 30), message.carrying(())
    names = "kind", "mask", "a", "b", "c", "d"
    assert [getattr(stamped, name) for name in names] == [getattr(carrying, name) for name in names]
    assert (stamped.phase, stamped.run, stamped.seq, stamped.payload) == (10, -1, 30, message.payload)
    assert (carrying.phase, carrying.run, carrying.seq, carrying.payload) == (1, 2, 3, ())
    answer = message.answered(Kind.FULL, 8, ())
    assert [getattr(answer, name) for name in names] == [Kind.FULL, 0, 4, 5, 6, 8]


def test_a_vector_may_lie_where_it_is_sent_from():
    array = np.zeros(HEADER + 24, np.uint8)
    buffer = Buffer(array)
    v = buffer.vector(3, np.dtype(float))
    v[:] = 1, 2, 3
    assert buffer.write(Message(Kind.GRAD, run=-1, payload=(v,))) == HEADER + 24
    assert buffer.read().run == -1
    assert (array[HEADER:].view(float) == v).all()
    assert buffer.write(Message(Kind.GRAD, payload=(np.ones(2),))) == HEADER + 16  # another, over it
    assert v.tolist() == [1, 1, 3]
    assert (buffer.read().payload.view(float) == 1).all()


class Visits:
    """In the place of MPI's communicator and requests: a message after so many looks; in that of a clock and a backoff,
    too."""

    def __init__(self, *looks, failing=False, sleeps=False):
        self.left, self.now, self.came_after, self.looks, self.failing = list(looks), 0.0, [], 0, failing
        self.sleeps = sleeps

    def Recv_init(self, into, rank, tag):
        self.into = into[0]
        return self

    def Start(self):
        Buffer(self.into).write(Message(Kind.ALIVE, seq=1))

    def Test(self):
        self.looks += 1
        if not self.left or self.looks < self.left[0]:
            return False
        if self.failing:
            raise ConnectionError("it is gone")
        self.left.pop(0)
        return True

    def pause(self):
        self.now += 1e-3
        return self.sleeps

    def came(self):
        self.came_after.append(self.looks)


FAKE = SimpleNamespace(BYTE=None, Exception=ConnectionError)  # in the place of mpi4py.MPI


def test_a_server_that_waits_looks_round_in_time(monkeypatch):
    visits, ticks = Visits(5, 6, 400), []
    desk = Desk.__new__(Desk)
    desk.link, desk.server, desk.next_tick = ServerLink(FAKE, visits), Server([1], None, 0.0), 0.02
    desk.link.listen([1])
    monkeypatch.setattr(desk.server, "tick", ticks.append)
    monkeypatch.setattr("asysvrg.distributed.endpoint.time.monotonic", lambda: visits.now)
    monkeypatch.setattr("asysvrg.distributed._link.monotonic", lambda: visits.now)
    while visits.left:
        desk.wait(visits)
    assert visits.came_after == [5, 6, 400]
    assert desk.server.peers[1].heard == visits.now
    steps = np.diff([0.0, *ticks])
    assert len(ticks) == 4
    assert steps[0] == pytest.approx(0.02)
    assert steps[1:] == pytest.approx(TICK, abs=1.1e-3)


@pytest.mark.parametrize("failing", [False, True])
def test_a_worker_that_waits_looks_round_in_time(failing, monkeypatch):
    """Also where MPI has an error in the place of an answer."""
    visits = Visits(60, failing=failing)
    link = WorkerLink(FAKE, visits, 0)
    visits.Send_init = lambda *what: SimpleNamespace(Start=lambda: None)
    link.ask(Message(Kind.READY), 1, 0)
    monkeypatch.setattr("asysvrg.distributed._link.monotonic", lambda: visits.now)
    assert link.wait(visits.pause, 0.02) is None
    assert visits.now == pytest.approx(0.02)
    if failing:
        with pytest.raises(Lost, match="it is gone"):
            link.wait(visits.pause, 1.0)
    else:
        assert link.wait(visits.pause, 1.0).kind == Kind.ALIVE
    assert visits.looks == 60


def test_a_server_gives_up_whom_mpi_gives_up():
    """Once; it neither listens nor sends to that rank again, and what MPI may still write to is kept."""
    visits, sent = Visits(3, failing=True), []
    visits.Send_init = lambda *what: sent.append(what)
    link = ServerLink(FAKE, visits)
    link.listen([1])
    assert [link.poll() for _ in range(5)] == [[], [], [(1, None)], [], []]
    link.send(1, Message(Kind.WAIT))
    link.listen([1])
    assert link.poll() == sent == []


class Requests:
    """In the place of MPI's communicator and of all its requests, which are done or are not."""

    def __init__(self):
        self.made, self.freed, self.done = [], 0, True

    def make(self, what, rank, tag):
        self.made.append(what[1])
        return self

    Send_init = Recv_init = make

    def Start(self): ...

    def Test(self):
        return self.done

    def Free(self):
        self.freed += 1


def test_requests_are_made_once_and_given_back():
    """One for messages of a size; but not one that MPI may still be at."""
    requests = Requests()
    link = WorkerLink(FAKE, requests, 0)
    for _ in range(3):
        link.post(Message(Kind.READY), 1, 0)
    assert requests.made == [HEADER]
    link.post(Message(Kind.GRAD, payload=(np.ones(2),)), 1, 0)
    assert requests.made == [HEADER, HEADER + 16]
    assert requests.freed == 1
    requests.done = False
    link.close()
    assert requests.freed == 1
    requests.done = True
    link.close()
    assert requests.freed == 2


def test_a_server_gives_its_requests_back():
    """Also one of a message that was not on its way yet when the next one was to be sent."""
    requests = Requests()
    link = ServerLink(FAKE, requests)
    link.listen([1])
    for done in (True, False, True):
        requests.done = done
        link.send(1, Message(Kind.WAIT))
    link.close()
    assert len(requests.made) == requests.freed == 3


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


def test_blobs():
    value = {"n": 3, "inf": float("inf"), "words": ["a", None], "array": np.arange(6, dtype=np.float32).reshape(2, 3)}
    found = unpack(pack(value))
    assert (found.pop("array") == value.pop("array")).all()
    assert found == value
    with pytest.raises(ValueError, match="allow_pickle"):
        unpack(pack({"bad": np.array([print], dtype=object)}))


@pytest.mark.parametrize(("sleeps", "pauses"), [(True, 40), (False, 20)])
@pytest.mark.parametrize("end", ["server", "worker"])
def test_looks_of_who_waits(end, sleeps, pauses, monkeypatch):
    """Two at first, and after each pause; one after a sleep."""
    visits = Visits(42, sleeps=sleeps)
    visits.Send_init = lambda *what: SimpleNamespace(Start=lambda: None)
    monkeypatch.setattr("asysvrg.distributed._link.monotonic", lambda: visits.now)
    if end == "server":
        link = ServerLink(FAKE, visits)
        link.listen([1])
    else:
        link = WorkerLink(FAKE, visits, 0)
        link.ask(Message(Kind.READY), 0, 0)
    assert link.wait(visits.pause, 1.0)
    assert visits.looks == 42
    assert visits.now == pytest.approx(pauses * 1e-3)


@pytest.mark.parametrize("wait", ["sleep", "yield", "spin"])
def test_backoff(wait, monkeypatch):
    """Time passes while the core is given or offered; 20 microseconds at an offer."""
    now, slept, offered = [0.0], [], []

    def passes(log):
        def wait(seconds=20e-6):
            log.append(seconds)
            now[0] += seconds

        return wait

    def message(after):
        slept.clear()
        offered.clear()
        backoff.reset()
        end = now[0] + after
        for _ in range(10_000):
            if now[0] < end:
                before = len(slept)
                assert bool(backoff.pause()) == (len(slept) > before)
        backoff.came()
        return bool(slept)

    monkeypatch.setattr("asysvrg.distributed.messages.time.monotonic", lambda: now[0])
    monkeypatch.setattr("asysvrg.distributed.messages.time.sleep", passes(slept))
    monkeypatch.setattr("asysvrg.distributed.messages.os.sched_yield", passes(offered))
    backoff = Backoff(wait)
    assert message(after=0.1) == (wait == "sleep")
    if wait != "sleep":
        assert bool(offered) == (wait == "yield")
        return
    assert slept[0] == 50e-6
    assert max(slept) == 1e-3
    assert message(after=0.1)
    assert not offered  # messages take long
    for _ in range(100):
        short = message(after=100e-6)
    assert not short  # they do not any more
    assert message(after=1e-3)
    assert 150e-6 < sum(offered) < 250e-6
