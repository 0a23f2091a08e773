"""Who reads and who writes when: virtual workers, a heap of what happens next, and the policies for late updates.

There are no parameters and no gradients here. An engine says what happens to x, as events, and keeps the virtual time.
Both architectures have a worker's round in common: it takes an iteration, reads x, computes, and hands its update in,
which the policy admits, holds back or discards.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import numpy as np

from asysvrg.simulation.costs import Costs, Crew
from asysvrg.simulation.events import Done, Piece, Read, Write

Events: TypeAlias = Iterator[Read | Write | Done]


class AllLost(ValueError):
    """There is no worker left."""


class Policy:
    """Which updates are applied, and how far they go. The delay of an update is known when it is handed in.

    "none": all of them. "wait": the delay stays within `bound`, Assumption 4; newer updates wait for older ones, and no
    more than bound + 1 iterations are under way. "drop": an update whose delay exceeds `bound` is discarded, and its
    iteration begins again (Maranjyan, Tyurin & Richtarik, "Ringmaster ASGD", 2025). "adaptive": the rate is multiplied
    by min(1, k / (delay + 1)), k the number of workers. This is the rate gamma' / (delay + 1) of Wu, Magnusson,
    Feyzmahdavian & Johansson, "Delay-adaptive step-sizes for asynchronous learning", ICML 2022, with gamma' = k eta, so
    that workers of one speed, whose delay is k - 1, keep eta.
    """

    def __init__(self, name: str, bound: int | None):
        self.name, self.bound = name, math.inf if bound is None else bound

    def factor(self, delay: int, alive: int) -> float:
        return min(1.0, alive / (delay + 1)) if self.name == "adaptive" else 1.0


class Engine:
    """What both architectures have in common; a subclass says what a round consists of.

    Parameters
    ----------
    costs : Costs
    crew : Crew
    policy : Policy
    steps : int
        m, the updates of the epoch.
    d : int
        Coordinates.
    now : float
        The virtual second at which the epoch begins.
    seed : list of int
        Of all virtual times.

    Attributes
    ----------
    now : float
        When the last event was.
    dropped : int
        Updates that were discarded.
    """

    def __init__(self, costs: Costs, crew: Crew, policy: Policy, *, steps: int, d: int, now: float, seed: list[int]):
        self.costs, self.crew, self.policy, self.steps, self.d = costs, crew, policy, steps, d
        self.now, self.dropped = now, 0
        streams = [np.random.default_rng([*seed, kind]) for kind in range(4)]
        kinds = (costs.compute, costs.message, costs.server)
        self._compute, self._message, self._server = (
            each.stream(rng) for each, rng in zip(kinds, streams, strict=False)
        )
        self.rng = streams[3]
        self._heap: list[tuple[float, int, Callable[[int], Events], int]] = []
        self._numbers = itertools.count()
        self._next = 0  # the first iteration that nobody has had
        self._again: list[int] = []  # a heap of those to begin again
        self.turn = self.finished = 0  # updates that were begun to be written, and that are complete
        self.iteration: dict[int, int] = {}  # that a worker has
        self.seen: dict[int, int] = {}  # updates that were complete when it read x
        self.read_at: dict[int, int] = {}  # and those that were begun
        self.held: set[int] = set()  # workers whose update waits
        self.idle: list[int] = []
        self.alive = set(crew.alive(now))
        self.to_come = {k for k, second in crew.late.items() if now < second < crew.lost.get(k, math.inf)}

    def events(self) -> Events:
        """All events of the epoch, in order."""
        for worker in range(len(self.crew.speeds)):
            if worker in self.alive or worker in self.to_come:
                self._at(max(self.now, self.crew.late.get(worker, 0.0)), self._join, worker)
                if worker in self.crew.lost:
                    self._at(self.crew.lost[worker], self._lose, worker)
        while self.finished < self.steps:
            if not self.alive and not self.to_come and self.turn < self.steps:
                raise AllLost(f"all workers are lost after {self.now:.6g} virtual seconds")
            self.now, _, action, worker = heapq.heappop(self._heap)
            yield from action(worker)

    # ---- For subclasses. ----

    def begin(self, worker: int) -> Events:
        """A worker is ready for an iteration."""
        raise NotImplementedError

    def apply(self, worker: int) -> Events:
        """The update of a worker is written."""
        raise NotImplementedError

    def seconds(self, worker: int | None, draw: Callable[[], float]) -> float:
        """How long something takes for a worker, or for the server."""
        speed = 1.0 if worker is None else self.crew.speeds[worker]
        return draw() / speed * (1 + self.costs.contention * (len(self.alive) - 1))

    def _at(self, when: float, action: Callable[[int], Events], worker: int) -> None:
        heapq.heappush(self._heap, (when, next(self._numbers), action, worker))

    def has_room(self) -> bool:
        """Whether there is an iteration for one more worker."""
        under_way = len(self.iteration) + self.turn - self.finished
        if self.policy.name == "wait" and under_way > self.policy.bound:
            return False
        return bool(self._again) or self._next < self.steps

    def take(self, worker: int) -> bool:
        """Gives a worker an iteration if there is one, and it need not wait."""
        if not self.has_room():
            self.idle.append(worker)
            return False
        if self._again:
            self.iteration[worker] = heapq.heappop(self._again)
        else:
            self.iteration[worker], self._next = self._next, self._next + 1
        self.seen[worker], self.read_at[worker] = self.finished, self.turn
        return True

    def hand_in(self, worker: int) -> Events:
        """A worker has its update."""
        if self.policy.name == "wait":
            self.held.add(worker)
            yield from self._release()
        elif self.policy.name == "drop" and self.turn - self.seen[worker] > self.policy.bound:
            self.dropped += 1
            self._forget(worker, again=True)
            yield from self.begin(worker)
        else:
            yield from self.apply(worker)

    def write(self, worker: int, takes: float = 0.0, arrives: Sequence[Piece] = ()) -> Write:
        """The event of a worker's update, which it no longer has, and which is complete after `takes` seconds."""
        delay = self.turn - self.seen[worker]
        factor = self.policy.factor(delay, len(self.alive))
        t, read = self.iteration[worker], self.read_at[worker]
        self._forget(worker, again=False)
        self.turn += 1
        return Write(worker, t, self.turn - 1, worker, read, delay, self.now + takes, factor, arrives, takes > 0)

    def wake(self) -> Events:
        """Those who wait for an iteration get one, as far as there are any."""
        while self.idle and self.has_room():
            yield from self.begin(self.idle.pop(0))

    # ---- What happens to workers. ----

    def _join(self, worker: int) -> Events:
        if worker in self.alive or worker in self.to_come:  # else it was lost meanwhile
            self.to_come.discard(worker)
            self.alive.add(worker)
            yield from self.begin(worker)

    def _lose(self, worker: int) -> Events:
        """Its iteration is for others. An update that is being written is written to its end."""
        self.alive.discard(worker)
        self.to_come.discard(worker)
        self.held.discard(worker)
        if worker in self.idle:
            self.idle.remove(worker)
        if worker in self.iteration:
            self._forget(worker, again=True)
            yield from self._release()
        yield from self.wake()

    def _forget(self, worker: int, *, again: bool) -> None:
        t = self.iteration.pop(worker)
        del self.seen[worker], self.read_at[worker]
        if again:
            heapq.heappush(self._again, t)

    def _release(self) -> Events:
        """Applies updates that wait, oldest first, as long as all others under way can still be in time."""
        while self.held:
            worker = min(self.held, key=lambda k: (self.seen[k], self.iteration[k]))
            others = sorted(seen for k, seen in self.seen.items() if k != worker)
            if any(self.turn + 1 + i - seen > self.policy.bound for i, seen in enumerate(others)):
                return
            self.held.discard(worker)
            yield from self.apply(worker)


