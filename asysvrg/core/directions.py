"""Directions: what an update subtracts. The kernels compute v; this table says what the epoch loop needs to know."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Direction:
    """A direction v as the epoch loop sees it.

    Attributes
    ----------
    name : str
        Key of the kernels' direction, see `InnerLoop.run`.
    needs_snapshot : bool
        Whether v contains mu, the full gradient at the snapshot. Its computation then is part of training.
    uses_cache : bool
        Whether the snapshot's cache saves the pass through the network at the snapshot.
    points : int
        Points at which an update evaluates its mini-batch, with no cache.
    decays : bool
        Whether the learning rate follows the decaying schedule; else it is constant.
    """

    name: str
    needs_snapshot: bool
    uses_cache: bool
    points: int
    decays: bool

    def cost(self, n: int, batch_size: int, cached: bool) -> tuple[int, int]:
        """Sample gradients of the snapshot of n samples, and of one update."""
        return n if self.needs_snapshot else 0, batch_size * (self.points - (cached and self.uses_cache))


DIRECTIONS = {
    direction.name: direction
    for direction in (
        Direction("sgd", needs_snapshot=False, uses_cache=False, points=1, decays=True),
        Direction("svrg", needs_snapshot=True, uses_cache=True, points=2, decays=False),  # Eq. (5)
    )
}
