"""Checkpoints: the state of a run, written after every epoch and read when the run is resumed."""

from __future__ import annotations

import itertools
import math
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from asysvrg.core.loop import KEPT, State
from asysvrg.core.network import Network, Samples
from asysvrg.core.trace import Trace
from asysvrg.core.warn import warn
from asysvrg.store import archive
from asysvrg.store.files import TEMPORARY, clear_abandoned, digest

NAME, FORMAT, VERSION = "checkpoint.npz", "asysvrg-checkpoint", 8
TYPES: dict[str, type | tuple[type, ...]] = {
    "identity": dict, "start": dict, "epoch": int, "numbers": dict, "rows": list, "delay_histogram": list,
}  # fmt: skip


def identity(
    network: Network, samples: Samples, settings: dict[str, Any], center: np.ndarray | None = None
) -> dict[str, Any]:
    """What must be the same when a run is resumed: data, network, and the settings that its result depends on.

    center: what was subtracted from the targets.
    """
    return {
        "n_samples": samples.size,
        "widths": list(network.widths),
        "activation": network.activation,
        "loss": network.loss,
        "label_smoothing": network.smoothing,
        "dtype": network.dtype.name,
        **({} if network.intercepts else {"fit_intercept": False}),
        **settings,
        "X": digest(samples.X),
        "y": digest(samples.y) if center is None else f"{digest(samples.y)}:{digest(center)}",
        "sample_weight": digest(samples.weight),
    }


class Checkpoint:
    """The checkpoint of a run in a folder.

    Parameters
    ----------
    folder : path
        Folder, which is created if it does not exist.
    identity : dict
        See `identity`. A checkpoint with another identity is an error.
    resume : bool
        Read the checkpoint in the folder, if there is one. If False, an existing checkpoint is an error.

    Attributes
    ----------
    state : State or None
        State to continue from; None at the start of a run.

    Raises
    ------
    ValueError
        If the folder cannot be written to or has other content, or if the checkpoint is of another run or damaged.
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
        clear_abandoned(self.path)

    def started_with(self, name: str, find: Callable[[], int | float]) -> int | float:
        """A number that is found at the start of a run, by `find`; in a resumed run the number found then."""
        if name not in self._start:
            self._start[name] = find()
        return self._start[name]

    def restore(self, trace: Trace) -> None:
        """Add the rows recorded so far to a new trace."""
        trace.epochs.extend(self._rows)
        trace.delay_histogram.extend(self._histogram)

    def keep(self, state: State, trace: Trace) -> None:
        """Write a state. If that fails, warn once; the run continues without checkpoints."""
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
            archive.write(self.path, FORMAT, VERSION, values, {"x": state.x, "best": state.best, **state.arrays})
        except OSError as error:
            self._failed = True
            warn(
                f"{self.path} cannot be written in epoch {state.epoch} ({error.strerror or error}): training continues "
                "without checkpoints; the last one is kept"
            )

    def _read(self) -> None:
        values, _ = archive.read(self.path, FORMAT, VERSION, ())
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
                f"{self.path} is of another run ({'; '.join(differences)}): resume with the same settings and data, "
                "or give another folder"
            )
        numbers, rows, histogram = values["numbers"], values["rows"], values["delay_histogram"]
        start = values["start"]
        dtype, sizes = np.dtype(self.identity["dtype"]), _sizes(self.identity)
        _, arrays = archive.read(self.path, FORMAT, VERSION, tuple(sizes))
        for name, size in sizes.items():
            array = arrays[name]
            if array.shape != (size,) or array.dtype != dtype or not np.isfinite(array).all():
                raise ValueError(f"{self.path} is damaged ({name} is not a {dtype} array of {size} finite numbers)")
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
            raise ValueError(f"{self.path} is damaged (its counts or rows are not valid)")
        x, best = arrays.pop("x"), arrays.pop("best")
        self.state = State(x, best, values["epoch"], arrays, numbers)
        self._start, self._rows, self._histogram = start, rows, histogram


def check_folder(folder: str | os.PathLike[str], *, resume: bool) -> None:
    """Create the folder; raise ValueError if it cannot be written to or has other content."""
    folder = Path(folder).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
        others = sorted(path.name for path in folder.iterdir() if not path.match(TEMPORARY.format(NAME)))
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
            "or an empty one to start a run"
        )


def _difference(name: str, found: Any, wanted: Any) -> str:
    if name in ("X", "y", "sample_weight", "X_val", "y_val"):
        return f"{name} has other values"
    if name == "random_state" and None not in (found, wanted):
        return "random_state was another one"
    return f"{name} was {found}, is {wanted}"


def _sizes(identity: dict[str, Any]) -> dict[str, int]:
    """The length of each array of a checkpoint."""
    widths = identity["widths"]
    d = sum((a + 1) * b for a, b in itertools.pairwise(widths))
    sizes = {"x": d, "best": d}
    if identity.get("sampling") == "importance":
        sizes["gradient_norms"] = identity["n_samples"]
    if len(widths) > 2 and identity.get("deflation"):
        sizes["bases"] = identity["deflation"] * sum(1 + width for width in widths[1:-1])
    return sizes
