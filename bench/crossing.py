"""Where variance reduction pays: gradient evaluations and seconds to targets from 0.3 down to the least loss found.

10,000 rows of MNIST if ASYSVRG_DATA_HOME has them, else the bundled digits; one thread, all coordinates, plain steps.
SGD, SVRG, SGD_SVRG, L-SVRG and PAGE run at each of their rates from the same start; for each target the fastest run
of a method counts. Seconds are the processor's. Writes docs/crossing.json and docs/crossing.png, in some 20 minutes:
`python bench/crossing.py`.
"""

from __future__ import annotations

import argparse
import itertools
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from contenders.ours import ProcessorClock
from contenders.setting import mnist_or_digits
from matplotlib.figure import Figure

from asysvrg import AsySVRGClassifier
from asysvrg.core.trace import environment
from asysvrg.report import plots
from asysvrg.reproduce import measures
from asysvrg.reproduce.drawing import style
from asysvrg.reproduce.settings import PLAIN
from asysvrg.store.files import write_json

DOCS = Path(__file__).parents[1] / "docs"
FIRST, POINTS, NEAR = 0.3, 25, 0.01  # the largest target, their number; the last is so much of the least loss above it
PROBLEMS: dict[str, dict[str, Any]] = {
    "784-100-10, C = 1e-3, b = 10": {},
    "mini-batches of 100": {"batch_size": 100},
    "C = 1e-2": {"alpha": 1e-2},
    "C = 1e-4": {"alpha": 1e-4},
    "even or odd": {"classes": 2},
    "no hidden layer (convex)": {"hidden_layer_sizes": ()},
}
BASE = PLAIN | {"hidden_layer_sizes": (100,), "alpha": 1e-3, "random_state": 0}
METHODS: dict[str, dict[str, Any]] = {
    "SGD": {"solver": "sgd", "decay": (0, 0.5, 1)},
    "SVRG": {"solver": "svrg"},
    "SGD_SVRG": {"solver": "svrg", "sgd_epochs": 3},
    "L-SVRG": {"solver": "lsvrg"},
    "PAGE": {"solver": "page", "slow": True},
}
COLUMNS = ("sample_gradients", "seconds")


def settings(how: dict[str, Any], rates: tuple[float, ...]) -> list[dict[str, Any]]:
    """What a method is tried with; a slow one with rates of a tenth, too."""
    how = dict(how)
    decays = how.pop("decay", (0,))
    rates = (*(rate / 10 for rate in rates), *rates) if how.pop("slow", False) else rates
    return [how | {"learning_rate_init": rate, "decay": decay} for rate, decay in itertools.product(rates, decays)]


