"""The measured run: every contender with its best settings once a round, in random order; medians over rounds."""

from __future__ import annotations

import json
import random
import re
import statistics
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from report import BOOSTED

from asysvrg.core.trace import environment
from asysvrg.store.files import write_json
from contenders.grid import BEST
from contenders.setting import TARGETS, reached
from contenders.workers import FAMILIES, Worker, family_of

RESULTS = Path(__file__).parents[1] / "results"
PATIENCE, AT_LEAST = 6.0, 5.0  # a run is given up after so many times the tuned seconds, but not before so many seconds
REST = 0.5  # seconds before a turn: the threads of some pools look for work for a while after theirs
UNTUNED = {"ours, defaults": {}, "ours, defaults, max_iter=100": {"max_iter": 100}}


def plan(found: dict[str, Any], cores: int, only: str) -> dict[str, list[tuple[dict[str, Any], dict[float, float]]]]:
    """For each contender its settings, each with the targets it is for and the seconds that tuning saw."""
    runs: dict[str, list[tuple[dict[str, Any], dict[float, float]]]] = {}
    for contender, by_cores in found["contenders"].items():
        best = by_cores.get(str(cores)) or by_cores.get("1", {})
        for target, what in best.items():
            same = [targets for settings, targets in runs.get(contender, []) if settings == what["settings"]]
            if same:
                same[0][float(target)] = what["seconds"]
            else:
                runs.setdefault(contender, []).append((what["settings"], {float(target): what["seconds"]}))
    for contender, settings in UNTUNED.items():
        runs[contender] = [(settings, dict.fromkeys(TARGETS, 4.0))]
    return {contender: what for contender, what in runs.items() if re.search(only, contender)}


def one_round(
    workers: dict[str, Worker], runs: dict[str, Any], seed: int, results: dict[str, list[dict[str, Any]]]
) -> None:
    turns = [(contender, *what) for contender, settings in runs.items() for what in settings]
    random.Random(seed).shuffle(turns)
    for contender, settings, targets in turns:
        limits = {target: max(PATIENCE * seconds, AT_LEAST) for target, seconds in targets.items()}
        time.sleep(REST)
        rows = workers[family_of(contender)].ask(contender.split(", max_iter")[0], settings, seed=seed, limits=limits)
        if not rows:
            continue
        entry = {"round": seed, "settings": settings, "targets": list(targets), "rows": rows}
        results.setdefault(contender, []).append(entry)
        print(f"round {seed}: {contender}", file=sys.stderr, flush=True)


def seconds_to(entries: list[dict[str, Any]], target: float) -> dict[int, float | None]:
    """By round: of the settings that are for this target."""
    return {entry["round"]: reached(entry["rows"], target) for entry in entries if target in entry["targets"]}


def median(values: Any) -> float | None:
    """None where more than half are missing: a run that did not arrive is one that took for ever."""
    values = [float("inf") if v is None else v for v in values]
    middle = statistics.median(values) if values else float("inf")
    return None if middle == float("inf") else middle


def summary(results: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """For each contender: microseconds an update, seconds to each target, ratio to the best of ours."""
    by_target = {t: {name: seconds_to(entries, t) for name, entries in results.items()} for t in TARGETS}
    ours = [name for name in results if name.startswith("ours s")]
    table: dict[str, Any] = {}
    for name, entries in results.items():
        # Of the settings for the second target: mini-batches differ between the settings.
        last = [e["rows"][-1] for e in entries if TARGETS[1] in e["targets"] and e["rows"][-1]["updates"]]
        table[name] = {
            "microseconds_per_update": median([row["seconds"] / row["updates"] * 1e6 for row in last]),
            "seconds": {},
            "times_ours": {},
            "settings": {str(t): next((e["settings"] for e in entries if t in e["targets"]), None) for t in TARGETS},
        }
        for target, seconds in by_target.items():
            table[name]["seconds"][str(target)] = median(seconds[name].values())
            able = [other for other in ours if median(seconds[other].values()) is not None]
            if not able:
                continue
            best = min(able, key=lambda other: median(seconds[other].values()))
            ratios = [
                None if mine is None or not seconds[best].get(round_) else mine / seconds[best][round_]
                for round_, mine in seconds[name].items()
            ]
            table[name]["times_ours"][str(target)] = median(ratios)
    return table


def text(table: dict[str, Any], cores: int) -> str:
    def cell(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    lines = [[f"{cores} core(s)", "us/update", *(f"s to {t}" for t in TARGETS), *(f"x ours, {t}" for t in TARGETS)]]
    order = sorted(table, key=lambda name: table[name]["seconds"][str(TARGETS[1])] or float("inf"))
    for name in order:
        row = table[name]
        lines.append(
            [
                name,
                cell(row["microseconds_per_update"], ".1f"),
                *(cell(row["seconds"][str(t)], ".3f") for t in TARGETS),
                *(cell(row["times_ours"].get(str(t)), ".2f") for t in TARGETS),
            ]
        )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(c.rjust(w) if i else c.ljust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True)))
        for line in lines
    )


