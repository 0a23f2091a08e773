"""The theorems, against the same equations worked out by mpmath with 60 digits, from the recursion as it is printed."""

import itertools
import math

import mpmath as mp
import numpy as np
import pytest

from asysvrg import theory

mp.mp.dps = 60
MNIST, CIFAR = {"d": 79_510, "b": 10, "m": 1_000}, {"d": 19_760, "b": 10, "m": 2_000}  # the paper's own settings
BOTH = ("shared", "distributed")
RTOL = 1e-12


def printed(architecture, *, L, eta, beta, b, m, delay, d):
    """c, Gamma, term for term as Eq. (10), Eq. (11), and (17), (18) are printed."""
    L, eta, beta, delay, d = map(mp.mpf, (L, eta, beta, delay, d))
    c = [mp.mpf(0)]
    if architecture == "shared":
        D = d - 2 * L**2 * delay**2 * eta**2
        noise = L**2 * delay**2 * eta**3 / (2 * d) + eta**2 * L / 2
        for _ in range(m):
            c.append(c[-1] * (1 + eta * beta / d + 4 * L**2 * eta**2 / (D * b)) + 4 * L**2 / (D * b) * noise)
        c.reverse()
        Gamma = [eta / (2 * d) - 4 / D * (noise + c[t + 1] * eta**2) for t in range(m)]
    else:
        D = 1 - 2 * L**2 * delay**2 * eta**2
        noise = L**2 * delay**2 * eta**3 / 2 + eta**2 * L / 2
        for _ in range(m):
            c.append(c[-1] * (1 + eta * beta + 4 * L**2 * eta**2 / (D * b)) + 4 * L**2 / (D * b) * noise)
        c.reverse()
        Gamma = [eta / 2 - 4 / D * (noise + c[t + 1] * eta**2) for t in range(m)]
    return c, Gamma


@pytest.mark.parametrize("architecture", BOTH)
@pytest.mark.parametrize("paper", [MNIST, CIFAR], ids=["MNIST", "CIFAR-10"])
@pytest.mark.parametrize(("eta", "delay"), [(1e-3, 0), (1e-3, 16), (1e-6, 4), (2e-3, 30)])
def test_constants(architecture, paper, eta, delay):
    how = {"L": 3.5, "eta": eta, "beta": 7.0, "delay": delay, **paper}
    c, Gamma = printed(architecture, **how)
    found = theory.constants(architecture, **how)
    assert found.c.shape == (paper["m"] + 1,)
    assert found.c[-1] == 0
    assert found.Gamma.shape == (paper["m"],)
    np.testing.assert_allclose(found.c, np.array(c, dtype=float), rtol=RTOL)
    scale = float(max(abs(value) for value in Gamma))  # Gamma is a difference
    np.testing.assert_allclose(found.Gamma, np.array(Gamma, dtype=float), rtol=RTOL, atol=RTOL * scale)
    assert found.gamma == found.Gamma.min()
    assert found.Gamma.argmin() == 0


@pytest.mark.parametrize("delay", [0, 0.5, 100])
def test_variance_factor(delay):
    """Eq. (8)."""
    for d in (MNIST["d"], CIFAR["d"]):
        exact = 2 * mp.mpf(d) / (d - 2 * mp.mpf(3) ** 2 * mp.mpf(delay) ** 2 * mp.mpf("0.1") ** 2)
        assert theory.variance_factor("shared", L=3, eta=0.1, delay=delay, d=d) == pytest.approx(float(exact), RTOL)
    exact = 2 / (1 - 2 * mp.mpf(3) ** 2 * mp.mpf(delay) ** 2 * mp.mpf("1e-3") ** 2)
    assert theory.variance_factor("distributed", L=3, eta=1e-3, delay=delay) == pytest.approx(float(exact), RTOL)


@pytest.mark.parametrize("u0", [1e-4, 0.01, 0.0107])
def test_admissible_delay(u0):
    """Eq. (13), and (20) with d = 1."""
    for architecture, d in (("shared", MNIST["d"]), ("distributed", 1)):
        u, b = mp.mpf(u0), 10
        square = min(d / (2 * u * b), (3 * d - 28 * u * b * d) / (28 * u**2 * b**2))
        more = {"b": b, "d": d if architecture == "shared" else None}
        found = theory.admissible_delay(architecture, u0=u0, **more)
        assert found == pytest.approx(float(mp.sqrt(square)), RTOL)
        assert theory.largest_u0(architecture, delay=found, **more) == pytest.approx(u0, 1e-9)


