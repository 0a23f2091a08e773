"""The pictures. Lines differ by style and marker, too, so that they can be told apart in grey."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from asysvrg.report import plots
from asysvrg.reproduce import cluster, measures
from asysvrg.reproduce.methods import METHODS, trained_by
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
WHAT, RANKS = cluster.WHAT, "ranks, measured"
ON_CLUSTER = {
    "color": "#2a8f4e", "linestyle": (0, (6, 1.5, 1, 1.5)), "marker": "P", "markersize": 7, "linewidth": 1.6,
}  # fmt: skip
MILLION = 1e6


def style(number: int, length: int = 1) -> dict[str, Any]:
    """The look of the line with this number. It has about seven markers, apart from those of other lines."""
    gap = max(1, length // 7)
    return {
        "color": COLOURS[number], "linestyle": LINES[number], "marker": MARKERS[number], "linewidth": 1.6,
        "markersize": 4.5, "markevery": (number * gap // len(COLOURS), gap),
    }  # fmt: skip


LOOKS = {"measured": style(0), RANKS: style(0), "simulated": SIMULATED, WHAT: ON_CLUSTER}


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
    title = f"Trained by {trained_by(content['about'])}"
    lines = grid[0, 0].get_legend_handles_labels()
    figure.legend(*lines, loc="outside upper center", ncols=len(METHODS), title=title)
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
        axes[2].legend(loc="upper left")
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=6)
    return figure


def workers_figure(content: Mapping[str, Any]) -> Any:
    """Loss and test error against time, by workers: simulated and ranks, then the emulated cluster.

    Below, the speedup, how busy the server is, and the delays.
    """
    from matplotlib.figure import Figure

    has_cluster = "curves" in content["cluster"]
    figure = Figure(figsize=(10.5, 10 if has_cluster else 7), layout="constrained")
    parts: Any = figure.subfigures(3 if has_cluster else 2, 1)
    *rows, last = parts
    _curves(
        rows[0], _some(content), "seconds of training (virtual if simulated)", "simulated, and ranks on this machine"
    )
    if has_cluster:
        curves = {measures.count(k, "worker"): seeds for k, seeds in content["cluster"]["curves"].items()}
        _curves(rows[1], curves, "seconds of training", WHAT)
    _beside(last, content, has_cluster)
    return figure


def _some(content: Mapping[str, Any]) -> dict[str, Any]:
    """At most four numbers of virtual workers, and two of ranks."""
    simulated = list(content["simulated"].items())
    chosen = [simulated[round(k * (len(simulated) - 1) / 3)] for k in range(4)] if len(simulated) > 4 else simulated
    curves = {f"{measures.count(k, 'worker')}, simulated": seeds for k, seeds in chosen}
    ranks = list(content["measured"].items())[:2]
    return curves | {f"{measures.count(k, 'rank')}, measured": seeds for k, seeds in ranks}


def _curves(figure: Any, curves: Mapping[str, Any], seconds: str, title: str) -> None:
    panels = figure.subplots(1, 2)
    _against_time(panels, curves, seconds, title)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)


def _beside(figure: Any, content: Mapping[str, Any], has_cluster: bool) -> None:
    """Speedup, the server's load, and delays, by number of workers."""
    panels = figure.subplots(1, 3)
    curves = {"simulated": content["simulated"]} | ({RANKS: ranks} if (ranks := content["measured"]) else {})
    load = {"simulated": loads(content)}
    if has_cluster:
        found = content["cluster"]
        curves[WHAT], load[WHAT] = found["curves"], cluster.loads(found)
        panels[1].axvline(cluster.saturates_at(found), color="0.4", linestyle="--", label="cluster saturates")
    _speedups(panels[0], "workers", curves)
    shares = {name: {k: 100 * share for k, share in each.items()} for name, each in load.items()}
    _by_workers(panels[1], "server's load (%)", shares)
    panels[1].set(xscale="log", ylim=(0, 105))
    _counted(panels[1].xaxis, [1, 2, 5, 10, 20, 50, 100, 200])
    _by_workers(panels[2], "mean delay (updates)", {name: cluster.delays(each) for name, each in curves.items()})
    each = {line.get_label(): line for panel in panels[:2] for line in panel.get_lines()}
    figure.legend(each.values(), each.keys(), loc="outside upper center", ncols=len(each))


def _by_workers(panel: Any, name: str, lines: Mapping[str, Mapping[str, float]]) -> None:
    for label, values in lines.items():
        panel.plot([int(k) for k in values], list(values.values()), label=label, **LOOKS[label])
    panel.set(xlabel="workers", ylabel=name)
    panel.grid(alpha=0.3)


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
        panel.plot(*zip(*found, strict=True), label=label, **LOOKS[label])
    panel.set(xlabel=unit, ylabel="speedup, Eq. (22)", xscale="log", yscale="log")
    _counted(panel.xaxis, [number for number in numbers if number < 5 or number % 2 == 0])
    plain_ticks(panel.yaxis, (1, 2, 5))
    panel.grid(alpha=0.3)


def _counted(axis: Any, numbers: Sequence[int]) -> None:
    axis.set_ticks(numbers, [str(number) for number in numbers])
    axis.set_ticks([], minor=True)


def save(figure: Any, path: str | os.PathLike[str]) -> None:
    """Writes `path` with each of `ENDINGS`."""
    for ending in ENDINGS:
        plots.write(figure, Path(path).with_suffix(ending), dpi=120)
