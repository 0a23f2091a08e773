"""Sparse input like RCV1, no hidden layer: time to a gap of 1e-6 against scikit-learn's SAGA: `python bench/sparse.py`.

20,000 rows, 47,000 columns as frequent as words are (Zipf's law), about 80 non-zeros in a row with tf-idf-like values, rows
of norm 1; two classes by a random rule with noise; mean logistic loss + alpha / 2 |weights|^2, intercept free.
Both sides run on the same cores, a pass at a time, evaluation outside the clock. Writes results/sparse.json.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from asysvrg._network import Network, Samples
from contenders.setting import Done, Meter, reached
from scipy import optimize, sparse, special
from sklearn.linear_model._sag import sag_solver

from asysvrg.epochs import Plan, minimize
from asysvrg.objective import Objective
from asysvrg.shared import SharedExecution
from asysvrg.threads import one_blas_thread
from asysvrg.trace import Trace, environment, write_json

RESULTS = Path(__file__).parent / "results"
GAP = 1e-6
ROWS, COLUMNS, NONZEROS, ALPHA = 20_000, 47_000, 80, 1e-4
OURS = [  # mini-batch, learning rate, inner steps in passes
    (batch, rate, passes)
    for batch, rates in ((20, (6.0, 12.0)), (100, (12.0, 24.0)), (400, (24.0, 48.0)))
    for rate in rates
    for passes in (1, 2)
]


def rcv1_like(seed: int = 0) -> tuple[sparse.csr_matrix, np.ndarray]:
    """X of float32 in CSR, y of 0 and 1."""
    rng = np.random.default_rng(seed)
    columns = (COLUMNS ** rng.random((ROWS, int(NONZEROS * 1.22)))).astype(np.int32) - 1  # some are drawn twice
    of_row = np.repeat(np.arange(ROWS), columns.shape[1])
    counts = sparse.csr_matrix((np.ones(columns.size), (of_row, columns.ravel())), shape=(ROWS, COLUMNS))
    counts.sum_duplicates()
    frequency = np.bincount(counts.indices, minlength=COLUMNS)
    counts.data = (1 + np.log(counts.data)) * np.log(ROWS / frequency[counts.indices])
    norms = np.sqrt(counts.multiply(counts).sum(axis=1))
    X = sparse.csr_matrix(counts.multiply(1 / norms), dtype=np.float32)
    X.sort_indices()
    score = X @ rng.normal(size=COLUMNS) * 4 + rng.logistic(size=ROWS)
    return X, (score > 0).astype(np.float32)


class Logistic:
    """The objective in double precision, its minimum, and x as weights followed by the intercept."""

    def __init__(self, X: sparse.csr_matrix, y: np.ndarray):
        self.X, self.y, self.sign = X.astype(np.float64), y, 2.0 * y - 1
        found = optimize.minimize(
            self,
            np.zeros(X.shape[1] + 1),
            jac=True,
            method="L-BFGS-B",
            options={"ftol": 1e-16, "gtol": 1e-9, "maxcor": 30, "maxiter": 5000},
        )
        self.least = found.fun

    def __call__(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        margin = self.sign * (self.X @ x[:-1] + x[-1])
        slope = -self.sign * special.expit(-margin) / len(self.y)
        gradient = np.append(self.X.T @ slope + ALPHA * x[:-1], slope.sum())
        return np.logaddexp(0, -margin).mean() + ALPHA / 2 * x[:-1] @ x[:-1], gradient

    def gap(self, x: np.ndarray) -> float:
        return self(x.astype(np.float64))[0] - self.least


def saga(X: sparse.csr_matrix, y: np.ndarray, dtype: type, seed: int, meter: Meter) -> None:
    """What LogisticRegression(solver="saga") calls, a pass at a time."""
    X, y = X.astype(dtype), y.astype(dtype)
    memory: dict[str, Any] = {"coef": np.zeros((X.shape[1] + 1, 1), dtype=dtype)}
    random_state = np.random.RandomState(seed)
    largest = float(X.multiply(X).sum(axis=1).max())
    how: dict[str, Any] = {"alpha": ALPHA * len(y), "max_iter": 1, "tol": 0.0, "max_squared_sum": largest}
    meter.row(0, memory["coef"].ravel())
    for updates in range(len(y), 10**12, len(y)):
        with meter.running():
            memory = sag_solver(
                X,
                y,
                loss="log",
                random_state=random_state,
                check_input=False,
                warm_start_mem=memory,
                is_saga=True,
                **how,
            )[2]
        meter.row(updates, memory["coef"].ravel())


def asysvrg(X: sparse.csr_matrix, y: np.ndarray, how: tuple[Any, ...], threads: int, seed: int, meter: Meter) -> None:
    batch, rate, passes = how
    network = Network((X.shape[1], 1), "identity", "binary", np.float32)
    objective = Objective(network, Samples(X, y[:, None]), alpha=ALPHA, threads=threads, cache_bytes=1e9)
    steps = passes * len(y) // batch
    fixed = {"coordinates": 0, "block": 1, "update": "auto", "max_delay": None, "seed": seed}
    execution = SharedExecution(objective, batch_size=batch, inner_steps=steps, **fixed)
    x = objective.vector()

    def told(row: dict[str, Any]) -> bool:
        meter.seconds = meter.processor = row["seconds"]
        return meter.add(row["epoch"] * steps, meter.loss(x))

    with one_blas_thread():
        minimize(execution, x, Plan("svrg", max_iter=10**6, learning_rate=rate), Trace({}), callback=told)


def race(contenders: dict[str, Callable[..., None]], problem: Logistic, rounds: int, limit: float) -> dict[str, Any]:
    """Seconds to the gap, medians over rounds in which everybody has a turn; three times the best so far is enough."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    updates: dict[str, list[float]] = {name: [] for name in contenders}
    for seed in range(rounds):
        for name, run in contenders.items():
            least = min((s for all_of in seconds.values() for s in all_of), default=limit)
            meter = Meter(problem.gap, {GAP: min(limit, 3 * least)})
            with contextlib.suppress(Done):
                run(seed, meter)
            seconds[name].append(reached(meter.rows, GAP) or float("inf"))
            updates[name].append(meter.rows[-1]["seconds"] / meter.rows[-1]["updates"] * 1e6)
            last = f"{seconds[name][-1]:.3f} s, {updates[name][-1]:.2f} us an update, gap {meter.rows[-1]['loss']:.1e}"
            print(f"round {seed}, {name}: {last}", file=sys.stderr, flush=True)
    return {
        name: {"seconds": statistics.median(seconds[name]), "microseconds_per_update": statistics.median(updates[name])}
        for name in contenders
    }


