"""What the theorems say of a run, beside what it used and measured."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from asysvrg.theory.checks import Architecture
from asysvrg.theory.equations import (
    bound,
    constants,
    is_proved,
    largest_eta,
    largest_u0,
    settings,
    sigma,
    simplified_bound,
)

BELOW = 0.99  # of the largest u0, which Eqs. (13) and (20) exclude
THEOREMS = {"shared": "Theorems 1 and 2", "distributed": "Theorems 3 and 4"}
NEEDED = ("samples", "parameters", "batch_size", "inner_steps", "coordinates", "execution", "activation", "sampling")


class Report(dict[str, Any]):
    """The numbers of `report` by name. `print` shows them as text."""

    def __str__(self) -> str:
        return "\n".join(_lines(self))


def report(
    history: Mapping[str, Any],
    *,
    L: float | None = None,
    optimum: float = 0.0,
    u0: float | None = None,
    a: float = 2 / 3,
) -> Report:
    """What the theorems allow for the problem of a run, what the run used and measured, and what their bound says.

    A run of single coordinates (`coordinates=1`) is that of Theorem 1. With B coordinates d / B takes the place of d.
    Updates of all coordinates, by threads or ranks, are those of Theorem 3.

    Parameters
    ----------
    history : dict
        `history_` of a model, or what `asysvrg train --trace` wrote.
    L : float, default=None
        Of Assumption 3. None: the largest one in the trace, of the whole objective or of mini-batches, which has them
        if the run had `track_gradient_norm`. `smoothness_of` measures it, too.
    optimum : float, default=0.0
        A lower bound of the objective. Losses and the l2 term are not negative.
    u0 : float, default=None
        Of Theorems 2 and 4. None: 99% of the largest one that the run's largest delay allows.
    a : float, default=2/3
        The exponent alpha of Theorems 2 and 4.

    Returns
    -------
    Report
        A dict: architecture, n, d, b, L; "allowed", "used" and "measured", dicts; "broken", a list of the assumptions
        that the run does not keep.

    Raises
    ------
    ValueError
        If there is no L, or the history is not one of a run.
    """
    config, rows = _checked(history)
    L = _smoothness(rows) if L is None else L
    architecture, size = _architecture(config)
    n, b, m = config["samples"], config["batch_size"], config["inner_steps"]
    of_run: dict[str, Any] = {"architecture": architecture, "L": L, "b": b, "d": size}
    T = int(sum(history["delay_histogram"]))
    delay = max((k for k, count in enumerate(history["delay_histogram"]) if count), default=0)
    gap = max((rows[0]["loss"] - optimum) / config.get("loss_unit", 1.0), 0.0)
    rates = [row["learning_rate"] for row in rows if row["learning_rate"] is not None]
    gradient, sampled = _metric(rows)

    u0 = BELOW * largest_u0(architecture, b=b, delay=delay, d=size) if u0 is None else u0
    theorem = settings(u0=u0, n=n, a=a, **of_run)
    best = sigma(u0=u0, n=n, a=a, delay=delay, **of_run)
    allowed = {"u0": u0, "a": a, "eta": theorem.eta, "m": theorem.m, "sigma": best}
    allowed["largest_eta"] = largest_eta(beta=2 * L, m=m, delay=delay, **of_run)
    allowed["bound"] = simplified_bound(n=n, a=a, sigma=best, gap=gap, T=max(T, 1), **of_run)
    allowed["T"] = allowed["bound"] * max(T, 1) / gradient if gradient else math.inf

    eta = max(rates, default=0.0)
    used = {"eta": eta, "m": m, "T": T, "times_eta": eta / theorem.eta, "bound": math.inf, "is_proved": False}
    if eta:
        found = constants(eta=eta, beta=2 * L, m=m, delay=delay, **of_run)
        used |= {"bound": bound(gap=gap, gamma=found.gamma, T=max(T, 1)), "is_proved": is_proved(found, beta=2 * L)}
    return Report(
        architecture=architecture, n=n, d=config["parameters"], b=b, size=size, L=L, allowed=allowed, used=used,
        measured={"gap": gap, "delay": delay, "gradient": gradient, "sampled": sampled},
        broken=list(_broken(config, rows, rates)),
    )  # fmt: skip


def _checked(history: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[dict[str, Any]]]:
    if not isinstance(history, Mapping) or not {"config", "epochs", "delay_histogram"} <= history.keys():
        raise ValueError("report takes a trace: history_ of a fitted model, or a file of asysvrg train --trace")
    config, rows = history["config"], history["epochs"]
    if not isinstance(config, Mapping) or not all(isinstance(row, Mapping) for row in rows):
        raise ValueError(f"the trace's config is a dict and its epochs are dicts; got {config!r:.40} and {rows!r:.40}")
    missing = [name for name in NEEDED if name not in config]
    if missing or not rows:
        raise ValueError(f"the trace has no {', '.join(missing) or 'epochs'}: it is not one of this version")
    return config, rows


def _smoothness(rows: list[dict[str, Any]]) -> float:
    found = [row.get(name) or 0.0 for row in rows for name in ("smoothness", "batch_smoothness")]
    found = [value for value in found if 0 < value < math.inf]
    if not found:
        raise ValueError(
            "the trace has no L: train with track_gradient_norm (--track-gradient-norm), or give L, for example "
            "asysvrg.theory.smoothness_of(model, X, y)"
        )
    return max(found)


def _architecture(config: Mapping[str, Any]) -> tuple[Architecture, int]:
    """The theorems' architecture, and what takes the place of d in them."""
    chosen, d = str(config["coordinates"]).rpartition(":")[2], config["parameters"]
    if chosen == "all" or int(chosen) >= d:
        return "distributed", 1
    return "shared", max(1, round(d / int(chosen)))