def test_largest_u0_without_delay_and_with_a_huge_one():
    for architecture in BOTH:
        assert theory.largest_u0(architecture, b=10, delay=0, d=5) == pytest.approx(3 / 280)
        assert 0 < theory.largest_u0(architecture, b=10, delay=1e150, d=5) < 1e-290
    assert theory.largest_u0("distributed", b=1, delay=1e308) >= 0


def test_settings_and_simplified_bound():
    """Eq. (14), Eq. (21)."""
    d, n, b, u0, a, L = MNIST["d"], 10_000, 10, 0.01, 2 / 3, 4.0
    power = mp.mpf(n) ** mp.mpf(a)
    for architecture, size in (("shared", d), ("distributed", 1)):
        more = {"d": d} if architecture == "shared" else {}
        found = theory.settings(architecture, L=L, n=n, b=b, u0=u0, a=a, **more)
        assert found.eta == pytest.approx(float(mp.mpf(u0) * b / (L * power)), RTOL)
        assert found.beta == 2 * L
        assert found.m == math.floor(size * power / (6 * mp.mpf(u0) * b))
        bound = theory.simplified_bound(architecture, L=L, n=n, b=b, a=a, sigma=0.004, gap=2.3, T=10**6, **more)
        assert bound == pytest.approx(float(size * L * power * mp.mpf(2.3) / (b * mp.mpf(10**6) * mp.mpf(0.004))), RTOL)
    assert theory.bound(gap=2.3, gamma=0.05, T=1000) == pytest.approx(2.3 / 50, RTOL)


@pytest.mark.parametrize("architecture", BOTH)
def test_sigma_is_what_makes_both_bounds_equal(architecture):
    """With sigma, Eq. (14) is Eq. (12): the constants are those of the theorem's own settings."""
    how = {"L": 2.0, "n": 100, "b": 2, "a": 0.7, "d": 50}
    chosen = theory.settings(architecture, u0=0.03, **how)
    best = theory.sigma(architecture, u0=0.03, delay=1.5, **how)
    _, Gamma = printed(architecture, L=2.0, eta=chosen.eta, beta=chosen.beta, b=2, m=chosen.m, delay=1.5, d=how["d"])
    size = how["d"] if architecture == "shared" else 1
    assert best == pytest.approx(float(min(Gamma) * size * 2 * mp.mpf(100) ** mp.mpf(0.7) / 2), 1e-9)
    bounds = (
        theory.bound(gap=1.0, gamma=float(min(Gamma)), T=1000),
        theory.simplified_bound(architecture, sigma=best, gap=1.0, T=1000, **how),
    )
    assert bounds[0] == pytest.approx(bounds[1], 1e-9)


@pytest.mark.parametrize("architecture", BOTH)
@pytest.mark.parametrize("paper", [MNIST, CIFAR], ids=["MNIST", "CIFAR-10"])
@pytest.mark.parametrize("delay", [0, 8, 1000])
def test_largest_eta_is_the_last_with_a_positive_gamma(architecture, paper, delay):
    how = {"L": 5.0, "beta": 10.0, "delay": delay, **paper}
    eta = theory.largest_eta(architecture, **how)
    assert eta > 0
    exact = [min(printed(architecture, eta=eta * factor, **how)[1]) for factor in (1 - 1e-9, 1 + 1e-9)]
    assert exact[0] > 0 > exact[1]
    assert theory.constants(architecture, eta=eta, **how).gamma > 0


# Where a condition fails.


