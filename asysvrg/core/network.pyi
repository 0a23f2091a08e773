from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike
from typing_extensions import disjoint_base

ACTIVATIONS: dict[str, int]
LOSSES: dict[str, int]
KINDS: dict[int, str]
KIND_OF_LOSS: dict[str, str]
DEGREE_OF_LOSS: dict[str, int]
BLOCK_ROWS: int
FEW_ROWS: int
LEVEL: str
LEVELS: tuple[str, ...]
HAS_TILES: bool
TILED_ROWS: int
TILED_INPUTS: int
TILED_UNITS: int
TILED_WORK: int

def build_info() -> dict[str, Any]: ...
def team(threads: int) -> int: ...
def set_dynamic(value: bool) -> bool: ...
def aligned_zeros(shape: Sequence[int], dtype: DTypeLike) -> np.ndarray: ...
def start_of(array: np.ndarray) -> int: ...
def to_half(u: np.ndarray, scale: float, out: np.ndarray) -> None: ...
def from_half(half: np.ndarray, scale: float, out: np.ndarray) -> None: ...

@disjoint_base
class Network:
    widths: Final[tuple[int, ...]]
    activation: Final[str]
    loss: Final[str]
    dtype: Final[np.dtype]
    size: Final[int]
    cache_width: Final[int]
    slices: Final[list[tuple[slice, slice]]]
    smoothing: Final[float]
    intercepts: Final[bool]
    def __init__(
        self,
        widths: Iterable[int],
        activation: str,
        loss: str,
        dtype: DTypeLike,
        tiles: int | None = None,
        smoothing: float = 0.0,
        intercepts: bool = True,
    ) -> None: ...
    def changed(
        self,
        widths: Iterable[int] | None = None,
        loss: str | None = None,
        dtype: DTypeLike | None = None,
        smoothing: float | None = None,
    ) -> Network: ...
    def layers(self, x: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]: ...
    def vector(self, values: np.ndarray | None = None) -> np.ndarray: ...
    def outputs(self, samples: Samples, x: np.ndarray, threads: int) -> np.ndarray: ...
    def sweep(
        self,
        samples: Samples,
        x: np.ndarray,
        threads: int,
        gradients: np.ndarray | None = None,
        cache: np.ndarray | None = None,
        outputs: np.ndarray | None = None,
        rows: tuple[int, int] | None = None,
        parts: int | None = None,
    ) -> tuple[float, float]: ...

@disjoint_base
class Samples:
    X: Final[Any]
    y: Final[Any]
    weight: Final[Any]
    size: Final[int]
    columns: Final[np.ndarray]
    skips_zeros: Final[bool]
    def __init__(
        self, X: Any, y: np.ndarray | None = None, weight: np.ndarray | None = None, skip_zeros: bool = False
    ) -> None: ...