def _metric(rows: list[dict[str, Any]]) -> tuple[float | None, bool]:
    """The mean of |grad f(x_t)|^2 over the run, and whether it is of iterations; else it is of snapshots."""
    found = [row["mean_gradient_norm_squared"] for row in rows if row.get("mean_gradient_norm_squared") is not None]
    sampled = bool(found)
    if not sampled:
        found = [row["gradient_norm_squared"] for row in rows[:-1] if row["gradient_norm_squared"] is not None]
    return (math.fsum(found) / len(found), sampled) if found else (None, sampled)


def _broken(config: Mapping[str, Any], rows: list[dict[str, Any]], rates: list[float]) -> Any:
    """The assumptions of the theorems that a run does not keep."""
    if config["sampling"] != "replacement":
        yield f"Assumption 1: mini-batches are drawn by sampling={config['sampling']!r}, not independently"
    if config["activation"] in ("relu", "leaky_relu") and len(config.get("widths", ())) > 2:
        yield f"Assumption 3: the gradient jumps where a unit of activation={config['activation']!r} switches"
    directions = sorted({row["direction"] for row in rows if row["direction"]} - {"svrg"})
    if directions:
        yield f"v of Eq. (5): some epochs had another direction ({', '.join(directions)})"
    if max(rates, default=0.0) > min(rates, default=0.0) or config.get("decay") == "linear":
        yield "eta is constant: the run's changed"
    if config.get("deflation"):
        yield f"the steps of Eqs. (4) and (15): a preconditioner (deflation={config['deflation']}) shortened some"
    if config.get("alpha_boost", 1) != 1:
        yield f"one objective: the first epochs had a larger l2 term (alpha_boost={config['alpha_boost']})"
    if any(row.get("rolled_back") for row in rows):
        yield "each x_{s+1} follows from x_s: the run went back after an epoch"


def _number(value: float | None) -> str:
    if value is None:
        return "not measured"
    return f"{value:,}" if isinstance(value, int) and value < 1e9 else f"{value:.3g}"


def _lines(found: Mapping[str, Any]) -> list[str]:
    allowed, used, measured = found["allowed"], found["used"], found["measured"]
    where = "over iterations" if measured["sampled"] else "over snapshots; track_gradient_norm measures iterations"
    in_place = f", {found['size']:,} in its place" if found["architecture"] == "shared" else ", 1 in its place"
    table = [
        ("learning rate eta", used["eta"], allowed["eta"]),
        ("inner iterations m", used["m"], allowed["m"]),
        ("largest delay", measured["delay"], f"at most that, with u0 = {_number(allowed['u0'])}"),
        ("iterations T", used["T"], allowed["T"]),
    ]
    lines = [
        f"{THEOREMS[found['architecture']]} ({found['architecture']}): n = {found['n']:,}, "
        f"d = {found['d']:,}{in_place}, b = {found['b']:,}, L = {_number(found['L'])}",
        f"{'':20}{'this run':>14}   the theorem's settings",
        *(
            f"{name:20}{_number(mine):>14}   {its if isinstance(its, str) else _number(its)}"
            for name, mine, its in table
        ),
        f"f(x_0) - f(x_*) is at most {_number(measured['gap'])}. Mean of |grad f|^2: {_number(measured['gradient'])} "
        f"({where}).",
        f"The theorem's T is what it needs, at its eta and m, to promise this; sigma = {_number(allowed['sigma'])}.",
        f"With the run's m and beta = 2 L the theorem holds up to eta = {_number(allowed['largest_eta'])}.",
    ]
    if math.isfinite(used["bound"]):
        proof = "" if used["is_proved"] else " (but c_1 > beta / 2, so that the proof does not hold)"
        lines.append(f"The run's own eta: the mean is at most {_number(used['bound'])}{proof}.")
    else:
        lines.append("The run's own eta: gamma is not positive, so that the theorem says nothing about this run.")
    if used["times_eta"] > 1:
        lines.append(
            f"The run's eta is {_number(used['times_eta'])} times the theorem's. Its constants are far too careful to "
            "train with: they show the rate, not a setting."
        )
    return lines + [f"Not kept: {each}." for each in found["broken"]]
