"""The problem that all contenders solve, the clock they run under, and what they share."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

from asysvrg import data
from asysvrg.core.network import Network, Samples
from asysvrg.core.objective import Objective, initial_parameters

ALPHA = 1e-3  # the paper's C
TARGETS = (0.15, 0.125, 0.118)
Settings = dict[str, Any]


def mnist_or_random(n: int = 10_000) -> tuple[str, np.ndarray, np.ndarray]:
    """Rows of MNIST from ASYSVRG_DATA_HOME; without it, random ones with as many zeros and labels by a linear rule."""
    if os.path.isdir(os.path.join(os.environ.get("ASYSVRG_DATA_HOME", ""), "mnist")):
        found = data.load("mnist", train_size=n, test_size=0)
        return "mnist", found.X_train, found.y_train.astype(np.int32)
    rng = np.random.default_rng(0)
    X = np.where(rng.random((n, 784)) < 0.19, rng.random((n, 784)), 0).astype(np.float32)
    return "random, 19% non-zero", X, (X @ rng.normal(size=(784, 10))).argmax(1).astype(np.int32)


def mnist_or_digits(n: int) -> tuple[str, np.ndarray, np.ndarray]:
    """Rows of MNIST from ASYSVRG_DATA_HOME; without it, all of the bundled digits."""
    name, X, y = mnist_or_random(n)
    if name == "mnist":
        return name, X, y
    X, y = load_digits(return_X_y=True)
    return "digits", X / 16, y


class Problem:
    """Mean softmax loss + ALPHA / 2 |weights|^2 on given samples, float32."""

    def __init__(self, name: str, X: Any, y: np.ndarray, hidden: tuple[int, ...] = (100,)):
        self.name, self.X, self.y, self.n = name, X, y, X.shape[0]
        self.network = Network((X.shape[1], *hidden, int(y.max()) + 1), "relu", "softmax", np.float32)
        self.objective = Objective(self.network, Samples(X, y), alpha=ALPHA, threads=1)

    def start(self, seed: int) -> np.ndarray:
        """The start that our estimators make of this random state."""
        return initial_parameters(self.network, np.random.RandomState(seed))

    def parts(self, x: np.ndarray) -> list[np.ndarray]:
        """Copies of [W_0, b_0, W_1, b_1, ...]; `flat` undoes it."""
        return [np.array(part) for layer in self.network.layers(x) for part in layer]

    def loss(self, x: np.ndarray) -> float:
        return self.objective.snapshot(self.objective.network.vector(x), keep_cache=False).loss


def flat(parts: list[Any]) -> np.ndarray:
    return np.concatenate([np.ravel(np.asarray(part)) for part in parts])


class Done(Exception):
    """The last target is reached, or hope is lost."""


@dataclass
class Meter:
    """Seconds of training, and the objective reached after them; evaluation is outside the clock.

    Attributes
    ----------
    loss : callable
        Objective of parameters.
    limits : dict of float to float
        Seconds after which a target that has not been reached is given up.
    most_updates : int or None
        Stop after so many.
    rows : list of dict
        updates, seconds, processor (seconds of it), loss, kind (rows of one kind cost the same for each update).
    """

    loss: Callable[[np.ndarray], float]
    limits: dict[float, float]
    most_updates: int | None = None
    seconds: float = 0.0
    processor: float = 0.0
    rows: list[dict[str, Any]] = field(default_factory=list)

    @contextmanager
    def running(self) -> Iterator[None]:
        began, used = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - began
            self.processor += time.process_time() - used

    def row(self, updates: int, x: np.ndarray, kind: str = "") -> None:
        """Notes where the run stands; raises Done when it need not go on."""
        if self.add(updates, self.loss(x), kind):
            raise Done

    def add(self, updates: int, loss: float, kind: str = "") -> bool:
        """The same for a loss that is known; returns whether to stop."""
        times = {"seconds": self.seconds, "processor": self.processor}
        self.rows.append({"updates": int(updates), **times, "loss": float(loss), "kind": kind})
        left = [limit for target, limit in self.limits.items() if not any(r["loss"] <= target for r in self.rows)]
        enough = self.most_updates is not None and updates >= self.most_updates
        return enough or not np.isfinite(loss) or not left or min(times.values()) > max(left)


def quiet(rows: list[dict[str, Any]], cores: int) -> list[dict[str, Any]]:
    """Rows with the seconds of a machine that nobody else uses, as far as can be told on one that others use.

    On one core, the processor's time; on more, where threads wait for each other, seconds. Each update has the price
    in the middle (of seconds: the lowest) of those of its kind.
    """
    steps = list(pairwise(rows))
    what, typical = ("processor", np.median) if cores == 1 else ("seconds", np.min)
    prices: dict[str, list[float]] = {}
    for old, new in steps:
        prices.setdefault(new["kind"], []).append((new[what] - old[what]) / (new["updates"] - old["updates"]))
    result = [dict(row, seconds=0.0) for row in rows[:1]]
    for old, new in steps:
        price = float(typical(prices[new["kind"]]))
        result.append(dict(new, seconds=result[-1]["seconds"] + price * (new["updates"] - old["updates"])))
    return result


def reached(rows: list[dict[str, Any]], target: float, what: str = "seconds") -> float | None:
    """Seconds (or updates) to a target: on the line between the evaluations before and after; None if never."""
    for old, new in pairwise(rows):
        if new["loss"] <= target:
            share = (old["loss"] - target) / (old["loss"] - new["loss"])
            return old[what] + share * (new[what] - old[what])
    return None


# ---- What peers share: a schedule, and mini-batches by reshuffling, drawn outside the clock. ----


def rate_at(settings: Settings, passes: float) -> float:
    """rate / (1 + passes)^decay; with "until", a straight line that ends there at 2% of the rate."""
    if "until" in settings:
        return settings["rate"] * max(1 - passes / settings["until"], 0.02)
    return settings["rate"] / (1 + passes) ** settings.get("decay", 0.0)


def halves(n: int, batch: int, seed: int) -> Iterator[tuple[float, np.ndarray]]:
    """(passes so far, batches of the next half pass) without end; each pass is a permutation of its own."""
    rng = np.random.default_rng(seed)
    each = n // batch // 2
    for number in range(10**9):
        order = rng.permutation(n).astype(np.int32)[: 2 * each * batch].reshape(2, each, batch)
        for half in (0, 1):
            yield number + half / 2, np.ascontiguousarray(order[half])
