"""`make demo`: SGD, SVRG and SGD_SVRG side by side on digits; then Figure 1 of the paper, where MNIST is found."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

from sklearn.exceptions import ConvergenceWarning

from asysvrg import AsySVRGClassifier, data
from asysvrg.data.download import home, missing
from asysvrg.report import plots
from asysvrg.reproduce.command import reproduce

# For each method the best learning rate of a small grid, with one thread.
COMMON: dict[str, Any] = {"alpha": 1e-3, "batch_size": 10, "max_iter": 60, "tol": 0, "random_state": 0}
METHODS: dict[str, dict[str, Any]] = {
    "SGD": {"solver": "sgd", "learning_rate_init": 0.2, "decay": 0.2},
    "SVRG": {"learning_rate_init": 0.2},
    "SGD_SVRG": {"learning_rate_init": 0.2, "sgd_epochs": 5},
}
FIGURE = Path("demo")


def compare() -> dict[str, dict[str, Any]]:
    """Train on digits with the three methods; return their traces by name."""
    sets = data.load("digits")
    traces = {}
    for method, parameters in METHODS.items():
        print(f"\ndigits, {method}:", file=sys.stderr)
        model = AsySVRGClassifier(**COMMON, **parameters, verbose=True)
        model.fit(sets.X_train, sets.y_train, X_val=sets.X_test, y_val=sets.y_test)
        traces[method] = model.history_
    return traces


def closing_table(traces: dict[str, dict[str, Any]]) -> str:
    """Table with the last row of every run."""
    titles = ("threads", 8), ("epochs", 8), ("seconds", 9), ("loss", 9), ("train err", 11), ("test err", 10)
    lines = [f"{'digits':<10}" + "".join(f"{title:>{width}}" for title, width in titles)]
    for method, trace in traces.items():
        row = trace["epochs"][-1]
        lines.append(
            f"{method:<10}{trace['config']['threads']:>8}{row['epoch']:>8}{row['seconds']:>9.2f}"
            f"{row['loss']:>9.4f}{row['train_error']:>11.4f}{row['test_error']:>10.4f}"
        )
    return "\n".join(lines)


def main(path: str = "demo.png", folder: Path = FIGURE) -> None:
    """Train on digits and draw the figure `path`; write Figure 1, in its quick form, into `folder`."""
    warnings.simplefilter("ignore", ConvergenceWarning)
    traces = compare()
    print(f"\n{closing_table(traces)}")
    plots.draw({"digits": traces}, path)
    print(f"figure: {Path(path).absolute()}", flush=True)
    if missing("mnist"):
        print(
            f"no MNIST in {home()}, so no Figure 1: set ASYSVRG_DATA_HOME, or `asysvrg train mnist` downloads it",
            file=sys.stderr,
        )
    else:
        print(reproduce(("fig1",), folder, quick=True).read_text())


if __name__ == "__main__":
    main(*sys.argv[1:2])  # type: ignore[arg-type]  # at most one of them
