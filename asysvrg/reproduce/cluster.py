"""Figure 4 on an emulated cluster: a server and up to ten workers, each on a host of its own, linked by TCP."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

import joblib

from asysvrg.distributed import hosts
from asysvrg.reproduce import measures
from asysvrg.reproduce.methods import Claim, svrg
from asysvrg.reproduce.runs import Experiment, Rows
from asysvrg.reproduce.settings import ON_CLUSTER, Effort
from asysvrg.reproduce.speedup import best_rate, linear, no_ranks, similar, speedups

SHARE = 0.1  # of a core, for each host: what a t2.micro of AWS has in the long run
WHAT = "emulated cluster, measured"
BUSY = {"batch_size": 1, "inner_steps": 2000}  # workers have next to nothing to compute, so that the server is busy


def why_not(effort: Effort) -> str:
    """Why the emulated cluster is not measured; empty if it is."""
    if not effort.hosts:
        return "it was not asked for"
    if missing := no_ranks(effort):
        return missing
    needed = SHARE * (max(effort.hosts) + 1)
    if joblib.cpu_count() < needed:
        return f"{max(effort.hosts) + 1} hosts need {needed:.1f} cores, and there are {joblib.cpu_count()}"
    return hosts.why_not()


def measure(experiment: Experiment, effort: Effort) -> dict[str, Any]:
    """Runs with each number of workers, at the rate that is best with the most of them; or what is missing for them."""
    if missing := why_not(effort):
        return {"missing": missing}
    most, seeds = max(effort.hosts), range(effort.seeds)
    on = experiment.but(**ON_CLUSTER)
    rate = best_rate(on, effort, "distributed", most)
    stages = [svrg(rate["alpha"], effort.short)]
    experiment.runs.expect(len(effort.hosts) * len(seeds) + 1, "emulated cluster")
    with hosts.Cluster(most + 1, share=SHARE) as cluster:
        curves = {
            str(k): [on.ranks(k, stages, seed=seed, name="hosts", cluster=cluster) for seed in seeds]
            for k in effort.hosts
        }
        busy = on.but(**BUSY).ranks(most, [svrg(1e-6, 4)], seed=0, name="busy", cluster=cluster)
    return {
        "share": SHARE, "epochs": effort.short, "parameters": ON_CLUSTER, "tuned": rate, "curves": curves,
        "server": 1 / _rate(busy),
    }  # fmt: skip


def _rate(rows: Rows) -> float:
    """Updates a second of the fastest epoch: other programs slow epochs down, and never speed one up."""
    return max(row["updates_per_second"] or 0.0 for row in rows)


def loads(found: Mapping[str, Any]) -> dict[str, float]:
    """Share of its time that the server needs for the updates that it does, by number of workers."""
    rates = {k: statistics.median(_rate(rows) for rows in seeds) for k, seeds in found["curves"].items()}
    return {k: min(1.0, rate * found["server"]) for k, rate in rates.items()}


def saturates_at(found: Mapping[str, Any]) -> float:
    """How many workers keep the server always busy: a worker's seconds for one update / the server's seconds for it."""
    return 1 / (statistics.median(_rate(rows) for rows in found["curves"]["1"]) * found["server"])


def delays(curves: Mapping[str, Any]) -> dict[str, float]:
    """Mean delay of an update, by number of workers."""
    return {k: statistics.fmean(measures.mean(seeds, "delay")[1:]) for k, seeds in curves.items()}


def claims(content: Mapping[str, Any]) -> list[Claim]:
    """The claims of Figure 4 about the cluster; none without it."""
    found = content["cluster"]
    if "missing" in found:
        return []
    curves = found["curves"]
    most = max(map(int, curves))
    numbers = {
        "saturated from so many workers": saturates_at(found),
        "server's ms for an update": 1e3 * found["server"],
    }
    numbers |= {f"load with {k}": load for k, load in loads(found).items()}
    numbers |= {f"mean delay with {k}": delay for k, delay in delays(curves).items()}
    return [
        similar(curves, WHAT, "worker"),
        linear(speedups(curves), most, f"{WHAT}, a host for each worker and for the server", "worker"),
        {
            "claim": f"With {most} workers the server is not saturated yet ({WHAT})",
            "held": saturates_at(found) > most,
            "numbers": numbers,
        },
    ]
