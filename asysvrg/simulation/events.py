"""What happens to the parameters in a run with several workers, in order; and the file that keeps it.

A real and a simulated run have the same events. The file has a line of JSON for the run, and one for each update, in
the order of the updates:

    epoch, t      the iteration: with the seed they determine its draws
    worker        thread, rank or virtual worker
    read          updates in front of it that x^ had seen
    delay         updates in front of it that x^ may have missed (Assumption 4); `turn` - `read` unless writes overlap
    seconds       when it was applied, from the start of the epoch; left out if nobody looked at a clock
    without, with overlapping writes, Eq. (6): [update, first, last], the coordinates of earlier updates that x^ had not
                  seen, and those of later updates that it had
    factor        of the learning rate, if it is not 1
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from asysvrg.store.files import replacing

FORMAT = 1
Piece = tuple[int, int, int]  # an update, and the coordinates first .. last - 1 of its change


class Read(NamedTuple):
    """A worker reads x: x^ is the state now, less the changes of updates that are still being written.

    `slot` names the x^ until it is used.
    """

    slot: Any
    without: Sequence[Piece] = ()


class Write(NamedTuple):
    """Update number `turn` of the epoch: iteration t, whose direction is that at the x^ of `slot`.

    Attributes
    ----------
    arrives : sequence of (slot, first, last)
        Who reads meanwhile, and the coordinates of this update's change that it sees.
    lasts : bool
        Whether later reads may be `without` some of its change, until it is `Done`.
    """

    slot: Any
    t: int
    turn: int
    worker: int
    read: int
    delay: int
    seconds: float | None = None
    factor: float = 1.0
    arrives: Sequence[tuple[Any, int, int]] = ()
    lasts: bool = False


class Done(NamedTuple):
    """Update `turn` has been written."""

    turn: int


class Recorder:
    """Collects the updates of a run, and writes them when it is closed."""

    def __init__(self, path: str | Path):
        self.path, self.lines, self.about = Path(path), [], {}
        if not self.path.absolute().parent.is_dir():
            raise ValueError(f"record={str(path)!r}: there is no folder {self.path.parent}")

    def describe(self, **about: Any) -> None:
        """What the first line says of the run."""
        self.about |= about

    def epoch(self, number: int, updates: Sequence[dict[str, Any]]) -> None:
        """Adds the updates of an epoch."""
        self.lines += [json.dumps({"epoch": number} | update) for update in updates]

    def close(self) -> None:
        with replacing(str(self.path)) as file:
            head = json.dumps({"format": FORMAT} | self.about)
            file.write("".join(f"{line}\n" for line in (head, *self.lines)).encode())


def in_order(t: np.ndarray, workers: np.ndarray, delays: np.ndarray) -> list[dict[str, Any]]:
    """The updates of a real epoch, from arrays in their order."""
    reads = np.arange(len(t)) - delays
    columns = (t.tolist(), workers.tolist(), reads.tolist(), delays.tolist())
    return [dict(zip(("t", "worker", "read", "delay"), each, strict=True)) for each in zip(*columns, strict=True)]


class Recorded(NamedTuple):
    """A recorded run: what its first line says, and the updates of each epoch."""

    about: dict[str, Any]
    epochs: dict[int, list[dict[str, Any]]]


def load(path: str | Path) -> Recorded:
    """Reads a file that `Recorder` wrote."""
    try:
        about, *lines = [json.loads(line) for line in Path(path).read_text().splitlines()]
        if about["format"] != FORMAT:
            raise ValueError
        epochs: dict[int, list[dict[str, Any]]] = {}
        for line in lines:
            epochs.setdefault(line["epoch"], []).append(line)
            _ = line["t"], line["worker"], line["read"], line["delay"]
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"schedule={str(path)!r} is no schedule that record= wrote") from None
    return Recorded(about, epochs)


def replayed(updates: Sequence[dict[str, Any]]) -> Iterator[Read | Write | Done]:
    """The events of a recorded epoch."""
    reads: dict[int, list[Read]] = {}
    arrives: dict[int, list[tuple[int, int, int]]] = {}
    missed_last: dict[int, int] = {}  # the last read that is without some of an update
    for turn, update in enumerate(updates):
        if not 0 <= update["read"] <= turn:
            raise ValueError(f"update {turn} of epoch {update['epoch']} has read {update['read']} updates")
        without = update.get("without", ())
        reads.setdefault(update["read"], []).append(Read(turn, without))
        for other, _, _ in without:
            missed_last[other] = max(missed_last.get(other, 0), update["read"])
        for other, first, last in update.get("with", ()):
            arrives.setdefault(other, []).append((turn, first, last))
    ends: dict[int, list[int]] = {}
    for other, read in missed_last.items():
        ends.setdefault(read, []).append(other)
    for turn, update in enumerate(updates):
        yield from reads.get(turn, ())
        yield from map(Done, ends.get(turn, ()))
        yield Write(
            turn,
            update["t"],
            turn,
            update["worker"],
            update["read"],
            update["delay"],
            update.get("seconds"),
            update.get("factor", 1.0),
            arrives.get(turn, ()),
            turn in missed_last,
        )
