"""Figures 2 and 4: more threads, and more workers; measured, and simulated."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import joblib
import numpy as np

from asysvrg.distributed import launch
from asysvrg.reproduce import measures
from asysvrg.reproduce.methods import Claim, svrg, tuned_rates
from asysvrg.reproduce.runs import Experiment, Rows
from asysvrg.reproduce.settings import Effort
from asysvrg.simulation.calibrate import calibrate
from asysvrg.simulation.costs import shared_costs

NEAR = 0.8  # of the ideal speedup: "nearly linear"
SIMILAR = 1.05  # of the loss of one worker
DIVERGED = 1.1  # of it
LOADED = 0.8  # of the time: the server is saturated
Curves = Mapping[str, list[Rows]]  # by the number of threads or workers, of each seed


def speedups(curves: Curves) -> dict[str, float | None]:
    """Eq. (22) by number of workers: time of one to a similar loss / time of K to it; medians over seeds.

    None where K workers do not reach that loss.
    """
    target = similar_loss(curves)
    times = {
        workers: statistics.median(measures.reached(rows, target) or math.inf for rows in seeds)
        for workers, seeds in curves.items()
    }
    return {k: times["1"] / each if math.isfinite(each) else None for k, each in times.items()}


def similar_loss(curves: Curves) -> float:
    """The least loss that all curves reach, but for those that do not come near that of one worker."""
    least = _least(curves)
    return max(loss for loss in least.values() if loss <= DIVERGED * least["1"])


def _least(curves: Curves) -> dict[str, float]:
    """The least loss of each curve, which at least half of its seeds reach."""
    return {
        k: statistics.median_high(min(row["loss"] for row in rows) for rows in seeds) for k, seeds in curves.items()
    }


def threads(experiment: Experiment, effort: Effort) -> dict[str, Any]:
    """Runs of Shared-AsySVRG by threads, of three kinds of coordinates; the same by virtual threads."""
    kinds: dict[str, Any] = {}
    seeds, some = range(effort.seeds), experiment.problem.parameters["coordinates"]
    every = {"single coordinates": some, "cache lines": f"lines:{some}", "all coordinates": "all"}
    for name, coordinates in every.items():
        each = experiment.but(coordinates=coordinates)
        rate = best_rate(each, effort, "shared", max(effort.threads))
        stage = svrg(rate["alpha"], effort.short)
        each.runs.expect(2 * len(seeds) * len(effort.threads) + 1, f"threads, {name}")
        measured = {
            str(k): [each.train(f"threads{k}", [stage | {"n_jobs": k, "execution": "shared"}], seed=s) for s in seeds]
            for k in effort.threads
        }
        bare = each.train("sweeps", [stage | {"inner_steps": 1}])
        costs = _costs(measured, bare, each.problem.parameters["inner_steps"])
        simulated = {str(k): [_virtual(each, stage, k, "shared", costs, s) for s in seeds] for k in effort.threads}
        kinds[name] = {"tuned": rate, "costs": costs, "measured": measured, "simulated": simulated}
    about = {"data": experiment.sets.name, "epochs": effort.short, "cores": joblib.cpu_count()}
    tuned = {f"SVRG, {name}": kind.pop("tuned") for name, kind in kinds.items()}
    return {"about": about, "tuned": tuned, "kinds": kinds}


def best_rate(experiment: Experiment, effort: Effort, architecture: str, workers: int) -> dict[str, Any]:
    """One rate for all curves: the best with the most workers. What is best with one may diverge with their delays."""
    virtual = {"workers": workers, "architecture": architecture}
    return tuned_rates(experiment, replace(effort, epochs=effort.short), ("SVRG",), virtual)["SVRG"]


def _virtual(
    experiment: Experiment, stage: Mapping[str, Any], workers: int, architecture: str, costs: Any, seed: int
) -> Rows:
    virtual = {"workers": workers, "architecture": architecture, **costs}
    return experiment.train(f"virtual{workers}", [stage], virtual=virtual, seed=seed)


def epoch_seconds(rows: Rows) -> float:
    """Seconds of the fastest epoch. Other programs on the machine can only make an epoch slower."""
    return float(np.diff([row["seconds"] for row in rows]).min())


def _costs(measured: Curves, bare: Rows, steps: int) -> dict[str, float]:
    """Costs for the simulator: seconds of an iteration, and how much a second thread slows each one."""
    one, sweep = epoch_seconds(measured["1"][0]), epoch_seconds(bare)
    two = epoch_seconds(measured["2"][0]) if "2" in measured and joblib.cpu_count() > 1 else one / 2
    return shared_costs(max(one - sweep, 0.0) / steps, sweep, one=one, two=two)


def workers(experiment: Experiment, effort: Effort) -> dict[str, Any]:
    """Distributed-AsySVRG by virtual workers, each on a machine of its own, and by ranks on this machine's cores.

    Further runs of two epochs show where the server has no time left.
    """
    rate = best_rate(experiment, effort, "distributed", max(effort.workers))
    stage = svrg(rate["alpha"], effort.short)
    costs = distributed_costs(experiment, effort)
    seeds, short = range(effort.seeds), stage | {"max_iter": 2}
    experiment.runs.expect(len(seeds) * len(effort.workers) + len(effort.crowds), "virtual workers")
    simulated = {
        str(k): [_virtual(experiment, stage, k, "distributed", costs, seed) for seed in seeds] for k in effort.workers
    }
    crowds = {str(k): _virtual(experiment, short, k, "distributed", costs, 0) for k in effort.crowds}
    seconds = {k: epoch_seconds(rows) for k, rows in ({k: each[0] for k, each in simulated.items()} | crowds).items()}
    measured, missing = {}, no_ranks(effort)
    if not missing:
        numbers = [k for k in effort.workers if k <= joblib.cpu_count()]
        experiment.runs.expect(len(numbers) * effort.seeds, "ranks")
        measured = {str(k): [experiment.ranks(k, [stage], seed=seed) for seed in seeds] for k in numbers}
    about = {"data": experiment.sets.name, "epochs": effort.short, "cores": joblib.cpu_count(), "costs": costs}
    about |= {"steps": experiment.problem.parameters["inner_steps"]}
    content = {"about": about, "tuned": {"SVRG": rate}, "measured": measured, "simulated": simulated}
    return content | {"seconds": seconds, "notes": [f"Ranks were not measured: {missing}."] if missing else []}


def no_ranks(effort: Effort) -> str:
    """Why there are no ranks of MPI to measure; empty where there are."""
    if not effort.ranks:
        return "they were not asked for"
    try:
        launch.find()
    except ValueError as error:
        return str(error)
    return ""


def distributed_costs(experiment: Experiment, effort: Effort) -> dict[str, float]:
    """Seconds of an iteration, a message and an update on this machine. Virtual workers have machines of their own."""
    estimator, ranks = experiment.estimator(**svrg(min(effort.alphas), 2)), None if not no_ranks(effort) else False
    X, y = experiment.sets.X_train, experiment.sets.y_train
    experiment.runs.expect(1, "calibrating")
    found = experiment.runs.get(
        f"{experiment.problem.name}-costs",
        experiment.spec(costs="distributed", ranks=ranks),
        lambda: calibrate(estimator, X, y, ranks=ranks),
    )
    return found["distributed"] | {"contention": 0.0}


def loads(content: Mapping[str, Any]) -> dict[str, float]:
    """Share of its time that the server works, by number of workers: from the first worker's x to the last update.

    In an epoch it takes a sum of the gradient from each worker, and the updates.
    """
    about = content["about"]
    costs, steps = about["costs"], about["steps"]
    cycle = _cycle(costs)
    return {
        k: min(1.0, (steps + int(k)) * costs["server"] / (seconds - costs["sweep"] / int(k) - cycle))
        for k, seconds in content["seconds"].items()
    }


def _cycle(costs: Mapping[str, float]) -> float:
    """Seconds in which a worker receives x, computes and sends a direction, which the server applies."""
    return costs["compute"] + 2 * costs["message"] + costs["server"]


def worker_claims(content: Mapping[str, Any]) -> list[Claim]:
    """The claims of Figure 4."""
    simulated, measured, found = content["simulated"], content["measured"], []
    most = max(map(int, simulated))
    found.append(similar(simulated, "simulated", "worker"))
    found.append(linear(speedups(simulated), most, "simulated, each worker on a machine of its own", "worker"))
    if measured:
        cores = content["about"]["cores"]
        what = f"ranks, measured, and the server beside them on {cores} cores"
        found += [similar(measured, "ranks, measured", "worker"), linear(speedups(measured), cores, what, "worker")]
    return [*found, _saturates(content)]


def _saturates(content: Mapping[str, Any]) -> Claim:
    load, costs = loads(content), content["about"]["costs"]
    full = [int(k) for k, share in load.items() if share >= LOADED]
    numbers = {f"load with {k}": share for k, share in load.items()}
    return {
        "claim": "With more and more workers the server saturates (simulated)",
        "held": bool(full),
        "numbers": {"saturated from so many workers": min(full, default=None)}
        | {"a worker's cycle / an update at the server": _cycle(costs) / costs["server"]}
        | numbers,
    }


def thread_claims(content: Mapping[str, Any]) -> list[Claim]:
    """The claims of Figure 2."""
    cores, kinds, found = content["about"]["cores"], content["kinds"], []
    for how in ("measured", "simulated"):
        found += [similar(kind[how], f"{name}, {how}", "thread") for name, kind in kinds.items()]
    for name, kind in kinds.items():
        measured, simulated = speedups(kind["measured"]), speedups(kind["simulated"])
        found.append(linear(measured, cores, f"{name}, measured, up to {cores} cores", "thread"))
        found.append(linear(simulated, max(map(int, simulated)), f"{name}, simulated", "thread"))
        found.append(_degrades(measured, f"{name}, measured", "thread"))
    return found


def similar(curves: Curves, what: str, unit: str) -> Claim:
    """Whether all curves reach the loss of one thread or worker, nearly."""
    least = _least(curves)
    return {
        "claim": f"All curves reach a similar training loss, at most 5% above that of one ({what})",
        "held": max(least.values()) <= SIMILAR * least["1"],
        "numbers": {measures.count(k, unit): loss for k, loss in least.items()},
    }


def linear(found: Mapping[str, float | None], most: int, what: str, unit: str) -> Claim:
    """Whether speedups are nearly ideal with up to so many threads or workers."""
    numbers = {measures.count(k, unit): each for k, each in found.items() if 1 < int(k) <= most}
    return {
        "claim": f"The speedup is nearly linear, at least {NEAR} of the ideal ({what})",
        "held": bool(numbers) and all((each or 0.0) >= NEAR * int(k.split()[0]) for k, each in numbers.items()),
        "numbers": numbers or {"nothing to compare": "one core"},
    }


def _degrades(found: Mapping[str, float | None], what: str, unit: str) -> Claim:
    best = max(found, key=lambda k: found[k] or 0.0)
    after = {k: each for k, each in found.items() if int(k) > int(best)}
    worst = min((each or 0.0 for each in after.values()), default=math.inf)
    return {
        "claim": f"Beyond a number of {unit}s, performance degrades ({what})",
        "held": worst < 0.95 * (found[best] or 0.0),
        "numbers": {f"best with {best}": found[best]} | {measures.count(k, unit): each for k, each in after.items()},
    }
