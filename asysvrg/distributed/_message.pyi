from collections.abc import Sequence
from typing import Final, final

import numpy as np

HEADER: int

@final
class Message:
    kind: Final[int]
    flags: Final[int]
    stage: Final[int]
    run: Final[int]
    seq: Final[int]
    epoch: Final[int]
    version: Final[int]
    iteration: Final[int]
    evaluated: Final[int]
    sweep: Final[int]
    shard: Final[int]
    first: Final[int]
    last: Final[int]
    offset: Final[int]
    total: Final[int]
    l2_factor: Final[float]
    payload: Final[np.ndarray]
    def __init__(
        self,
        kind: int,
        payload: np.ndarray | Sequence[np.ndarray] = (),
        flags: int = 0,
        *,
        stage: int = 0,
        run: int = 0,
        seq: int = 0,
        epoch: int = 0,
        version: int = 0,
        iteration: int = 0,
        evaluated: int = 0,
        sweep: int = 0,
        shard: int = 0,
        first: int = 0,
        last: int = 0,
        offset: int = 0,
        total: int = 0,
        l2_factor: float = 1,
    ) -> None: ...
    def stamp(self, stage: int, run: int, seq: int) -> None: ...
    def detach(self) -> None: ...

@final
class Buffer:
    array: Final[np.ndarray]
    def __init__(self, array: np.ndarray) -> None: ...
    def __len__(self) -> int: ...
    def write(self, message: Message) -> int: ...
    def read(self) -> Message: ...
    def vector(self, size: int, dtype: np.dtype) -> np.ndarray: ...
