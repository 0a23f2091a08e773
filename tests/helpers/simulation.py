"""Server and workers as state machines, without MPI: any schedule, any loss; the clock is a number.

A schedule is drawn by its seed: workers of different speeds, messages that take their time or come twice, workers that
die, or stop and come back.
"""

import heapq
import itertools
from types import SimpleNamespace

import numpy as np

from asysvrg.core.directions import DIRECTIONS
from asysvrg.core.schedule import Epoch
from asysvrg.distributed import protocol
from asysvrg.distributed._message import Buffer, Message
from asysvrg.distributed.codec import CODECS
from asysvrg.distributed.protocol import Kind, Stage
from asysvrg.distributed.server import Group, Server
from asysvrg.distributed.updates import Updates
from asysvrg.distributed.worker import Worker

LOST_AFTER, HEARTBEAT, PULSE = 1.0, 0.05, 0.2


class Accountant:
    """A worker whose gradient of shard i is the i-th unit vector; so are its directions, unless they are given."""

    def __init__(self, d, compress=None, directions=None):
        self.d, self.codec, self.directions = d, CODECS[compress](d, np.dtype(float)), directions

    def answer(self, message):
        v = np.zeros(self.d)
        if message.kind == Kind.STEP:
            assert message.payload.size >= self.codec.nbytes
            if self.directions is None:
                v[message.iteration] = 1
            else:
                v[:] = self.directions[message.iteration]
            code = self.codec.direction(v, message.epoch)
            return protocol.direction(message.epoch, message.version, message.iteration, 1, code)
        if message.kind == Kind.SHARD:
            v[message.shard] = 1
            return protocol.shard_gradient(message, v, message.last - message.first, 0.0)
        return None if message.kind in (Kind.DONE, Kind.STOP) else protocol.ready()


class Network:
    """Ranks in one process: every message is written to a buffer and read from it, and takes a while."""

    def __init__(
        self, workers, seed=0, *, speeds=None, faults=(), duplicates=0.0, capacity=2**16, stage=Stage.EPOCHS, **options
    ):
        self.rng, self.now, self.count = np.random.default_rng(seed), 0.0, itertools.count()
        self.queue, self.capacity, self.duplicates = [], capacity, duplicates
        self.workers, self.ranks = workers, sorted(workers)
        self.speeds = speeds or {rank: self.rng.choice([1e-3, 1e-3, 1e-2, 1e-1]) for rank in self.ranks}
        self.seq, self.stage = dict.fromkeys(self.ranks, 0), dict.fromkeys(self.ranks, stage)
        self.state = dict.fromkeys(self.ranks, "up")
        self.busy = dict.fromkeys(self.ranks, True)
        self.sent = []  # kinds of all messages of the server
        self.bytes = 0
        self.server = Server(self.ranks, self.to_worker, 0.0, lost_after=LOST_AFTER, heartbeat=HEARTBEAT, **options)
        for rank in self.ranks:
            self.ask(rank, protocol.ready(), 0.0)
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
        message.stamp(self.stage[rank], run, self.seq[rank])
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
        """Lets that much time pass without a task."""
        end = self.now + seconds
        while self.now < end:
            self.step()

    def run(self, task, stage=Stage.EPOCHS, until=np.inf):
        """Carries out a task; returns it."""
        self.server.start(task, stage)
        end = self.now + 1000
        while not task.done and self.server.failure is None and self.now < until:
            assert self.now < end, "no end"
            self.step()
        self.server.pause()
        if self.server.failure is not None:
            raise self.server.failure
        return task


def accountants(count, d, compress=None, **options):
    network = Network({rank: Accountant(d, compress) for rank in range(1, count + 1)}, **options)
    everyone = [Group(1000, tuple(network.ranks))]
    network.server.group(everyone)
    return network, everyone


def updates(network, groups, x, steps, snapshot=None, mu=None, compress=None, epoch=0, eta=-1.0, **options):
    options = {"sweep": 1, "codec": CODECS[compress](x.size, x.dtype)} | options
    epoch = Epoch(epoch, DIRECTIONS["svrg"], eta, steps)
    snapshot = x.copy() if snapshot is None else snapshot
    return Updates(network.server, x, snapshot, mu, epoch, groups=groups, **options)


def direction(step, seq, v, **wrong):
    """A worker's message as a server has it: the direction of a step."""
    right = {"kind": Kind.DIRECTION, "stage": Stage.EPOCHS, "seq": seq, "epoch": step.epoch, "version": step.version}
    right |= {"iteration": step.iteration, "evaluated": 1, "payload": v.view(np.uint8)}
    return Message(**right | wrong)


def some_faults(rng, ranks, spared, least=0.0, most=0.6):
    """What may happen to all but the spared ranks."""
    for rank in set(ranks) - set(spared):
        fate, when = rng.choice(["dead", "stopped", "back", "fine"]), rng.uniform(least, most)
        if fate != "fine":
            yield when, rank, "dead" if fate == "dead" else "stopped"
        if fate == "back":
            yield when + rng.uniform(0.1, 4), rank, "up"


def trainers(problem, owners, seed=0, threads=1, compress=None, **options):
    """Real workers: owners gives each its rows of the problem."""
    network = problem.network
    made = {
        rank: Worker(
            network, samples, alpha=problem.alpha, batch_size=4, seed=7, threads=threads, may_keep=True,
            codecs=[CODECS[compress](network.size, network.dtype)],
        )
        for rank, samples in owners.items()
    }  # fmt: skip
    return Network(made, seed, **options)


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
