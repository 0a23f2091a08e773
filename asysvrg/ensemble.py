"""Several networks in place of one: `n_models`. Each has its own seed; what they predict is averaged."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.utils import check_random_state

from asysvrg.core import cpu
from asysvrg.core.network import stopped_by

LOOKS = 0.2  # seconds between two looks at signals
# What an average has of its first network.
SHARED = {"_network", "_loss", "coefs_", "intercepts_", "history_", "classes_", "n_outputs_", "_flat", "_stream"}


def members_of(model: Any) -> list[Any]:
    """Unfitted copies of an estimator, one for each of its networks; those of the fit before with `warm_start`."""
    seeds = check_random_state(model.random_state).randint(np.iinfo(np.int32).max, size=model.n_models)
    before = getattr(model, "estimators_", []) if model.warm_start else []
    if before and len(before) != model.n_models:
        raise ValueError(f"warm_start needs as many networks as the fit before, {len(before)}; got {model.n_models}")
    members = list(before) or [clone(model) for _ in seeds]
    at_once = networks_at_once(model)
    for i, (member, seed) in enumerate(zip(members, seeds, strict=True)):
        own: dict[str, Any] = {"n_models": 1, "random_state": int(seed), "verbose": False, "scale": None}
        if model.backend == "threads":
            own["n_jobs"] = max(1, cpu.count(model.n_jobs) // at_once)
        if model.checkpoint_dir is not None:
            own["checkpoint_dir"] = Path(model.checkpoint_dir) / f"network-{i}"
        if model.max_time is not None:
            own["max_time"] = model.max_time / math.ceil(model.n_models / at_once)
        member.set_params(**own)
    return members


def networks_at_once(model: Any) -> int:
    """How many networks train at the same time: one on each core; of ranks, one after the other."""
    return min(model.n_models, cpu.count(model.n_jobs)) if model.backend == "threads" else 1


def train_all(members: Sequence[Any], train: Callable[[int, Any], Any], at_once: int) -> list[Any]:
    """Calls `train` with each member and its number, by so many threads; returns those that are fitted.

    Ctrl-C stops all of them. Each then keeps its best parameters; those that had none yet are left out.
    """
    event, futures = threading.Event(), []

    def trained(number: int, member: Any) -> None:
        with stopped_by(event):
            train(number, member)
        if member.stopped_ == "interrupted":
            event.set()

    # One after the other they run in the caller's thread: ranks, and signals, need it.
    with ThreadPoolExecutor(at_once) if at_once > 1 else nullcontext() as pool:
        try:
            if pool is None:
                for number, member in enumerate(members):
                    trained(number, member)
            else:
                for each in enumerate(members):
                    futures.append(pool.submit(trained, *each))
                # In steps: a signal that another thread got does not wake this one.
                while wait(futures, LOOKS, FIRST_EXCEPTION).not_done and not any(map(_failed, futures)):
                    pass
        except KeyboardInterrupt:
            event.set()
        if pool is not None:
            pool.shutdown(cancel_futures=event.is_set())
            for future in futures:
                error = None if future.cancelled() else future.exception()
                if error is not None and not isinstance(error, KeyboardInterrupt):
                    raise error
    fitted = [member for member in members if hasattr(member, "coefs_")]
    if not fitted:
        raise KeyboardInterrupt
    return fitted


def _failed(future: Future) -> bool:
    return future.done() and not future.cancelled() and future.exception() is not None


class Told:
    """A callback for all networks, called by one thread at a time. A true answer stops all of them."""

    def __init__(self, function: Callable[[dict[str, Any]], Any]):
        self.function, self.lock, self.stop = function, threading.Lock(), False

    def of(self, number: int) -> Callable[[dict[str, Any]], bool]:
        """The callback of one network, whose rows say its number."""

        def tell(row: dict[str, Any]) -> bool:
            with self.lock:
                self.stop = self.stop or bool(self.function(row | {"model": number}))
                return self.stop

        return tell


def take_over(model: Any, members: Sequence[Any]) -> None:
    """Makes trained members an estimator's."""
    model.estimators_ = list(members)
    for name in SHARED & vars(members[0]).keys():
        setattr(model, name, vars(members[0])[name])
    model.n_iter_ = max(member.n_iter_ for member in members)
    model.loss_ = float(np.mean([member.loss_ for member in members]))
    reasons = [member.stopped_ for member in members]
    model.stopped_ = "interrupted" if "interrupted" in reasons else reasons[0]
