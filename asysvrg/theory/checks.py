"""What the arguments of the theorems may be. Anything else is a ValueError."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any, Literal

import numpy as np

Architecture = Literal["shared", "distributed"]
MOST = 10**100  # of a count: its powers in the theorems are finite


def dimension(architecture: str, d: Any) -> float:
    """d, or 1 for the distributed architecture."""
    if architecture not in ("shared", "distributed"):
        raise ValueError(f"architecture is 'shared' or 'distributed'; got {architecture!r}")
    if architecture == "distributed":
        return 1.0
    if d is None:
        raise ValueError("architecture='shared' needs d, the number of parameters")
    check_count(d=d)
    return float(d)


def _is_real(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool | np.bool_) and math.isfinite(value)


def check_positive(**positive: float) -> None:
    for name, value in positive.items():
        if not (_is_real(value) and value > 0):
            raise ValueError(f"{name} is a positive, finite number; got {value!r}")


def check_count(**counts: int) -> None:
    for name, value in counts.items():
        if not (isinstance(value, Integral) and not isinstance(value, bool) and value >= 1):
            raise ValueError(f"{name} is a whole number of at least 1; got {value!r}")
        if value > MOST:
            raise ValueError(f"{name} is a whole number of at most 10^100; got more")


def check_number(**numbers: float) -> None:
    for name, value in numbers.items():
        if not isinstance(value, Real) or isinstance(value, bool | np.bool_) or math.isnan(value):
            raise ValueError(f"{name} is a number; got {value!r}")


def check_delay(delay: float) -> None:
    if not (_is_real(delay) and delay >= 0):
        raise ValueError(f"delay is a number of updates, at least 0; got {delay!r}")


def check_gap(gap: float) -> None:
    if not (_is_real(gap) and gap >= 0):
        raise ValueError(f"gap, f(x_0) - f(x_*), is at least 0; got {gap!r}")


def check_u0(u0: float) -> None:
    if not (_is_real(u0) and 0 < u0 < 1):
        raise ValueError(f"u0 is between 0 and 1; got {u0!r}")


def check_a(a: float) -> None:
    if not (_is_real(a) and 0 < a <= 1):
        raise ValueError(f"a, the exponent of n, is above 0 and at most 1; got {a!r}")


def iterations(m: float) -> int:
    """floor(m), the inner iterations of a theorem's settings."""
    if m > MOST:
        raise ValueError("m is above 10^100: give a larger u0, or a smaller n")
    return math.floor(m)
