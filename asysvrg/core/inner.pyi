from collections.abc import Sequence
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from typing_extensions import disjoint_base

from asysvrg.core.importance import Draws
from asysvrg.core.network import Network, Samples

DIRECTIONS: dict[str, int]
EXECUTIONS: dict[str, int]
STRIPE: int
UPDATES: dict[str, int]

_Preconditioner: TypeAlias = Sequence[tuple[np.ndarray, np.ndarray] | None]

@disjoint_base
class InnerLoop:
    network: Final[Network]
    samples: Final[Samples]
    turns: Final[np.ndarray]
    stripes: Final[np.ndarray]
    def __init__(
        self,
        network: Network,
        samples: Samples,
        *,
        alpha: ArrayLike,
        batch_size: int,
        execution: str,
        update: str,
        seed: int,
        threads: int,
        coordinates: int = 0,
        block: int = 1,
        max_delay: int | None = None,
        adaptive: bool = False,
        replacement: bool = True,
        rank: int = 0,
        lazy_rows: bool = False,
        parts: int = 1,
        records: bool = False,
    ) -> None: ...
    def run(
        self,
        x: np.ndarray,
        steps: int,
        *,
        direction: str,
        eta: ArrayLike,
        epoch: int,
        l2_factor: float = 1.0,
        mu: np.ndarray | None = None,
        x_snap: np.ndarray | None = None,
        cache: np.ndarray | None = None,
        preconditioner: _Preconditioner | None = None,
        draws: Draws | None = None,
        deadline: float = ...,
        first: int = 0,
    ) -> np.ndarray: ...
    def direction(
        self,
        x: np.ndarray,
        v: np.ndarray,
        t: int,
        *,
        direction: str,
        epoch: int,
        l2_factor: float = 1.0,
        mu: np.ndarray | None = None,
        x_snap: np.ndarray | None = None,
        cache: np.ndarray | None = None,
        known: np.ndarray | None = None,
        preconditioner: _Preconditioner | None = None,
    ) -> int: ...

def atomic_adds(network: Network, x: np.ndarray, times: int, threads: int) -> None: ...