class DistributedEngine(Engine):
    """Algorithms 2 and 3: a server takes one message after the other, and answers each with x as it is then."""

    free_at = 0.0  # when the server has time

    def _join(self, worker: int) -> Events:
        self._queue(worker, super()._join)
        yield from ()

    def _queue(self, worker: int, action: Callable[[int], Events]) -> None:
        """A message is at the server."""
        self.free_at = max(self.free_at, self.now) + self.seconds(None, self._server)
        self._at(self.free_at, action, worker)

    def begin(self, worker: int) -> Events:
        """The server answers."""
        if worker in self.alive and self.take(worker):
            yield Read(worker)
            away = self.seconds(worker, self._compute) + self._message() + self._message()
            self._at(self.now + away, self._arrive, worker)

    def _arrive(self, worker: int) -> Events:
        if worker in self.iteration:
            self._queue(worker, self._serve)
        yield from ()

    def _serve(self, worker: int) -> Events:
        if worker in self.iteration:
            yield from self.hand_in(worker)

    def apply(self, worker: int) -> Events:
        yield self.write(worker)
        self.finished += 1
        yield from self.begin(worker)
        yield from self.wake()


class SharedEngine(Engine):
    """Algorithm 1. Reading and writing take time, and a thread that reads while another one writes sees some of it.

    Coordinates are read from the first to the last. They are written from a random one on, round the end.
    """

    def __init__(self, costs: Costs, crew: Crew, policy: Policy, *, steps: int, d: int, now: float, seed: list[int]):
        super().__init__(costs, crew, policy, steps=steps, d=d, now=now, seed=seed)
        self.reading: dict[int, tuple[float, float]] = {}  # by worker: when it began to read, and how long that takes
        self.writing: dict[int, tuple[float, float, float]] = {}  # by update: the same, and where, as a share of all

    def begin(self, worker: int) -> Events:
        if worker not in self.alive or not self.take(worker):
            return
        lasts = self.seconds(worker, self._message)
        missed: list[Piece] = []
        for turn, written in self.writing.items():
            missed += [(turn, *piece) for piece in self._pieces(self.now, lasts, *written, seen=False)]
        yield Read(worker, missed)
        self.reading[worker] = (self.now, lasts)
        self._at(self.now + lasts + self.seconds(worker, self._compute), self._claim, worker)

    def _claim(self, worker: int) -> Events:
        if worker in self.iteration:
            yield from self.hand_in(worker)

    def apply(self, worker: int) -> Events:
        written = (self.now, self.seconds(worker, self._server), self.rng.random())
        self.reading.pop(worker, None)
        self.reading = {k: (since, lasts) for k, (since, lasts) in self.reading.items() if since + lasts > self.now}
        arrives: list[Piece] = []
        for reader, (since, lasts) in self.reading.items():
            if reader in self.iteration:
                arrives += [(reader, *piece) for piece in self._pieces(since, lasts, *written, seen=True)]
        turn = self.turn
        yield self.write(worker, written[1], arrives)
        self.writing[turn] = written
        self._at(self.now + written[1], lambda worker: self._end(worker, turn), worker)

    def _end(self, worker: int, turn: int) -> Events:
        _, lasts, _ = self.writing.pop(turn)
        if lasts > 0:
            yield Done(turn)
        self.finished += 1
        yield from self.begin(worker)
        yield from self.wake()

    def _pieces(
        self, since: float, lasts: float, written_at: float, takes: float, first: float, *, seen: bool
    ) -> Iterator[tuple[int, int]]:
        """Coordinates that a read sees of a write, or does not see.

        Share y of the coordinates is read at since + lasts y, and written at written_at + takes (y - first modulo 1).
        """
        for begin, end, shift in ((first, 1.0, -first), (0.0, first, 1.0 - first)):
            at_begin = since + lasts * begin - written_at - takes * (begin + shift)
            at_end = since + lasts * end - written_at - takes * (end + shift)
            if (at_begin >= 0) == (at_end >= 0):
                low, high = (begin, end) if (at_begin >= 0) == seen else (end, end)
            else:
                middle = begin + (end - begin) * at_begin / (at_begin - at_end)
                low, high = (begin, middle) if (at_begin >= 0) == seen else (middle, end)
            piece = round(low * self.d), round(high * self.d)
            if piece[0] < piece[1]:
                yield piece
