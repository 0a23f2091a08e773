"""A process in which a mechanism is switched on and off, run after run; bench/ablation.py asks for the runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from switches import ROOT, SWITCHES, patched

TARGET = 0.125
PATIENCE = 3.0  # seconds after which a run to the objective is given up
CASES = {  # of the first column: contender and cores
    "sgd, 2": ("ours sgd", 2),
    "sgd_svrg, 2": ("ours sgd_svrg", 2),
    "sgd, 1": ("ours sgd", 1),
    "sgd_svrg, 1": ("ours sgd_svrg", 1),
    "defaults, 2": ("ours, defaults", 2),
}
WIDE_SPARSE = "sparse, 20,000 columns"  # a set of which only the separate column is


def sparse_set() -> tuple[Any, ...]:
    """Samples with 80 of 20,000 columns, and labels by a linear rule."""
    from scipy import sparse

    rng = np.random.default_rng(0)
    columns = np.sort(np.minimum(rng.pareto(0.8, (8000, 80)) * 40, rng.integers(0, 20_000, (8000, 80))), axis=1)
    X = sparse.csr_matrix((np.ones(columns.size), columns.astype(int).ravel(), np.arange(8001) * 80), (8000, 20_000))
    X.sum_duplicates()
    y = X @ rng.normal(size=20_000) > 0
    return X[:6000], y[:6000].astype(int), X[6000:], y[6000:].astype(int)


def serve() -> None:
    """Answers tasks: lines of JSON in, lines of JSON out."""
    import defaults
    from contenders.setting import Problem, mnist_or_random

    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    sets: dict[str, Any] = {}
    problem = None
    for line in sys.stdin:
        task = json.loads(line)
        switch, off = SWITCHES[task["switch"]], task["off"]
        how = switch.settings if off else {}
        with patched(switch.patches if off else {}):
            if "case" in task:
                problem = problem or Problem(*mnist_or_random())
                answer = to_objective(problem, task, task["settings"] | how | task["more"])
            else:
                name = task["set"]
                if name not in sets:
                    sets[name] = sparse_set() if name == WIDE_SPARSE else defaults.SETS[name]()
                answer = one_fit(sets[name], task, how)
        print(json.dumps(answer), file=out, flush=True)


def to_objective(problem: Any, task: dict[str, Any], settings: dict[str, Any]) -> float | None:
    """Seconds to the objective; None if it is not reached.

    On one core, the processor's time, which other programs hardly change.
    """
    from contenders.ours import CONTENDERS
    from contenders.setting import Meter, reached

    contender, cores = CASES[task["case"]]
    meter = Meter(problem.loss, {TARGET: PATIENCE})
    CONTENDERS[contender](problem, settings, cores, task["seed"], meter)
    return reached(meter.rows, TARGET, "processor" if cores == 1 else "seconds")


def one_fit(sets: Any, task: dict[str, Any], how: dict[str, Any]) -> list[float]:
    """Seconds and score of a fit with defaults."""
    from defaults import fit

    from asysvrg import AsySVRGClassifier, AsySVRGRegressor

    kind = AsySVRGRegressor if sets[1].dtype.kind == "f" else AsySVRGClassifier
    return list(fit(kind(random_state=task["seed"], **how, **task["more"]), sets))


class Worker:
    """Such a process, on the last `cores` cores, with the package in the folder `tree`."""

    def __init__(self, tree: Path, cores: int):
        own = sorted(os.sched_getaffinity(0))[-cores:]
        path = os.pathsep.join([str(tree), str(ROOT / "bench")])
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            env=os.environ | {"PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, own),
        )

    def ask(self, switch: str, off: bool, seed: int, more: dict[str, Any] | None = None, **task: Any) -> Any:
        line = json.dumps({"switch": switch, "off": off, "seed": seed, "more": more or {}, **task})
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the process ended at {line}")
        return json.loads(answer)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stdin.close()
        self.process.wait()


if __name__ == "__main__":
    serve()
