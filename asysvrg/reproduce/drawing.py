"""The pictures. Lines differ by style and marker, too, so that they can be told apart in grey."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from asysvrg.report import plots
from asysvrg.reproduce import measures
from asysvrg.reproduce.methods import METHODS
from asysvrg.reproduce.speedup import loads, speedups

ENDINGS = (".png", ".svg")
ERRORS = (("loss", "training loss"), ("train_error", "training error"), ("test_error", "test error"))
# Their lightness differs as much as it can.
COLOURS = ("#000000", "#c03a2b", "#2f7fd1", "#e3a21a", "#5a3d8a", "#3fae7a")
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 3)))
MARKERS = ("o", "s", "^", "D", "v", "x")
SIMULATED = {
    "color": "#c2419b", "linestyle": (0, (2, 1)), "marker": "*", "markersize": 9, "markerfacecolor": "white",
    "linewidth": 1.6,
}  # fmt: skip
MILLION = 1e6


def style(number: int, length: int = 1) -> dict[str, Any]:
    """The look of the line with this number. It has about seven markers, apart from those of other lines."""
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


def _band(
    panel: Any, seeds: Sequence[Any], x: tuple[str, float], column: str, number: int, label: str, first: int = 0
) -> None:
    where, unit = x
    places, values = measures.mean(seeds, where)[first:] / unit, measures.curve(seeds, column)[:, first:]
    panel.plot(places, values.mean(axis=0), label=label, **style(number, len(places)))
    if len(values) > 1:
        panel.fill_between(places, values.min(axis=0), values.max(axis=0), color=COLOURS[number], alpha=0.2, lw=0)


def _finish(panel: Any, xlabel: str, ylabel: str, column: str, runs: Any) -> None:
    """Names of axes, and limits by what comes after the start, which is far above the rest."""
    from matplotlib.ticker import MaxNLocator

    panel.set(xlabel=xlabel, ylabel=ylabel, yscale="log")
    values = np.concatenate([measures.curve(seeds, column)[:, 1:].ravel() for seeds in runs])
    values = values[values > 0]
    if values.size:
        panel.set_ylim(values.min() * 0.93, np.quantile(values, 0.97) * 1.3)
    plain_ticks(panel.yaxis)
    panel.set_xlim(left=0)
    panel.xaxis.set_major_locator(MaxNLocator(6, integer=xlabel == "epochs"))
    panel.grid(alpha=0.3, which="both")


def plain_ticks(axis: Any, digits: tuple[int, ...] = (1, 2, 3, 5, 7)) -> None:
    """Ticks of a logarithmic axis that spans little, as plain numbers."""
    from matplotlib.ticker import LogLocator, StrMethodFormatter

    axis.set_major_locator(LogLocator(subs=digits, numticks=12))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter("")


def threads_figure(content: Mapping[str, Any]) -> Any:
    """For each kind of coordinates (rows) loss and test error against time, by threads, and the speedup."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.1 * len(content["kinds"])), layout="constrained")
    grid = figure.subplots(len(content["kinds"]), 3, squeeze=False)
    for axes, (kind, found) in zip(grid, content["kinds"].items(), strict=True):
        curves = {measures.count(k, "thread"): seeds for k, seeds in found["measured"].items()}
        _against_time(axes[:2], curves, "seconds of training", kind)
        _speedups(axes[2], "threads", {"measured": found["measured"], "simulated": found["simulated"]})
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=6)
    return figure


def workers_figure(content: Mapping[str, Any]) -> Any:
    """Loss and test error against time, by workers; the speedup, and how busy the server is."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.5, 7), layout="constrained")
    ((loss, error), (speedup, load)) = figure.subplots(2, 2)
    measured = list(content["measured"].items())[:2]
    simulated = list(content["simulated"].items())
    chosen = [simulated[round(k * (len(simulated) - 1) / 3)] for k in range(4)] if len(simulated) > 4 else simulated
    curves = {f"{measures.count(k, 'worker')}, simulated": seeds for k, seeds in chosen}
    curves |= {f"{measures.count(k, 'rank')}, measured": seeds for k, seeds in measured}
    _against_time((loss, error), curves, "seconds of training (virtual if simulated)", "")
    each = {"simulated": content["simulated"]} | ({"measured": content["measured"]} if measured else {})
    _speedups(speedup, "workers", each)
    found = loads(content)
    load.plot([int(k) for k in found], [100 * share for share in found.values()], **SIMULATED)
    load.set(xlabel="workers (simulated)", ylabel="server's load (%)", xscale="log", ylim=(0, 105))
    _counted(load.xaxis, [1, 2, 5, 10, 20, 50, 100, 200])
    load.grid(alpha=0.3)
    figure.legend(*loss.get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


def _against_time(panels: Sequence[Any], curves: Mapping[str, Any], seconds: str, title: str) -> None:
    for panel, (column, name) in zip(panels, (ERRORS[0], ERRORS[2]), strict=True):
        for number, (label, seeds) in enumerate(curves.items()):
            _band(panel, seeds, ("seconds", 1), column, number, label, first=1)
        _finish(panel, seconds, name, column, curves.values())
        panel.set_xscale("log")
        least = min(measures.mean(seeds, "seconds")[1] for seeds in curves.values())
        panel.set_xlim(left=0.8 * least)
        plain_ticks(panel.xaxis, (1, 2, 5))
        panel.set_title(title, fontsize="medium", loc="left")


def _speedups(panel: Any, unit: str, curves: Mapping[str, Any]) -> None:
    """Measured and simulated ones never look alike."""
    numbers = sorted({int(k) for each in curves.values() for k in each})
    panel.plot(numbers, numbers, color="0.6", linestyle=":", linewidth=1.6, label="ideal")
    for label, each in curves.items():
        found = [(int(k), speedup) for k, speedup in speedups(each).items() if speedup]
        panel.plot(*zip(*found, strict=True), label=label, **(SIMULATED if label == "simulated" else style(0)))
    panel.set(xlabel=unit, ylabel="speedup, Eq. (22)", xscale="log", yscale="log")
    _counted(panel.xaxis, numbers)
    plain_ticks(panel.yaxis, (1, 2, 5))
    panel.legend(loc="upper left")
    panel.grid(alpha=0.3)


def _counted(axis: Any, numbers: Sequence[int]) -> None:
    axis.set_ticks(numbers, [str(number) for number in numbers])
    axis.set_ticks([], minor=True)


def save(figure: Any, path: str | os.PathLike[str]) -> None:
    """Writes `path` with each of `ENDINGS`."""
    for ending in ENDINGS:
        plots.write(figure, Path(path).with_suffix(ending), dpi=120)
