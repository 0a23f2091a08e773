"""No hidden layer: time to a small gap against scikit-learn's SAGA: `python bench/linear.py`.

Two problems, mean loss + alpha / 2 |weights|^2 with the intercept free: sparse like RCV1 (20,000 rows, 47,000 columns
as frequent as words are, about 80 tf-idf-like values in a row, rows of norm 1; two classes by a random rule with
noise; gap 1e-6), and MNIST (10,000 rows, 10 classes; gap 1e-4). Both sides run on the same cores, evaluation is
outside the clock. Writes results/linear.json.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import statistics
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from contenders.setting import Done, Meter, mnist_or_random, reached
from scipy import optimize, sparse
from sklearn.linear_model._sag import sag_solver
from sklearn.utils.extmath import row_norms

from asysvrg import AsySVRGClassifier
from asysvrg.core.cpu import one_blas_thread
from asysvrg.core.loop import minimize
from asysvrg.core.network import Network, Samples
from asysvrg.core.objective import Objective
from asysvrg.core.schedule import Schedule
from asysvrg.core.threaded import ThreadedExecution
from asysvrg.core.trace import Trace, environment
from asysvrg.method import Data
from asysvrg.plan import DENSE, make_plan
from asysvrg.settings import check
from asysvrg.store.files import write_json

RESULTS = Path(__file__).parent / "results"
ROWS, COLUMNS, NONZEROS = 20_000, 47_000, 80


@dataclass(frozen=True)
class Linear:
    """A problem, and the settings of ours that are tried: mini-batch, learning rate, inner steps in passes."""

    name: str
    X: Any
    y: np.ndarray
    loss: str
    alpha: float
    aim: float  # the gap
    ours: tuple[tuple[int, float, int], ...]

    def objective(self, dtype: type, threads: int) -> Objective:
        y = self.y.astype(dtype)[:, None] if self.loss == "binary" else self.y
        outputs = 1 if self.loss == "binary" else int(self.y.max()) + 1
        network = Network((self.X.shape[1], outputs), "identity", self.loss, dtype)
        X = self.X.astype(dtype)
        samples = Samples(X, y, skip_zeros=Data.of(X).density < DENSE)
        return Objective(network, samples, alpha=self.alpha, threads=threads, cache=True)

    def gap(self) -> Callable[[np.ndarray], float]:
        """How far above the minimum parameters are, in double precision."""
        objective = self.objective(np.float64, 1)

        def value(x: np.ndarray) -> float:
            return objective.snapshot(objective.network.vector(x), keep_cache=False).loss

        least = optimize.minimize(
            value,
            objective.network.vector(),
            jac=lambda x: objective.gradient(objective.network.vector(x)),
            method="L-BFGS-B",
            options={"ftol": 1e-16, "gtol": 1e-8, "maxcor": 30, "maxiter": 10_000, "maxfun": 20_000},
        ).fun
        return lambda x: value(x) - least


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


def problems() -> Iterator[Linear]:
    rates = ((20, 6.0, 1), (20, 6.0, 2), (4, 3.5, 1), (4, 4.0, 1), (4, 4.0, 2), (1, 2.0, 1), (1, 2.0, 2))
    yield Linear("sparse like RCV1", *rcv1_like(), "binary", 1e-4, 1e-6, rates)
    name, X, y = mnist_or_random()
    rates = ((10, 0.05, 2), (10, 0.1, 2), (20, 0.1, 2), (20, 0.2, 2), (50, 0.3, 2))
    yield Linear(name, X, y, "softmax", 1e-3, 1e-4, rates)


def saga(problem: Linear, dtype: type, seed: int, meter: Meter) -> None:
    """What LogisticRegression(solver="saga") calls, a pass at a time."""
    X, y, n = problem.X.astype(dtype), problem.y.astype(dtype), len(problem.y)
    outputs = 1 if problem.loss == "binary" else int(problem.y.max()) + 1
    memory: dict[str, Any] = {"coef": np.zeros((X.shape[1] + 1, outputs), dtype=dtype)}
    how: dict[str, Any] = {
        "loss": "log" if problem.loss == "binary" else "multinomial",
        "alpha": problem.alpha * n,
        "max_iter": 1,
        "tol": 0.0,
        "random_state": np.random.RandomState(seed),
        "max_squared_sum": float(row_norms(X, squared=True).max()),
        "check_input": False,
        "is_saga": True,
    }
    meter.row(0, memory["coef"].ravel())
    for updates in range(n, 10**12, n):
        with meter.running():
            memory = sag_solver(X, y, warm_start_mem=memory, **how)[2]
        meter.row(updates, memory["coef"].ravel())


def asysvrg(problem: Linear, how: tuple[int, float, int], threads: int, seed: int, meter: Meter) -> None:
    batch, rate, passes = how
    objective = problem.objective(np.float32, threads)
    steps = passes * objective.n // batch
    how_run = "shared" if sparse.issparse(problem.X) else "lockstep"
    settings = check(
        AsySVRGClassifier((), batch_size=batch, learning_rate_init=rate, n_jobs=threads, execution=how_run)
    )
    plan = make_plan(settings, objective.network, Data.of(problem.X))
    execution = ThreadedExecution(
        objective, batch_size=batch, seed=seed, sampling="importance", execution=plan.execution, update=plan.update,
        lazy_rows=plan.lazy_rows, parts=plan.parts,
    )  # fmt: skip
    x = objective.network.vector()

    def told(row: dict[str, Any]) -> bool:
        meter.seconds = meter.processor = row["seconds"]
        return meter.add(row["epoch"] * steps, meter.loss(x))

    schedule = Schedule("svrg", max_iter=10**6, inner_steps=steps, learning_rate=rate)
    minimize(execution, x, schedule, Trace({}), callback=told)


def race(
    contenders: dict[str, Callable[..., None]],
    gap: Callable[[np.ndarray], float],
    aim: float,
    rounds: int,
    limit: float,
) -> dict[str, Any]:
    """Seconds to the gap, medians over rounds in which everybody has a turn; three times the best so far is enough."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    updates: dict[str, list[float]] = {name: [] for name in contenders}
    for seed in range(rounds):
        for name, run in contenders.items():
            least = min((s for all_of in seconds.values() for s in all_of), default=limit)
            meter = Meter(gap, {aim: min(limit, 3 * least)})
            with contextlib.suppress(Done):
                run(seed, meter)
            seconds[name].append(reached(meter.rows, aim) or float("inf"))
            updates[name].append(meter.rows[-1]["seconds"] / meter.rows[-1]["updates"] * 1e6)
            last = f"{seconds[name][-1]:.3f} s, {updates[name][-1]:.2f} us an update, gap {meter.rows[-1]['loss']:.1e}"
            print(f"round {seed}, {name}: {last}", file=sys.stderr, flush=True)
    return {
        name: {"seconds": statistics.median(seconds[name]), "microseconds_per_update": statistics.median(updates[name])}
        for name in contenders
    }


