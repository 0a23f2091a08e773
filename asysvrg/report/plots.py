"""Figures of traces. Matplotlib is imported only when a figure is drawn."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from asysvrg.store.files import replacing

PANELS = (
    ("loss", "training loss (whole objective)"),
    ("train_error", "training error"),
    ("test_error", "test error"),
)


def require_matplotlib(path: str | os.PathLike[str] | None = None) -> None:
    """Raise ValueError if matplotlib is missing, or cannot write a file with the ending of `path`."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ValueError("drawing needs matplotlib: pip install 'asysvrg[plot]'") from None
    if path is not None:
        ending = Path(path).suffix.lower().removeprefix(".")
        known = Figure().canvas.get_supported_filetypes()
        if ending not in known:
            raise ValueError(f"cannot draw {path}: its name ends in none of {', '.join(sorted(known))}")


def draw(figures: Mapping[str, Mapping[str, Any]], path: str | os.PathLike[str]) -> None:
    """Draw loss, training error and test error against seconds of training.

    Parameters
    ----------
    figures : mapping of str to mapping of str to dict
        For each title the traces by name, as in `history_`. A title is a row of panels, a trace is a curve.
    path : path
        File to write; its ending is the format.
    """
    require_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 3.8 * len(figures)), layout="constrained")
    grid = figure.subplots(len(figures), len(PANELS), squeeze=False)
    for axes, (title, traces) in zip(grid, figures.items(), strict=True):
        for panel, (column, label) in zip(axes, PANELS, strict=True):
            for name, trace in traces.items():
                rows = [row for row in trace["epochs"] if row[column] is not None]
                panel.plot([row["seconds"] for row in rows], [row[column] for row in rows], label=name)
            panel.set(
                xlabel="seconds of training",
                ylabel=label,
                yscale="log" if column == "loss" else "linear",
            )
            if column == "loss":
                panel.set_title(title, loc="left")
                panel.legend()
            panel.set_ylim(top=_ceiling(traces, column), bottom=None if column == "loss" else 0)
            panel.grid(alpha=0.3)
    write(figure, path)


def write(figure: Any, path: str | os.PathLike[str], dpi: int = 110) -> None:
    """Writes a figure of matplotlib completely or not at all. The ending of the path is the format."""
    with replacing(path) as file:
        figure.savefig(file, dpi=dpi, format=Path(path).suffix[1:] or None)


def _ceiling(traces: Mapping[str, Any], column: str) -> float | None:
    # Without a limit, the first epochs would flatten the rest of the curve.
    values = [row[column] for t in traces.values() for row in t["epochs"][1:] if row[column] is not None]
    return 2 * sorted(values)[int(0.8 * len(values))] or None if values else None
