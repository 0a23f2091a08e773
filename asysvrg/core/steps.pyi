from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import ArrayLike
from typing_extensions import disjoint_base

from asysvrg.core.importance import Draws
from asysvrg.core.inner import InnerLoop

@disjoint_base
class StepLoop(InnerLoop):
    rates: Final[np.ndarray]
    delays: Final[np.ndarray]
    def start(
        self,
        x: np.ndarray,
        steps: int,
        *,
        direction: str,
        eta: ArrayLike,
        epoch: int,
        l2_factor: float = 1,
        mu: np.ndarray | None = None,
        x_snap: np.ndarray | None = None,
        cache: np.ndarray | None = None,
        preconditioner: Sequence[tuple[np.ndarray, np.ndarray] | None] | None = None,
        draws: Draws | None = None,
        deadline: float = ...,
    ) -> None: ...
    def step(self, t: int, x_hat: np.ndarray | None = None) -> bool: ...
    def copy_to(self, out: np.ndarray) -> None: ...
    def finish(self) -> np.ndarray: ...
