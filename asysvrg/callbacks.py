"""scikit-learn's callback protocol (`sklearn.callback`, from 1.9 on): an epoch is a task."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Stands in for scikit-learn's, before 1.9."""

    def with_callbacks(method: Callable[..., Any]) -> Callable[..., Any]:  # type: ignore[no-redef]
        """As scikit-learn's, with nothing to do; a frame of its own all the same, since warnings count frames."""

        @functools.wraps(method)
        def wrapped(*args: Any, **options: Any) -> Any:
            return method(*args, **options)

        return wrapped


class Hooks:
    """Calls the callbacks that are set on an estimator.

    Parameters
    ----------
    estimator : estimator
    epochs : int
        The most that there can be.
    data : dict
        What callbacks are told of the data: X, y, metadata.

    Attributes
    ----------
    active : bool
        Whether there are any.
    """

    def __init__(self, estimator: Any, epochs: int, **data: Any):
        self.about, self.epochs, self.task, self.fit = {"estimator": estimator, **data}, epochs, None, None
        if hasattr(estimator, "_init_callback_context"):
            self.fit = estimator._init_callback_context(max_subtasks=epochs).call_on_fit_task_begin(**self.about)
        self.active = bool(getattr(estimator, "_skl_callbacks", None))

    def row(self, epoch: int, fitted: Callable[[], dict[str, Any]]) -> bool:
        """After a row: ends the task of its epoch, begins the next one's; says whether a callback wants to stop.

        `fitted` gives the attributes of the estimator as if it had stopped here.
        """
        stop = self.task is not None and self.task.call_on_fit_task_end(**self.about, reconstruction_attributes=fitted)
        if not stop and epoch < self.epochs:
            self.task = self.fit.subcontext(task_name="epoch").call_on_fit_task_begin(**self.about)
        return bool(stop)

    def end(self) -> None:
        """After the last epoch, when the estimator is fitted."""
        if self.fit is not None:
            self.fit.call_on_fit_task_end(**self.about, reconstruction_attributes=dict)
