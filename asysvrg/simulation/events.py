"""What happens to the parameters in a run with several workers, in order; and the file that keeps it.

A real and a simulated run have the same events. The file has a line of JSON for the run, and one for each update, in
the order of the updates:

    epoch, t      the iteration: with the seed they determine its draws
    worker        thread, rank or virtual worker
    read          updates in front of it that x^ had seen
    delay         updates in front of it that x^ may have missed (Assumption 4); `turn` - `read` unless writes overlap
    seconds       when it was complete: virtual ones of training, real ones since the run began; left out if nobody
                  looked at a clock
    without, with overlapping writes, Eq. (6): [update, first, last], the coordinates of earlier updates that x^ had not
                  seen, and those of later updates that it had
    factor        of the learning rate, if it is not 1
    overtakes     [update, first, last], coordinates of earlier updates that were written after this one: its l2 term
                  was taken without their change, and theirs with its own
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from asysvrg.core.inner import STRIPE
from asysvrg.simulation.costs import ARCHITECTURES
from asysvrg.store.files import replacing

FORMAT = 1
SOURCES = ("simulated", "threads", "mpi")
MOST_WORKERS = 10**6  # in a file
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
        Whether later reads may be `without` some of its change, or later updates overtake it, until it is `Done`.
    overtakes : sequence of (update, first, last)
        As in the file.
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
    overtakes: Sequence[Piece] = ()


class Done(NamedTuple):
    """Update `turn` has been written."""

    turn: int


class Recorder:
    """Collects the updates of a run, and writes them when it is closed."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.lines: list[str] = []
        self.about: dict[str, Any] = {}
        self.on_time = math.inf  # the largest delay of an update whose step is not shortened
        self.later: list[tuple[int, np.ndarray, np.ndarray, np.ndarray]] = []
        if not self.path.absolute().parent.is_dir():
            raise ValueError(f"record={str(path)!r}: there is no folder {self.path.parent}")
        if self.path.exists() and not self.path.is_file():
            raise ValueError(f"record={str(path)!r} is a folder or a device; a file is expected")

    def describe(self, adaptive: bool = False, /, **about: Any) -> None:
        """Sets what the first line of the file says of the run.

        adaptive: the run's threads shorten the steps of late updates. Lines of such updates then have a factor.
        """
        if self.about:
            raise ValueError("a schedule is of one run: record() is for one fit of one network")
        self.about = about
        self.on_time = about["workers"] - 1 if adaptive else math.inf

    def epoch(self, number: int, updates: Sequence[dict[str, Any]]) -> None:
        """Adds the updates of an epoch."""
        self.lines += [json.dumps({"epoch": number} | update) for update in updates]

    def threads(self, number: int, turns: np.ndarray, delays: np.ndarray, stripes: np.ndarray) -> None:
        """Adds an epoch of threads; the arrays are those of `InnerLoop.run`, by iteration.

        They are looked at when the run is over, and does not wait.
        """
        self.later.append((number, turns, delays, stripes))

    def close(self) -> None:
        """Writes the file, if there were updates here: there are none on ranks that follow."""
        for number, *arrays in self.later:
            self.epoch(number, [update | shortened(update["delay"], self.on_time) for update in _of_threads(*arrays)])
        if not self.lines:
            return
        with replacing(str(self.path)) as file:
            head = json.dumps({"format": FORMAT} | self.about)
            file.write("".join(f"{line}\n" for line in (head, *self.lines)).encode())


def shortened(delay: int, on_time: float) -> dict[str, float]:
    """The factor of an update whose delay exceeds `on_time`, as in `distributed.updates.Shard`; else an empty dict."""
    return {"factor": (on_time + 1) / (delay + 1)} if delay > on_time else {}


def _of_threads(turns: np.ndarray, delays: np.ndarray, stripes: np.ndarray) -> Iterator[dict[str, Any]]:
    """The updates of an epoch of threads."""
    order = np.argsort(np.where(delays < 0, len(delays), turns[:, 0]), kind="stable")[: np.sum(delays >= 0)]
    read, written = stripes[order].transpose(1, 0, 2)
    is_noted = len(order) > 0 and read.min() >= 0 and written.min() >= 0
    highest = np.ascontiguousarray(np.maximum.accumulate(written, axis=0).T)
    for turn, t in enumerate(order.tolist()):
        update = {"t": t, "worker": int(turns[t, 1]), "read": turn - int(delays[t]), "delay": int(delays[t])}
        if is_noted:
            update |= {"read": turn, "without": _missing(turn, read[turn], written, highest)}
            overtakes = _missing(turn, written[turn], written, highest)
            update |= {"overtakes": overtakes} if overtakes else {}
        yield update


def _missing(turn: int, had: np.ndarray, written: np.ndarray, highest: np.ndarray) -> list[Piece]:
    """Where updates in front of `turn` were written when a stripe had had so many updates, or more.

    Row i of `written` are the updates that each stripe had when update i was written, column i of `highest` the most
    up to update i.
    """
    first = min(int(np.searchsorted(of_stripe[:turn], most)) for of_stripe, most in zip(highest, had, strict=True))
    late = written[first:turn] >= had
    pieces = []
    for i in np.flatnonzero(late.any(axis=1)).tolist():
        edges = np.flatnonzero(np.diff(np.concatenate([[0], late[i], [0]]))) * STRIPE
        pieces += [(first + i, begin, end) for begin, end in edges.reshape(-1, 2).tolist()]
    return pieces


