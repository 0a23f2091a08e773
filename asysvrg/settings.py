"""What the user asked for, checked: an estimator's parameters as numbers that the layers below take as they are."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils.validation import check_scalar

from asysvrg.core import cpu
from asysvrg.core.inner import UPDATES
from asysvrg.core.network import ACTIVATIONS
from asysvrg.distributed.codec import CODECS

MOST = 2**31 - 1  # what the kernels count to
SAMPLINGS = ["replacement", "shuffle", "importance"]
SGD_EPOCHS = 2  # before SVRG, under learning_rate_init="auto"


@dataclass(frozen=True)
class Settings:
    """Checked parameters of an estimator; names and meanings are the estimators', None is left to `training`."""

    hidden: tuple[int, ...]
    activation: str
    alpha: float
    alpha_boost: float | None
    solver: str
    batch_size: int
    sampling: str | None
    learning_rate: float | None
    decay: float | str
    max_iter: int
    inner_steps: int | None
    sgd_epochs: int
    deflation: int | None
    coordinates: int
    block: int
    update: str
    backend: str
    wait: str
    max_delay: int | None
    late: str
    compress: str | None
    servers: int
    cache_bytes: float
    tol: float
    n_iter_no_change: int
    early_stopping: bool
    validation_fraction: float
    target_loss: float
    max_time: float
    checkpoint_dir: str | None
    resume: bool
    threads: int
    threads_chosen: bool
    dtype: np.dtype


def check(estimator: Any) -> Settings:
    """Checks an estimator's parameters.

    Raises
    ------
    ValueError, TypeError
        Naming the parameter, what it is and what is expected.
    """
    given = estimator.get_params(deep=False)
    _check_numbers(given)
    for name, known in (
        ("activation", list(ACTIVATIONS)),
        ("solver", ["svrg", "sgd"]),
        ("sampling", [None, *SAMPLINGS]),
        ("update", ["auto", *UPDATES]),
        ("backend", ["threads", "mpi"]),
        ("late", ["wait", "drop"]),
        ("compress", list(CODECS)),
        ("wait", ["sleep", "yield", "spin"]),
    ):
        if given[name] not in known:
            raise ValueError(f"{name} is one of {', '.join(map(str, known))}; got {given[name]!r}")
    if given["dtype"] not in ("float32", "float64", np.float32, np.float64):
        raise ValueError(f"dtype is float32 or float64; got {given['dtype']!r}")
    if given["backend"] == "mpi":
        for name, only in (("coordinates", "all"), ("update", "auto")):
            if given[name] != only:
                raise ValueError(
                    f"{name}={given[name]!r} is for threads; backend='mpi' updates all coordinates at once"
                )
        if given["deflation"]:
            raise ValueError(f"deflation={given['deflation']} is for threads; backend='mpi' takes steps as they are")
        if given["sampling"] == "importance":
            raise ValueError("sampling='importance' is for threads; backend='mpi' takes 'replacement' or 'shuffle'")
        if given["servers"] > 1 and given["max_delay"] is not None:
            raise ValueError(
                f"max_delay={given['max_delay']} is kept by one server, which sees all of an update; "
                f"got servers={given['servers']}"
            )
    else:
        for name, alone in (("compress", None), ("servers", 1)):
            if given[name] != alone:
                raise ValueError(f"{name}={given[name]!r} is for messages between ranks: backend='mpi'")
    by_rank = given["backend"] == "mpi" and given["n_jobs"] is None  # the cores of a machine are its ranks'
    dtype = np.dtype(given["dtype"])
    return Settings(
        hidden=_hidden(given["hidden_layer_sizes"]),
        activation=given["activation"],
        alpha=float(given["alpha"]),
        alpha_boost=None if given["alpha_boost"] is None else float(given["alpha_boost"]),
        solver=given["solver"],
        batch_size=int(given["batch_size"]),
        sampling=given["sampling"],
        learning_rate=None if given["learning_rate_init"] == "auto" else float(given["learning_rate_init"]),
        decay="linear" if given["decay"] == "linear" else float(given["decay"]),
        max_iter=int(given["max_iter"]),
        inner_steps=None if given["inner_steps"] is None else int(given["inner_steps"]),
        sgd_epochs=_sgd_epochs(given),
        deflation=None if given["deflation"] is None else int(given["deflation"]),
        coordinates=0 if given["coordinates"] == "all" else int(given["coordinates"]),
        block=64 // dtype.itemsize if given["block"] == "line" else int(given["block"]),
        update=given["update"],
        backend=given["backend"],
        wait=given["wait"],
        max_delay=given["max_delay"],
        late=given["late"],
        compress=given["compress"],
        servers=int(given["servers"]),
        cache_bytes=float(given["cache_size"]) * 2**20,
        tol=float(given["tol"]),
        n_iter_no_change=int(given["n_iter_no_change"]),
        early_stopping=bool(given["early_stopping"]),
        validation_fraction=float(given["validation_fraction"]),
        target_loss=-math.inf if given["target_loss"] is None else float(given["target_loss"]),
        max_time=math.inf if given["max_time"] is None else float(given["max_time"]),
        checkpoint_dir=_folder(given["checkpoint_dir"], given["resume"]),
        resume=given["resume"],
        threads=1 if by_rank else cpu.count(given["n_jobs"]),
        threads_chosen=by_rank or given["n_jobs"] is not None,
        dtype=dtype,
    )


