"""Serial SVRG, for comparison: Reddi, Hefny, Sra, Poczos & Smola, "Stochastic Variance Reduction for Nonconvex
Optimization" (ICML 2016).

The paper's theorems are an extension of theirs. Without delay and with d = 1 they differ in how they spend the term
-eta |grad f|^2. Here all of it is left, and c_{t+1} eta / beta is subtracted. There a half of it is left, and the other
half pays for that term, which needs c_{t+1} <= beta / 2 (`is_proved`).
"""

from __future__ import annotations

import math

import numpy as np

from asysvrg.theory.checks import check_a, check_count, check_positive, iterations
from asysvrg.theory.equations import Constants, Settings
from asysvrg.theory.recurrence import added_logs, log_product, log_series


def reddi_constants(*, L: float, eta: float, beta: float, b: int, m: int) -> Constants:
    """c, Gamma and gamma of serial SVRG with mini-batches.

    c_t = c_{t+1} (1 + eta beta + 2 eta^2 L^2 / b) + eta^2 L^3 / b and
    Gamma_t = eta - c_{t+1} eta / beta - eta^2 L - 2 c_{t+1} eta^2.

    Parameters
    ----------
    L, eta, beta, b, m
        As for `constants`.

    Returns
    -------
    Constants
        With gamma, `bound` holds as in Eq. (12).
    """
    check_positive(L=L, eta=eta, beta=beta)
    check_count(b=b, m=m)
    step = log_product(L, eta)
    growth = added_logs(log_product(eta, beta), math.log(2) + 2 * step - math.log(b))
    log_c = log_series(m - np.arange(m + 1), growth, math.log(L) + 2 * step - math.log(b))
    lost = log_c[1:] + added_logs(-math.log(beta), math.log(2) + math.log(eta))
    with np.errstate(over="ignore"):
        c, Gamma = np.exp(log_c), eta - np.exp(math.log(eta) + np.logaddexp(step, lost))
    return Constants(c, Gamma, float(Gamma.min()))


def reddi_settings(*, L: float, n: int, b: int, u0: float, a: float = 2 / 3) -> Settings:
    """eta, beta and m of serial SVRG.

    With b = 1: eta = u0 / (L n^a), beta = L / n^(a/2), m = floor(n^(3a/2) / (3 u0)). With mini-batches, for which a is
    2/3: eta = u0 b / (L n^(2/3)), beta = L / n^(1/3), m = floor(n / (3 b u0)).

    Parameters
    ----------
    L, n, b
        As for `settings`.
    u0 : float
        Their mu_0 or mu_2, positive; gamma is positive where it is small enough.
    a : float, default=2/3
        Their exponent alpha, above 0 and at most 1.

    Returns
    -------
    Settings
    """
    check_positive(L=L, u0=u0)
    check_count(n=n, b=b)
    check_a(a)
    if b > 1 and a != 2 / 3:
        raise ValueError(f"with mini-batches a is 2/3; got a={a!r} and b={b}")
    power = float(n) ** a
    m = iterations(float(n) ** (1.5 * a) / (3 * u0 * b))
    return Settings(eta=u0 * b / (L * power), beta=L / math.sqrt(power), m=m)
