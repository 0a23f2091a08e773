"""Figures 1 and 3: SGD, SVRG and SGD_SVRG on one problem."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from asysvrg.reproduce import measures
from asysvrg.reproduce.runs import Experiment, Rows
from asysvrg.reproduce.settings import Effort
from asysvrg.reproduce.tuning import tune

METHODS = ("SGD", "SVRG", "SGD_SVRG")
NAMES = {"train_error": "training error", "test_error": "test error"}
COMPARABLE = 0.02  # twice the standard error of a difference of two errors near 0.2 on 4,000 samples
Claim = dict[str, Any]


def stages(method: str, tuned: Mapping[str, Mapping[str, float]], epochs: int, sgd_epochs: int) -> list[dict[str, Any]]:
    """The parameters of a method's epochs, at its rates."""
    if method == "SVRG":
        return [svrg(tuned[method]["alpha"], epochs)]
    sgd = {"solver": "sgd", "learning_rate_init": tuned["SGD"]["alpha"], "decay": tuned["SGD"]["beta"]}
    if method == "SGD":
        return [sgd | {"max_iter": epochs}]
    return [sgd | {"max_iter": sgd_epochs}, svrg(tuned[method]["alpha"], epochs - sgd_epochs)]


def svrg(rate: float, epochs: int) -> dict[str, Any]:
    """The parameters of epochs of SVRG."""
    return {"solver": "svrg", "learning_rate_init": rate, "decay": 0.0, "max_iter": epochs}


