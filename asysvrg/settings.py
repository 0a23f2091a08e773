"""What the user asked for, checked: an estimator's parameters as numbers that the layers below take as they are."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils.validation import check_scalar

from asysvrg import threads
from asysvrg._network import ACTIVATIONS
from asysvrg._shared import UPDATES

MOST = 2**31 - 1  # what the kernels count to


@dataclass(frozen=True)
class Settings:
    """Checked parameters of an estimator; names and meanings are the estimators', None is left to `training`."""

    hidden: tuple[int, ...]
    activation: str
    alpha: float
    solver: str
    batch_size: int
    learning_rate: float
    decay: float
    max_iter: int
    inner_steps: int | None
    sgd_epochs: int
    coordinates: int
    block: int
    update: str
    max_delay: int | None
    cache_bytes: float
    tol: float
    n_iter_no_change: int
    target_loss: float
    max_time: float
    threads: int
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
        ("update", ["auto", *UPDATES]),
    ):
        if given[name] not in known:
            raise ValueError(f"{name} is one of {', '.join(known)}; got {given[name]!r}")
    if given["dtype"] not in ("float32", "float64", np.float32, np.float64):
        raise ValueError(f"dtype is float32 or float64; got {given['dtype']!r}")
    dtype = np.dtype(given["dtype"])
    return Settings(
        hidden=_hidden(given["hidden_layer_sizes"]),
        activation=given["activation"],
        alpha=float(given["alpha"]),
        solver=given["solver"],
        batch_size=int(given["batch_size"]),
        learning_rate=float(given["learning_rate_init"]),
        decay=float(given["decay"]),
        max_iter=int(given["max_iter"]),
        inner_steps=None if given["inner_steps"] is None else int(given["inner_steps"]),
        sgd_epochs=int(given["sgd_epochs"]),
        coordinates=0 if given["coordinates"] == "all" else int(given["coordinates"]),
        block=64 // dtype.itemsize if given["block"] == "line" else int(given["block"]),
        update=given["update"],
        max_delay=given["max_delay"],
        cache_bytes=float(given["cache_size"]) * 2**20,
        tol=float(given["tol"]),
        n_iter_no_change=int(given["n_iter_no_change"]),
        target_loss=-math.inf if given["target_loss"] is None else float(given["target_loss"]),
        max_time=math.inf if given["max_time"] is None else float(given["max_time"]),
        threads=threads.count(given["n_jobs"]),
        dtype=dtype,
    )


def _check_numbers(given: dict[str, Any]) -> None:
    for name in ("alpha", "decay", "tol", "cache_size"):
        check_scalar(given[name], name, Real, min_val=0)
    for name in ("batch_size", "max_iter", "n_iter_no_change"):
        check_scalar(given[name], name, Integral, min_val=1, max_val=MOST)
    check_scalar(given["sgd_epochs"], "sgd_epochs", Integral, min_val=0)
    check_scalar(given["learning_rate_init"], "learning_rate_init", Real, min_val=0, include_boundaries="neither")
    for name, low in (("inner_steps", 1), ("max_delay", 0)):
        if given[name] is not None:
            check_scalar(given[name], name, Integral, min_val=low, max_val=MOST)
    for name, low in (("target_loss", None), ("max_time", 0)):
        if given[name] is not None:
            check_scalar(given[name], name, Real, min_val=low)
    for name in ("alpha", "learning_rate_init", "decay", "tol", "cache_size", "target_loss", "max_time"):
        value, no_limit = given[name], name in ("cache_size", "max_time")
        if value is not None and not (math.isfinite(value) or (no_limit and value == math.inf)):
            raise ValueError(f"{name} is {value}; a finite number is expected")
    for name, word in (("coordinates", "all"), ("block", "line")):
        if given[name] != word:
            check_scalar(given[name], name, Integral, min_val=1, max_val=MOST)


def _hidden(sizes: Any) -> tuple[int, ...]:
    sizes = tuple(sizes) if isinstance(sizes, Iterable) else (sizes,)
    for size in sizes:
        check_scalar(size, "hidden_layer_sizes", Integral, min_val=1)
    return tuple(int(size) for size in sizes)
