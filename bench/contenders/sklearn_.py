"""scikit-learn's MLPClassifier, half a pass at each call of partial_fit."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from sklearn.neural_network import MLPClassifier

from contenders.setting import ALPHA, Meter, Problem, Settings, flat, halves, rate_at


def run(method: str, problem: Problem, settings: Settings, cores: int, seed: int, meter: Meter) -> None:
    """Settings: batch, rate, decay or until, nesterov."""
    how: dict[str, Any] = {"solver": "adam"}
    if method != "adam":
        momentum = 0.9 if method == "momentum" else 0.0
        how = {"solver": "sgd", "momentum": momentum, "nesterovs_momentum": settings.get("nesterov", False)}
    batch = settings["batch"]
    # It divides alpha by the mini-batch's size.
    model = MLPClassifier(problem.network.widths[1:-1], alpha=ALPHA * batch, batch_size=batch, shuffle=False, **how)
    model.partial_fit(problem.X[:batch], problem.y[:batch], classes=np.unique(problem.y))
    del model._optimizer  # it has seen a gradient
    start = problem.parts(problem.start(seed))
    model.coefs_, model.intercepts_ = start[::2], start[1::2]
    updates = 0
    meter.row(0, flat(start))
    for passes, picks in halves(problem.n, batch, seed):
        model.learning_rate_init = rate = rate_at(settings, passes)
        if hasattr(model, "_optimizer"):
            model._optimizer.learning_rate_init = model._optimizer.learning_rate = rate
        X, y = problem.X[picks.ravel()], problem.y[picks.ravel()]
        with meter.running():
            model.partial_fit(X, y)
        updates += len(picks)
        meter.row(updates, flat([part for pair in zip(model.coefs_, model.intercepts_, strict=True) for part in pair]))


CONTENDERS = {f"scikit-learn {method}": functools.partial(run, method) for method in ("sgd", "momentum", "adam")}