def run(X: np.ndarray, y: np.ndarray, parameters: dict[str, Any], epochs: int) -> list[dict[str, float]]:
    """The rows of a run; those until a rate that was too large was halved."""
    ProcessorClock.at = {0.0: 0.0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows = AsySVRGClassifier(**BASE | parameters, max_iter=epochs).fit(X, y).history_["epochs"]
    kept = list(itertools.takewhile(lambda row: not row["rolled_back"] and math.isfinite(row["loss"]), rows))
    places = ("loss", "sample_gradients")
    return [{name: row[name] for name in places} | {"seconds": ProcessorClock.at[row["seconds"]]} for row in kept]


def problem(X: np.ndarray, y: np.ndarray, parameters: dict[str, Any], epochs: int) -> dict[str, Any]:
    """For each method and target the least evaluations and seconds, and what took them."""
    parameters = dict(parameters)
    y = y % parameters.pop("classes", 10)
    batch = parameters.get("batch_size", BASE["batch_size"])
    parameters |= {"inner_steps": -(-len(X) // batch)}
    rates = tuple(float(f"{rate * (batch / 10) ** 0.5:.2g}") for rate in (0.025, 0.05, 0.1, 0.2, 0.4))
    runs: dict[str, Any] = {}
    for name, how in METHODS.items():
        length = 2 * epochs if name in ("SGD", "PAGE") else epochs  # their epochs cost half as much
        runs[name] = [(each, run(X, y, parameters | each, length)) for each in settings(how, rates)]
    least = min(row["loss"] for tried in runs.values() for _, rows in tried for row in rows)
    targets = (least + np.geomspace(max(FIRST - least, least / 2), NEAR * least, POINTS)).tolist()
    found = {name: [fastest(tried, target) for target in targets] for name, tried in runs.items()}
    return {"least": least, "targets": targets, "rates": rates, "found": found}


def fastest(tried: list[tuple[dict[str, Any], Any]], target: float) -> dict[str, Any]:
    """The least of each column to the target, and the setting of the least seconds."""
    found: dict[str, Any] = {}
    for column in COLUMNS:
        value, number = min(
            (measures.reached(rows, target, column) or math.inf, number) for number, (_, rows) in enumerate(tried)
        )
        found[column] = value if math.isfinite(value) else None
        found["setting"] = {k: tried[number][0][k] for k in ("learning_rate_init", "decay")}
    return found


def advantage(found: dict[str, Any], column: str, method: str) -> list[float]:
    """SGD's cost / the method's, by target: infinite where only the method arrives, NaN where neither does."""
    pairs = zip(found["SGD"], found[method], strict=True)
    return [_ratio(sgd[column], other[column]) for sgd, other in pairs]


def _ratio(sgd: float | None, other: float | None) -> float:
    if other is None:
        return math.nan if sgd is None else 0.0
    return math.inf if sgd is None else sgd / other


def crossing(content: dict[str, Any], column: str, method: str) -> float | None:
    """The largest target from which on the method needs less than SGD, down to the last one; None if there is none."""
    ahead = np.array(advantage(content["found"], column, method)) > 1
    behind = np.flatnonzero(~ahead)
    first = 0 if behind.size == 0 else int(behind[-1]) + 1
    return None if first == len(ahead) else content["targets"][first]


def table(problems: dict[str, Any]) -> str:
    """In Markdown: from which target on a method needs less than SGD, and what it saves at the end."""
    titles = ("problem", "least loss", "method", "evaluations: ahead below", "seconds: ahead below")
    lines = [f"| {' | '.join(titles)} | last target, SGD / it: evaluations | seconds |", "|---" * 7 + "|"]
    for name, content in problems.items():
        for method in list(METHODS)[1:]:
            cells = [name, f"{content['least']:.4f}", method]
            cells += [_text(crossing(content, column, method), ".4f", "nowhere") for column in COLUMNS]
            cells += [_text(advantage(content["found"], column, method)[-1], ".2f", "") for column in COLUMNS]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _text(value: float | None, how: str, nothing: str) -> str:
    if value is None:
        return nothing
    if math.isnan(value):
        return "neither arrives"
    return {math.inf: "SGD never arrives", 0.0: "never arrives"}.get(value, f"{value:{how}}")


def draw(problems: dict[str, Any], path: Path) -> None:
    """For each problem gradient evaluations and, below, seconds, against the target's distance from the least loss."""
    wide, pairs = 3, -(-len(problems) // 3)
    figure = Figure(figsize=(3.6 * wide, 5.8 * pairs), layout="constrained")
    grid = figure.subplots(2 * pairs, wide, squeeze=False)
    for number, (name, content) in enumerate(problems.items()):
        row, place = divmod(number, wide)
        above, below = grid[2 * row, place], grid[2 * row + 1, place]
        above.set_title(f"{name}\nleast loss {content['least']:.4f}", fontsize=10)
        below.set_xlabel("target - least loss")
        for panel, column in ((above, "sample_gradients"), (below, "seconds")):
            against_target(panel, content, column)
            if place == 0:
                panel.set_ylabel(f"{column.replace('sample_gradients', 'gradient evaluations')} to the target")
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=len(METHODS))
    plots.write(figure, path)


def against_target(panel: Any, content: dict[str, Any], column: str) -> None:
    distance = np.array(content["targets"]) - content["least"]
    for number, (method, found) in enumerate(content["found"].items()):
        values = [np.nan if each[column] is None else each[column] for each in found]
        panel.loglog(distance, values, label=method, **style(number, len(values)))
    panel.invert_xaxis()
    panel.yaxis.set_minor_formatter("")
    panel.grid(alpha=0.3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=40, help="SGD and PAGE, with cheaper epochs: twice that")
    parser.add_argument("--output", type=Path, default=DOCS)
    args = parser.parse_args()
    name, X, y = mnist_or_digits(args.rows)
    found = {}
    for each, parameters in PROBLEMS.items():
        found[each] = problem(X, y, parameters, args.epochs)
        print(f"{each}: least loss {found[each]['least']:.4f}", flush=True)
    content = {"data": f"{name}, {len(X):,} rows", "epochs": args.epochs, "environment": environment()}
    content["problems"] = found
    write_json(args.output / "crossing.json", content)
    draw(found, args.output / "crossing.png")
    print(table(found))


if __name__ == "__main__":
    main()