def on(cores: int, problem: Linear, gap: Callable[[np.ndarray], float], rounds: int) -> dict[str, Any]:
    """Every setting of ours once, with one thread and one for each core; then the best of them against SAGA in both
    precisions."""

    def ours(how: tuple[int, float, int], threads: int) -> Callable[..., None]:
        return lambda seed, meter: asysvrg(problem, how, threads, seed, meter)

    every = {str(what): what for what in itertools.product(problem.ours, sorted({1, cores}))}
    tried = race({name: ours(*what) for name, what in every.items()}, gap, problem.aim, 1, 60.0)
    how, threads = every[min(every, key=lambda name: tried[name]["seconds"])]
    dtypes = {f"saga {dtype.__name__}": dtype for dtype in (np.float32, np.float64)}
    theirs = {n: (lambda seed, meter, dtype=dtype: saga(problem, dtype, seed, meter)) for n, dtype in dtypes.items()}
    found = race({**theirs, "ours": ours(how, threads)}, gap, problem.aim, rounds, 120.0)
    names = ("batch_size", "learning_rate", "passes_between_snapshots", "threads")
    settings = dict(zip(names, (*how, threads), strict=True))
    least = min(found[name]["seconds"] for name in dtypes)
    return {"contenders": found, "our_settings": settings, "times_faster": least / found["ours"]["seconds"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    every = sorted(os.sched_getaffinity(0))
    parser.add_argument("--cores", type=int, nargs="+", default=[1, 2][: len(every)])
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    content: dict[str, Any] = {"environment": environment(), "problems": {}}
    RESULTS.mkdir(exist_ok=True)
    for problem in problems():
        gap, by_cores = problem.gap(), {}
        content["problems"][problem.name] = {"alpha": problem.alpha, "gap": problem.aim, "cores": by_cores}
        for cores in given.cores:
            os.sched_setaffinity(0, every[-cores:])
            found = by_cores[str(cores)] = on(cores, problem, gap, given.rounds)
            for name, what in found["contenders"].items():
                numbers = f"{what['seconds']:.3f} s, {what['microseconds_per_update']:.2f} us an update"
                print(f"{problem.name}, {cores} core(s), {name}: {numbers}", flush=True)
            print(f"{found['times_faster']:.2f} times as fast as SAGA, with {found['our_settings']}", flush=True)
            write_json(RESULTS / "linear.json", content)


if __name__ == "__main__":
    with one_blas_thread():  # evaluation would leave threads behind that look for more work on a core
        main()
