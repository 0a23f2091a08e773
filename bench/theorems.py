"""Do Theorems 2 and 4 hold, and how careful are they? `python bench/theorems.py` prints the tables of docs/theory.md.

Everything is computed from the equations of `asysvrg.theory`; nothing is trained. It takes some seconds.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from sklearn.datasets import load_digits

from asysvrg import theory
from asysvrg.core.network import Network, Samples
from asysvrg.core.objective import Objective, initial_parameters

N = (1, 2, 10, 100, 1000, 10_000, 10**6)
A = (0.1, 1 / 3, 1 / 2, 2 / 3, 1.0)
INSIDE = (1e-4, 1e-3, 0.01, 0.03, 0.05, 0.08, 0.1, 0.107)  # u0 b, below 3 / 28
OUTSIDE = (0.12, 0.2, 0.3, 0.5, 0.7, 0.9)
B = (1, 10, 100)
D = (1, 80, 19_760, 79_510)
KINKS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
SHARES = (0.0, 0.5, 0.999)  # of the largest admissible delay
MOST = 10**5  # iterations of an epoch of which c and Gamma are listed


class Point(NamedTuple):
    """What the theorems' settings give: sigma / u0, and c_1 / beta, which the proof wants to be at most 1/2."""

    share: float
    young: float


def point(architecture: str, d: int | None, n: int, a: float, ub: float, b: int, delay: float) -> Point | None:
    """None where m is 0: the formula gives no iteration."""
    of: dict[str, Any] = {"architecture": architecture, "L": 1.0, "b": b, "d": d}
    chosen = theory.settings(n=n, u0=ub / b, a=a, **of)
    if chosen.m == 0:
        return None
    share = theory.sigma(n=n, u0=ub / b, a=a, delay=delay, **of) * b / ub
    if chosen.m > MOST:
        return Point(share, math.nan)
    found = theory.constants(eta=chosen.eta, beta=chosen.beta, m=chosen.m, delay=delay, **of)
    return Point(share, found.c[1] / chosen.beta)


def points(products: tuple[float, ...], n: tuple[int, ...], a: tuple[float, ...], times: float = 1) -> Iterator[Any]:
    """Settings and what they give, with delays that are `times` the admissible ones (0 where there are none)."""
    for (kind, d), *rest in itertools.product(
        [*(("shared", d) for d in D), ("distributed", None)], n, a, products, B, SHARES
    ):
        size, exponent, ub, b, share = rest
        if ub / b < 1:
            delay = times * share * theory.admissible_delay(kind, u0=ub / b, b=b, d=d)
            found = point(kind, d, size, exponent, ub, b, delay)
            if found is not None:
                yield (kind, d, size, exponent, ub, b, delay), found


def inside() -> None:
    """Where (13) and (20) hold."""
    print(
        "| u0 b | settings | gamma > 0 | sigma / u0, least and largest | c_1 / beta, largest |\n|---|---|---|---|---|"
    )
    for ub in INSIDE:
        found = [value for _, value in points((ub,), N, A)]
        shares = [value.share for value in found]
        print(
            f"| {ub:g} | {len(found)} | {sum(share > 0 for share in shares)} | {min(shares):.3f} to {max(shares):.3f} "
            f"| {np.nanmax([value.young for value in found]):.3f} |"
        )


def holding(products: tuple[float, ...], n: int, times: float = 1) -> str:
    """Two cells: in how many settings gamma > 0 and c_1 <= beta / 2; in how many of those with a = 1."""
    found = [(where[3], value) for where, value in points(products, (n,), A, times) if not math.isnan(value.young)]
    holds = [(a, value.share > 0 and value.young <= 0.5) for a, value in found]
    at_one = [each for a, each in holds if a == 1]
    return f"{sum(each for _, each in holds)} of {len(holds)} | {sum(at_one)} of {len(at_one)}"


