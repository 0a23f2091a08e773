"""asysvrg by its estimator: settings are the estimator's parameters."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from asysvrg import AsySVRGClassifier
from asysvrg.core import loop
from asysvrg.core.trace import Clock
from asysvrg.method import Data, choose_method
from asysvrg.settings import check
from contenders.setting import ALPHA, Meter, Problem, Settings


class ProcessorClock(Clock):
    """The package's clock, which notes the processor's time, too: tuning asks for it."""

    at: ClassVar[dict[float, float]] = {}  # the processor's, when the clock stood at so many seconds
    processor = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        began = time.process_time()
        try:
            with super().running():
                yield
        finally:
            self.processor += time.process_time() - began
            ProcessorClock.at[self.seconds] = self.processor


loop.Clock = ProcessorClock


def run(problem: Problem, settings: Settings, cores: int, seed: int, meter: Meter, *, defaults: bool = False) -> None:
    """The start is drawn from the same random state as everybody's.

    With defaults, all of `fit` before the first update is on the clock, too: checks of the data and the choice of a
    learning rate.
    """
    hidden = problem.network.widths[1:-1]
    how: dict[str, Any] = {"alpha": ALPHA, "random_state": seed, "target_loss": min(meter.limits)}
    if not defaults:
        # Mini-batches go through the samples as the peers' do, those with longer gradients more often.
        how |= {"tol": 0.0, "max_iter": 100_000, "hidden_layer_sizes": hidden, "sampling": "importance"}
    model = AsySVRGClassifier(**(how | {"n_jobs": cores} | settings))
    steps = choose_method(check(model), Data.of(problem.X), problem.n)["inner_steps"][0]
    ProcessorClock.at = {0.0: 0.0}
    ahead = 0.0
    began = time.perf_counter()

    def told(row: dict[str, Any]) -> bool:
        nonlocal ahead
        if row["epoch"] == 0:
            ahead = time.perf_counter() - began if defaults else 0.0
        meter.seconds, meter.processor = ahead + row["seconds"], ahead + ProcessorClock.at[row["seconds"]]
        return meter.add(row["epoch"] * steps, row["loss"], str(row["direction"]))

    model.fit(problem.X, problem.y, callback=told)


DIRECTIONS = {
    "svrg all": {"execution": "lockstep"},
    "svrg lines": {"coordinates": "lines:1000"},
    "svrg single": {"coordinates": 1000},
    "sgd_svrg": {"execution": "lockstep"},
    "sgd": {"solver": "sgd", "execution": "lockstep"},
    "sgd lines": {"solver": "sgd", "coordinates": "lines:1000"},
}


def _of(name: str) -> Any:
    return lambda problem, settings, *rest: run(problem, DIRECTIONS[name] | settings, *rest)


CONTENDERS = {f"ours {name}": _of(name) for name in DIRECTIONS}
CONTENDERS["ours, defaults"] = functools.partial(run, defaults=True)
