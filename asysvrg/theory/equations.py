"""Theorems 1 to 4 of the paper as functions, one for each equation, with the paper's letters.

Two architectures: "shared" (Theorems 1 and 2: threads, single coordinates, inconsistent reads) and "distributed"
(Theorems 3 and 4: a server, whole vectors). The equations of the second are those of the first with d = 1.

Where a condition of a theorem fails, the answer is infinite or 0, as the function says; it is never NaN. Numbers that
float64 cannot hold are infinite or 0, too. Arguments that make no sense are a ValueError.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass

import numpy as np

from asysvrg.theory.checks import (
    Architecture,
    check_a,
    check_count,
    check_delay,
    check_gap,
    check_number,
    check_positive,
    check_u0,
    dimension,
    iterations,
)
from asysvrg.theory.recurrence import backwards, denominator, gammas, least_gamma, log_product


@dataclass(frozen=True)
class Constants:
    """The constants of Theorem 1 or 3.

    Attributes
    ----------
    c : ndarray of shape (m + 1,)
        Eq. (10) or (17); c[m] = 0.
    Gamma : ndarray of shape (m,)
        Eq. (11) or (18).
    gamma : float
        min Gamma. The theorem says something where it is positive.
    """

    c: np.ndarray
    Gamma: np.ndarray
    gamma: float


@dataclass(frozen=True)
class Settings:
    """The settings of Theorem 2 or 4.

    Attributes
    ----------
    eta : float
        Learning rate.
    beta : float
    m : int
        Inner iterations; 0 where the formula gives less than one.
    """

    eta: float
    beta: float
    m: int


def variance_factor(architecture: Architecture, *, L: float, eta: float, delay: float, d: float | None = None) -> float:
    """Lemma 1, equation (8): sum E|v|^2 is at most 2 d / (d - 2 L^2 Delta^2 eta^2) times as large as sum E|u|^2.

    Parameters
    ----------
    architecture : {"shared", "distributed"}
    L : float
        Lipschitz constant of the gradients (Assumption 3).
    eta : float
        Learning rate.
    delay : float
        Delta, the bound of the delay (Assumption 4), in updates.
    d : int, default=None
        Number of parameters. Only the shared architecture needs it.

    Returns
    -------
    float
        Infinite where d <= 2 L^2 Delta^2 eta^2.
    """
    check_positive(L=L, eta=eta)
    check_delay(delay)
    d = dimension(architecture, d)
    left = denominator(L, eta, delay, d)
    return 2 * d / left if left > 0 else math.inf


def constants(
    architecture: Architecture,
    *,
    L: float,
    eta: float,
    beta: float,
    b: int,
    m: int,
    delay: float,
    d: float | None = None,
) -> Constants:
    """c, Gamma and gamma of Theorem 1, equations (10) and (11), or of Theorem 3, equations (17) and (18).

    Parameters
    ----------
    architecture, L, eta, delay, d
        As for `variance_factor`.
    beta : float
        The free constant beta of the theorem, larger than 0.
    b : int
        Samples in a mini-batch.
    m : int
        Inner iterations.

    Returns
    -------
    Constants
        Where d <= 2 L^2 Delta^2 eta^2, c is infinite before c[m] = 0, and Gamma and gamma are -inf.
    """
    check_count(b=b, m=m)
    left = m - np.arange(m + 1)  # iterations up to m
    log_c = backwards(architecture, left, L=L, eta=eta, beta=beta, b=b, delay=delay, d=d)
    Gamma = gammas(architecture, log_c[1:], L=L, eta=eta, delay=delay, d=d)
    with np.errstate(over="ignore"):
        return Constants(np.exp(log_c), Gamma, float(Gamma.min()))


def is_proved(found: Constants, *, beta: float) -> bool:
    """Whether Theorem 1 or 3 is proved with these constants: gamma > 0 and c_{t+1} <= beta / 2 for all t.

    The paper names the first condition only. But its proof splits ``-(eta / d) <grad f(x_t), grad f(x^_t)>`` into two
    halves. One gives Gamma its eta / (2 d). The other, ``-(eta / (2 d)) |grad f(x^_t)|^2``, has to cover
    ``c_{t+1} eta / (d beta) |grad f(x^_t)|^2``, which comes from ``|x_{t+1} - x~|^2`` by Young's inequality with beta.
    (Serial SVRG has that term in its Gamma, see `reddi_constants`.) Settings of Theorems 2 and 4 keep the condition.

    Parameters
    ----------
    found : Constants
        Of `constants`.
    beta : float
        The beta that they were computed with.
    """
    check_positive(beta=beta)
    return found.gamma > 0 and bool(found.c[1:].max() <= beta / 2)


def bound(*, gap: float, gamma: float, T: int) -> float:
    """Right-hand side of equations (12) and (19): gap / (T gamma), a bound of the mean of E|grad f(x_t)|^2.

    Parameters
    ----------
    gap : float
        f(x_0) - f(x_*), not negative.
    gamma : float
        Of `constants`.
    T : int
        Iterations in all, S m.

    Returns
    -------
    float
        Infinite where gamma <= 0.
    """
    check_gap(gap)
    check_count(T=T)
    check_number(gamma=gamma)
    return gap / T / gamma if gamma > 0 else math.inf


def admissible_delay(architecture: Architecture, *, u0: float, b: int, d: float | None = None) -> float:
    """The largest Delta of equation (13) or (20), the root of min{d / (2 u0 b), d (3 - 28 u0 b) / (28 u0^2 b^2)}.

    Parameters
    ----------
    architecture, d
        As for `variance_factor`.
    u0 : float
        Between 0 and 1.
    b : int
        Samples in a mini-batch.

    Returns
    -------
    float
        0.0 where no delay is allowed: u0 b >= 3 / 28.
    """
    check_u0(u0)
    check_count(b=b)
    d, ub = dimension(architecture, d), u0 * b
    return math.sqrt(d) * min(1 / math.sqrt(2 * ub), math.sqrt(max(3 - 28 * ub, 0.0) / 28) / ub)


def largest_u0(architecture: Architecture, *, b: int, delay: float, d: float | None = None) -> float:
    """The inverse of `admissible_delay`: below this u0, equation (13) or (20) allows the delay.

    Parameters
    ----------
    architecture, b, delay, d
        As for `variance_factor` and `admissible_delay`. Without a delay it is 3 / (28 b).
    """
    check_count(b=b)
    check_delay(delay)
    d = dimension(architecture, d)
    ratio = delay / math.sqrt(d)
    lower = 6 / (28 + math.hypot(28, math.sqrt(336) * ratio))
    return min(lower, 1 / (2 * ratio) / ratio if ratio else math.inf) / b


def settings(
    architecture: Architecture, *, L: float, n: int, b: int, u0: float, a: float, d: float | None = None
) -> Settings:
    """eta = u0 b / (L n^a), beta = 2 L and m = floor(d n^a / (6 u0 b)) of Theorem 2, or Theorem 4 with d = 1.

    Parameters
    ----------
    architecture, L, d
        As for `variance_factor`.
    n : int
        Samples.
    b, u0
        As for `admissible_delay`.
    a : float
        The exponent alpha of the theorem, above 0 and at most 1.
    """
    check_positive(L=L)
    check_u0(u0)
    check_a(a)
    check_count(n=n, b=b)
    d, power = dimension(architecture, d), float(n) ** a
    return Settings(eta=u0 * b / power / L, beta=2 * L, m=iterations(d * power / (6 * u0 * b)))


def simplified_bound(
    architecture: Architecture,
    *,
    L: float,
    n: int,
    b: int,
    a: float,
    sigma: float,
    gap: float,
    T: int,
    d: float | None = None,
) -> float:
    """Right-hand side of equation (14), d L n^a gap / (b T sigma), or of equation (21), where d = 1.

    Parameters
    ----------
    architecture, L, n, b, a, d
        As for `settings`.
    sigma : float
        The constant of the theorem; the function `sigma` gives the best one.
    gap, T
        As for `bound`.

    Returns
    -------
    float
        Infinite where sigma <= 0.
    """
    check_positive(L=L)
    check_a(a)
    check_count(n=n, b=b, T=T)
    check_gap(gap)
    check_number(sigma=sigma)
    d = dimension(architecture, d)
    if sigma <= 0:
        return math.inf
    if not gap or sigma == math.inf:
        return 0.0
    with np.errstate(over="ignore"):
        return float(np.exp(log_product(d, L, float(n) ** a, gap) - log_product(b, T, sigma)))


def largest_eta(
    architecture: Architecture, *, L: float, beta: float, b: int, m: int, delay: float, d: float | None = None
) -> float:
    """The largest learning rate for which Theorem 1 or 3 gives a bound, that is gamma > 0.

    gamma / eta falls as eta grows, from 1 / (2 d) at 0, and is negative at 1 / (4 L).

    Parameters
    ----------
    architecture, L, beta, b, m, delay, d
        As for `constants`.

    Returns
    -------
    float
        0.0 where there is none.
    """
    check_positive(L=L, beta=beta)

    def is_small_enough(eta: float) -> bool:
        return least_gamma(architecture, L=L, eta=eta, beta=beta, b=b, m=m, delay=delay, d=d) > 0

    high = min(1 / (4 * L), sys.float_info.max)
    low = high / 2
    while low > 0 and not is_small_enough(low):
        high, low = low, low / 2
    while low < (middle := low + (high - low) / 2) < high:
        low, high = (middle, high) if is_small_enough(middle) else (low, middle)
    return low


def sigma(
    architecture: Architecture,
    *,
    L: float,
    n: int,
    b: int,
    u0: float,
    a: float,
    delay: float,
    d: float | None = None,
) -> float:
    """The largest sigma of Theorem 2 or 4 with its own eta, beta and m: gamma d L n^a / b, or gamma L n^a / b.

    It does not depend on L.

    Parameters
    ----------
    architecture, L, n, b, u0, a, d
        As for `settings`.
    delay : float
        As for `variance_factor`.

    Returns
    -------
    float
        Not positive where the theorem's claim fails; -inf where d <= 2 L^2 Delta^2 eta^2, or m is 0.
    """
    check_positive(L=L)
    check_delay(delay)
    chosen = settings(architecture, L=1.0, n=n, b=b, u0=u0, a=a, d=d)
    if chosen.m == 0:
        return -math.inf
    gamma = least_gamma(architecture, L=1.0, eta=chosen.eta, beta=chosen.beta, b=b, m=chosen.m, delay=delay, d=d)
    return gamma * dimension(architecture, d) * float(n) ** a / b