def outside() -> None:
    """Beyond them, where the paper promises nothing."""
    print("\n| u0 b, no delay | n | gamma > 0 and c_1 <= beta / 2 | the same, a = 1 |\n|---|---|---|---|")
    for ub, n in itertools.product(OUTSIDE, (1, 10, 100, 10_000)):
        print(f"| {ub:g} | {n:,} | {holding((ub,), n)} |")
    print("\n| times the admissible delay | n | gamma > 0 and c_1 <= beta / 2 | the same, a = 1 |\n|---|---|---|---|")
    for times, n in itertools.product((2, 10, 100), (1, 10, 100, 10_000)):
        print(f"| {times} | {n:,} | {holding(INSIDE, n, times)} |")


def beside_serial() -> None:
    """Theorem 4 without delay and serial SVRG: L = 1, mini-batches of one, a = 2/3, each with its best u0."""
    print(
        "\n| n | eta, Theorem 4 | eta, serial | gamma, Theorem 4 | gamma, serial | ratio |\n|---|---|---|---|---|---|"
    )
    for n in (100, 1000, 10_000, 100_000):
        power = n ** (2 / 3)
        ours = max(
            (theory.sigma("distributed", L=1.0, n=n, b=1, u0=u, a=2 / 3, delay=0), u)
            for u in np.geomspace(1e-3, 0.107, 200)
        )
        best = (-math.inf, 0.0)
        for u in np.geomspace(0.1, 1, 100):
            chosen = theory.reddi_settings(L=1.0, n=n, b=1, u0=u)
            found = theory.reddi_constants(L=1.0, eta=chosen.eta, beta=chosen.beta, b=1, m=chosen.m)
            best = max(best, (found.gamma, chosen.eta))
        numbers = (ours[1] / power, best[1], ours[0] / power, best[0], best[0] * power / ours[0])
        print(f"| {n:,} | {' | '.join(f'{number:.3g}' for number in numbers)} |")


def kinks() -> None:
    """Assumption 3 and ReLU: how fast the gradient changes where a hidden unit switches, for one of the digits."""
    X, y = load_digits(return_X_y=True)
    print("\n| distance h | \\|grad f(x + h) - grad f(x - h)\\| / 2 h, ReLU | tanh |\n|---|---|---|")
    quotients = []
    for activation in ("relu", "tanh"):
        network = Network((64, 20, 10), activation, "softmax", np.float64)
        objective = Objective(network, Samples(X / 16, y.astype(np.int32)), alpha=1e-3, threads=1)
        x = initial_parameters(network, np.random.RandomState(0))
        (weights, biases), _ = network.layers(x)
        biases[0] = -(X[0] / 16) @ weights[:, 0]  # the first sample is at the unit's kink
        along = network.vector()
        network.layers(along)[0][1][0] = 1
        quotients.append([
            np.linalg.norm(objective.gradient(network.vector(x + h * along)) -
                           objective.gradient(network.vector(x - h * along))) / (2 * h)
            for h in KINKS
        ])  # fmt: skip
    for h, *values in zip(KINKS, *quotients, strict=True):
        print(f"| {h:g} | {' | '.join(f'{value:.3g}' for value in values)} |")


def of_the_paper() -> None:
    """What the theorems allow for the paper's own experiments, L = 1."""
    print("\n| experiment | delay | u0 b | eta L | m | largest eta L with the paper's m |\n|---|---|---|---|---|---|")
    for name, kind, n, d, m, b, delays in (
        ("MNIST, one coordinate", "shared", 10_000, 79_510, 1000, 10, (0, 32, 1000)),
        ("MNIST, 1,000 coordinates", "shared", 10_000, 80, 1000, 10, (0, 32)),
        ("CIFAR-10", "distributed", 20_000, None, 2000, 10, (0, 9)),
    ):
        for delay in delays:
            u0 = 0.99 * theory.largest_u0(kind, b=b, delay=delay, d=d)
            chosen = theory.settings(kind, L=1.0, n=n, b=b, u0=u0, a=2 / 3, d=d)
            most = theory.largest_eta(kind, L=1.0, beta=2.0, b=b, m=m, delay=delay, d=d)
            print(f"| {name} | {delay} | {u0 * b:.3g} | {chosen.eta:.3g} | {chosen.m:,} | {most:.3g} |")


if __name__ == "__main__":
    inside()
    outside()
    beside_serial()
    of_the_paper()
    kinks()
