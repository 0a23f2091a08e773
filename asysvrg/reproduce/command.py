"""`asysvrg reproduce`: runs the experiments, and writes pictures, JSON and the verdict."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import joblib

from asysvrg.core import system
from asysvrg.data import datasets, download
from asysvrg.report import plots, streams
from asysvrg.reproduce import cluster, drawing, methods, speedup, verdict
from asysvrg.reproduce.runs import Experiment, Runs
from asysvrg.reproduce.settings import CIFAR, FULL, MNIST, ON_CLUSTER, QUICK, Effort, Problem
from asysvrg.store.files import replacing, write_json

WORKERS = 4  # of Figure 3, beside the server; the paper does not say how many


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
        Of `FIGURES`.
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
    chosen = {name: (problems or {}).get(name, FIGURES[name].problem) for name in figures}
    sets = _load({problem.name: problem for problem in chosen.values()}, data_home)
    (out / "runs").mkdir(parents=True, exist_ok=True)
    runs = Runs(out / "runs", resume=resume)
    for name, problem in chosen.items():
        figure = FIGURES[name]
        with runs.progress(name):
            content = _rounded(figure.run(Experiment(problem, sets[problem.name], runs), effort))
        content |= {"claims": figure.claims(content), "title": figure.title, "setting": figure.setting}
        load = next((round(load, 1) for load in system.load_average()), "unknown")
        content |= {"quick": quick, "cores": joblib.cpu_count(), "load": load}
        write_json(out / f"{name}.json", content)
        drawing.save(figure.draw(content), out / name)
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


def _rounded(content: Mapping[str, Any]) -> dict[str, Any]:
    """With six digits of each number: more of them say nothing, and fill the file."""
    return json.loads(json.dumps(content), parse_float=lambda digits: float(f"{float(digits):.6g}"))


def _write_verdict(out: Path) -> Path:
    """The verdict on all figures that the folder has, those of earlier calls included."""
    contents = {name: json.loads(path.read_bytes()) for name in FIGURES if (path := out / f"{name}.json").is_file()}
    path = out / "verdict.md"
    with replacing(path) as file:
        file.write(verdict.text(contents).encode())
    return path


def _fig1(experiment: Experiment, effort: Effort) -> dict[str, Any]:
    return methods.compare(experiment, effort, switch=20)


def _fig3(experiment: Experiment, effort: Effort) -> dict[str, Any]:
    shorter = replace(effort, epochs=effort.epochs // 2)  # an epoch has twice the updates of Figure 1's
    compare = partial(methods.compare, experiment, shorter, switch=shorter.epochs // 4, test_comparable=True)
    if missing := speedup.no_ranks(effort):
        virtual = {"workers": WORKERS, "architecture": "distributed", **speedup.distributed_costs(experiment, effort)}
        content, why = compare(virtual=virtual), f", in virtual seconds, as there are no ranks of MPI: {missing}"
    else:
        content, why = compare(workers=WORKERS), ""
    return content | {"notes": [f"Trained by {methods.trained_by(content['about'])}{why}."]}


def _fig4(experiment: Experiment, effort: Effort) -> dict[str, Any]:
    content = speedup.workers(experiment, effort)
    content["cluster"] = found = cluster.measure(experiment, effort)
    if "missing" in found:
        content["notes"] += [f"The emulated cluster was not measured: {found['missing']}."]
    else:
        content["tuned"]["SVRG, emulated cluster"] = found.pop("tuned")
    return content


def _fig4_claims(content: Mapping[str, Any]) -> list[methods.Claim]:
    return [*speedup.worker_claims(content), *cluster.claims(content)]


@dataclass(frozen=True)
class Figure:
    """How a figure is made, drawn, and judged."""

    title: str
    setting: str
    problem: Problem
    run: Callable[[Experiment, Effort], dict[str, Any]]
    claims: Callable[[Mapping[str, Any]], list[methods.Claim]]
    draw: Callable[[Mapping[str, Any]], Any]


FIGURES = {
    "fig1": Figure(
        "Figure 1: SGD, SVRG and SGD_SVRG on MNIST",
        "784-100-10, C = 1e-3, mini-batches of 10, m = 1,000, 1,000 random coordinates an update, one thread. SGD_SVRG "
        "begins with 10 epochs of SGD. Each method has its best rate, by the loss after the last epoch.",
        MNIST, _fig1, methods.claims, drawing.methods_figure,
    ),
    "fig2": Figure(
        "Figure 2: threads, on MNIST",
        "The network of Figure 1, Shared-AsySVRG at one constant rate, the best with 32 virtual threads: what is best "
        "with one thread may diverge with the delays of many. Threads are measured, also where there are "
        "more of them than cores. The simulator's iterations, sweeps and contention are those of one and two threads "
        "here: it says what a machine with as many cores as threads would do. A similar loss is the "
        "least one that all curves reach, but for those that stay more than 10% above that of one thread.",
        MNIST, speedup.threads, speedup.thread_claims, drawing.threads_figure,
    ),
    "fig3": Figure(
        "Figure 3: SGD, SVRG and SGD_SVRG on CIFAR-10 features",
        "384-50-10, C = 1e-4, mini-batches of 10, m = 2,000. Rates were tuned with "
        f"{WORKERS} virtual workers. SGD_SVRG begins with one epoch of SGD. The first few iterations of the paper are "
        "the first quarter of the epochs.",
        CIFAR, _fig3, methods.claims, drawing.methods_figure,
    ),
    "fig4": Figure(
        "Figure 4: workers, on CIFAR-10 features",
        "The network of Figure 3, Distributed-AsySVRG at one constant rate, the best with 10 workers. Simulated: "
        "virtual workers, each on a machine of its own, whose iterations, messages and updates take what they take "
        "within this machine. Ranks of MPI are measured up to the number of cores; the server needs one, too. Emulated "
        f"cluster: ranks of MPI, each in a network namespace of its own with {cluster.SHARE:g} of a core, linked by "
        f"TCP; mini-batches of {ON_CLUSTER['batch_size']:,}, m = {ON_CLUSTER['inner_steps']}, and the rate that is "
        "best with 10 workers there. A similar loss is the least one that all curves reach, but for those that stay "
        "more than 10% above that of one worker.",
        CIFAR, _fig4, _fig4_claims, drawing.workers_figure,
    ),
}  # fmt: skip
