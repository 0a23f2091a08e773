"""What iterations, sweeps, messages and the server's updates cost on this machine, for `simulate`."""

from __future__ import annotations

import importlib.util
import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import joblib
import numpy as np
from sklearn.base import clone

from asysvrg.distributed import job
from asysvrg.simulation.costs import shared_costs

REPEATS = 5  # epochs, of which the fastest counts: neighbours only make one slower
ATTEMPTS = 12  # at each of two lengths, one after the other, so that a busy moment does not fall on one of them alone
ENOUGH = 10  # seconds, after which no further attempt begins
STEPS = 500  # iterations in the shorter one of two epochs whose times are compared; the longer one has three times that
# What ranks do not have; an update of theirs is one of all coordinates.
OF_RANKS: dict[str, Any] = {
    "deflation": 0, "execution": "auto", "update": "auto", "coordinates": "all", "sampling": None, "scale": None,
    "track_gradient_norm": None,
}  # fmt: skip
LAUNCHES = 3  # of each number of ranks: how soon a sleeping rank is awake differs from one to the next
PATIENCE = 300  # seconds that ranks are given


def calibrate(estimator: Any, X: Any, y: Any, *, ranks: bool | None = None) -> dict[str, Any]:
    """Measures the costs that `simulate` takes, for this network, these data, and this machine.

    Parameters
    ----------
    estimator : AsySVRGClassifier or AsySVRGRegressor
        It is not fitted.
    X, y : as for `fit`
    ranks : bool, optional
        Whether messages are measured by two and by three MPI ranks. Default: if there is MPI. Without, a message costs
        a copy of x.

    Returns
    -------
    costs : dict
        By architecture: "compute", "message", "server", "sweep" in seconds, and "contention". JSON can hold it.
    """
    one, sweep = _iteration(estimator, X, y, 1)
    two = _iteration(estimator, X, y, 2)[0] if joblib.cpu_count() > 1 else one / 2
    return {
        "shared": shared_costs(one, sweep, one=one, two=two),
        "distributed": _distributed(estimator, X, y, one, sweep, ranks),
    }


def _fit(estimator: Any, X: Any, y: Any, **parameters: Any) -> Any:
    return _ready(estimator, **parameters).fit(X, y)


def _ready(estimator: Any, **parameters: Any) -> Any:
    given: dict[str, Any] = {
        "tol": 0.0,
        "early_stopping": False,
        "target_loss": None,
        "checkpoint_dir": None,
        "max_time": None,
    }
    given |= {"resume": False, "verbose": False, "random_state": 0, "sgd_epochs": 0, "n_models": 1}
    if estimator.solver is None:
        given["solver"] = "svrg"
    return clone(estimator).set_params(**given | parameters)


def _iteration(estimator: Any, X: Any, y: Any, threads: int) -> tuple[float, float]:
    """Seconds of an iteration and of a sweep, from epochs of two lengths; threads share both."""

    def seconds(steps: int) -> float:
        how = {"n_jobs": threads, "execution": "shared", "inner_steps": steps, "max_iter": REPEATS}
        if estimator.update == "plain":  # which is for one thread
            how["update"] = "auto"
        fitted = _fit(estimator, X, y, backend="threads", **how)
        ends = [row["seconds"] for row in fitted.history_["epochs"]]
        return min(np.diff(ends))

    begin, short, long = time.perf_counter(), math.inf, math.inf
    for _ in range(ATTEMPTS):
        short, long = min(short, seconds(STEPS)), min(long, seconds(3 * STEPS))
        if time.perf_counter() - begin > ENOUGH:
            break
    if long <= short:
        raise OSError(f"{3 * STEPS} iterations take no longer than {STEPS}: this machine is too busy to time them")
    each = (long - short) / (2 * STEPS)
    return each, max(short - STEPS * each, 0.0)


def _distributed(estimator: Any, X: Any, y: Any, one: float, sweep: float, ranks: bool | None) -> dict[str, float]:
    d = _fit(estimator, X, y, max_iter=1, inner_steps=1, backend="threads").history_["config"]["parameters"]
    x, v = np.zeros(d, dtype=estimator.dtype), np.ones(d, dtype=estimator.dtype)
    server = _seconds(lambda: np.subtract(x, v, out=x)) + _seconds(lambda: np.copyto(v, x))
    message, contention = _seconds(lambda: np.copyto(v, x)), 0.0
    if ranks is None:
        ranks = importlib.util.find_spec("mpi4py") is not None
    if ranks:
        here = one + server
        rounds = [[_round(estimator, X, y, workers) for workers in (1, 2)] for _ in range(LAUNCHES)]
        one_worker, two_workers = np.min(rounds, axis=0)
        message = max(message, (one_worker - here) / 2)
        contention = max(0.0, 2 * (two_workers - message) / here - 1)
    return {"compute": one, "message": message, "server": server, "sweep": sweep, "contention": contention}


def _seconds(call: Callable[[], Any]) -> float:
    taken = []
    for _ in range(200):
        begin = time.perf_counter()
        call()
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken)


def _round(estimator: Any, X: Any, y: Any, workers: int) -> float:
    """Seconds from one update to the next, of a server and workers under mpiexec."""
    ready = _ready(estimator, backend="mpi", inner_steps=3 * STEPS, max_iter=REPEATS, **OF_RANKS)
    rows = job.history_by_ranks(ready, X, y, workers, seconds=PATIENCE)["epochs"]
    return 1 / max(row.get("updates_per_second", 0.0) for row in rows)
