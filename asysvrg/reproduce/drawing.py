"""The pictures. Lines differ by style and marker, too, so that they can be told apart in grey."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from asysvrg.reproduce import measures
from asysvrg.reproduce.methods import METHODS
from asysvrg.store.files import replacing

ENDINGS = (".png", ".svg")
ERRORS = (("loss", "training loss"), ("train_error", "training error"), ("test_error", "test error"))
# Their lightness differs as much as it can.
COLOURS = ("#000000", "#c03a2b", "#2f7fd1", "#e3a21a", "#5a3d8a", "#3fae7a")
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 3)))
MARKERS = ("o", "s", "^", "D", "v", "x")
MILLION = 1e6


def style(number: int, length: int = 1) -> dict[str, Any]:
    """Of the line with this number; about seven markers, that do not lie upon the other lines'."""
    gap = max(1, length // 7)
    return {
        "color": COLOURS[number], "linestyle": LINES[number], "marker": MARKERS[number], "linewidth": 1.6,
        "markersize": 4.5, "markevery": (number * gap // len(COLOURS), gap),
    }  # fmt: skip


def methods_figure(content: Mapping[str, Any]) -> Any:
    """Loss and errors (columns) against epochs, gradient evaluations and seconds (rows); bands from least to most."""
    from matplotlib.figure import Figure

    seconds = "virtual seconds of training" if content["about"]["virtual"] else "seconds of training"
    rows = (("epoch", "epochs", 1), ("sample_gradients", "gradient evaluations (millions)", MILLION))
    figure = Figure(figsize=(11, 9.2), layout="constrained")
    grid = figure.subplots(3, len(ERRORS))
    for axes, (where, label, unit) in zip(grid, (*rows, ("seconds", seconds, 1)), strict=True):
        for panel, (column, name) in zip(axes, ERRORS, strict=True):
            for number, method in enumerate(METHODS):
                _band(panel, content["runs"][method], (where, unit), column, number, method)
            _finish(panel, label, name, column, content["runs"].values())
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=len(METHODS))
    return figure


def _band(panel: Any, seeds: Sequence[Any], x: tuple[str, float], column: str, number: int, label: str) -> None:
    where, unit = x
    places, values = measures.mean(seeds, where) / unit, measures.curve(seeds, column)
    panel.plot(places, values.mean(axis=0), label=label, **style(number, len(places)))
    if len(values) > 1:
        panel.fill_between(places, values.min(axis=0), values.max(axis=0), color=COLOURS[number], alpha=0.2, lw=0)


def _finish(panel: Any, xlabel: str, ylabel: str, column: str, runs: Any) -> None:
    """Names of axes, and limits by what comes after the start, which is far above the rest."""
    panel.set(xlabel=xlabel, ylabel=ylabel, yscale="log")
    values = np.concatenate([measures.curve(seeds, column)[:, 1:].ravel() for seeds in runs])
    values = values[values > 0]
    if values.size:
        panel.set_ylim(values.min() * 0.93, np.quantile(values, 0.97) * 1.3)
    plain_ticks(panel.yaxis)
    panel.set_xlim(left=0)
    panel.grid(alpha=0.3, which="both")


def plain_ticks(axis: Any) -> None:
    """Ticks of a logarithmic axis that spans little, as plain numbers."""
    from matplotlib.ticker import LogLocator, StrMethodFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 3, 5, 7), numticks=12))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter("")


def save(figure: Any, path: str | os.PathLike[str]) -> None:
    """Writes `path` with each of `ENDINGS`."""
    for ending in ENDINGS:
        with replacing(Path(path).with_suffix(ending)) as file:
            figure.savefig(file, dpi=120, format=ending[1:])
