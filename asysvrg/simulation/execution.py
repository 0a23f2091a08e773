"""The simulated execution: the epochs of the usual loop, by virtual workers in virtual time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from asysvrg.core.objective import Objective, Snapshot
from asysvrg.core.schedule import Epoch
from asysvrg.core.steps import StepLoop
from asysvrg.core.threaded import ThreadedExecution
from asysvrg.core.trace import Clock
from asysvrg.simulation.costs import Costs, Crew
from asysvrg.simulation.engine import AllLost, DistributedEngine, Engine, Events, Policy, SharedEngine
from asysvrg.simulation.events import Done, Piece, Read, Recorded, Recorder, Write, replayed
from asysvrg.simulation.states import States

ENGINES: dict[str, type[Engine]] = {"shared": SharedEngine, "distributed": DistributedEngine}


class VirtualClock(Clock):
    """Seconds that the simulation says have passed, while it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.runs = False

    @contextmanager
    def running(self) -> Iterator[None]:
        self.runs = True
        try:
            yield
        finally:
            self.runs = False

    def set(self, seconds: float) -> None:
        if self.runs:
            self.seconds = max(self.seconds, seconds)


class SimulatedExecution(ThreadedExecution):
    """Runs each epoch by an engine's events, or by recorded ones. Every update is carried out by the same kernels.

    Parameters
    ----------
    objective : Objective
        Of one thread.
    architecture : {"shared", "distributed"}
    costs, crew, policy : Costs, Crew, Policy
    times_seed : int
        Of all virtual times.
    recorder : Recorder or None
    schedule : Recorded or None
        Takes the place of an engine.
    **options
        As for `ThreadedExecution`.
    """

    loop = StepLoop
    _loop: StepLoop

    def __init__(
        self,
        objective: Objective,
        *,
        architecture: str,
        costs: Costs,
        crew: Crew,
        policy: Policy,
        times_seed: int,
        recorder: Recorder | None,
        schedule: Recorded | None,
        **options: Any,
    ):
        super().__init__(objective, **options)
        self.architecture, self.costs, self.crew, self.policy = architecture, costs, crew, policy
        self.times_seed, self.recorder, self.schedule = times_seed, recorder, schedule
        self.clock, self.states, self.dropped = VirtualClock(), States(self._loop), 0
        self._alphas: np.ndarray | None = None  # of each coordinate
        self._turns: list[int] = []  # the iterations of the epoch so far, in the order of their updates
        # A worker of Algorithm 3 takes the l2 term at its x^. With a preconditioner or random coordinates there is no
        # such worker, and the term is that of threads, at x.
        self._l2_at_read = (
            architecture == "distributed"
            and self._preconditioner is None
            and options.get("coordinates", 0) in (0, objective.d)
            and np.any(objective.alpha)
        )

    def snapshot(self, x: np.ndarray, *, keep_cache: bool) -> Snapshot:
        """The snapshot, and what it takes the workers: they divide the samples by their speeds."""
        if self.schedule is None:
            self.clock.set(self.clock.seconds + self._sweep())
        return super().snapshot(x, keep_cache=keep_cache)

    def _sweep(self) -> float:
        """The virtual seconds of a full gradient; those of a schedule include it."""
        now = self.clock.seconds
        times = [now, *sorted(then for then in self.crew.late.values() if then > now)]
        begin = next((then for then in times if self.crew.alive(then)), None)
        if begin is None:
            raise AllLost(f"all workers are lost after {now:.6g} virtual seconds")
        alive = self.crew.alive(begin)
        seconds = self.costs.sweep * (1 + self.costs.contention * (len(alive) - 1))
        seconds /= sum(self.crew.speeds[worker] for worker in alive)
        if self.architecture == "distributed":  # each sends its sum
            seconds += 2 * self.costs.message.mean + len(alive) * self.costs.server.mean
        return begin - now + seconds

    def report(self) -> dict[str, Any]:
        """A column of the epoch's row: how many updates the policy discarded."""
        dropped, self.dropped = self.dropped, 0
        return {"dropped": dropped}

    def _iterate(self, x: np.ndarray, this: Epoch, **arguments: Any) -> np.ndarray:
        loop = self._loop
        loop.start(x, this.steps, **arguments)
        self.states.clear()
        self._turns = []
        updates: list[dict[str, Any]] = []
        engine = None
        try:
            if self.schedule is None:
                engine = self._engine(this)
                events = engine.events()
            else:
                events = replayed(_recorded(self.schedule, this.number, this.steps))
            self._carry_out(events, x, this, this.rates, updates)
        finally:
            delays = loop.finish()
        for update in updates:
            delays[update["t"]] = update["delay"]
        self.clock.set(max((update["seconds"] for update in updates if "seconds" in update), default=0.0))
        if engine is not None:
            self.dropped += engine.dropped
        if self.recorder is not None:
            self.recorder.epoch(this.number, updates)
        return delays

    def _engine(self, epoch: Epoch) -> Engine:
        seed = [self.times_seed, epoch.number]
        return ENGINES[self.architecture](
            self.costs,
            self.crew,
            self.policy,
            steps=epoch.steps,
            d=self._objective.d,
            now=self.clock.seconds,
            seed=seed,
        )

    def _carry_out(
        self, events: Events, x: np.ndarray, epoch: Epoch, rates: np.ndarray, updates: list[dict[str, Any]]
    ) -> None:
        """Applies the events of an epoch to x, until the deadline; collects its updates."""
        pieces: dict[Any, dict[str, list[Piece]]] = {}  # of x^, by slot
        for event in events:
            if isinstance(event, Read):
                self.states.read(event)
                pieces[event.slot] = {"without": list(event.without), "with": []}
            elif isinstance(event, Done):
                self.states.done(event)
            else:
                for slot, first, last in event.arrives:
                    pieces[slot]["with"].append((event.turn, first, last))
                if not self._write(event, x, epoch, rates):
                    return
                updates.append(_as_dict(event, pieces.pop(event.slot)))

    def _write(self, event: Write, x: np.ndarray, epoch: Epoch, rates: np.ndarray) -> bool:
        """An update. A server takes the rates in the order of its updates, threads in that of iterations."""
        number = event.turn if self.architecture == "distributed" else event.t
        if number != event.t or event.factor != 1:
            self._loop.rates[event.t] = event.factor * rates[number]
        apart = self.states.apart(event) if self._l2_at_read else None
        if not self.states.write(event):
            return False
        self._turns.append(event.t)
        if apart is not None:
            self._add_l2(x, apart, slice(None), self._loop.rates[event.t] * epoch.l2_factor)
            self.states.free(apart)
        # Its own l2 term was without the change of an update that it overtakes, and that one's was with its own.
        for turn, first, last in event.overtakes:
            rate = self._loop.rates[event.t], self._loop.rates[self._turns[turn]]
            where, change = slice(first, last), self.states.changes[turn]
            self._add_l2(x, change, where, rate[0] * epoch.l2_factor)
            self._add_l2(x, self.states.changed, where, -rate[1] * epoch.l2_factor)
        return True

    def _add_l2(self, x: np.ndarray, change: np.ndarray, where: slice, rate: float) -> None:
        """x += rate times the gradient of the l2 term at a change, on some coordinates."""
        if self._alphas is None:
            self._alphas = np.zeros_like(x)
            for alpha, (weights, _) in zip(self._objective.alphas, self._objective.network.slices, strict=True):
                self._alphas[weights].reshape(len(alpha), -1)[:] = alpha
        x[where] += x.dtype.type(rate) * self._alphas[where] * change[where]


def _recorded(schedule: Recorded, number: int, steps: int) -> list[dict[str, Any]]:
    """The updates of an epoch of so many iterations."""
    if number not in schedule.epochs:
        raise ValueError(f"the schedule has no epoch {number}; it has {len(schedule.epochs)} epochs")
    updates = schedule.epochs[number]
    iterations = {update["t"] for update in updates}
    if max(iterations) >= steps or len(iterations) < len(updates):
        raise ValueError(
            f"epoch {number} of the schedule has iteration {max(iterations)}, or one twice; this run has {steps} "
            "iterations in an epoch, and each one once"
        )
    return updates


def _as_dict(event: Write, pieces: dict[str, list[Piece]]) -> dict[str, Any]:
    """A line of the record."""
    update = {name: getattr(event, name) for name in ("t", "worker", "read", "delay")}
    if event.seconds is not None:
        update["seconds"] = event.seconds
    if event.overtakes:
        update["overtakes"] = event.overtakes
    if event.factor != 1:
        update["factor"] = event.factor
    return update | {name: each for name, each in pieces.items() if each}