def test_answers_where_a_condition_fails():
    late = {"L": 1.0, "eta": 0.1, "delay": 1000}
    assert theory.variance_factor("distributed", **late) == math.inf
    assert theory.variance_factor("shared", d=100, **late) == math.inf
    found = theory.constants("distributed", beta=2.0, b=10, m=5, **late)
    assert found.c.tolist() == [math.inf] * 5 + [0.0]
    assert found.Gamma.tolist() == [-math.inf] * 5
    assert found.gamma == -math.inf
    assert theory.bound(gap=1.0, gamma=-math.inf, T=10) == math.inf
    assert theory.bound(gap=0.0, gamma=0.0, T=10) == math.inf
    assert theory.admissible_delay("distributed", u0=0.5, b=10) == 0.0
    assert theory.simplified_bound("distributed", L=1.0, n=10, b=1, a=1.0, sigma=-0.1, gap=1.0, T=10) == math.inf
    how = {"L": 1.0, "n": 10_000, "b": 10, "a": 0.1}
    assert theory.sigma("distributed", u0=0.01, delay=10**6, **how) == -math.inf
    assert theory.settings("distributed", L=1.0, n=1, b=100, u0=0.9, a=1.0).m == 0
    assert theory.sigma("distributed", L=1.0, n=1, b=100, u0=0.9, a=1.0, delay=0) == -math.inf


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("architecture", BOTH)
def test_extreme_numbers_are_no_nan(architecture):
    numbers = (5e-324, 1e-200, 1e-9, 1.0, 1e9, 1e200, 1e308)
    for L, eta, delay in itertools.product(numbers, numbers, (0.0, *numbers)):
        how = {"L": L, "eta": eta, "delay": delay, "d": 10}
        assert theory.variance_factor(architecture, **how) >= 2
        found = theory.constants(architecture, beta=L, b=10, m=3, **how)
        assert not np.isnan(found.c).any()
        assert not np.isnan(found.Gamma).any()
    for L in numbers:
        for m in (10**9, 10**25):
            assert theory.largest_eta(architecture, L=L, beta=1.0, b=10, m=m, delay=4, d=10) >= 0


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("architecture", BOTH)
def test_extreme_numbers_are_exact(architecture):
    """Infinite or 0 only where float64 has no number for it, whatever overflows or vanishes on the way."""
    sizes, infinite = (1e-288, 1e-150, 1.0, 1e150, 1e288), 0
    for L, step, beta, delay in itertools.product(sizes, (1e-140, 1e-3), sizes, (0.0, 1e-288, 10.0, 1e138)):
        for b, m, d in ((1, 3, 10), (10**90, 2, 10**20)):
            how = {"L": L, "eta": step / L, "beta": beta, "delay": delay, "b": b, "m": m, "d": d}
            D = (d if architecture == "shared" else 1) - 2 * (mp.mpf(step) * mp.mpf(delay)) ** 2
            if D <= 0 or not 0 < how["eta"] < math.inf:
                continue
            found = theory.constants(architecture, **how)
            for values, exact in zip((found.c, found.Gamma), printed(architecture, **how), strict=True):
                expected = np.array([float(value) for value in exact])
                np.testing.assert_allclose(values, expected, rtol=1e-11, atol=1e-11 * how["eta"])
                infinite += np.isinf(expected).sum()
    assert infinite > 0


def test_a_bound_that_overflows_on_the_way():
    how = {"n": 10**20, "b": 10, "a": 1.0, "sigma": 0.1, "gap": 1e10, "T": 10**100, "d": 10}
    assert theory.simplified_bound("shared", L=1e288, **how) == pytest.approx(1e219, RTOL)
    assert theory.settings("shared", L=1e300, n=10**20, b=1, u0=0.01, a=1.0, d=1).eta == pytest.approx(1e-322, 0.1)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("architecture", BOTH)
def test_extreme_settings(architecture):
    """Counts above 2^63, and products that float64 cannot hold on the way."""
    d = 10**12
    for u0 in (1e-9, 1e-200, 5e-324):
        u, size = mp.mpf(u0), d if architecture == "shared" else 1
        exact = mp.sqrt(size * min(1 / (2 * u), (3 - 28 * u) / (28 * u**2)))
        found = theory.admissible_delay(architecture, u0=u0, b=1, d=d)
        assert found == (math.inf if exact > 1.8e308 else pytest.approx(float(exact), RTOL))
    how = {"n": 10**18, "b": 1, "a": 1.0, "d": d}
    assert theory.settings(architecture, L=1.0, u0=0.01, **how).m > 2**63 or architecture == "distributed"
    expected = theory.sigma(architecture, L=1.0, u0=0.01, delay=1, **how)
    assert 0.0 < expected < 0.01
    for L in (5e-324, 1e-300, 1e300, 1.7e308):  # sigma does not depend on L
        assert theory.sigma(architecture, L=L, u0=0.01, delay=1, **how) == expected
        assert theory.simplified_bound(architecture, L=L, sigma=0.1, gap=0.0, T=10, **how) == 0.0
        assert theory.simplified_bound(architecture, L=L, sigma=0.1, gap=1.0, T=10**100, **how) >= 0.0


