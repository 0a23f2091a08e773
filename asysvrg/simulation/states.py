"""The older states of x that virtual workers have read, Eq. (6). A state is kept until nobody needs it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from asysvrg.core.network import aligned_zeros
from asysvrg.core.steps import StepLoop
from asysvrg.simulation.events import Done, Piece, Read, Write


class _Kept:
    """A vector, and how many slots need it."""

    __slots__ = ("needed", "vector")

    def __init__(self, vector: np.ndarray, needed: int):
        self.vector, self.needed = vector, needed


class States:
    """x^ of every worker, while a loop updates x.

    A state is copied when the first update after its reads comes, once for all that have read it. So one worker alone
    reads x itself.
    """

    def __init__(self, loop: StepLoop):
        self.loop = loop
        self.spare: list[np.ndarray] = []
        self.made = 0  # vectors
        self.clear()

    def clear(self) -> None:
        """Makes everything ready for the next epoch."""
        self.fresh: list[Any] = []  # slots that have read x as it is now
        self.kept: dict[Any, _Kept] = {}
        self.changes: dict[int, np.ndarray] = {}  # of updates that are still being written
        self.changed = np.zeros(0)  # the last change, as far as one was wanted

    def read(self, event: Read) -> None:
        if event.slot in self.kept:  # of an update that was discarded
            self._release(self.kept.pop(event.slot))
        if event.slot in self.fresh:
            self.fresh.remove(event.slot)
        if not event.without:
            self.fresh.append(event.slot)
            return
        x_hat = self._copy()
        for turn, first, last in event.without:
            x_hat[first:last] -= self.changes[turn][first:last]
        self.kept[event.slot] = _Kept(x_hat, 1)

    def write(self, event: Write) -> bool:
        """Carries out an update. Returns False if time is over."""
        mine = event.slot in self.fresh
        others = [slot for slot in self.fresh if slot != event.slot]
        wants_change = event.lasts or bool(event.arrives) or bool(event.overtakes)
        before = None
        if others or wants_change:
            before = _Kept(self._copy(), len(others) + wants_change)
            self.kept.update(dict.fromkeys(others, before))
        x_hat = None if mine else self.kept.pop(event.slot)
        self.fresh = []
        if not self.loop.step(event.t, None if x_hat is None else x_hat.vector):
            return False
        if x_hat is not None:
            self._release(x_hat)
        if wants_change and before is not None:
            change = self._copy()
            change -= before.vector
            self._release(before)
            self._arrive(event.arrives, change)
            self.changed = change
            if event.lasts:
                self.changes[event.turn] = change
            else:
                self.spare.append(change)
        return True

    def apart(self, event: Write) -> np.ndarray | None:
        """x - x^ of the next update; None where they are the same. The caller gives the vector back by `free`."""
        if event.slot in self.fresh:
            return None
        apart = self._copy()
        apart -= self.kept[event.slot].vector
        return apart

    def free(self, vector: np.ndarray) -> None:
        self.spare.append(vector)

    def done(self, event: Done) -> None:
        self.spare.append(self.changes.pop(event.turn))

    def _arrive(self, arrives: Sequence[Piece], change: np.ndarray) -> None:
        """Readers see some coordinates of a change."""
        for slot, first, last in arrives:
            kept = self.kept[slot]
            if kept.needed > 1:
                own = self._vector()
                own[:] = kept.vector
                kept.needed -= 1
                kept = self.kept[slot] = _Kept(own, 1)
            kept.vector[first:last] += change[first:last]

    def _release(self, kept: _Kept) -> None:
        kept.needed -= 1
        if kept.needed == 0:
            self.spare.append(kept.vector)

    def _vector(self) -> np.ndarray:
        if self.spare:
            return self.spare.pop()
        self.made += 1
        network = self.loop.network
        return aligned_zeros((network.size,), network.dtype)

    def _copy(self) -> np.ndarray:
        vector = self._vector()
        self.loop.copy_to(vector)
        return vector
