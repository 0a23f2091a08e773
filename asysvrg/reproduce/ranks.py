"""What each rank runs whose training an experiment measures: `python -m asysvrg.reproduce.ranks FILE`."""

from __future__ import annotations

import json
import sys

import joblib

from asysvrg.distributed import mpi


def main(job: str) -> None:
    """Trains; rank 0 prints the rows of the trace."""
    estimator, X, y, test = joblib.load(job)
    estimator._fit(X, y, test=test)
    if mpi.launched()[0] == 0:
        print(json.dumps(estimator.history_["epochs"]))


if __name__ == "__main__":
    main(sys.argv[1])
