"""A fit by ranks of this machine that another process starts and waits for."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import joblib

from asysvrg.distributed import launch, mpi
from asysvrg.store.files import write_json

HISTORY, ERROR = "history.json", "error."  # files; of an error with the rank's number


def history_by_ranks(
    estimator: Any,
    X: Any,
    y: Any,
    workers: int,
    *,
    servers: int = 1,
    seconds: float | None = None,
    test: tuple[Any, Any] = (None, None),
) -> dict[str, Any]:
    """Fits an estimator by so many workers under mpiexec, each with all samples. Returns `history_`.

    Its rows have the error on `test`, a pair (X, y).

    Raises
    ------
    ValueError
        With the error that `fit` raised in a rank.
    ChildProcessError
        With the last line that the ranks wrote, if they fail, or take longer than `seconds`.
    """
    with tempfile.TemporaryDirectory(prefix="asysvrg-") as name:
        folder = Path(name)
        joblib.dump((estimator, X, y, test), folder / "job")
        command = launch.find().command(workers + servers, None, [])
        command += [sys.executable, "-m", "asysvrg.distributed.job", name]
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds, check=False,
                env=launch.environment(folder) | {"OMP_NUM_THREADS": "1"},
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise ChildProcessError(f"{workers + servers} ranks under mpiexec took more than {seconds:g} s") from None
        if not (folder / HISTORY).exists():
            for error in sorted(folder.glob(f"{ERROR}*")):
                raise ValueError(error.read_text())
            said = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
            raise ChildProcessError(f"{workers + servers} ranks under mpiexec failed: {said}")
        return json.loads((folder / HISTORY).read_text())


def _rank(folder: Path) -> None:
    """What each of the ranks runs."""
    estimator, X, y, test = joblib.load(folder / "job")
    rank = mpi.launched()[0]
    try:
        fitted = estimator._fit(X, y, test=test)
    except Exception as error:
        (folder / f"{ERROR}{rank}").write_text(str(error))
        raise
    if rank == 0:
        write_json(folder / HISTORY, fitted.history_)


if __name__ == "__main__":
    _rank(Path(sys.argv[1]))
