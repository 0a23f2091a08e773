"""The interface between the epoch loop and an execution, which computes full gradients and runs inner loops."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

from asysvrg.core.objective import Snapshot
from asysvrg.core.schedule import Epoch


class Applied(NamedTuple):
    """What an execution did in an epoch.

    Attributes
    ----------
    delays : int32 array
        Delay of each update (Assumption 4). There are fewer than m where the deadline cut the epoch.
    sample_gradients : int
        Gradients of single samples that the epoch took, its snapshot included.
    measured : float
        Seconds of measurements, which do not count as training.
    """

    delays: np.ndarray
    sample_gradients: int
    measured: float = 0.0


class Execution(Protocol):
    """Who computes full gradients and runs inner loops. `threaded.ThreadedExecution` is one."""

    def snapshot(self, x: np.ndarray, *, keep_cache: bool) -> Snapshot:
        """Loss, error and full gradient at x; keeps the cache where the next epoch uses it and memory allows."""
        ...

    def evaluate(self, x: np.ndarray, samples: int) -> Snapshot:
        """Loss and error at x, without the gradient, from about `samples` samples, or from all if that is 0."""
        ...

    def inner(self, x: np.ndarray, snapshot: Snapshot, epoch: Epoch) -> Applied:
        """Updates x in place, `epoch.steps` times."""
        ...

    def state(self) -> dict[str, np.ndarray]:
        """Arrays that the next epoch depends on, for a checkpoint."""
        ...

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """The inverse of `state`."""
        ...

    def report(self) -> dict[str, Any]:
        """Further columns of the epoch's row in the trace."""
        ...
