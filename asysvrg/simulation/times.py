"""How long something takes in virtual time: seconds drawn from a distribution."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from numbers import Real
from typing import Any

import numpy as np

DRAWN = 256  # seconds drawn at once
MOST_SIGMA = 100.0  # of a lognormal distribution: exp(sigma z) stays finite
# Draws of mean 1, and the shape's default. Pareto's shape is its index, without a variance up to 2.
SHAPES: dict[str, float | None] = {
    "constant": None, "halfnormal": None, "exponential": None, "lognormal": 1.0, "pareto": 2.5,
}  # fmt: skip


def _unit(name: str, shape: float, rng: np.random.Generator, count: int) -> np.ndarray:
    if name == "constant":
        return np.ones(count)
    if name == "halfnormal":
        return np.abs(rng.standard_normal(count)) * math.sqrt(math.pi / 2)
    if name == "exponential":
        return rng.standard_exponential(count)
    if name == "lognormal":
        return np.exp(shape * rng.standard_normal(count) - shape**2 / 2)
    return (1 + rng.pareto(shape, count)) * (shape - 1) / shape


class Times:
    """Seconds, drawn one by one.

    Attributes
    ----------
    mean : float
    """

    def __init__(self, mean: float, draw_many: Callable[[np.random.Generator], np.ndarray]):
        self.mean, self._draw_many = mean, draw_many

    def stream(self, rng: np.random.Generator) -> Callable[[], float]:
        """A function that gives the next seconds."""

        def drawn() -> Iterator[float]:
            while True:
                yield from self._draw_many(rng).tolist()

        return drawn().__next__


def times(given: Any, name: str) -> Times:
    """The times that an argument of `simulate` stands for.

    Parameters
    ----------
    given : float, str or sequence of float
        Seconds; "NAME:MEAN" or "NAME:MEAN:SHAPE" with a name of `SHAPES`; or seconds, as those of a
        measured trace, which each epoch takes in order, from the first one on.
    name : str
        Of the argument, for errors.
    """
    if isinstance(given, str) and given.partition(":")[0] in SHAPES:
        return _named(given, name)
    if isinstance(given, str):
        given = _seconds(given, given, name)
    if isinstance(given, Real) and not isinstance(given, bool):
        mean = _seconds(given, given, name)
        return Times(mean, lambda rng: np.full(DRAWN, mean))
    if isinstance(given, (Sequence, np.ndarray)) and len(given):
        listed = np.array([_seconds(each, given, name) for each in given])
        return Times(float(listed.mean()), lambda rng: listed)
    raise _error(given, name)


def _named(given: str, name: str) -> Times:
    kind, *numbers = given.split(":")
    if not 1 <= len(numbers) <= 1 + (SHAPES[kind] is not None):
        raise _error(given, name)
    mean = _seconds(numbers[0], given, name)
    shape = (SHAPES[kind] if len(numbers) == 1 else _seconds(numbers[1], given, name)) or 0.0
    if kind == "pareto" and shape <= 1:
        raise ValueError(f"{name}={given!r}: the index of a Pareto distribution with a mean is above 1")
    if kind == "lognormal" and shape > MOST_SIGMA:
        raise ValueError(f"{name}={given!r}: sigma of a lognormal distribution is at most {MOST_SIGMA:g} here")
    return Times(mean, lambda rng: mean * _unit(kind, shape, rng, DRAWN))


def _seconds(given: Any, whole: Any, name: str) -> float:
    try:
        seconds = float(given)
    except (TypeError, ValueError):
        raise _error(whole, name) from None
    if not 0 <= seconds < math.inf:
        raise _error(whole, name)
    return seconds


def _error(given: Any, name: str) -> ValueError:
    kinds = ", ".join(kind + ":MEAN" + (":SHAPE" if shape else "") for kind, shape in SHAPES.items())
    return ValueError(f"{name} is seconds, a list of them, or one of {kinds}; got {given!r}")
