"""The recurrence of Eqs. (10) and (17), and Gamma of Eqs. (11) and (18).

Extreme numbers may overflow to infinity. The factors are multiplied in an order that never gives 0 times infinity,
which would be NaN.
"""

from __future__ import annotations

import math

import numpy as np

from asysvrg.theory.checks import Architecture, check_count, check_delay, check_positive, dimension

SMALLEST = 5e-324  # above 0


def least_gamma(
    architecture: Architecture, *, L: float, eta: float, beta: float, b: int, m: int, delay: float, d: float | None
) -> float:
    """min Gamma, which is Gamma_0, since c_t falls with t."""
    check_count(b=b, m=m)
    c_1 = backwards(architecture, np.array([m - 1], dtype=np.float64), L=L, eta=eta, beta=beta, b=b, delay=delay, d=d)
    return float(gammas(architecture, c_1, L=L, eta=eta, delay=delay, d=d)[0])


def backwards(
    architecture: Architecture,
    left: np.ndarray,
    *,
    L: float,
    eta: float,
    beta: float,
    b: int,
    delay: float,
    d: float | None,
) -> np.ndarray:
    """c_{m - left} of Eq. (10)."""
    check_positive(L=L, eta=eta, beta=beta)
    check_delay(delay)
    d = dimension(architecture, d)
    D = denominator(L, eta, delay, d)
    if D <= 0:
        return np.where(left > 0, math.inf, 0.0)
    growth = eta * beta / d + 4 * (L * eta) * (L * eta) / (D * b)
    added = 2 * L * (L * eta) / (D * b) * _noise(L, eta, delay, d)
    return series(left, growth=growth, added=added)


def series(left: np.ndarray, *, growth: float, added: float) -> np.ndarray:
    """c_{m - left} where c_t = (1 + growth) c_{t + 1} + added and c_m = 0: the sums of a geometric series."""
    with np.errstate(over="ignore", invalid="ignore"):
        if math.isinf(growth):
            sums = np.where(left > 1, math.inf, 1.0)
        else:
            sums = np.expm1(left * math.log1p(growth)) / growth if growth > 0 else left.astype(np.float64)
        return np.where(left > 0, max(added, SMALLEST) * np.maximum(sums, 1), 0.0)


def gammas(
    architecture: Architecture, c_next: np.ndarray, *, L: float, eta: float, delay: float, d: float | None
) -> np.ndarray:
    """Gamma_t of Eq. (11), from c_{t + 1}."""
    d = dimension(architecture, d)
    D = denominator(L, eta, delay, d)
    if D <= 0:
        return np.full(c_next.shape, -math.inf)
    with np.errstate(over="ignore"):
        return eta / (2 * d) - 4 / D * (eta / 2 * _noise(L, eta, delay, d) + c_next * eta * eta)


def _lag(L: float, eta: float, delay: float) -> float:
    return delay * (L * eta) if delay else 0.0


def denominator(L: float, eta: float, delay: float, d: float) -> float:
    """d - 2 L^2 Delta^2 eta^2."""
    lag = _lag(L, eta, delay)
    return d - 2 * lag * lag


def _noise(L: float, eta: float, delay: float, d: float) -> float:
    """(L^2 Delta^2 eta^3 / (2 d) + eta^2 L / 2) of Eqs. (10) and (11), divided by eta / 2."""
    lag = _lag(L, eta, delay)
    return lag * lag / d + L * eta
