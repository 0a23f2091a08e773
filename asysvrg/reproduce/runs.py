"""Single runs: each one's trace is a file, so that an experiment that was killed goes on where it was."""

from __future__ import annotations

import hashlib
import json
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from sklearn.exceptions import ConvergenceWarning
from tqdm import tqdm

from asysvrg._version import __version__
from asysvrg.data.datasets import Dataset
from asysvrg.distributed import job
from asysvrg.distributed.hosts import Cluster
from asysvrg.distributed.job import Stages
from asysvrg.estimators import AsySVRGClassifier
from asysvrg.report import streams
from asysvrg.reproduce.settings import Problem
from asysvrg.simulation.run import simulate
from asysvrg.store.files import digest, write_json

Rows = list[dict[str, Any]]
COLUMNS = ("epoch", "seconds", "sample_gradients", "loss", "train_error", "test_error", "rolled_back")
PATIENCE = 600.0  # seconds for a run by ranks
SILENCE = 30.0  # seconds without a line, where there is no bar


class Runs:
    """Makes runs, and keeps them as files.

    Parameters
    ----------
    folder : Path
        For the files.
    resume : bool
        Whether files that are there already are taken.
    """

    def __init__(self, folder: Path, *, resume: bool):
        self.folder, self.resume = folder, resume
        self._made: set[Path] = set()
        self._bar: Any = None
        self._count, self._said = 0, 0.0

    @contextmanager
    def progress(self, title: str) -> Iterator[None]:
        """Shows how many runs are done: a bar in a terminal, else a line for each step."""
        if streams.err.isatty():
            with tqdm(desc=title, unit="run", file=streams.err, total=0) as self._bar:
                yield
            self._bar = None
        else:
            self._say(f"{title} ...")
            yield

    def expect(self, runs: int, what: str) -> None:
        """Announces a step of so many runs."""
        if self._bar is None:
            self._say(f"  {what}: {runs} run(s)")
        else:
            self._bar.set_postfix_str(what, refresh=False)
            self._bar.total += runs
            self._bar.refresh()

    def get(self, name: str, spec: Mapping[str, Any], make: Callable[[], Any]) -> Any:
        """Returns the result of `make`, or the stored result of an earlier call with the same `spec`."""
        spec = json.loads(json.dumps({**spec, "version": __version__}))
        code = hashlib.blake2b(json.dumps(spec, sort_keys=True).encode(), digest_size=6).hexdigest()
        path = self.folder / f"{name}-{code}.json"
        found = self._read(path, spec) if self.resume or path in self._made else None
        if found is None:
            found = {"spec": spec, "result": make()}
            write_json(path, found)
        self._made.add(path)
        self._count += 1
        if self._bar is not None:
            self._bar.total = max(self._bar.total, self._bar.n + 1)  # a grid may have been widened
            self._bar.update()
        elif time.monotonic() > self._said + SILENCE:
            self._say(f"  {self._count} runs are done")
        return found["result"]

    def _say(self, line: str) -> None:
        streams.err.say(line)
        self._said = time.monotonic()

    @staticmethod
    def _read(path: Path, spec: Any) -> dict[str, Any] | None:
        try:
            found = json.loads(path.read_bytes())
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) and found.get("spec") == spec and "result" in found else None


class Experiment:
    """Runs on one problem."""

    def __init__(self, problem: Problem, sets: Dataset, runs: Runs):
        self.problem, self.sets, self.runs = problem, sets, runs
        self._data = [digest(each) for each in (sets.X_train, sets.y_train, sets.X_test, sets.y_test)]

    def but(self, **parameters: Any) -> Experiment:
        """The same with other parameters of the problem."""
        problem = replace(self.problem, parameters={**self.problem.parameters, **parameters})
        return Experiment(problem, self.sets, self.runs)

    def spec(self, **more: Any) -> dict[str, Any]:
        """Everything that the result of a run depends on."""
        return {"data": self._data, "parameters": dict(self.problem.parameters), **more}

    def train(self, name: str, stages: Stages, *, seed: int = 0, virtual: Mapping[str, Any] | None = None) -> Rows:
        """Trains in stages, of which each goes on where the one before ended.

        Parameters
        ----------
        name : str
            In the file's name.
        stages : sequence of mapping
            Parameters of the estimator beside the problem's.
        seed : int
        virtual : mapping, optional
            Arguments of `simulate`; None for real workers.
        """
        spec = self.spec(stages=list(stages), seed=seed, virtual=virtual)
        return self.runs.get(f"{self.problem.name}-{name}", spec, lambda: self._train(stages, seed, virtual))

    def ranks(
        self, workers: int, stages: Stages, *, seed: int, name: str = "ranks", cluster: Cluster | None = None
    ) -> Rows:
        """Trains in stages by so many workers and a server, ranks of MPI: on this machine, or on hosts of `cluster`."""
        share = {} if cluster is None else {"share": cluster.share}
        spec = self.spec(stages=list(stages), seed=seed, ranks=workers, **share)
        return self.runs.get(
            f"{self.problem.name}-{name}{workers}", spec, lambda: self._ranks(workers, stages, seed, cluster)
        )

    def _ranks(self, workers: int, stages: Stages, seed: int, cluster: Cluster | None) -> Rows:
        X, y, test = self.sets.X_train, self.sets.y_train, (self.sets.X_test, self.sets.y_test)
        history = job.history_by_ranks(
            self.estimator(backend="mpi"), X, y, workers, stages=_seeded(stages, seed), seconds=PATIENCE, test=test,
            cluster=cluster,
        )  # fmt: skip
        return _kept(history["epochs"], "updates_per_second")

    def estimator(self, **parameters: Any) -> AsySVRGClassifier:
        """An estimator with the problem's parameters and these."""
        return AsySVRGClassifier(**{**self.problem.parameters, **parameters})

    def _train(self, stages: Stages, seed: int, virtual: Mapping[str, Any] | None) -> Rows:
        model = self.estimator()
        return _kept(job.train_stages(model, _seeded(stages, seed), lambda: self._fit(model, virtual))["epochs"])

    def _fit(self, model: AsySVRGClassifier, virtual: Mapping[str, Any] | None) -> None:
        X, y, test = self.sets.X_train, self.sets.y_train, (self.sets.X_test, self.sets.y_test)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # of rates that are too large: that is looked at
            warnings.filterwarnings("ignore", "training interrupted")  # no model is kept
            if virtual is None:
                model._fit(X, y, test=test)
            else:
                simulate(model, X, y, **virtual, test=test)


def _seeded(stages: Stages, seed: int) -> Stages:
    return [{**stage, "random_state": seed + 1000 * number} for number, stage in enumerate(stages)]


def _kept(rows: Rows, *more: str) -> Rows:
    return [
        {name: row[name] for name in COLUMNS} | {"delay": row["delay"]["mean"]} | {name: row.get(name) for name in more}
        for row in rows
    ]
