"""`asysvrg reproduce`: runs the experiments, and writes pictures, JSON and the verdict."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import joblib

from asysvrg.data import datasets, download
from asysvrg.report import plots, streams
from asysvrg.reproduce import drawing, methods, verdict
from asysvrg.reproduce.runs import Experiment, Runs
from asysvrg.reproduce.settings import FULL, MNIST, QUICK, Effort, Problem
from asysvrg.store.files import replacing, write_json

PROBLEMS = {"fig1": MNIST}
TITLES = {
    "fig1": "Figure 1: SGD, SVRG and SGD_SVRG on MNIST",
}


def reproduce(
    figures: tuple[str, ...],
    out: Path,
    *,
    data_home: str | None = None,
    quick: bool = False,
    resume: bool = False,
    effort: Effort | None = None,
    problems: Mapping[str, Problem] | None = None,
) -> Path:
    """Runs the experiments of `figures`; returns the path of the verdict.

    Parameters
    ----------
    figures : tuple of str
        Of `TITLES`.
    out : Path
        A folder, which is made.
    data_home : str, optional
        Where the data sets are.
    quick : bool
        Coarse grids, short runs, one seed.
    resume : bool
        Whether runs in ``out/runs`` are taken as they are.
    effort, problems : optional
        In the place of what `quick` and the paper say, for tests.

    Raises
    ------
    FileNotFoundError
        If data are missing; it says where to put them.
    """
    plots.require_matplotlib()
    effort = effort or (QUICK if quick else FULL)
    chosen = {name: (problems or PROBLEMS)[name] for name in figures}
    sets = _load({problem.name: problem for problem in chosen.values()}, data_home)
    (out / "runs").mkdir(parents=True, exist_ok=True)
    runs = Runs(out / "runs", resume=resume)
    for name, problem in chosen.items():
        with runs.progress(name):
            content = EXPERIMENTS[name](Experiment(problem, sets[problem.name], runs), effort)
        content |= {"claims": CLAIMS[name](content), "title": TITLES[name], "quick": quick, "cores": joblib.cpu_count()}
        write_json(out / f"{name}.json", content)
        drawing.save(FIGURES[name](content), out / name)
        streams.err.say(f"{name}: {out / name}.png, .svg, .json")
    return _write_verdict(out)


def _load(problems: Mapping[str, Problem], data_home: str | None) -> dict[str, datasets.Dataset]:
    home = download.home(data_home)
    for source in sorted({problem.source for problem in problems.values()} & set(download.NAMES)):
        if absent := download.missing(source, data_home):
            folder = home / source if source in download.DOWNLOADS else home
            raise FileNotFoundError(
                f"{source} is missing: put {', '.join(absent)} into {folder}, or name another folder than {home} by "
                "--data-home or ASYSVRG_DATA_HOME"
            )
    return {
        name: datasets.load(problem.source, data_home=data_home, **problem.sizes) for name, problem in problems.items()
    }


def _write_verdict(out: Path) -> Path:
    """Of all figures that the folder has, those of earlier calls included."""
    contents = {name: json.loads(path.read_bytes()) for name in TITLES if (path := out / f"{name}.json").is_file()}
    path = out / "verdict.md"
    with replacing(path) as file:
        file.write(verdict.text(contents).encode())
    return path


def _fig1(experiment: Experiment, effort: Effort) -> dict[str, Any]:
    content = methods.compare(experiment, effort, switch=20)
    content["setting"] = (
        "784-100-10, C = 1e-3, mini-batches of 10, m = 1,000, 1,000 random coordinates an update, one thread. SGD_SVRG "
        "begins with 10 epochs of SGD. Each method has its best rate, by the loss after the last epoch."
    )
    return content


EXPERIMENTS: dict[str, Callable[[Experiment, Effort], dict[str, Any]]] = {"fig1": _fig1}
CLAIMS: dict[str, Callable[[Mapping[str, Any]], list[methods.Claim]]] = {"fig1": methods.claims}
FIGURES: dict[str, Callable[[Mapping[str, Any]], Any]] = {"fig1": drawing.methods_figure}
