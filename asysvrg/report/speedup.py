"""`asysvrg speedup`: the time of as many updates by 1, 2, 4, ... threads or ranks, Eq. (22)."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import joblib
from sklearn.base import clone

from asysvrg import settings
from asysvrg.core import cpu, system
from asysvrg.core.trace import environment
from asysvrg.distributed import job, launch
from asysvrg.distributed.backend import MPI
from asysvrg.report import plots
from asysvrg.simulation.calibrate import calibrate
from asysvrg.simulation.run import simulate

# Every run is to make as many updates, whatever it has reached, and by the threads or ranks that are asked for.
FIXED: dict[str, Any] = {
    "n_jobs": None,
    "backend": "threads",
    "n_models": 1,
    "tol": 0.0,
    "n_iter_no_change": 10,
    "early_stopping": False,
    "validation_fraction": 0.1,
    "target_loss": None,
    "max_time": None,
    "checkpoint_dir": None,
    "resume": False,
    "track_gradient_norm": None,
}
GAIN = 1.1  # a larger number of threads pays if it is so many times as fast
PINNING = ("OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY", "KMP_AFFINITY", "OMP_NUM_THREADS", "OMP_THREAD_LIMIT")
BUSY = 0.1  # of a core that other programs have meanwhile: then the table says so


class _Runner:
    """Fits of one estimator by different numbers of threads, ranks or virtual workers."""

    def __init__(self, estimator: Any, X: Any, y: Any):
        self.X, self.y, self.simulated = X, y, False
        self.ready = clone(estimator).set_params(**FIXED | {"backend": estimator.backend, "verbose": False})
        self.by = "workers" if settings.is_distributed(estimator.backend) else "threads"
        if self.by == "workers":
            self._find_ranks()
        settings.check(self.ready)

    def _find_ranks(self) -> None:
        if self.ready.execution == "lockstep":
            raise ValueError("--execution lockstep is for threads; leave it out with --workers")
        backend = self.ready.backend if isinstance(self.ready.backend, MPI) else MPI()
        self.ready.set_params(execution="auto")
        self.servers = backend.servers
        try:
            launch.find()
        except ValueError as error:
            if self.servers > 1:
                raise ValueError(f"several servers are not simulated, and {error}") from None
            self.simulated = True

    @property
    def name(self) -> str:
        """Who ran, for messages."""
        return f"{'simulated ' * self.simulated}{self.by[:-1]}(s)"

    def history(self, k: int, **given: Any) -> dict[str, Any]:
        """`history_` of a fit by k of them."""
        model = clone(self.ready).set_params(**given)
        if self.by == "threads":
            history = model.set_params(n_jobs=k).fit(self.X, self.y).history_
            config = history["config"]
            if config["threads"] < k:
                why = config["plan"]["threads"]
                raise ValueError(f"{k} threads were asked for, and {config['threads']} ran: {why}")
            return history
        if not self.simulated:
            return job.history_by_ranks(model, self.X, self.y, k, servers=self.servers)
        if not hasattr(self, "costs"):
            self.costs = calibrate(self.ready, self.X, self.y, ranks=False)
        return simulate(model, self.X, self.y, workers=k, architecture="distributed", costs=self.costs).history_

    def complete(self, k: int) -> dict[str, Any]:
        """`history` of a fit that made all its updates."""
        history = self.history(k)
        last = history["epochs"][-1]
        if last["epoch"] < self.ready.max_iter:
            raise ValueError(f"{k} {self.name} stopped after {last['epoch']} of {self.ready.max_iter} epochs")
        return history


def study(
    estimator: Any,
    X: Any,
    y: Any,
    counts: Sequence[int] | None,
    *,
    repeats: int = 3,
    say: Callable[[str], Any] | None = None,
) -> dict[str, Any]:
    """Trains by each number of threads in turns, with as many updates each time; or by MPI ranks, see `backend`.

    Parameters
    ----------
    estimator : AsySVRGClassifier or AsySVRGRegressor
        It is not fitted. With ``backend=MPI(...)`` ranks are compared. Without an mpiexec they are simulated, with
        costs that are measured here.
    X, y : as for `fit`
    counts : sequence of int or None
        Numbers of threads or workers. 1 is added. None: 1, 2, 4, ... up to the cores.
    repeats : int
    say : callable, optional
        Is given a line after each run.

    Returns
    -------
    dict
        "by": threads or workers; "runs": a row for each number; "knee": the last number that pays. JSON can hold it.

    Raises
    ------
    ValueError
        For numbers that cannot be had, and for runs that diverge.
    """
    about = topology()
    runner = _Runner(estimator, X, y)
    counts = _checked(counts, repeats, runner.by, lockstep=runner.ready.execution == "lockstep")
    if runner.by == "threads":
        runner.history(counts[-1], max_iter=1, inner_steps=1)  # libraries are loaded, threads are started
    histories: dict[int, list[dict[str, Any]]] = {k: [] for k in counts}
    repeats = 1 if runner.simulated else repeats
    before = _others()
    for repeat in range(repeats):
        for k in counts if repeat % 2 == 0 else counts[::-1]:
            histories[k].append(runner.complete(k))
            if say is not None:
                seconds = histories[k][-1]["epochs"][-1]["seconds"]
                say(f"repeat {repeat + 1}/{repeats}, {k} {runner.name}: {seconds:.4g} s")
    about["cores_of_others"] = _cores_between(before, _others())
    first = histories[1][0]
    last, most = first["epochs"][-1], histories[counts[-1]][0]["config"]
    updates, *others = {sum(each["delay_histogram"]) for found in histories.values() for each in found}
    if others:
        raise ValueError(f"the runs made {updates} and {others[0]} updates: their times cannot be compared")
    runs = _rows(histories, updates, about["usable"])
    return {
        "by": runner.by,
        "simulated": runner.simulated,
        "repeats": repeats,
        "updates": updates,
        "sample_gradients": last["sample_gradients"],
        "knee": knee({row["count"]: row["seconds"] for row in runs}),
        "runs": runs,
        "config": most,
        "topology": about,
        "environment": environment(),
    }


def _checked(counts: Sequence[int] | None, repeats: int, by: str, *, lockstep: bool) -> list[int]:
    """The numbers in order, with 1."""
    if repeats < 1:
        raise ValueError(f"--repeats {repeats}: at least one is needed")
    cores = joblib.cpu_count()
    if counts is None:
        counts = [1 << power for power in range(cores.bit_length())]
    most = max(cpu.LEAST_LIMIT, cpu.PER_CORE * cores)
    if max(counts) > most:
        raise ValueError(f"--{by} {max(counts)}: on {cores} core(s) {most} are the most")
    if lockstep and max(counts) > cores:
        raise ValueError(
            f"--{by} {max(counts)} in lockstep: of {cores} core(s), more threads would wait for each other"
        )
    cpu.count(max(counts))  # an error where this build has no threads
    return sorted({1, *counts})


def _rows(histories: dict[int, list[dict[str, Any]]], updates: int, cores: int) -> list[dict[str, Any]]:
    """A row for each number: medians over the repeats, and all times."""
    serial = statistics.median(each["epochs"][-1]["seconds"] for each in histories[1])
    rows = []
    for k, found in histories.items():
        ends = [each["epochs"][-1] for each in found]
        seconds = statistics.median(end["seconds"] for end in ends)
        delays = [row["delay"] for each in found for row in each["epochs"]]
        rows.append({
            "count": k,
            "seconds": seconds,
            "all_seconds": [end["seconds"] for end in ends],
            "speedup": serial / seconds,
            "efficiency": serial / seconds / k,
            "updates_per_second": updates / seconds,
            "loss": statistics.median(end["loss"] for end in ends),
            "largest_delay": max(delay["max"] for delay in delays),
            "beyond_cores": k > cores,
        })  # fmt: skip
    return rows


def knee(seconds: Mapping[int, float]) -> int:
    """The last number that takes less time than every smaller one, by a tenth at least."""
    best, least = 1, seconds[1]
    for k in sorted(seconds)[1:]:
        best = k if least >= GAIN * seconds[k] else best
        least = min(least, seconds[k])
    return best


def topology() -> dict[str, Any]:
    """The cores that this process may use, how threads are tied to them, and the load."""
    affinity = system.cores()
    return {
        "load_average": system.load_average(),
        "online": os.cpu_count(),
        "usable": joblib.cpu_count(),
        "affinity": affinity,
        "places": {str(number): system.place(number) for number in affinity},
        "pinning": {name: os.environ[name] for name in PINNING if name in os.environ},
    }


def _others() -> tuple[float, float] | None:
    """Seconds that other programs have had of the processors so far, and the time; None where these are not counted."""
    busy = system.busy_seconds()
    return None if busy is None else (busy - sum(os.times()[:4]), time.monotonic())


def _cores_between(before: tuple[float, float] | None, now: tuple[float, float] | None) -> float | None:
    """How many cores other programs have had meanwhile, from what `_others` said before and says now."""
    if before is None or now is None:
        return None
    return max(0.0, (now[0] - before[0]) / (now[1] - before[1]))


def table(found: Mapping[str, Any], name: str) -> str:
    """What a study found, as lines."""
    return "\n".join(_lines(found, name))


def _lines(found: Mapping[str, Any], name: str) -> Iterator[str]:
    config, place = found["config"], found["topology"]
    shape = "-".join(map(str, config["widths"]))
    yield f"{name}: {config['samples']} samples, {shape}, {config['solver']}, {_how(found)}"
    yield f"{found['updates']} updates of {config['batch_size']} samples in each run, medians of {found['repeats']}"
    pinning = ", ".join(f"{key}={value}" for key, value in place["pinning"].items()) or "threads not pinned"
    load = " ".join(f"{value:.1f}" for value in place["load_average"])
    yield f"{found['environment']['processor']}, {place['usable']} core(s), {pinning}, load {load} before"
    titles = f"{'seconds':>9} {'from':>9} {'to':>9} {'speedup':>8} {'of ideal':>8} {'updates/s':>10} {'loss':>9}"
    yield f"{found['by']:>8} {titles}"
    for row in found["runs"]:
        span = f"{min(row['all_seconds']):>9.4g} {max(row['all_seconds']):>9.4g}"
        beyond = "  more than cores" if row["beyond_cores"] and not found["simulated"] else ""
        yield (
            f"{row['count']:>8} {row['seconds']:>9.4g} {span} {row['speedup']:>8.2f} {row['efficiency']:>8.0%} "
            f"{row['updates_per_second']:>10.0f} {row['loss']:>9.5f}{beyond}"
        )
    if (place["cores_of_others"] or 0) > BUSY and not found["simulated"]:
        yield f"other programs used {place['cores_of_others']:.1f} core(s) meanwhile: repeat this when they are done"
    yield f"knee: {found['knee']} {_who(found)[:-1]}(s): the last number that is a tenth faster than all smaller ones"


def _who(found: Mapping[str, Any]) -> str:
    return f"{'simulated ' * found['simulated']}{found['by']}"


def _how(found: Mapping[str, Any]) -> str:
    config = found["config"]
    execution = "" if found["simulated"] else f" {config['execution']},"
    return f"{_who(found)},{execution} coordinates={config['coordinates']}, update={config['update']}"


def draw(found: Mapping[str, Any], path: str | os.PathLike[str], name: str) -> None:
    """Draws the speedup with the least and the largest of the repeats, and the ideal line.

    Parameters
    ----------
    found : dict
        What `study` gave.
    path : path
        Its ending is the format.
    name : str
        Of the data.
    """
    plots.require_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    axes, runs, cores = figure.subplots(), found["runs"], found["topology"]["usable"]
    numbers = [row["count"] for row in runs]
    axes.plot(numbers, numbers, color="0.6", linestyle="--", label="ideal")
    speedups, serial = [row["speedup"] for row in runs], runs[0]["seconds"]
    spans = [[abs(row["speedup"] - serial / end(row["all_seconds"])) for row in runs] for end in (max, min)]
    if found["simulated"]:
        axes.errorbar(
            numbers, speedups, spans, capsize=3, color="tab:blue", marker="^", linestyle="-.", label="simulated"
        )
    else:
        label = f"measured, median of {found['repeats']}, least and largest"
        axes.errorbar(numbers, speedups, spans, capsize=3, color="black", marker="o", label=label)
    if numbers[-1] > cores and not found["simulated"]:
        axes.axvline(cores, color="0.4", linestyle=":", label=f"{cores} core(s): beyond, they are shared")
    best = speedups[numbers.index(found["knee"])]
    axes.plot(
        [found["knee"]], [best], marker="o", markersize=14, fillstyle="none", linestyle="none", color="black",
        label=f"knee: {found['knee']} {found['by'][:-1]}(s)",
    )  # fmt: skip
    axes.set(
        xlabel=f"number of {_who(found)}", ylabel=f"speedup: seconds of one / seconds of K {found['by']}",
        xticks=numbers, xlim=(0, 1.05 * numbers[-1]), ylim=(0, 1.08 * max(*numbers, *speedups)),
    )  # fmt: skip
    axes.set_title(f"{name}, {found['updates']} updates, {_how(found)}", fontsize=9, loc="left", wrap=True)
    axes.legend(loc="upper left", fontsize=9)
    axes.grid(alpha=0.3)
    plots.write(figure, path)
