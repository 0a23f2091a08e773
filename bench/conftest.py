"""The problems that are timed, how they are timed, and the table at the end of a run. See README.md."""

import os
import time

import numpy as np
import pytest

from asysvrg import data, plan
from asysvrg.core.cpu import one_blas_thread
from asysvrg.core.inner import InnerLoop
from asysvrg.core.network import Network, Samples
from asysvrg.core.objective import Objective, initial_parameters
from asysvrg.core.trace import environment

ENVIRONMENT = environment()
ALPHA, BATCH = 1e-3, 10
ETA = {"all": 0.1, "single": 1.0, "lines": 1.0}
LINE = 16  # float32 in a cache line
# Names of execution and memory mode in the tables.
MODES = {
    "serial": {"execution": "serial", "update": "plain"},
    "atomic": {"execution": "shared", "update": "atomic"},
    "striped": {"execution": "shared", "update": "striped"},
    "lockstep": {"execution": "lockstep", "update": "plain"},
}


class Problem:
    """A network with ReLU and softmax on given samples, a start, and the snapshot there.

    Without `skip_zeros`, zeros are skipped where the plan of a fit does so.
    """

    def __init__(self, X, y, hidden=100, dtype=np.float32, threads=1, skip_zeros=None):
        self.X, self.y = np.ascontiguousarray(X, dtype=dtype), y
        self.network = Network((X.shape[1], hidden, int(y.max()) + 1), "relu", "softmax", dtype)
        about = plan.Data.of(self.X)
        skip_zeros = about.density < plan.DENSE if skip_zeros is None else skip_zeros
        self.density = about.density if skip_zeros else 1.0
        self.samples = Samples(self.X, y, skip_zeros=skip_zeros)
        self.objective = Objective(self.network, self.samples, alpha=ALPHA, threads=threads, cache=True)
        self.start = initial_parameters(self.network, np.random.RandomState(0))
        snapshot = self.objective.snapshot(self.start, keep_cache=True)
        self.mu, self.cache = self.objective.network.vector(snapshot.mu), snapshot.cache

    def loss(self, x):
        return self.objective.snapshot(self.objective.network.vector(x), keep_cache=False).loss


class Inner:
    """So many inner iterations of ours from the problem's start."""

    def __init__(
        self,
        problem,
        steps,
        direction="svrg",
        coordinates="lines",
        mode="serial",
        threads=1,
        eta=None,
        *,
        batch=BATCH,
        lazy_rows=None,
        parts=None,
    ):
        self.problem, self.steps, self.epoch = problem, steps, 0
        subset = {"coordinates": 0 if coordinates == "all" else 1000, "block": LINE if coordinates == "lines" else 1}
        if lazy_rows is None:
            lazy_rows = plan.lazy_rows(subset["coordinates"], batch, problem.density)[0]
        if parts is None:
            parts = plan.lockstep_parts(batch, problem.density * problem.network.size * batch)[0]
        how = {"alpha": ALPHA, "batch_size": batch, "seed": 0, "threads": threads} | MODES[mode]
        how |= {"lazy_rows": lazy_rows, "parts": parts}
        self.loop = InnerLoop(problem.network, problem.samples, **subset, **how)
        kind = direction.removesuffix("-uncached")
        self.settings = {"direction": kind, "mu": problem.mu, "x_snap": problem.start}
        self.settings["cache"] = problem.cache if kind == direction else None
        self.settings["eta"] = ETA[coordinates] if eta is None else eta
        self.x = problem.objective.network.vector(problem.start)

    def reset(self):
        self.x[:] = self.problem.start
        self.epoch += 1

    def run(self):
        self.delays = self.loop.run(self.x, self.steps, epoch=self.epoch, **self.settings)


def random_samples(n, p, density, seed=0, outputs=10):
    """Uniform entries, the rest zero, and labels of a random linear rule."""
    rng = np.random.default_rng(seed)
    X = np.where(rng.random((n, p)) < density, rng.random((n, p)), 0).astype(np.float32)
    return X, (X @ rng.normal(size=(p, outputs))).argmax(1).astype(np.int32)


@pytest.fixture(scope="session")
def mnist():
    """10,000 rows of MNIST from ASYSVRG_DATA_HOME; where they are not, random ones with as many zeros."""
    if os.path.isdir(os.path.join(os.environ.get("ASYSVRG_DATA_HOME", ""), "mnist")):
        found = data.load("mnist", train_size=10_000, test_size=0)
        return "mnist", found.X_train, found.y_train.astype(np.int32)
    return "random, 19% non-zero", *random_samples(10_000, 784, 0.19)


@pytest.fixture(autouse=True)
def _one_blas_thread():
    with one_blas_thread():
        yield


@pytest.fixture
def one_core():
    """Keeps this thread, and what it starts, on one core: thread pools of peers made here have one core too."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    yield
    os.sched_setaffinity(0, cores)


@pytest.fixture
def measure(benchmark):
    """Times rounds of `run`, each right after one of `against`: the ratio of such neighbours holds on a busy machine,
    where the times themselves do not."""

    def measure(run, *, setup=None, against=None, rounds=60, **extra):
        others = []

        def before():
            if against is not None:
                start = time.perf_counter()
                against()
                others.append(time.perf_counter() - start)
            if setup is not None:
                setup()

        benchmark.pedantic(run, setup=before, rounds=rounds, warmup_rounds=3)
        measure.note(extra, environment=ENVIRONMENT)
        if benchmark.stats is None:
            pytest.skip("ran, but nothing was timed")
        times = np.array(benchmark.stats.stats.data)
        return times, float(np.median(times / others[-rounds:])) if others else None

    measure.note = benchmark.extra_info.update
    return measure


def pytest_terminal_summary(terminalreporter, config):
    """A table for each kind of benchmark: what it was about, from extra_info."""
    tables = {}
    for bench in config._benchmarksession.benchmarks:
        row = {k: v for k, v in bench.extra_info.items() if k != "environment"}
        if row:
            tables.setdefault(tuple(row), []).append([bench.name, *row.values()])
    for keys, rows in tables.items():
        lines = [["", *keys], *[[f"{v:.4g}" if isinstance(v, float) else str(v) for v in row] for row in rows]]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        terminalreporter.write_line("")
        for line in lines:
            cells = [v.rjust(w) if i else v.ljust(w) for i, (v, w) in enumerate(zip(line, widths, strict=True))]
            terminalreporter.write_line("  ".join(cells))
