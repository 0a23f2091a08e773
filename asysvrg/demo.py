"""`make demo`: SGD, SVRG and SGD_SVRG side by side, as in Figure 1 of the paper."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

from sklearn.exceptions import ConvergenceWarning

from asysvrg import AsySVRGClassifier, data
from asysvrg.data.download import home, missing
from asysvrg.report import plots

METHODS = ("SGD", "SVRG", "SGD_SVRG")
# For each method the best learning rate of a small grid, with one thread.
SETTINGS: dict[str, dict[str, Any]] = {
    "digits": {
        "common": {"alpha": 1e-3, "batch_size": 10, "max_iter": 60},
        "SGD": {"solver": "sgd", "learning_rate_init": 0.2, "decay": 0.2},
        "SVRG": {"learning_rate_init": 0.2},
        "SGD_SVRG": {"learning_rate_init": 0.2, "sgd_epochs": 5},
    },
    "mnist": {  # the paper's: 784-100-10, C = 1e-3, |I_t| = 10, m = 1,000
        "sizes": {"train_size": 10_000, "test_size": 2_000},
        "common": {"alpha": 1e-3, "batch_size": 10, "max_iter": 25, "inner_steps": 1000},
        "SGD": {"solver": "sgd", "learning_rate_init": 0.2, "decay": 0.4},
        "SVRG": {"learning_rate_init": 0.1},
        "SGD_SVRG": {"learning_rate_init": 0.1, "sgd_epochs": 5},
    },
}


def compare(name: str) -> dict[str, dict[str, Any]]:
    """Train with the three methods; return their traces by name."""
    settings = SETTINGS[name]
    sets = data.load(name, **settings.get("sizes", {}))
    traces = {}
    for method in METHODS:
        print(f"\n{name}, {method}:", file=sys.stderr)
        model = AsySVRGClassifier(**settings["common"], **settings[method], tol=0, random_state=0, verbose=True)
        model.fit(sets.X_train, sets.y_train, X_val=sets.X_test, y_val=sets.y_test)
        traces[method] = model.history_
    return traces


def closing_table(figures: dict[str, dict[str, dict[str, Any]]]) -> str:
    """Table with the last row of every run."""
    titles = ("threads", 8), ("epochs", 8), ("seconds", 9), ("loss", 9), ("train err", 11), ("test err", 10)
    lines = [f"{'data':<8}{'method':<10}" + "".join(f"{title:>{width}}" for title, width in titles)]
    for name, traces in figures.items():
        for method, trace in traces.items():
            row = trace["epochs"][-1]
            lines.append(
                f"{name:<8}{method:<10}{trace['config']['threads']:>8}{row['epoch']:>8}{row['seconds']:>9.2f}"
                f"{row['loss']:>9.4f}{row['train_error']:>11.4f}{row['test_error']:>10.4f}"
            )
    return "\n".join(lines)


def main(path: str = "demo.png") -> None:
    """Train on digits and, if its files are found, on MNIST; draw the figure `path`."""
    warnings.simplefilter("ignore", ConvergenceWarning)
    figures = {"digits": compare("digits")}
    if not missing("mnist"):
        figures["mnist"] = compare("mnist")
    else:
        print(f"\nno MNIST in {home()}: set ASYSVRG_DATA_HOME, or `asysvrg train mnist` downloads it", file=sys.stderr)
    print(f"\n{closing_table(figures)}")
    plots.draw(figures, path)
    print(f"figure: {Path(path).absolute()}")


if __name__ == "__main__":
    main(*sys.argv[1:])
