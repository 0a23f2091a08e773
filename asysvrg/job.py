"""What a fit hands to `training`: what to train, on what, and from where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from asysvrg.core.network import Network, Samples
from asysvrg.distributed.sharding import Sharding
from asysvrg.method import Choice
from asysvrg.settings import Settings


@dataclass(frozen=True)
class Start:
    """Where a run starts.

    Attributes
    ----------
    x : array of shape (d,) or None
        Parameters, for the data as given; None for random ones.
    epoch : int
        Number of the first epoch.
    stream : int
        Runs with the same random state and different streams draw different mini-batches.
    factor : float
        Growth and roll-backs of earlier runs multiplied the learning rate by this.
    """

    x: np.ndarray | None = None
    epoch: int = 0
    stream: int = 0
    factor: float = 1.0


class Before(NamedTuple):
    """What a warm start needs of the last fit."""

    x: np.ndarray
    center: np.ndarray | None
    network: Network
    classes: np.ndarray | None
    stream: int

    def check(self, network: Network, classes: np.ndarray | None) -> None:
        """Refuses another network and other classes."""
        if classes is not None and (self.classes is None or not np.array_equal(classes, self.classes)):
            old, new = (None if these is None else these.tolist() for these in (self.classes, classes))
            raise ValueError(f"warm_start needs the classes of the fit before, {old}; y has {new}")
        same_network("warm_start", self.network, network, "widths", "loss", "intercepts")


def same_network(what: str, before: Network, now: Network, *names: str) -> None:
    """Raises ValueError if two networks differ in one of these attributes. The message begins with `what`."""
    for name in names:
        old, new = getattr(before, name), getattr(now, name)
        if old != new:
            shown = {"widths": "layers", "intercepts": "fit_intercept"}.get(name, name)
            raise ValueError(f"{what} needs the {shown} of the fit before, {old}; got {new}")


def recentred(x: np.ndarray, before: np.ndarray | None, now: np.ndarray | None, outputs: int) -> np.ndarray:
    """Parameters for targets less the center of now, from those for targets less the one before. Changes x."""
    if before is not now:
        biases = x[-outputs:]
        biases[:] = biases + (0.0 if before is None else before) - (0.0 if now is None else now)
    return x


@dataclass(frozen=True)
class Job:
    """What to train, on what, and how: the arguments of a fit, checked, and agreed on by all ranks.

    Attributes
    ----------
    settings : Settings
    network : Network
    samples : Samples
        With labels or targets, and weights of mean 1 or none.
    center : array of shape (outputs,) or None
        What was subtracted from the targets.
    placement : Sharding or None
        The samples of all ranks.
    early_stopping : (bool, str)
        Whether a validation set chooses the parameters, and why.
    validation : Samples or None
        This set; None where there is no early stopping.
    test : Samples or None
        Samples whose error is recorded and changes nothing; they may be the same.
    random_state : RandomState
        For the initial parameters and the seed of all draws.
    start : Start
    session : Session or None
        Train distributed: rank 0 leads, the others assist.
    config : dict
        For the trace, which adds the plan.
    verbose : bool
        Show plan and progress.
    """

    settings: Settings
    network: Network
    samples: Samples
    center: np.ndarray | None
    placement: Sharding | None
    early_stopping: Choice
    validation: Samples | None
    test: Samples | None
    random_state: np.random.RandomState
    start: Start
    session: Any
    config: dict[str, Any]
    verbose: bool

    @property
    def n(self) -> int:
        """Samples of all ranks."""
        return self.samples.size if self.placement is None else self.placement.n
