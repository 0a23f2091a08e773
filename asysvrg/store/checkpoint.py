"""Checkpoints of a run: written after every epoch, read to go on."""

from __future__ import annotations

import itertools
import math
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from asysvrg.core.loop import KEPT, State
from asysvrg.core.network import Network, Samples
from asysvrg.core.trace import Trace
from asysvrg.core.warn import warn
from asysvrg.store import archive
from asysvrg.store.files import digest

NAME, FORMAT, VERSION = "checkpoint.npz", "asysvrg-checkpoint", 3
ARRAYS = ("x", "best", "lengths", "directions")
TYPES: dict[str, type | tuple[type, ...]] = {
    "identity": dict, "start": dict, "epoch": int, "numbers": dict, "rows": list, "delay_histogram": list,
}  # fmt: skip


def identity(network: Network, samples: Samples, settings: dict[str, Any]) -> dict[str, Any]:
    """What a run and its resumption have in common: data, network, settings that say where the run goes."""
    return {
        "n_samples": samples.size,
        "widths": list(network.widths),
        "activation": network.activation,
        "loss": network.loss,
        "dtype": network.dtype.name,
        **settings,
        "X": digest(samples.X),
        "y": digest(samples.y),
        "sample_weight": digest(samples.weight),
    }


class Checkpoint:
    """The checkpoint of a run in a folder.

    Parameters
    ----------
    folder : path
        Made where it is not there yet.
    identity : dict
        See `identity`; a checkpoint with another one is refused.
    resume : bool
        Read the checkpoint that is there. Without it, one that is there is an error.

    Attributes
    ----------
    state : State or None
        Where to go on; None at the start of a run.

    Raises
    ------
    ValueError
        If the folder cannot be written to, or what is in it does not suit.
    """

    def __init__(self, folder: str | os.PathLike[str], identity: dict[str, Any], *, resume: bool):
        self.path, self.identity = Path(folder).expanduser() / NAME, identity
        self.state: State | None = None
        self._start: dict[str, int | float] = {}
        self._rows: list[dict[str, Any]] = []
        self._histogram: list[int] = []
        self._failed = False
        check_folder(folder, resume=resume)
        if resume and self.path.exists():
            self._read()

    def started_with(self, name: str, number: int | float) -> int | float:
        """A number that a run decides on at its start: this one, or the one of the run that is resumed."""
        return self._start.setdefault(name, number)

    def restore(self, trace: Trace) -> None:
        """Puts the rows recorded so far into a new trace."""
        trace.epochs.extend(self._rows)
        trace.delay_histogram.extend(self._histogram)

    def keep(self, state: State, trace: Trace) -> None:
        """Writes a state; warns, once, where that is not possible, and lets the run go on."""
        if self._failed:
            return
        values = {
            "identity": self.identity,
            "epoch": state.epoch,
            "numbers": state.numbers,
            "start": self._start,
            "rows": trace.epochs,
            "delay_histogram": trace.delay_histogram,
        }
        try:
            archive.write(self.path, FORMAT, VERSION, values, {name: getattr(state, name) for name in ARRAYS})
        except OSError as error:
            self._failed = True
            warn(
                f"{self.path} cannot be written in epoch {state.epoch} ({error.strerror or error}): training goes on "
                "without checkpoints; the last one written is kept"
            )

    def _read(self) -> None:
        values, arrays = archive.read(self.path, FORMAT, VERSION, ARRAYS)
        for name, kind in TYPES.items():
            if not isinstance(values.get(name), kind):
                raise ValueError(f"{self.path} is damaged ({name} is missing or of another type)")
        found = values["identity"]
        differences = [
            _difference(name, found.get(name), self.identity.get(name))
            for name in {**self.identity, **found}
            if found.get(name) != self.identity.get(name)
        ]
        if differences:
            raise ValueError(
                f"{self.path} is of another run ({'; '.join(differences)}): resume with what it was started with, "
                "or give another folder"
            )
        numbers, rows, histogram = values["numbers"], values["rows"], values["delay_histogram"]
        start = values["start"]
        d, dtype = _size(self.identity["widths"]), np.dtype(self.identity["dtype"])
        listed = self.identity["n_samples"] if self.identity.get("sampling") == "importance" else 0
        directions = self.identity.get("deflation", 0) * sum(1 + width for width in self.identity["widths"][1:-1])
        for name, size in zip(ARRAYS, (d, d, listed, directions), strict=True):
            array = arrays[name]
            if array.shape != (size,) or (size and array.dtype != dtype) or not np.isfinite(array).all():
                raise ValueError(f"{self.path} is damaged ({name} is no {dtype} array of {size} finite numbers)")
        sound = (
            set(numbers) == set(KEPT)
            and all(isinstance(number, int | float) and not math.isnan(number) for number in numbers.values())
            and [row.get("epoch") if isinstance(row, dict) else None for row in rows]
            == list(range(values["epoch"] + 1))
            and all(isinstance(row.get("loss"), float) for row in rows)
            and all(type(count) is int and 0 <= count < 2**63 for count in histogram)
            and type(start.get("seed")) is int
            and 0 <= start["seed"] < 2**63
            and isinstance(start.get("learning_rate"), float)
            and 0 < start["learning_rate"] < math.inf
        )
        if not sound:
            raise ValueError(f"{self.path} is damaged (its counts or its rows are not those of a run)")
        self.state = State(epoch=values["epoch"], numbers=numbers, **{name: arrays[name] for name in ARRAYS})
        self._start, self._rows, self._histogram = start, rows, histogram


def check_folder(folder: str | os.PathLike[str], *, resume: bool) -> None:
    """Makes the folder; refuses one that cannot be written to, or that holds what it should not."""
    folder = Path(folder).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(f".{NAME}.*.tmp"):  # by a process that was killed while it wrote
            left.unlink()
        tempfile.TemporaryFile(dir=folder).close()
        others = sorted(path.name for path in folder.iterdir())
    except OSError as error:
        raise ValueError(f"checkpoint_dir {folder}: cannot be written to ({error.strerror or error})") from None
    if not resume and NAME in others:
        raise ValueError(
            f"checkpoint_dir {folder} holds the checkpoint of another run: resume it (resume=True, --resume), "
            "or give another folder"
        )
    if resume and others and NAME not in others:
        raise ValueError(
            f"checkpoint_dir {folder} holds no {NAME} to resume, but {others[0]}: give the folder of a run, "
            "or an empty one to start"
        )


def _difference(name: str, found: Any, wanted: Any) -> str:
    if name in ("X", "y", "sample_weight"):
        return f"{name} has other values"
    if name == "random_state" and None not in (found, wanted):
        return "random_state was another one"
    return f"{name} was {found}, is {wanted}"


def _size(widths: list[int]) -> int:
    return sum((a + 1) * b for a, b in itertools.pairwise(widths))
