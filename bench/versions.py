"""Compares this version of the package with another one: `python bench/versions.py ../before`.

`../before` is a checkout that was built in place. Both versions train with the same explicit settings: inner
iterations, full gradients, and MNIST until the objective of bench/peers.py. Then each version fits the sets of
bench/defaults.py with its own defaults. Each version runs in a process of its own, and they take turns. A figure is the
seconds of this version divided by those of the other: the median of all pairs.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import os
import re
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[1]
SEEDS = 3  # of fits with defaults, in each round
PLAIN = {
    "solver": "svrg", "learning_rate_init": 0.01, "batch_size": 20, "sampling": "shuffle", "deflation": 0,
    "alpha_boost": 1.0, "sgd_epochs": 0, "tol": 0.0, "early_stopping": False, "random_state": 0,
}  # fmt: skip
ITERATIONS = PLAIN | {"inner_steps": 3000, "max_iter": 2}
GRADIENTS = PLAIN | {"inner_steps": 1, "max_iter": 40}
LOCKSTEP, LINES = {"n_jobs": 2, "execution": "lockstep"}, {"n_jobs": 2, "coordinates": "lines:1000"}
SETTINGS: dict[str, dict[str, Any]] = {
    "inner iterations": ITERATIONS | {"n_jobs": 1},
    "inner iterations, SGD": ITERATIONS | {"n_jobs": 1, "solver": "sgd"},
    "inner iterations, float64": ITERATIONS | {"n_jobs": 1, "dtype": "float64"},
    "inner iterations, two hidden layers": ITERATIONS | {"n_jobs": 1, "hidden_layer_sizes": (100, 50)},
    "inner iterations, preconditioner": ITERATIONS | {"n_jobs": 1, "deflation": 4, "batch_size": 64},
    "inner iterations, lockstep of 2": ITERATIONS | LOCKSTEP | {"batch_size": 64},
    "inner iterations, 1,000 in cache lines, 2": ITERATIONS | LINES,
    "inner iterations, 1,000 single, 1": ITERATIONS | {"n_jobs": 1, "coordinates": 1000},
    "full gradient": GRADIENTS | {"n_jobs": 1},
    "full gradient, lockstep of 2": GRADIENTS | LOCKSTEP,
}
OBJECTIVE = "0.125"
CONTENDERS = ("sgd", "sgd_svrg", "svrg all")


def to_the_objective() -> dict[str, dict[str, Any]]:
    """The best settings that bench/peers.py found, by name."""
    from contenders.ours import DIRECTIONS
    from contenders.setting import ALPHA

    found = json.loads((HERE / "bench/peers_best.json").read_text())["contenders"]
    run = {"target_loss": float(OBJECTIVE), "tol": 0.0, "alpha": ALPHA, "sampling": "importance", "max_iter": 1000}
    rows = {}
    for name in CONTENDERS:
        for cores, best in found[f"ours {name}"].items():
            settings = run | {"n_jobs": int(cores)} | DIRECTIONS[name] | best[OBJECTIVE]["settings"]
            rows[f"to {OBJECTIVE}, {name}, {cores}"] = settings
    return rows


# ---- A process with one version: lines of JSON in, lines of JSON out. ----


def known(settings: dict[str, Any], kind: Callable[..., Any]) -> dict[str, Any]:
    """The settings in the words of this version. Earlier ones chose lockstep themselves, and had `block`."""
    names = inspect.signature(kind).parameters
    settings = {name: value for name, value in settings.items() if name in names}
    if "block" in names and str(settings.get("coordinates", "")).startswith("lines:"):
        settings |= {"coordinates": int(str(settings["coordinates"])[6:]), "block": "line"}
    return settings


def serve(tree: Path) -> None:
    sys.path[:0] = [str(tree), str(tree / "bench")]
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    import asysvrg

    assert Path(asysvrg.__file__).is_relative_to(tree), asysvrg.__file__
    sets: dict[str, Any] = {}
    defaults = importlib.import_module("defaults")
    mnist = asysvrg.data.load("mnist", train_size=10_000, test_size=0)
    for line in sys.stdin:
        task = json.loads(line)
        if task["settings"] is None:
            name = task["name"]
            X, y, X_test, y_test = sets[name] = sets.get(name) or defaults.SETS[name]()
            kind = asysvrg.AsySVRGRegressor if y.dtype.kind == "f" else asysvrg.AsySVRGClassifier
            model = kind(random_state=task["seed"])
            began = time.perf_counter()
            model.fit(X, y)
            answer = {"seconds": time.perf_counter() - began, "score": model.score(X_test, y_test)}
        else:
            settings = task["settings"] | {"random_state": task["seed"]}
            model = asysvrg.AsySVRGClassifier(**known(settings, asysvrg.AsySVRGClassifier))
            last = model.fit(mnist.X_train, mnist.y_train).history_["epochs"][-1]
            answer = {"seconds": last["seconds"], "score": last["loss"]}
        print(json.dumps(answer), file=out, flush=True)


# ---- The others. ----


class Version:
    """A process that has imported the package from a checkout."""

    def __init__(self, tree: Path, **env: str):
        command = [sys.executable, __file__, "--serve", str(tree)]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, env=os.environ | env, **pipes)

    def ask(self, **task: Any) -> dict[str, float]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps(task), file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())


def compared(versions: list[Version], name: str, settings: dict[str, Any] | None, rounds: int) -> str:
    """A row of the table."""
    from ablation_report import with_spread

    for version in versions:
        version.ask(name=name, settings=settings, seed=0)  # loads data and libraries
    pairs = []
    for seed in range(rounds if settings is not None else rounds * SEEDS):
        order = versions if seed % 2 else versions[::-1]
        found = [version.ask(name=name, settings=settings, seed=seed) for version in order]
        pairs.append(found if seed % 2 else found[::-1])
    seconds = [statistics.median(pair[k]["seconds"] for pair in pairs) for k in (0, 1)]
    scores = [statistics.mean(pair[k]["score"] for pair in pairs) for k in (0, 1)]
    ratio = with_spread([new["seconds"] / old["seconds"] for new, old in pairs])
    return f"| {name} | {seconds[1]:.4g} | {seconds[0]:.4g} | {ratio} | {scores[1]:.4f} | {scores[0]:.4f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tree", type=Path, help="a checkout of the other version, built in place; or this one")
    parser.add_argument("--env", nargs="*", default=[], help="NAME=VALUE in the other's environment")
    parser.add_argument("--rounds", type=int, default=7, help="pairs of each setting; three times as many of defaults")
    parser.add_argument("--only", default="", help="rows whose name has this pattern (a regular expression)")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(args.tree)
        return
    versions = [Version(HERE), Version(args.tree.resolve(), **dict(each.split("=", 1) for each in args.env))]
    tables = {
        "Explicit settings, MNIST, 10,000 rows, 784-100-10: seconds of training, and the loss at the end": SETTINGS
        | to_the_objective(),
        "Defaults: seconds of a fit, and the score": dict.fromkeys(importlib.import_module("defaults").SETS),
    }
    for title, rows in tables.items():
        print(f"{title}\n\n| | other | this | this / other | other | this |\n|---|---|---|---|---|---|")
        for name, settings in rows.items():
            if re.search(args.only, name):
                print(compared(versions, name, settings, args.rounds), flush=True)
        print()


if __name__ == "__main__":
    main()
