"""Directions: what an update subtracts. The kernels compute v; this table says what the rest needs to know of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Direction:
    """A direction v as the plan and the epoch loop see it.

    Attributes
    ----------
    name : str
        Value of the parameter `solver`.
    about : str
        What v is, for the documentation of the parameter.
    kernel : str
        Name of the direction that the kernels compute (csrc/types.h).
    needs_snapshot : bool
        Whether v contains mu, the full gradient at the snapshot. Its computation then is part of training.
    uses_cache : bool
        Whether the snapshot's cache saves the pass through the network at the snapshot.
    points : int
        Points at which an update evaluates its mini-batch, with no cache.
    decays : bool
        Whether the learning rate follows the decaying schedule; else it is constant.
    random_length : bool
        Whether an epoch ends after each update with probability 1/m; else after m updates.
    recursive : bool
        Whether v depends on the v before. Updates then come one after the other, of all coordinates, as they are.
    """

    name: str
    about: str
    kernel: str
    needs_snapshot: bool = True
    uses_cache: bool = True
    points: int = 2
    decays: bool = False
    random_length: bool = False
    recursive: bool = False

    def cost(self, n: int, batch_size: int, cached: bool) -> tuple[int, int]:
        """Sample gradients of the snapshot of n samples, and of one update."""
        return n if self.needs_snapshot else 0, batch_size * (self.points - (cached and self.uses_cache))


DIRECTIONS = {
    direction.name: direction
    for direction in (
        Direction("svrg", "variance-reduced, with a snapshot every `inner_steps` updates (Eq. 5)", kernel="svrg"),
        Direction(
            "sgd",
            "the plain stochastic gradient",
            kernel="sgd",
            needs_snapshot=False,
            uses_cache=False,
            points=1,
            decays=True,
        ),
        # Kovalev, Horvath & Richtarik, "Don't jump through hoops and remove those loops: SVRG and Katyusha are better
        # without the outer loop" (2019).
        Direction(
            "lsvrg",
            "loopless SVRG, whose snapshot is renewed after each update with probability 1 / `inner_steps`",
            kernel="svrg",
            random_length=True,
        ),
        # Li, Bao, Zhang & Richtarik, "PAGE: a simple and optimal probabilistic gradient estimator for nonconvex
        # optimization" (2021).
        Direction(
            "page",
            "recursive variance reduction (PAGE), the v before plus a mini-batch's change of gradient since the x "
            "before; with probability 1 / `inner_steps` the full gradient",
            kernel="page",
            uses_cache=False,
            random_length=True,
            recursive=True,
        ),
    )
}