_current: ContextVar[Recorder | None] = ContextVar("recorder", default=None)


@contextmanager
def record(path: str | Path) -> Iterator[None]:
    """Records the schedule of the fit inside: who read which state of the parameters, and who wrote when.

    Threads or MPI ranks may run the fit; rank 0 writes the file. ``asysvrg.simulate(model, X, y,
    schedule="run.jsonl")`` then repeats the same updates with the same delays.

    Parameters
    ----------
    path : path
        A line of JSON for each update; docs/simulator.md says what is in it.

    Examples
    --------
    >>> import asysvrg
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> model = asysvrg.AsySVRGClassifier((5,), solver="svrg", random_state=0)
    >>> with asysvrg.record("run.jsonl"):
    ...     loss = model.fit(X, y).loss_
    >>> asysvrg.simulate(model, X, y, schedule="run.jsonl").loss_ == loss  # one thread: the same bits
    True
    """
    recorder = Recorder(path)
    token = _current.set(recorder)
    try:
        yield
    except KeyboardInterrupt:  # the model keeps what it learned up to there
        recorder.close()
        raise
    finally:
        _current.reset(token)
    recorder.close()


def current_recorder() -> Recorder | None:
    """The recorder of the `record` around this fit; None without one."""
    return _current.get()


class Recorded(NamedTuple):
    """A recorded run: what its first line says, and the updates of each epoch."""

    about: dict[str, Any]
    epochs: dict[int, list[dict[str, Any]]]


def load(path: str | Path) -> Recorded:
    """Reads a file that `Recorder` wrote.

    Raises
    ------
    ValueError
        If it is another file, or damaged: a replay of impossible updates would end anywhere.
    """
    refused = f"schedule={str(path)!r} is no schedule that record= wrote, or is damaged"
    try:
        about, *lines = [json.loads(line) for line in Path(path).read_text().splitlines()]
        if about["format"] != FORMAT:
            raise ValueError
        about = {"source": None, "architecture": None, "workers": None} | about
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError(refused) from None
    if about["source"] not in SOURCES or about["architecture"] not in ARCHITECTURES:
        raise ValueError(f"{refused}: line 1 has no known source or architecture")
    if not _is_count(about["workers"], MOST_WORKERS + 1) or about["workers"] == 0:
        raise ValueError(f"{refused}: line 1 has no number of workers")
    epochs: dict[int, list[dict[str, Any]]] = {}
    for number, line in enumerate(lines, 2):
        turn = len(epochs.get(line["epoch"], ())) if isinstance(line, dict) and _is_count(line.get("epoch")) else -1
        if turn < 0 or not _is_update(line, turn):
            raise ValueError(f"{refused}: line {number} is no update that can have happened")
        epochs.setdefault(line["epoch"], []).append(line)
    return Recorded(about, epochs)


def _is_update(line: dict[str, Any], turn: int) -> bool:
    """Whether a line of a file may be update number `turn` of its epoch."""
    if not all(_is_count(line.get(name)) for name in ("t", "worker", "read", "delay")):
        return False
    read, factor, seconds = line["read"], line.get("factor", 1.0), line.get("seconds", 0.0)
    if not (max(read, line["delay"]) <= turn and _is_size(factor) and _is_size(seconds)):
        return False
    pieces = {"without": (0, read), "with": (read, turn), "overtakes": (0, turn)}
    return all(_are_pieces(line.get(name, []), *updates) for name, updates in pieces.items())


def _are_pieces(given: Any, first: int, last: int) -> bool:
    """Whether `given` is a list of `Piece`, each of one of the updates first .. last - 1."""
    return isinstance(given, list) and all(
        isinstance(piece, list)
        and len(piece) == 3
        and all(_is_count(number) for number in piece)
        and first <= piece[0] < last
        and piece[1] <= piece[2]
        for piece in given
    )


def _is_count(value: Any, below: int = 2**31) -> bool:
    return type(value) is int and 0 <= value < below


def _is_size(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < math.inf


def replayed(updates: Sequence[dict[str, Any]]) -> Iterator[Read | Write | Done]:
    """The events of a recorded epoch."""
    reads: dict[int, list[Read]] = {}
    arrives: dict[int, list[tuple[int, int, int]]] = {}
    missed_last: dict[int, int] = {}  # the last turn at which some of an update is missed
    for turn, update in enumerate(updates):
        without = update.get("without", ())
        reads.setdefault(update["read"], []).append(Read(turn, without))
        for other, _, _ in without:
            missed_last[other] = max(missed_last.get(other, 0), update["read"])
        for other, _, _ in update.get("overtakes", ()):
            missed_last[other] = max(missed_last.get(other, 0), turn)
        for other, first, last in update.get("with", ()):
            arrives.setdefault(other, []).append((turn, first, last))
    ends: dict[int, list[int]] = {}
    for other, read in missed_last.items():
        ends.setdefault(read, []).append(other)
    for turn, update in enumerate(updates):
        yield from reads.get(turn, ())
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
            update.get("overtakes", ()),
        )
        yield from map(Done, ends.get(turn, ()))
