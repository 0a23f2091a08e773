"""What an estimator's parameters stand for: `check` turns them into `Settings`, or says which one is wrong."""

from __future__ import annotations

import math
from dataclasses import fields, make_dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from sklearn.base import is_classifier

from asysvrg import kinds
from asysvrg.core import cpu
from asysvrg.distributed.backend import MPI
from asysvrg.parameters import Parameters

CACHE_LINE = 64  # bytes
# Coordinates that are drawn together; ...; the most threads there may be; whether `n_jobs` says how many there are.
DERIVED = {"block": int, "cache_bytes": float, "threads": int, "threads_chosen": bool}
if TYPE_CHECKING:
    Settings: TypeAlias = Any
else:
    named = [*((f.name, f.type) for f in fields(Parameters)), *DERIVED.items()]
    Settings = make_dataclass("Settings", named, frozen=True)
Settings.__doc__ = """Checked parameters: those of `Parameters`, in plain types, and what follows from them (`DERIVED`).

What is left open, as None or "auto", `plan` chooses. `coordinates` is 0 for all, `backend` is "threads" or an `MPI`,
`target_loss` and `max_time` are infinite where there are none.
"""


def is_distributed(backend: Any) -> bool:
    """Whether the `backend` of an estimator is the ranks of an MPI job."""
    return isinstance(backend, MPI) or (isinstance(backend, str) and backend == "mpi")


def check(estimator: Any) -> Settings:
    """Checks an estimator's parameters.

    Raises
    ------
    ValueError, TypeError
        Naming the parameter, what it is and what is expected.
    """
    values = kinds.checked(Parameters, estimator)
    if isinstance(values["backend"], MPI):
        _check_ranks(values, estimator)
    else:
        _check_threads(values, estimator)
    if values["loss"] != "squared_error" and is_classifier(estimator):
        raise ValueError(f"loss={values['loss']!r} is for regressors; a classifier's loss is cross-entropy")
    if not is_classifier(estimator):
        values["label_smoothing"] = 0.0  # there are no labels
    if values["scale"] and isinstance(values["backend"], MPI):
        raise ValueError("scale='robust-clip' needs all samples in one process: with MPI take RobustClip in a pipeline")
    if values["resume"] and values["checkpoint_dir"] is None:
        raise ValueError("resume=True, but there is no checkpoint_dir to resume from")
    one_by_rank = isinstance(values["backend"], MPI) and values["n_jobs"] is None  # a machine's cores are its ranks'
    values["coordinates"], in_lines = values["coordinates"]
    most = cpu.count(-1) if values["execution"] == "lockstep" else math.inf  # more would wait for each other's cores
    derived = {
        "block": CACHE_LINE // values["dtype"].itemsize if in_lines else 1,
        "cache_bytes": values["cache_size"] * 2**20,
        "threads": min(1 if one_by_rank else cpu.count(values["n_jobs"]), most),
        "threads_chosen": one_by_rank or values["n_jobs"] is not None,
    }
    values["target_loss"] = -math.inf if values["target_loss"] is None else values["target_loss"]
    values["max_time"] = math.inf if values["max_time"] is None else values["max_time"]
    return Settings(**values, **derived)


def _check_ranks(values: dict[str, Any], given: Any) -> None:
    """Refuses what the ranks of an MPI job do not do."""
    for name, only in (("coordinates", "all"), ("execution", "auto"), ("update", "auto")):
        value = getattr(given, name)
        if value != only:
            raise ValueError(f"{name}={value!r} is for threads; backend='mpi' updates all coordinates at once")
    if values["deflation"]:
        raise ValueError(f"deflation={values['deflation']} is for threads; backend='mpi' takes steps as they are")
    if (count := values["track_gradient_norm"]) is not None:
        why = "is for threads, which can pause; with backend='mpi' leave it out"
        raise ValueError(f"track_gradient_norm={count} {why}")
    if values["sampling"] == "importance":
        raise ValueError("sampling='importance' is for threads; backend='mpi' takes 'replacement' or 'shuffle'")
    servers = values["backend"].servers
    for name, none in (("max_delay", None), ("delay_adaptive", False)):
        if servers > 1 and values[name] != none:
            raise ValueError(f"{name}={values[name]} needs one server, which sees all of an update; got {servers=}")


def _check_threads(values: dict[str, Any], given: Any) -> None:
    """Refuses combinations of `execution`, `update` and `coordinates` that no kernel carries out."""
    execution, update, (coordinates, in_lines) = (values[name] for name in ("execution", "update", "coordinates"))
    if execution == "lockstep" and coordinates:
        raise ValueError(
            f"execution='lockstep' is for updates of all coordinates; got coordinates={given.coordinates!r}"
        )
    if execution == "lockstep" and values["delay_adaptive"]:
        raise ValueError("delay_adaptive=True is for execution='shared': no update is late in lockstep")
    if execution == "lockstep" and update in ("atomic", "striped"):
        raise ValueError(f"update={update!r} is for execution='shared'; execution='lockstep' has one writer, 'plain'")
    if update == "striped" and coordinates and not in_lines:
        raise ValueError(
            f"update='striped' is for all coordinates or cache lines: coordinates='{kinds.LINES}{coordinates}'; "
            f"got coordinates={coordinates}"
        )