def _check_numbers(given: dict[str, Any]) -> None:
    for name in ("alpha", "tol", "cache_size"):
        check_scalar(given[name], name, Real, min_val=0)
    if isinstance(given["decay"], str):
        if given["decay"] != "linear":
            raise ValueError(f"decay is a number that is not negative, or 'linear'; got {given['decay']!r}")
    elif not check_scalar(given["decay"], "decay", Real, min_val=0) < math.inf:
        raise ValueError(f"decay is {given['decay']}; a finite number is expected")
    for name in ("batch_size", "max_iter", "n_iter_no_change", "servers"):
        check_scalar(given[name], name, Integral, min_val=1, max_val=MOST)
    rate = given["learning_rate_init"]
    if isinstance(rate, str):
        if rate != "auto":
            raise ValueError(f"learning_rate_init is a positive number or 'auto'; got {rate!r}")
    elif not check_scalar(rate, "learning_rate_init", Real, min_val=0, include_boundaries="neither") < math.inf:
        raise ValueError(f"learning_rate_init is {rate}; a finite number is expected")
    share = check_scalar(given["validation_fraction"], "validation_fraction", Real)
    if not 0 < share < 1:
        raise ValueError(f"validation_fraction is {share}; a number between 0 and 1 is expected")
    for name in ("early_stopping", "warm_start"):
        check_scalar(given[name], name, (bool, np.bool_))
    for name, low in (("inner_steps", 1), ("max_delay", 0), ("deflation", 0)):
        if given[name] is not None:
            check_scalar(given[name], name, Integral, min_val=low, max_val=MOST)
    for name, low in (("target_loss", None), ("max_time", 0), ("alpha_boost", 1)):
        if given[name] is not None:
            check_scalar(given[name], name, Real, min_val=low)
    for name in ("alpha", "alpha_boost", "tol", "cache_size", "target_loss", "max_time"):
        value, no_limit = given[name], name in ("cache_size", "max_time")
        if value is not None and not (math.isfinite(value) or (no_limit and value == math.inf)):
            raise ValueError(f"{name} is {value}; a finite number is expected")
    for name, word in (("coordinates", "all"), ("block", "line")):
        if given[name] != word:
            check_scalar(given[name], name, Integral, min_val=1, max_val=MOST)


def _folder(path: Any, resume: Any) -> str | None:
    if not isinstance(resume, bool):
        raise ValueError(f"resume is True or False; got {resume!r}")
    if path is None:
        if resume:
            raise ValueError("resume=True, but there is no checkpoint_dir to resume from")
        return None
    if not isinstance(path, str | os.PathLike) or not os.fspath(path):
        raise ValueError(f"checkpoint_dir is the path of a folder, or None; got {path!r}")
    return str(os.fspath(path))


def _sgd_epochs(given: dict[str, Any]) -> int:
    if given["sgd_epochs"] is None:
        return SGD_EPOCHS if given["learning_rate_init"] == "auto" else 0
    return int(check_scalar(given["sgd_epochs"], "sgd_epochs", Integral, min_val=0))


def _hidden(sizes: Any) -> tuple[int, ...]:
    sizes = tuple(sizes) if isinstance(sizes, Iterable) else (sizes,)
    for size in sizes:
        check_scalar(size, "hidden_layer_sizes", Integral, min_val=1)
    return tuple(int(size) for size in sizes)