def on(cores: int, X: sparse.csr_matrix, y: np.ndarray, problem: Logistic, rounds: int) -> dict[str, Any]:
    """Every setting of ours once, then the best of them against SAGA in both precisions."""

    def ours(how: tuple[Any, ...]) -> Callable[..., None]:
        return lambda seed, meter: asysvrg(X, y, how, cores, seed, meter)

    tried = race({str(how): ours(how) for how in OURS}, problem, 1, 20.0)
    best = min(OURS, key=lambda how: tried[str(how)]["seconds"])
    names = {f"saga {dtype.__name__}": dtype for dtype in (np.float32, np.float64)}
    theirs = {name: (lambda seed, meter, dtype=dtype: saga(X, y, dtype, seed, meter)) for name, dtype in names.items()}
    found = race({"ours": ours(best), **theirs}, problem, rounds, 60.0)
    settings = dict(zip(("batch_size", "learning_rate", "passes_between_snapshots"), best, strict=True))
    least = min(found[name]["seconds"] for name in names)
    return {"contenders": found, "our_settings": settings, "times_faster": least / found["ours"]["seconds"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cores", type=int, nargs="+", default=[1, 2][: len(os.sched_getaffinity(0))])
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    X, y = rcv1_like()
    problem = Logistic(X, y)
    shape = {"rows": ROWS, "columns": COLUMNS, "nonzeros_per_row": X.nnz / ROWS, "alpha": ALPHA, "gap": GAP}
    content: dict[str, Any] = {"environment": environment(), "problem": shape, "cores": {}}
    every = sorted(os.sched_getaffinity(0))
    for cores in given.cores:
        os.sched_setaffinity(0, every[-cores:])
        content["cores"][str(cores)] = found = on(cores, X, y, problem, given.rounds)
        for name, what in found["contenders"].items():
            print(
                f"{cores} core(s), {name}: {what['seconds']:.3f} s to a gap of {GAP:g}, "
                f"{what['microseconds_per_update']:.2f} us an update"
            )
        print(f"{cores} core(s): {found['times_faster']:.2f} times as fast as SAGA, with {found['our_settings']}")
    os.sched_setaffinity(0, every)
    RESULTS.mkdir(exist_ok=True)
    write_json(RESULTS / "sparse.json", content)


if __name__ == "__main__":
    sys.exit(main())
