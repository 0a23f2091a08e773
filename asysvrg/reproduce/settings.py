"""What the paper's experiments are, and how much of them a run does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# The paper's method: independent mini-batches, steps as they are, the l2 term as it is, and nothing that stops early.
PLAIN: dict[str, Any] = {
    "batch_size": 10, "sampling": "replacement", "deflation": 0, "alpha_boost": 1, "decay": 0.0, "tol": 0.0,
    "early_stopping": False, "n_jobs": 1,
}  # fmt: skip


@dataclass(frozen=True)
class Problem:
    """A data set, a network and what all its runs have in common.

    Attributes
    ----------
    name : str
        In names of files.
    source : str
        As for `asysvrg.data.load`.
    sizes : mapping
        Of `asysvrg.data.load`.
    parameters : mapping
        Of the estimator.
    sgd_epochs : int
        Epochs of SGD before SVRG in SGD_SVRG.
    """

    name: str
    source: str
    sizes: Mapping[str, Any]
    parameters: Mapping[str, Any]
    sgd_epochs: int


MNIST = Problem(
    "mnist",
    "mnist",
    {"train_size": 10_000, "test_size": 2_000},
    PLAIN | {"hidden_layer_sizes": [100], "alpha": 1e-3, "inner_steps": 1000, "coordinates": 1000},
    sgd_epochs=10,
)
CIFAR = Problem(
    "cifar10-features",
    "cifar10-features",
    {"train_size": 20_000, "test_size": 4_000},
    PLAIN | {"hidden_layer_sizes": [50], "alpha": 1e-4, "inner_steps": 2000},
    sgd_epochs=1,
)
# On the emulated cluster. A worker computes for long enough to be slower than the server by more than ten times: with
# the paper's mini-batches of 10, two workers keep the server busy.
ON_CLUSTER = {"batch_size": 1000, "inner_steps": 200}


@dataclass(frozen=True)
class Effort:
    """How much is run.

    Attributes
    ----------
    alphas, betas : tuple of float
        Where tuning begins: eta = alpha / (1 + s)^beta.
    digits : tuple of int
        First digits of the rates that a grid is widened by.
    seeds : int
        Runs of each method.
    epochs : int
        Of the runs that are compared, and of those that tune them.
    short : int
        Epochs of the runs of a speedup.
    threads, workers : tuple of int
        Whose speedup is measured or simulated.
    crowds : tuple of int
        More workers, of whom a short run shows how busy the server is.
    ranks : bool
        Whether ranks of MPI are measured.
    hosts : tuple of int
        Workers on the emulated cluster; empty for none.
    """

    alphas: tuple[float, ...]
    betas: tuple[float, ...]
    digits: tuple[int, ...]
    seeds: int
    epochs: int
    short: int
    threads: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    workers: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
    crowds: tuple[int, ...] = (20, 50, 100, 200)
    ranks: bool = True
    hosts: tuple[int, ...] = (1, 2, 4, 6, 8, 10)


PAPER_ALPHAS = (1e-5, 5e-5, 1e-4, 5e-4, 1e-3, 5e-3, 1e-2, 5e-2)
FULL = Effort(PAPER_ALPHAS, tuple(b / 10 for b in range(11)), (1, 5), seeds=3, epochs=60, short=20)
QUICK = Effort((5e-3, 5e-2), (0.0, 0.5, 1.0), (5,), seeds=1, epochs=25, short=6, workers=(1, 2, 5, 10), hosts=())