def tuned_rates(
    experiment: Experiment,
    effort: Effort,
    methods: tuple[str, ...] = METHODS,
    virtual: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The best rates of each method, by the loss after all epochs, with the first seed, one thread or virtual ones."""
    tuned: dict[str, Any] = {}
    for method in methods:
        betas = effort.betas if method == "SGD" else (0.0,)
        experiment.runs.expect(len(effort.alphas) * len(betas), f"tuning {method}")

        def run(alpha: float, beta: float, method: str = method) -> Rows:
            rates = tuned | {method: {"alpha": alpha, "beta": beta}}
            every = stages(method, rates, effort.epochs, experiment.problem.sgd_epochs)
            return experiment.train(method.lower(), every, virtual=virtual)

        tuned[method] = tune(run, effort.alphas, betas, effort.digits)
    return tuned


def compare(
    experiment: Experiment,
    effort: Effort,
    *,
    switch: int,
    test_comparable: bool = False,
    workers: int | None = None,
    virtual: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What the figure shows: tuned rates, and the runs of each method and seed.

    The runs are those of one thread; of so many `workers`, ranks of MPI, whose rates are tuned with as many virtual
    ones; or of `virtual` workers. SGD is to lead for `switch` epochs; `test_comparable` says what the paper claims of
    test errors.
    """
    tuning = {"workers": workers, "architecture": "distributed"} if workers else virtual
    tuned = tuned_rates(experiment, effort, virtual=tuning)
    experiment.runs.expect(len(METHODS) * effort.seeds, "comparing")
    problem = experiment.problem

    def run(method: str, seed: int) -> Rows:
        every = stages(method, tuned, effort.epochs, problem.sgd_epochs)
        if workers:
            return experiment.ranks(workers, every, seed=seed, name=f"{method.lower()}-ranks")
        return experiment.train(method.lower(), every, seed=seed, virtual=virtual)

    runs = {method: [run(method, seed) for seed in range(effort.seeds)] for method in METHODS}
    about = {"data": experiment.sets.name, "parameters": dict(problem.parameters), "sgd_epochs": problem.sgd_epochs}
    about |= {"seeds": effort.seeds, "epochs": effort.epochs, "workers": workers, "virtual": virtual}
    about |= {"switch": switch, "test_comparable": test_comparable}
    return {"about": about, "tuned": tuned, "runs": runs}


def trained_by(about: Mapping[str, Any]) -> str:
    """Who did the runs of a figure."""
    if about["virtual"]:
        return f"{about['virtual']['workers']} virtual workers of the simulator"
    return f"a server and {about['workers']} workers, ranks of MPI" if about["workers"] else "one thread"


def claims(content: Mapping[str, Any]) -> list[Claim]:
    """The paper's claims of such a figure, each with whether it held, and with the numbers."""
    runs, about = content["runs"], content["about"]
    loss = {method: measures.mean(runs[method], "loss") for method in METHODS}
    test = _comparable if about["test_comparable"] else _errors
    return [
        _leads_first(loss, about["switch"]),
        _wins_later(loss),
        _best(loss),
        _errors(runs, "train_error"),
        test(runs, "test_error"),
        _equal_evaluations(runs),
    ]


def _leads_first(loss: Mapping[str, Any], switch: int) -> Claim:
    last = min(switch, len(loss["SGD"]) - 1)
    leads = int((loss["SGD"][1 : last + 1] < loss["SVRG"][1 : last + 1]).sum())
    numbers: dict[str, float] = {"epochs": last, "SGD is lower in": leads}
    numbers |= {f"{method} after {last} epochs": float(loss[method][last]) for method in ("SGD", "SVRG")}
    return {
        "claim": f"SGD's training loss falls faster than SVRG's in the first {switch} epochs",
        "held": leads > last / 2,
        "numbers": numbers,
    }


def _wins_later(loss: Mapping[str, Any]) -> Claim:
    numbers: dict[str, float | None] = {f"final {method}": float(loss[method][-1]) for method in ("SGD", "SVRG")}
    numbers["SVRG is lower from epoch"] = measures.overtaken(loss["SGD"], loss["SVRG"])
    return {
        "claim": "After that, SVRG's training loss is below SGD's",
        "held": bool(loss["SVRG"][-1] < loss["SGD"][-1]),
        "numbers": numbers,
    }


def _best(loss: Mapping[str, Any]) -> Claim:
    final = {method: float(loss[method][-1]) for method in METHODS}
    return {
        "claim": "SGD_SVRG has the lowest training loss",
        "held": min(final, key=final.__getitem__) == "SGD_SVRG",
        "numbers": {f"final {method}": value for method, value in final.items()},
    }


def _errors(runs: Mapping[str, Any], column: str) -> Claim:
    final = {method: measures.last(runs[method], column) for method in METHODS}
    return {
        "claim": f"In the long run, SVRG and SGD_SVRG have a lower {NAMES[column]} than SGD",
        "held": max(final["SVRG"], final["SGD_SVRG"]) < final["SGD"],
        "numbers": _of_last_epochs(final),
    }


def _comparable(runs: Mapping[str, Any], column: str) -> Claim:
    final = {method: measures.last(runs[method], column) for method in METHODS}
    return {
        "claim": f"The {NAMES[column]}s of the three methods are comparable (at most {COMPARABLE} apart)",
        "held": max(final.values()) - min(final.values()) <= COMPARABLE,
        "numbers": _of_last_epochs(final),
    }


def _of_last_epochs(final: Mapping[str, float]) -> dict[str, float]:
    return {f"{method}, mean of the last tenth of the epochs": value for method, value in final.items()}


def _equal_evaluations(runs: Mapping[str, Any]) -> Claim:
    common = min(measures.mean(runs[method], "sample_gradients")[-1] for method in METHODS)
    found = {method: measures.at(runs[method], "sample_gradients", common) for method in METHODS}
    places = measures.mean(runs["SVRG"], "sample_gradients")
    places = places[places <= common]
    sgd = np.array([measures.at(runs["SGD"], "sample_gradients", place) for place in places])
    row = measures.overtaken(sgd, measures.mean(runs["SVRG"], "loss")[: len(places)])
    numbers: dict[str, float | None] = {"gradient evaluations": float(common)}
    numbers |= {f"loss of {method}": value for method, value in found.items()}
    numbers["SVRG is lower from so many evaluations"] = None if row is None else float(places[row])
    return {
        "claim": "At equal gradient evaluations, too, SVRG's training loss is below SGD's",
        "held": found["SVRG"] < found["SGD"],
        "numbers": numbers,
    }