@pytest.mark.filterwarnings("error")
def test_extreme_numbers_of_serial_svrg_are_no_nan():
    for L, eta, beta in itertools.product((5e-324, 1e-9, 1.0, 1e308), repeat=3):
        assert not np.isnan(theory.reddi_constants(L=L, eta=eta, beta=beta, b=1, m=3).Gamma).any()
    found = theory.reddi_constants(L=1e-288, eta=1e280, beta=1.0, b=1, m=2)  # (eta beta)^2 overflows
    assert found.c[:2] == pytest.approx([1e-24, 1e-304], RTOL)


BAD = [
    (theory.variance_factor, {"architecture": "threads"}, "'shared' or 'distributed'; got 'threads'"),
    (theory.variance_factor, {"d": None}, "needs d"),
    (theory.variance_factor, {"d": 0}, "d is a whole number"),
    (theory.variance_factor, {"L": 0.0}, "L is a positive"),
    (theory.variance_factor, {"L": math.nan}, "L is a positive"),
    (theory.variance_factor, {"eta": "1"}, "eta is a positive"),
    (theory.variance_factor, {"delay": -1}, "delay is a number of updates"),
    (theory.constants, {"m": 1.5}, "m is a whole number"),
    (theory.constants, {"b": True}, "b is a whole number"),
    (theory.constants, {"beta": -1.0}, "beta is a positive"),
    (theory.bound, {"T": 0}, "T is a whole number"),
    (theory.bound, {"T": 10**400}, "T is a whole number"),
    (theory.bound, {"gap": -1.0}, "gap"),
    (theory.bound, {"gamma": math.nan}, "gamma is a number"),
    (theory.bound, {"gamma": "0.1"}, "gamma is a number"),
    (theory.simplified_bound, {"sigma": None}, "sigma is a number"),
    (theory.simplified_bound, {"d": 10**400}, "d is a whole number"),
    (theory.settings, {"u0": 5e-324}, "m is above"),
    (theory.reddi_settings, {"u0": 5e-324, "b": 1}, "m is above"),
    (theory.reddi_settings, {"n": 10**400}, "n is a whole number"),
    (theory.admissible_delay, {"u0": 1.0}, "u0 is between 0 and 1"),
    (theory.settings, {"a": 0.0}, "a, the exponent"),
    (theory.sigma, {"a": 1.5}, "a, the exponent"),
    (theory.simplified_bound, {"n": 0}, "n is a whole number"),
    (theory.largest_eta, {"beta": 0.0}, "beta is a positive"),
]


@pytest.mark.parametrize(("function", "wrong", "message"), BAD)
def test_bad_arguments(function, wrong, message):
    right = {"architecture": "shared", "L": 1.0, "eta": 0.1, "delay": 1, "d": 10, "beta": 2.0, "b": 2, "m": 3}
    right |= {"gap": 1.0, "gamma": 0.1, "T": 5, "u0": 0.1, "a": 0.5, "n": 10, "sigma": 0.1}
    names = function.__code__.co_varnames[: function.__code__.co_argcount + function.__code__.co_kwonlyargcount]
    given = {name: value for name, value in (right | wrong).items() if name in names}
    positional = [given.pop("architecture")] if "architecture" in names else []
    with pytest.raises(ValueError, match=message):
        function(*positional, **given)


# The claims of Theorems 2 and 4.


@pytest.mark.parametrize(("architecture", "d"), [("shared", 1), ("shared", 79_510), ("distributed", None)])
def test_the_claims_hold_on_a_grid(architecture, d):
    """Where (13) or (20) holds, gamma > 0, and sigma is at least a quarter of u0: docs/theory.md says so."""
    grid = itertools.product(
        (1, 2, 10, 100, 10_000, 10**6), (0.1, 1 / 3, 2 / 3, 1), (1e-4, 1e-2, 0.05, 0.08, 0.107), (1, 10, 100),
        (0, 0.5, 0.999),
    )  # fmt: skip
    shares = []
    for n, a, ub, b, share in grid:
        delay = share * theory.admissible_delay(architecture, u0=ub / b, b=b, d=d)
        best = theory.sigma(architecture, L=1.0, n=n, b=b, u0=ub / b, a=a, delay=delay, d=d)
        shares.append(best * b / ub)
    assert 0.25 < min(shares) < 0.27
    assert 0.49 < max(shares) < 0.5


