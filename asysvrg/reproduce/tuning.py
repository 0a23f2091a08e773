"""The search for the best learning rate, on a grid that grows where the best rate lies at its edge."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from asysvrg.reproduce.runs import Rows

MOST = 8  # values that are added to a grid


def final_loss(rows: Rows) -> float:
    """The last loss of a run; infinite if its rate was too large and had to be halved."""
    loss = rows[-1]["loss"]
    return loss if math.isfinite(loss) and not any(row["rolled_back"] for row in rows) else math.inf


def tune(
    run: Callable[[float, float], Rows], alphas: Sequence[float], betas: Sequence[float], digits: Sequence[int]
) -> dict[str, Any]:
    """The alpha and beta whose run ends with the lowest loss.

    Where it is the least or the largest alpha, or the largest beta, that grid gets a further value. A beta below 0
    would be a rate that rises; that edge stays.

    Returns
    -------
    tuned : dict
        alpha, beta, loss; "tried", all of them; "grid", where it began; "added", what it was widened by.
    """
    grid = {"alpha": sorted(alphas), "beta": sorted(betas)}
    added: dict[str, list[float]] = {"alpha": [], "beta": []}
    tried = {(a, b): final_loss(run(a, b)) for a in grid["alpha"] for b in grid["beta"]}
    while True:
        alpha, beta = min(tried, key=tried.__getitem__)
        known = {"alpha": sorted({a for a, _ in tried}), "beta": sorted({b for _, b in tried})}
        name, value = _wider(alpha, beta, known, digits, fixed=len(betas) == 1)
        if name is None or len(added[name]) >= MOST:
            break
        added[name].append(value)
        new = [(value, b) for b in known["beta"]] if name == "alpha" else [(a, value) for a in known["alpha"]]
        tried |= {pair: final_loss(run(*pair)) for pair in new}
    losses = [
        {"alpha": a, "beta": b, "loss": loss if math.isfinite(loss) else None} for (a, b), loss in sorted(tried.items())
    ]
    best = {"alpha": alpha, "beta": beta, "loss": tried[alpha, beta]}
    return best | {"grid": grid, "added": added, "at_edge": name is not None, "tried": losses}


def _wider(
    alpha: float, beta: float, known: dict[str, list[float]], digits: Sequence[int], *, fixed: bool
) -> tuple[str | None, float]:
    """Which grid needs a further value, and which value; None where the best is inside."""
    if alpha == known["alpha"][-1]:
        return "alpha", _next(alpha, digits, up=True)
    if alpha == known["alpha"][0]:
        return "alpha", _next(alpha, digits, up=False)
    if beta == known["beta"][-1] and not fixed:
        return "beta", round(2 * beta - known["beta"][-2], 6)
    return None, 0.0


def _next(value: float, digits: Sequence[int], *, up: bool) -> float:
    """The next number with one of these first digits."""
    power = math.floor(math.log10(value))
    numbers = [float(f"{digit}e{power + shift}") for digit in digits for shift in (-1, 0, 1)]
    return min(n for n in numbers if n > value) if up else max(n for n in numbers if n < value)
