"""Time to the same objective with two threads (or more) against one: `python bench/threads.py`.

Rounds of one run for each number of threads, from the same start; the ratio is the median over rounds. The objective is
what one thread reaches after so many epochs. Writes results/threads.json.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np
from contenders.setting import ALPHA, mnist_or_random, reached

from asysvrg import AsySVRGClassifier, data
from asysvrg.core.trace import environment
from asysvrg.store.files import write_json

RESULTS = Path(__file__).parent / "results"
STEADY = {"alpha": ALPHA, "batch_size": 10, "tol": 0.0, "inner_steps": 2000}
TOGETHER = {"execution": "lockstep"}
SHORTENED: dict[int, dict[str, Any]] = {
    50: {"learning_rate_init": 0.5, "batch_size": 50, "inner_steps": 600, "deflation": 4, "max_iter": 8},
    100: {"learning_rate_init": 0.8, "batch_size": 100, "inner_steps": 300, "deflation": 4, "max_iter": 8},
}
MODES: dict[str, dict[str, Any]] = {
    "all": {"learning_rate_init": 0.1, "max_iter": 8, **TOGETHER},
    **{f"all, mini-batches of {b}, shortened steps": how | TOGETHER for b, how in SHORTENED.items()},
    "lines, mini-batches of 50": {
        "learning_rate_init": 1.0,
        "batch_size": 50,
        "inner_steps": 600,
        "coordinates": "lines:1000",
        "max_iter": 12,
    },
    "lines": {"learning_rate_init": 0.3, "coordinates": "lines:1000", "max_iter": 12},
    "single": {"learning_rate_init": 0.3, "coordinates": 1000, "max_iter": 12},
}


def dense_problem(n: int = 10_000) -> tuple[str, np.ndarray, np.ndarray]:
    """Features of CIFAR-10 from ASYSVRG_DATA_HOME, or normal ones with labels by a linear rule: no zeros."""
    if os.path.exists(os.path.join(os.environ.get("ASYSVRG_DATA_HOME", ""), "cifar10-features.npz")):
        found = data.load("cifar10-features", train_size=n, test_size=0)
        return "cifar10-features, centred", found.X_train - found.X_train.mean(0), found.y_train
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 384)).astype(np.float32) / 2
    return "random, dense", X, (X @ rng.normal(size=(384, 10))).argmax(1)


def fit(X: Any, y: Any, seed: int, threads: int, **settings: Any) -> list[dict[str, Any]]:
    settings = {"early_stopping": False} | settings  # the objective is that of all samples
    model = AsySVRGClassifier(**STEADY | settings, random_state=seed, n_jobs=threads).fit(X, y)
    rows = model.history_["epochs"]
    return [dict(row, updates=row["epoch"] * model.inner_steps) for row in rows]


def compare(X: Any, y: Any, hidden: int, mode: str, threads: list[int], rounds: int) -> dict[str, Any]:
    """Seconds to the objective for each number of threads; speed-ups in time and in iterations a second."""
    settings = MODES[mode] | {"hidden_layer_sizes": (hidden,)}
    target = fit(X, y, 0, 1, **settings)[-2]["loss"]
    settings |= {"target_loss": target, "max_iter": 3 * MODES[mode]["max_iter"]}
    seconds: dict[int, list[float]] = {k: [] for k in threads}
    each: dict[int, list[float]] = {k: [] for k in threads}
    delays = dict.fromkeys(threads, 0)
    for seed in range(rounds):
        for k in threads:
            rows = fit(X, y, seed, k, **settings)
            seconds[k].append(reached(rows, target) or float("inf"))
            each[k].append(rows[-1]["seconds"] / rows[-1]["updates"] * 1e6)
            delays[k] = max(delays[k], max(row["delay"]["max"] for row in rows))
    of = {str(k): [a / b for a, b in zip(seconds[threads[0]], seconds[k], strict=True)] for k in threads}
    return {
        "objective": target,
        "settings": STEADY | settings,
        "seconds": {str(k): statistics.median(v) for k, v in seconds.items()},
        "microseconds_per_update": {str(k): statistics.median(v) for k, v in each.items()},
        "speedup": {k: statistics.median(v) for k, v in of.items()},
        "fastest_to_fastest": {str(k): min(seconds[threads[0]]) / min(v) for k, v in seconds.items()},
        "delay_max": {str(k): v for k, v in delays.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    cores = len(os.sched_getaffinity(0))
    powers = [1 << k for k in range(cores.bit_length())]
    parser.add_argument("--threads", type=int, nargs="+", default=powers, help="default: 1, 2, 4, ... up to the cores")
    parser.add_argument("--rounds", type=int, default=25)
    given = parser.parse_args()
    content: dict[str, Any] = {"environment": environment(), "rounds": given.rounds, "problems": {}}
    for (name, X, y), hidden in ((mnist_or_random(), 100), (dense_problem(), 50)):
        shape = f"{name}, {X.shape[1]}-{hidden}-10"
        content["problems"][shape] = {}
        for mode in MODES:
            found = compare(X, y, hidden, mode, given.threads, given.rounds)
            content["problems"][shape][mode] = found
            for k in map(str, given.threads):
                print(
                    f"{shape}, {mode}, {k} thread(s): {found['seconds'][k]:.3f} s to {found['objective']:.4f}, "
                    f"{found['speedup'][k]:.2f} times as fast as one, {found['microseconds_per_update'][k]:.1f} us an "
                    f"update, delay at most {found['delay_max'][k]}",
                    flush=True,
                )
    RESULTS.mkdir(exist_ok=True)
    write_json(RESULTS / "threads.json", content)


if __name__ == "__main__":
    sys.exit(main())
