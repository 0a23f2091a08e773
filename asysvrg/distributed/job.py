"""A fit by ranks that another process starts and waits for: on this machine, or on the hosts of an emulated cluster."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import joblib

from asysvrg.core.trace import joined
from asysvrg.distributed import launch, mpi, rank_wrapper
from asysvrg.distributed.hosts import Cluster
from asysvrg.store.files import write_json

HISTORY, ERROR = "history.json", "error."  # files; of an error with the rank's number
LOST_AFTER = "60"  # seconds: hosts that have a share of a core are slow, not lost
Stages = Sequence[Mapping[str, Any]]


def history_by_ranks(
    estimator: Any,
    X: Any,
    y: Any,
    workers: int,
    *,
    stages: Stages = ({},),
    servers: int = 1,
    seconds: float | None = None,
    test: tuple[Any, Any] = (None, None),
    cluster: Cluster | None = None,
) -> dict[str, Any]:
    """Fits an estimator by so many workers under mpiexec, each with all samples. Returns `history_`.

    Its rows have the error on `test`, a pair (X, y). `stages` are as for `train_stages`. With a `cluster`, each rank
    is on a host of its own.

    Raises
    ------
    ValueError
        With the error that `fit` raised in a rank.
    ChildProcessError
        With the last line that the ranks wrote, if they fail, or take longer than `seconds`.
    """
    ranks = workers + servers
    with tempfile.TemporaryDirectory(prefix="asysvrg-") as name:
        folder = Path(name)
        joblib.dump((estimator, X, y, test, stages), folder / "job")
        try:
            done = _run_ranks(ranks, folder, seconds, cluster)
        except subprocess.TimeoutExpired:
            raise ChildProcessError(f"{ranks} ranks under mpiexec took more than {seconds:g} s") from None
        if not (folder / HISTORY).exists():
            for error in sorted(folder.glob(f"{ERROR}*")):
                raise ValueError(error.read_text())
            said = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
            raise ChildProcessError(f"{ranks} ranks under mpiexec failed: {said}")
        return json.loads((folder / HISTORY).read_text())


def _run_ranks(
    ranks: int, folder: Path, seconds: float | None, cluster: Cluster | None
) -> subprocess.CompletedProcess[str]:
    launcher = launch.find()
    program = [sys.executable, "-m", "asysvrg.distributed.job", str(folder)]
    environment = launch.environment(folder) | {"OMP_NUM_THREADS": "1"}
    if cluster is None:
        return subprocess.run(
            [*launcher.command(ranks, None, []), *program], stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=seconds, check=False, env=environment,
            preexec_fn=lambda: rank_wrapper.die_with_parent(signal.SIGTERM),
        )  # fmt: skip
    way = cluster.way(launcher.kind, folder, ranks)
    command = [*launcher.command(ranks, way.hosts, way.extra), *program]
    environment |= {**way.variables, "TMPDIR": str(folder), "ASYSVRG_LOST_AFTER": LOST_AFTER}
    return cluster.run(command, (folder / "running").exists, environment, seconds)


def train_stages(estimator: Any, stages: Stages, fit: Callable[[], Any]) -> dict[str, Any]:
    """Trains in stages, of which each has parameters and goes on where the one before ended. Returns one history.

    `fit` fits the estimator on the data.
    """
    history: dict[str, Any] | None = None
    for number, stage in enumerate(stages):
        estimator.set_params(**stage, warm_start=number > 0)
        fit()
        later = estimator.history_
        if history is not None:
            first = history["epochs"][-1]["epoch"]
            later["epochs"] = [row | {"epoch": first + row["epoch"]} for row in later["epochs"]]
        history = later if history is None else joined(history, later)
    assert history is not None
    return history


def _rank(folder: Path) -> None:
    """What each of the ranks runs."""
    estimator, X, y, test, stages = joblib.load(folder / "job")
    rank = mpi.launched()[0]
    try:
        history = train_stages(estimator, stages, lambda: estimator._fit(X, y, test=test))
    except Exception as error:
        (folder / f"{ERROR}{rank}").write_text(str(error))
        raise
    if rank == 0:
        write_json(folder / HISTORY, history)


if __name__ == "__main__":
    _rank(Path(sys.argv[1]))