def race(cores: list[int], only: str, rounds: int) -> None:
    """Runs the rounds, prints the tables, writes results/peers.json and results/peers.png."""
    if not BEST.exists():
        raise SystemExit(f"{BEST} is missing: run `python bench/peers.py tune` first")
    found = json.loads(BEST.read_text())
    RESULTS.mkdir(exist_ok=True)
    # What was run before with another number of cores stays.
    before = json.loads((RESULTS / "peers.json").read_text())["cores"] if (RESULTS / "peers.json").exists() else {}
    content: dict[str, Any] = {"environment": environment(), "rounds": rounds, "cores": before}
    for number in cores:
        runs, results = plan(found, number, only), {}
        families = {family_of(contender) for contender in runs}
        with ExitStack() as stack:
            workers = {f: stack.enter_context(Worker(f, number)) for f in FAMILIES if f in families}
            for seed in range(rounds):
                one_round(workers, runs, seed, results)
        table = summary(results)
        print(text(table, number), flush=True)
        content["cores"][str(number)] = {"table": table, "runs": results}
        write_json(RESULTS / "peers.json", content)
    draw(content)


# The lines of the picture, each for the best of those whose names start so. Colours differ in lightness, too.
LINES: dict[str, dict[str, Any]] = {
    "ours s": {"color": "black", "linestyle": "-", "marker": "o", "linewidth": 2.5},
    "ours, defaults": {"color": "#3b1f8c", "linestyle": "--", "marker": "s", "linewidth": 2.5},
    "jax": {"color": "#b5308a", "linestyle": "-.", "marker": "^"},
    "torch": {"color": "#e8603c", "linestyle": ":", "marker": "D"},
    "scikit-learn": {"color": "#6fae7b", "linestyle": (0, (5, 1, 1, 1, 1, 1)), "marker": "v"},
    "L-BFGS": {"color": "#c8a415", "linestyle": (0, (8, 3)), "marker": "x"},
}


def best_of_each(table: dict[str, Any]) -> dict[str, str]:
    """The name of the best contender for each of `LINES`: the first at the second target, or else at an easier one."""

    def seconds(name: str) -> list[float]:
        given = [table[name]["seconds"].get(str(target)) for target in (TARGETS[1], TARGETS[0])]
        return [float("inf") if value is None else value for value in given]

    found = {}
    for line in LINES:
        able = [name for name in table if name.startswith(line) and name != BOOSTED]
        if able:
            found[line] = min(able, key=seconds)
    return found


def draw(content: dict[str, Any], path: Path = RESULTS / "peers.png") -> None:
    """Median seconds to each objective, one panel for each number of cores; of ours and of each peer the best."""
    from matplotlib.figure import Figure

    panels = content["cores"]
    figure = Figure(figsize=(6.5 * len(panels), 5.2), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)
    for axis, (cores, what) in zip(axes[0], panels.items(), strict=True):
        for line, name in best_of_each(what["table"]).items():
            seconds = what["table"][name]["seconds"]
            reached = [(str(t), seconds[str(t)]) for t in TARGETS if seconds.get(str(t)) is not None]
            axis.plot(*zip(*reached, strict=True), label=name, markersize=7, **LINES[line])
        axis.set(yscale="log", title=f"{cores} core(s)", xlabel="objective to reach (mean loss and l2 term)")
        axis.grid(alpha=0.3)
        axis.legend(ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.13), frameon=False)  # below the lines
    axes[0][0].set_ylabel("seconds, median over rounds (logarithmic)")
    figure.savefig(path, dpi=100)
