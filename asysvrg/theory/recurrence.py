"""The recurrence of Eqs. (10) and (17), and Gamma of Eqs. (11) and (18).

Numbers are added up as logarithms, so that none overflows or vanishes on the way: results are infinite, or 0, only
where float64 has no number for them.
"""

from __future__ import annotations

import math

import numpy as np

from asysvrg.theory.checks import Architecture, check_count, check_delay, check_positive, dimension


def least_gamma(
    architecture: Architecture, *, L: float, eta: float, beta: float, b: int, m: int, delay: float, d: float | None
) -> float:
    """min Gamma, which is Gamma_0, since c_t falls with t."""
    check_count(b=b, m=m)
    left = np.array([m - 1], dtype=np.float64)
    log_c = backwards(architecture, left, L=L, eta=eta, beta=beta, b=b, delay=delay, d=d)
    return float(gammas(architecture, log_c, L=L, eta=eta, delay=delay, d=d)[0])


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
    """Logarithms of c_{m - left} of Eq. (10)."""
    check_positive(L=L, eta=eta, beta=beta)
    check_delay(delay)
    d = dimension(architecture, d)
    D = denominator(L, eta, delay, d)
    if D <= 0:
        return np.where(left > 0, math.inf, -math.inf)
    step, shared = log_product(L, eta), log_product(D, b)
    growth = added_logs(log_product(eta, beta) - math.log(d), math.log(4) + 2 * step - shared)
    return log_series(left, growth, math.log(2) + math.log(L) + step - shared + _noise(L, eta, delay, d))


def log_series(left: np.ndarray, growth: float, added: float) -> np.ndarray:
    """Logarithms of c_{m - left} where c_t = (1 + e^growth) c_{t + 1} + e^added and c_m = 0: a geometric series."""
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        each = np.exp(growth)
        if np.isinf(each):
            sums = (left - 1) * growth
        elif each == 0:
            sums = np.log(left)
        else:
            power = left * np.log1p(each)
            sums = np.where(power > 1, power + np.log1p(-np.exp(-power)), np.log(np.expm1(power))) - np.log(each)
    return np.where(left > 0, added + sums, -math.inf)


def gammas(
    architecture: Architecture, log_c_next: np.ndarray, *, L: float, eta: float, delay: float, d: float | None
) -> np.ndarray:
    """Gamma_t of Eq. (11), from the logarithms of c_{t + 1}."""
    d = dimension(architecture, d)
    D = denominator(L, eta, delay, d)
    if D <= 0:
        return np.full(log_c_next.shape, -math.inf)
    noise = math.log(eta) - math.log(2) + _noise(L, eta, delay, d)
    lost = math.log(4) - math.log(D) + np.logaddexp(noise, log_c_next + 2 * math.log(eta))
    with np.errstate(over="ignore"):
        return eta / (2 * d) - np.exp(lost)


def denominator(L: float, eta: float, delay: float, d: float) -> float:
    """d - 2 L^2 Delta^2 eta^2."""
    least, middle, most = sorted((L, eta, delay))
    lag = least * most * middle  # in this order it overflows, or vanishes, only where the whole product does
    return d - 2 * lag * lag


def log_product(*factors: float) -> float:
    """Logarithm of a product; -inf for 0."""
    return sum(math.log(factor) if factor else -math.inf for factor in factors)


def added_logs(first: float, second: float) -> float:
    """Logarithm of the sum of two numbers whose logarithms these are."""
    return float(np.logaddexp(first, second))


def _noise(L: float, eta: float, delay: float, d: float) -> float:
    """Logarithm of (L^2 Delta^2 eta^3 / (2 d) + eta^2 L / 2) / (eta / 2), a factor of Eqs. (10) and (11)."""
    return added_logs(2 * log_product(L, eta, delay) - math.log(d), log_product(L, eta))
