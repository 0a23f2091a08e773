"""The trace of a run: a row for each epoch, delays, settings, machine; and the clock of training time."""

from __future__ import annotations

import functools
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import joblib
import numpy as np
import scipy

from asysvrg._version import __version__
from asysvrg.core import system
from asysvrg.core.network import build_info


class Clock:
    """Seconds of training. It runs only inside `with clock.running():`."""

    def __init__(self) -> None:
        self.seconds = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - start


def delay_summary(delays: np.ndarray) -> dict[str, float]:
    """Mean, median, 99th percentile and maximum of an epoch's delays (Assumption 4), in updates."""
    if not delays.any():
        return {"mean": 0.0, "p50": 0, "p99": 0, "max": 0}
    p50, p99 = np.percentile(delays, [50, 99], method="higher")
    return {
        "mean": float(delays.mean()),
        "p50": int(p50),
        "p99": int(p99),
        "max": int(delays.max()),
    }


def environment() -> dict[str, Any]:
    """Versions, processor and thread pools of this process."""
    return dict(_environment())


@functools.cache
def _environment() -> dict[str, Any]:
    return {
        "asysvrg": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "machine": platform.machine(),
        "processor": system.processor(),
        "system": platform.system(),
        "cores": joblib.cpu_count(),
        **build_info(),
    }


@dataclass
class Trace:
    """What `history_` and `--trace` hold.

    Attributes
    ----------
    config : dict
        Parameters, the plan's choices by name, and under "plan" the reason for each.
    epochs : list of dict
        A row for each recorded state: epoch, seconds (of training), loss (the whole objective), train_error,
        validation_error and validation_loss (of the samples that early stopping looks at, without the l2 term; None
        where it is off), test_error (of the command line's test set or else of `X_val`; None without),
        gradient_norm_squared, sample_gradients (so far), partial (whether `max_time` left time for a few samples only,
        from which loss and errors then are), best (whether these are the best parameters of this call of `fit` or
        `partial_fit` so far, by the loss or, with early stopping, the validation error), delay (mean, p50, p99, max of
        the epoch), direction, learning_rate, rolled_back. Row 0 is the start. With `track_gradient_norm` there are
        mean_gradient_norm_squared, smoothness and batch_smoothness (`core.gauge`).
    delay_histogram : list of int
        Entry i counts the updates with delay i, over the whole run.
    """

    config: dict[str, Any]
    environment: dict[str, Any] = field(default_factory=environment)
    epochs: list[dict[str, Any]] = field(default_factory=list)
    delay_histogram: list[int] = field(default_factory=list)

    def count_delays(self, delays: np.ndarray) -> None:
        """Adds an epoch's delays to the histogram."""
        counts = np.bincount(delays, minlength=len(self.delay_histogram))
        counts[: len(self.delay_histogram)] += np.array(self.delay_histogram, dtype=np.int64)
        self.delay_histogram = counts.tolist()

    def as_dict(self) -> dict[str, Any]:
        """The trace as plain dicts and lists."""
        return dict(vars(self))


def joined(earlier: dict[str, Any], later: dict[str, Any]) -> dict[str, Any]:
    """Two traces (of `as_dict`) as one. The start of the later one is the last row of the earlier one."""
    last = earlier["epochs"][-1]
    rows = [
        row | {name: last[name] + row[name] for name in ("seconds", "sample_gradients")} for row in later["epochs"][1:]
    ]
    trace = Trace(later["config"], later["environment"], earlier["epochs"] + rows, earlier["delay_histogram"])
    trace.count_delays(np.repeat(np.arange(len(later["delay_histogram"])), later["delay_histogram"]))
    return trace.as_dict()
