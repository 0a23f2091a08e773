"""Callbacks during a fit: a function, and scikit-learn's callbacks (`sklearn.callback`, from 1.9 on)."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any, TypeAlias

import numpy as np

from asysvrg.core.network import Network
from asysvrg.precision import layers_of

__all__ = ["Callback", "CallbackSupportMixin", "Hooks", "with_callbacks"]

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Stands in for scikit-learn's, before 1.9."""

    def with_callbacks(method: Callable[..., Any]) -> Callable[..., Any]:
        """Stands in for scikit-learn's, before 1.9."""
        return method


Callback: TypeAlias = Callable[[dict[str, Any]], Any] | None  # of a row of the trace


class Hooks:
    """Calls the callbacks of a fit. For scikit-learn's, each epoch is a task.

    Parameters
    ----------
    estimator : estimator
    network : Network
    center : array or None
        Of the targets.
    epochs : int
        The most that there can be.
    function : callable or None
        Called with each row of the trace.
    data : dict
        What scikit-learn's callbacks are told of the data: X, y, metadata.

    Attributes
    ----------
    active : bool
        Whether there are any callbacks.
    """

    def __init__(
        self,
        estimator: Any,
        network: Network,
        center: np.ndarray | None,
        epochs: int,
        function: Callback,
        **data: Any,
    ):
        self.network, self.center, self.epochs, self.function = network, center, epochs, function
        self.about = {"estimator": estimator, **data}
        self.task: Any = None
        self.fit: Any = None
        if hasattr(estimator, "_init_callback_context"):
            self.fit = estimator._init_callback_context(max_subtasks=epochs).call_on_fit_task_begin(**self.about)
        self.watched = bool(getattr(estimator, "_skl_callbacks", None))
        self.active = self.watched or function is not None

    def row(self, row: dict[str, Any], x: np.ndarray) -> bool:
        """Calls them after an epoch, with its row and the parameters. Returns whether one of them wants to stop."""
        stop = self.function is not None and bool(self.function(deepcopy(row)))
        if self.task is not None:
            fitted = {"reconstruction_attributes": lambda: self._fitted(row, x)}
            task, self.task = self.task, None
            stop = bool(task.call_on_fit_task_end(**self.about, **fitted)) or stop
        if self.watched and not stop and row["epoch"] < self.epochs:
            self.task = self.fit.subcontext(task_name="epoch").call_on_fit_task_begin(**self.about)
        return stop

    def end(self, *, interrupted: bool) -> None:
        """Calls them when the estimator is fitted. An epoch that was interrupted ends first."""
        if interrupted and self.task is not None:
            self.task.call_on_fit_task_end(**self.about, reconstruction_attributes=dict)
        if self.fit is not None:
            self.fit.call_on_fit_task_end(**self.about, reconstruction_attributes=dict)

    def _fitted(self, row: dict[str, Any], x: np.ndarray) -> dict[str, Any]:
        """The attributes of the estimator as if it had stopped here."""
        coefs, intercepts = layers_of(self.network, self.network.vector(x), self.center)
        return {
            "_network": self.network,
            "coefs_": coefs,
            "intercepts_": intercepts,
            "n_iter_": row["epoch"],
            "loss_": row["loss"],
        }
