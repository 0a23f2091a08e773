"""Callbacks for `fit` that tell other programs how it goes: Optuna, TensorBoard."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

Row = dict[str, Any]


class OptunaPruning:
    """Reports the validation score to an Optuna trial after each epoch, and ends a fit that the trial prunes.

    `fit` then raises `optuna.TrialPruned`, which the objective function passes on. The fit needs a validation set
    (`X_val, y_val`, or `early_stopping`). Of several networks (`n_models`) the first one is reported.

    Parameters
    ----------
    trial : optuna.trial.Trial
    value : callable, default=None
        What to report of a row of `history_["epochs"]`. None: the validation error if the study minimises, else 1 minus
        it, which is the accuracy of a classifier.

    Examples
    --------
    ::

        def objective(trial):
            model = AsySVRGClassifier(alpha=trial.suggest_float("alpha", 1e-6, 1e-1, log=True))
            model.fit(X, y, X_val=X_val, y_val=y_val, callback=OptunaPruning(trial))
            return model.score(X_val, y_val)
    """

    def __init__(self, trial: Any, value: Callable[[Row], float] | None = None):
        self.trial, self.value = trial, value

    def __call__(self, row: Row) -> None:
        if row.get("model", 0):
            return
        self.trial.report(self._value(row), row["epoch"])
        if self.trial.should_prune():
            import optuna

            raise optuna.TrialPruned(f"pruned after epoch {row['epoch']}")

    def _value(self, row: Row) -> float:
        if self.value is not None:
            return self.value(row)
        error = row["test_error"] if row["validation_error"] is None else row["validation_error"]
        if error is None:
            raise ValueError("OptunaPruning needs a validation error: give fit X_val and y_val, or early_stopping=True")
        return float(error) if self.trial.study.direction.name == "MINIMIZE" else 1.0 - error


class TensorBoard:
    """Writes the numbers of each epoch as scalars for TensorBoard.

    Parameters
    ----------
    writer : SummaryWriter
        Of tensorboardX, which needs no PyTorch, or of `torch.utils.tensorboard`. Whoever made it closes it.
    prefix : str, default="asysvrg/"
        What the names of all scalars begin with. The networks of `n_models` have their number behind it.

    Examples
    --------
    ::

        with tensorboardX.SummaryWriter("runs/first") as writer:
            model.fit(X, y, callback=TensorBoard(writer))
    """

    def __init__(self, writer: Any, prefix: str = "asysvrg/"):
        self.writer, self.prefix = writer, prefix

    def __call__(self, row: Row) -> None:
        prefix = self.prefix + (f"{row['model']}/" if "model" in row else "")
        for name, value in row.items():
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if number and name not in ("epoch", "model") and math.isfinite(value):
                self.writer.add_scalar(prefix + name, value, row["epoch"])
