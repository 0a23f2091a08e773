"""Numbers that claims are about, from the rows of runs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from asysvrg.reproduce.runs import Rows


def curve(seeds: Sequence[Rows], column: str) -> np.ndarray:
    """A column of the runs of several seeds: a row for each seed."""
    length = min(len(rows) for rows in seeds)
    return np.array([[row[column] for row in rows[:length]] for rows in seeds], dtype=float)


def mean(seeds: Sequence[Rows], column: str) -> np.ndarray:
    """The mean over seeds."""
    return curve(seeds, column).mean(axis=0)


def last(seeds: Sequence[Rows], column: str) -> float:
    """The mean over seeds and the last tenth of the epochs."""
    values = mean(seeds, column)
    return float(values[-max(1, len(values) // 10) :].mean())


def at(seeds: Sequence[Rows], where: str, place: float, column: str = "loss") -> float:
    """A mean column at a place between two rows, as `where` = "sample_gradients"."""
    return float(np.interp(place, mean(seeds, where), mean(seeds, column)))


def reached(rows: Rows, target: float, column: str = "seconds") -> float | None:
    """Where the loss of a run is at most `target` for the first time, between two rows; None if it never is."""
    losses, places = [row["loss"] for row in rows], [row[column] for row in rows]
    if losses[0] <= target:
        return float(places[0])
    for k in range(1, len(rows)):
        if losses[k] <= target:
            share = (losses[k - 1] - target) / (losses[k - 1] - losses[k])
            return float(places[k - 1] + share * (places[k] - places[k - 1]))
    return None


def overtaken(first: np.ndarray, second: np.ndarray) -> int | None:
    """From which row on `second` is below `first` to the end; None if it is not at the end. Row 0 is the start."""
    above = np.flatnonzero(second[1:] >= first[1:])
    start = 1 if above.size == 0 else int(above[-1]) + 2
    return None if start >= len(first) else start


def count(number: str, unit: str) -> str:
    """1 thread, 2 threads."""
    return f"{number} {unit}{'' if number == '1' else 's'}"


def finite(value: float | None) -> str:
    """A number of a table."""
    return "-" if value is None or not math.isfinite(value) else f"{value:.4g}"