@pytest.mark.parametrize(("architecture", "d"), [("shared", 1), ("shared", 79_510), ("distributed", None)])
def test_the_proofs_condition_holds_on_the_grid(architecture, d):
    """c_{t+1} <= beta / 2, which is not in the paper: with the settings of Theorems 2 and 4 it holds."""
    for n, a, ub, b in itertools.product((1, 10, 1000), (0.1, 2 / 3, 1), (1e-3, 0.05, 0.1), (1, 10)):
        chosen = theory.settings(architecture, L=1.0, n=n, b=b, u0=ub / b, a=a, d=d)
        if not 0 < chosen.m < 10**6:
            continue
        delay = 0.999 * theory.admissible_delay(architecture, u0=ub / b, b=b, d=d)
        more = {"L": 1.0, "eta": chosen.eta, "b": b, "m": chosen.m, "delay": delay, "d": d}
        found = theory.constants(architecture, beta=chosen.beta, **more)
        assert theory.is_proved(found, beta=chosen.beta)
        assert found.c[0] < 0.1


def test_a_small_beta_is_not_proved():
    """Gamma > 0 is not enough: as beta goes to 0, Eq. (11) would allow eta of about m^(-1/3) / L."""
    more = {"L": 1.0, "eta": 0.02, "b": 1, "m": 1000, "delay": 0}
    small, usual = (theory.constants("distributed", beta=beta, **more) for beta in (1e-3, 2.0))
    assert small.gamma > 0
    assert not theory.is_proved(small, beta=1e-3)
    assert usual.gamma < 0
    assert not theory.is_proved(usual, beta=2.0)


# Serial SVRG.


@pytest.mark.parametrize(("eta", "beta", "b", "m"), [(1e-3, 0.4, 1, 500), (2e-2, 0.1, 10, 300), (1e-2, 5.0, 3, 1)])
def test_serial_constants(eta, beta, b, m):
    """The recursion, worked out by mpmath."""
    L, c = mp.mpf("2.5"), [mp.mpf(0)]
    for _ in range(m):
        c.append(c[-1] * (1 + mp.mpf(eta) * beta + 2 * mp.mpf(eta) ** 2 * L**2 / b) + mp.mpf(eta) ** 2 * L**3 / b)
    c.reverse()
    Gamma = [eta - c[t + 1] * eta / beta - mp.mpf(eta) ** 2 * L - 2 * c[t + 1] * mp.mpf(eta) ** 2 for t in range(m)]
    found = theory.reddi_constants(L=2.5, eta=eta, beta=beta, b=b, m=m)
    np.testing.assert_allclose(found.c, np.array(c, dtype=float), rtol=RTOL)
    np.testing.assert_allclose(found.Gamma, np.array(Gamma, dtype=float), rtol=1e-9, atol=RTOL * eta)
    assert found.gamma == found.Gamma.min()


def test_serial_settings():
    found = theory.reddi_settings(L=2.0, n=1000, b=1, u0=0.25)
    assert (found.eta, found.beta, found.m) == (pytest.approx(0.25 / 200), pytest.approx(0.2), 1333)
    found = theory.reddi_settings(L=2.0, n=1000, b=10, u0=0.25)
    assert (found.eta, found.beta, found.m) == (pytest.approx(2.5 / 200), pytest.approx(0.2), 133)
    found = theory.reddi_settings(L=2.0, n=10_000, b=1, u0=0.1, a=0.5)
    assert (found.eta, found.beta, found.m) == (pytest.approx(0.1 / 200), pytest.approx(0.2), 3333)
    with pytest.raises(ValueError, match=r"with mini-batches a is 2/3; got a=0\.5"):
        theory.reddi_settings(L=2.0, n=10_000, b=2, u0=0.1, a=0.5)


@pytest.mark.parametrize("n", [100, 10_000, 10**6])
def test_serial_settings_have_a_positive_gamma_and_larger_steps(n):
    """What they are for: gamma > 0 with u0 = 1/4, which is 2.3 times what Theorem 4 allows without any delay."""
    chosen = theory.reddi_settings(L=1.0, n=n, b=1, u0=0.25)
    found = theory.reddi_constants(L=1.0, eta=chosen.eta, beta=chosen.beta, b=1, m=chosen.m)
    assert found.gamma > 0
    u0 = theory.largest_u0("distributed", b=1, delay=0)
    allowed = theory.settings("distributed", L=1.0, n=n, b=1, u0=u0, a=2 / 3)
    assert 2.3 < chosen.eta / allowed.eta < 2.4
