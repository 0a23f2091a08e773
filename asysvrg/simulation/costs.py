"""What things cost in virtual seconds, and who the virtual workers are."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np

from asysvrg.simulation.times import Times, times

ARCHITECTURES = ("shared", "distributed")
POLICIES = ("none", "wait", "drop", "adaptive")
SHARE = 0.1  # shared: reading x and writing an update, as parts of an iteration, unless they are given
CALIBRATED = ("compute", "message", "server", "sweep", "contention")


def shared_costs(iteration: float, sweep: float, *, one: float, two: float) -> dict[str, float]:
    """Costs of threads, from seconds of an iteration, of a sweep, and of the same work by one thread and by two.

    With k threads everything takes 1 + contention (k - 1) times as long as with one.
    """
    parts = {"compute": (1 - 2 * SHARE) * iteration, "message": SHARE * iteration, "server": SHARE * iteration}
    return parts | {"sweep": sweep, "contention": max(0.0, 2 * two / one - 1)}


@dataclass(frozen=True)
class Costs:
    """Virtual seconds.

    Attributes
    ----------
    compute : Times
        Of an iteration's direction, on a worker of speed 1.
    message : Times
        distributed: of a message, each way. shared: of reading x.
    server : Times
        distributed: of an update at the server, which takes one message after the other. shared: of writing one.
    sweep : float
        Of a pass over all samples, by one worker of speed 1.
    contention : float
        With k workers alive everything takes 1 + contention * (k - 1) times as long: they share the memory.
    """

    compute: Times
    message: Times
    server: Times
    sweep: float
    contention: float


def costs(
    given: Mapping[str, Any], calibrated: str | Path | Mapping[str, Any] | None, architecture: str, iterations: float
) -> Costs:
    """The costs that the arguments of `simulate` stand for.

    Parameters
    ----------
    given : dict
        By the names in `CALIBRATED`; None for what `calibrated` says, or else a default.
    calibrated : path, dict or None
        What `asysvrg calibrate` saved.
    architecture : {"shared", "distributed"}
    iterations : float
        Mini-batches in a pass over all samples.
    """
    known = {} if calibrated is None else _read(calibrated, architecture)
    values = {name: known.get(name) if given[name] is None else given[name] for name in CALIBRATED}
    compute = times(1.0 if values["compute"] is None else values["compute"], "compute")
    share = SHARE * compute.mean if architecture == "shared" else 0.0
    message, server = (times(share if values[name] is None else values[name], name) for name in ("message", "server"))
    sweep = iterations * compute.mean if values["sweep"] is None else times(values["sweep"], "sweep").mean
    contention = 0.0 if values["contention"] is None else times(values["contention"], "contention").mean
    return Costs(compute, message, server, sweep, contention)


def _read(calibrated: str | Path | Mapping[str, Any], architecture: str) -> Mapping[str, Any]:
    if isinstance(calibrated, Mapping):
        found = calibrated
    else:
        try:
            found = json.loads(Path(calibrated).read_text())
        except ValueError:
            found = None
    if not isinstance(found, Mapping) or not isinstance(found.get(architecture), Mapping):
        raise ValueError(f"costs={str(calibrated)!r} has no costs of {architecture!r}: asysvrg calibrate writes them")
    return found[architecture]


@dataclass(frozen=True)
class Crew:
    """The virtual workers.

    Attributes
    ----------
    speeds : tuple of float
    late, lost : dict of float
        The virtual second at which a worker joins, or is lost.
    """

    speeds: tuple[float, ...]
    late: Mapping[int, float]
    lost: Mapping[int, float]

    def alive(self, now: float) -> list[int]:
        return [k for k in range(len(self.speeds)) if self.late.get(k, 0.0) <= now < self.lost.get(k, math.inf)]


def crew(workers: Any, speeds: Any, late: Any, lost: Any) -> Crew:
    """Checks what `simulate` was told of its workers."""
    if not isinstance(workers, Integral) or isinstance(workers, bool) or workers < 1:
        raise ValueError(f"workers is a whole number from 1 on; got {workers!r}")
    workers = int(workers)
    if speeds is not None and not isinstance(speeds, Mapping):
        if np.shape(speeds) != (workers,):
            raise ValueError(f"speeds has one number for each of {workers} workers, or is a dict; got {speeds!r}")
        speeds = dict(enumerate(speeds))
    every = [1.0] * workers
    for worker, speed in _of_workers(workers, speeds, "speeds").items():
        if not 0 < speed < math.inf:
            raise ValueError(f"speeds are positive numbers; worker {worker} has {speed!r}")
        every[worker] = speed
    return Crew(tuple(every), _of_workers(workers, late, "late"), _of_workers(workers, lost, "lost"))


def _of_workers(workers: int, given: Any, name: str) -> dict[int, float]:
    given = {} if given is None else given
    if not isinstance(given, Mapping) or not all(k in range(workers) for k in given):
        raise ValueError(f"{name} is a dict from workers 0 to {workers - 1} to numbers; got {given!r}")
    try:
        numbers = {int(k): float(number) for k, number in given.items()}
    except (TypeError, ValueError):
        numbers = {0: math.nan}
    if any(map(math.isnan, numbers.values())):
        raise ValueError(f"{name} is a dict from workers to numbers; got {given!r}")
    return numbers
