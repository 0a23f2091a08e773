"""Prediction beside scikit-learn's MLP: `python bench/predict.py > bench/results/predict.md`.

The same rows go to both in turns, and the ratio of neighbours is the result: medians and 90% quantiles, in
milliseconds. "busy" is beside one process on each core that computes all the time. Networks are fitted for one epoch,
since how long a prediction takes does not depend on the parameters. `--threads` compares one thread with all cores by
the number of rows: where plan.LEAST_PREDICTION comes from. `--few` compares the loops for few rows with BLAS: where
core.network.FEW_ROWS comes from.
"""

from __future__ import annotations

import argparse
import time
import warnings
from contextlib import nullcontext
from functools import partial

import numpy as np
from ablation import busy_cores
from scipy import sparse
from sklearn.neural_network import MLPClassifier, MLPRegressor
from threadpoolctl import threadpool_limits

from asysvrg import AsySVRGClassifier, AsySVRGRegressor
from asysvrg.core import cpu
from asysvrg.core.network import FEW_ROWS, Samples
from asysvrg.core.trace import environment
from asysvrg.prediction import viewed

SHAPES = {"784-100-10": (784, 100, 10), "5000-1000-2": (5000, 1000, 2), "30-100-3": (30, 100, 3)}
SECONDS = 4.0  # for each line of the table


def samples(inputs, rows, dtype=np.float32):
    """Uniform numbers, four fifths of them zero, as in pictures of digits."""
    rng = np.random.default_rng(0)
    return np.where(rng.random((rows, inputs)) < 0.2, rng.random((rows, inputs)), 0).astype(dtype)


def fitted(kind, shape, dtype=np.float32, **options):
    inputs, hidden, outputs = shape
    X = samples(inputs, 60, dtype)
    y = np.arange(60) % outputs if kind in (AsySVRGClassifier, MLPClassifier) else X[:, 0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return kind(hidden_layer_sizes=(hidden,), max_iter=1, **options).fit(X, y)


def in_turns(*calls, seconds=SECONDS):
    """Seconds of each call, one after the other; an array with a row for each call."""
    for call in calls:
        call()
    times, end = [], time.perf_counter() + seconds
    while len(times) < 5 or time.perf_counter() < end:
        turn = []
        for call in calls:
            start = time.perf_counter()
            call()
            turn.append(time.perf_counter() - start)
        times.append(turn)
    return np.array(times).T


def line(name, ours, theirs, seconds):
    mine, other = in_turns(ours, theirs, seconds=seconds)
    cells = [f"{1e3 * np.quantile(t, q):.3f}" for t in (mine, other) for q in (0.5, 0.9)]
    ratios = np.median(mine / other), np.quantile(mine, 0.9) / np.quantile(other, 0.9)
    print(f"| {name} | {' | '.join(cells)} | {ratios[0]:.2f} | {ratios[1]:.2f} |", flush=True)


def beside_sklearn(seconds):
    machine = environment()
    print("# Prediction beside scikit-learn's MLP\n")
    print(f"`python bench/predict.py`, on {machine['processor']}, {machine['cores']} cores, {machine['simd']}; ms.\n")
    print("| network, call, rows, other programs | ours | 90% | scikit-learn | 90% | ratio | of 90% |")
    print("|---|---|---|---|---|---|---|")
    for name, shape in SHAPES.items():
        both = fitted(AsySVRGClassifier, shape), fitted(MLPClassifier, shape)
        reg = fitted(AsySVRGRegressor, shape), fitted(MLPRegressor, shape)
        for around in nullcontext, busy_cores:
            for rows in 1, 100, 10_000:
                if rows * shape[0] > 2e7:
                    continue
                X = samples(shape[0], rows)
                cases = [("predict", both, X)]
                if rows == 1:
                    cases += [("predict_proba", both, X), ("predict, CSR", both, sparse.csr_array(X))]
                    cases += [("predict of the regressor", reg, X)]
                with around():
                    for what, pair, Z in cases:
                        calls = [getattr(model, what.split()[0].rstrip(",")) for model in pair]
                        title = f"{name}, {what}, {rows:,}, {'busy' if around is busy_cores else 'quiet'}"
                        line(title, *(partial(call, Z) for call in calls), seconds)


class Raw:
    """Outputs of so many rows by a network, without an estimator around it."""

    def __init__(self, shape, rows):
        model = fitted(AsySVRGClassifier, shape)
        self.network, self.samples = model._network, Samples(samples(shape[0], rows))
        self.x = viewed(self.network, model.coefs_, model.intercepts_)

    def run(self, threads=1):
        self.network.outputs(self.samples, self.x, threads)

    def run_limited(self):
        with cpu.one_blas_thread():
            self.run()


def threads(seconds):
    """Time of all cores / time of one thread, by the products of a prediction."""
    print("| network, rows | million products | one thread, ms | all cores / one |\n|---|---|---|---|")
    for name, shape in SHAPES.items():
        size = Raw(shape, 1).network.size
        for products in 2e6, 5e6, 1e7, 2e7, 5e7, 1e8, 4e8:
            rows = round(products / size)
            if rows > 1:
                raw = Raw(shape, rows)
                with cpu.one_blas_thread():
                    one, several = in_turns(raw.run, partial(raw.run, cpu.count(-1)), seconds=seconds)
                cells = f"{products / 1e6:g} | {1e3 * np.median(one):.3f} | {np.median(several / one):.2f}"
                print(f"| {name}, {rows:,} | {cells} |", flush=True)


def few(seconds):
    """Microseconds of the loops, with one row less than FEW_ROWS, and of BLAS and its limit, with FEW_ROWS."""
    print("| network | loops, us | BLAS, us |\n|---|---|---|")
    for name, shape in SHAPES.items():
        turns = in_turns(Raw(shape, FEW_ROWS - 1).run, Raw(shape, FEW_ROWS).run_limited, seconds=seconds)
        loops, blas = 1e6 * np.median(turns, axis=1)
        print(f"| {name} | {loops:.0f} | {blas:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", action="store_true", help="one thread beside all cores, by products")
    parser.add_argument("--few", action="store_true", help="loops for few rows beside BLAS")
    parser.add_argument("--one-core", action="store_true", help="one thread of BLAS for scikit-learn, too")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for each line")
    options = parser.parse_args()
    with threadpool_limits(1) if options.one_core else nullcontext():
        (threads if options.threads else few if options.few else beside_sklearn)(options.seconds)


if __name__ == "__main__":
    main()
