"""How the cost of an inner iteration grows: with samples, parameters, mini-batch, share of non-zeros, depth, columns,
and with directions along which steps are shortened.

One thread, random data. "growth": times the paper's setting with the same coordinates, in neighbouring rounds.
"""

import functools

import numpy as np
import pytest
from conftest import ALPHA, random_samples
from scipy import sparse

from asysvrg.core.directions import DIRECTIONS
from asysvrg.core.network import Network, Samples
from asysvrg.core.objective import Objective, initial_parameters
from asysvrg.core.preconditioner import LowRankPreconditioner
from asysvrg.core.schedule import Epoch
from asysvrg.core.threaded import ThreadedExecution
from asysvrg.method import Data
from asysvrg.plan import DENSE, lazy_rows

STEPS = 300
PAPER = {"n": 10_000, "inputs": 784, "density": 0.19, "hidden": (100,), "batch": 10}
RCV1 = {"n": 10_000, "nonzeros": 80, "hidden": (), "batch": 10}  # the l2 term is alpha |weights|^2 / 2, as everywhere
CASES = (
    [{"n": n} for n in (1_000, 4_000, 16_000, 64_000)]
    + [{"hidden": (width,)} for width in (25, 50, 200, 400)]
    + [{"batch": batch} for batch in (5, 20, 50, 100)]
    + [{"density": density} for density in (0.02, 0.05, 0.1, 0.4, 1.0)]
    + [{"hidden": (100,) * depth} for depth in (0, 2, 3, 4)]
    + [{"deflation": directions} for directions in (1, 4, 8)]
    + [RCV1 | {"inputs": inputs} for inputs in (1_000, 5_000, 20_000, 47_000, 200_000)]
    + [RCV1 | {"inputs": 47_000, "nonzeros": nonzeros} for nonzeros in (20, 40, 160)]
)


def few_entries(n, inputs, nonzeros, seed=0):
    """CSR with so many entries in each row, and columns as frequent as words are (Zipf's law)."""
    rng = np.random.default_rng(seed)
    columns = (inputs ** rng.random((n, nonzeros))).astype(np.int32) - 1
    rows = np.repeat(np.arange(n), nonzeros)
    X = sparse.csr_matrix((rng.random(n * nonzeros, np.float32), (rows, columns.ravel())), shape=(n, inputs))
    X.sum_duplicates()
    return X, rng.integers(10, size=n).astype(np.int32)


class Iterations:
    """Inner iterations of svrg from a start, again and again: STEPS; of CSR input an epoch's, at the end of which the
    rows that waited are brought up to date."""

    def __init__(self, coordinates, *, n, inputs, hidden, batch, density=1.0, nonzeros=None, deflation=0):
        X, y = few_entries(n, inputs, nonzeros) if nonzeros else random_samples(n, inputs, density)
        network = Network((inputs, *hidden, 10), "relu", "softmax", np.float32)
        about = Data.of(X)
        samples = Samples(X, y, skip_zeros=about.density < DENSE)
        objective = Objective(network, samples, alpha=ALPHA, threads=1, cache=True)
        subset = {"coordinates": 0 if coordinates == "all" else 1000, "block": 16 if coordinates == "lines" else 1}
        self.steps = n // batch if nonzeros else STEPS
        lazy, _ = lazy_rows(subset["coordinates"], batch, about.density if samples.skips_zeros else 1.0)
        how = {"batch_size": batch, "seed": 0, "execution": "serial", "update": "plain", "lazy_rows": lazy}
        if deflation:
            how["preconditioner"] = LowRankPreconditioner(network, samples, deflation, 0, first=not lazy)
        self.execution = ThreadedExecution(objective, **subset, **how)
        self.epoch = Epoch(0, DIRECTIONS["svrg"], eta=1e-3, steps=self.steps)
        self.start = initial_parameters(network, np.random.RandomState(0))
        self.x, self.parameters = objective.network.vector(self.start), network.size
        self.snapshot = self.execution.snapshot(self.start, keep_cache=True)

    def __call__(self):
        self.x[:] = self.start
        self.execution.inner(self.x, self.snapshot, self.epoch)


@functools.cache
def paper(coordinates):
    return Iterations(coordinates, **PAPER)


def name(case):
    return "-".join(f"{key}={'x'.join(map(str, v)) or 0 if key == 'hidden' else v}" for key, v in case.items())


@pytest.mark.parametrize("coordinates", ["all", "lines"])
@pytest.mark.parametrize("case", CASES, ids=name)
def test_growth(measure, case, coordinates):
    settings = case if "nonzeros" in case else PAPER | case
    run = Iterations(coordinates, **settings)
    times, ratio = measure(run, against=paper(coordinates), rounds=15)
    growth = ratio * STEPS / run.steps
    measure.note(microseconds_per_iteration=float(np.median(times)) / run.steps * 1e6, growth=growth)
    measure.note(parameters=run.parameters)
