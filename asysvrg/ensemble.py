"""Several networks in place of one: `n_models`. Each has its own seed; what they predict is averaged."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import nullcontext
from copy import copy
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.utils import check_random_state

from asysvrg.core import cpu
from asysvrg.core.control import stopped_by
from asysvrg.core.warn import warn
from asysvrg.kinds import plain
from asysvrg.report import streams
from asysvrg.report.progress import describe
from asysvrg.settings import Settings
from asysvrg.simulation.events import current_recorder

LOOKS = 0.2  # seconds between two looks at signals
# Attributes that a model of several networks takes from its first network.
SHARED = {"_network", "_loss", "coefs_", "intercepts_", "history_", "classes_", "n_outputs_", "_flat", "_stream"}


def members_of(model: Any) -> list[Any]:
    """Copies of an estimator, one for each of its networks. With `warm_start` they are those of the fit before."""
    given = plain(model.random_state)
    seeds = check_random_state(given).randint(np.iinfo(np.int32).max, size=int(plain(model.n_models))).tolist()
    if current_recorder() is not None:
        raise ValueError(f"a schedule is of one run: record() is for one network; got n_models={model.n_models}")
    before = getattr(model, "estimators_", []) if model.warm_start else []
    if model.warm_start and hasattr(model, "coefs_"):
        check_count(model)
    members = [copy(member) for member in before]
    members += [clone(model) for _ in seeds[len(members) :]]
    at_once = networks_at_once(model)
    for i, (member, seed) in enumerate(zip(members, seeds, strict=True)):
        own = model.get_params(deep=False)
        own |= {"n_models": 1, "random_state": _state_of_member(model, given, seed), "verbose": False, "scale": None}
        if model.backend == "threads":
            own["n_jobs"] = max(1, cpu.count(model.n_jobs) // at_once)
        if model.checkpoint_dir is not None:
            own["checkpoint_dir"] = Path(model.checkpoint_dir) / f"network-{i}"
        member.set_params(**own)
        member._looks = False
    return members


def _state_of_member(model: Any, given: Any, seed: int) -> Any:
    """The `random_state` of one network, from that of the model.

    Only an int fixes the samples that are held out, and the run that may be resumed. Otherwise seeds differ from fit to
    fit, and both must not depend on them.
    """
    if isinstance(given, Integral):
        return seed
    # Networks that train at once would draw from NumPy's global state in turns that chance decides.
    return None if given is None and model.checkpoint_dir is not None else np.random.RandomState(seed)


def check_count(model: Any) -> None:
    """Raises ValueError if the fit before, which a warm start goes on from, had another number of networks."""
    members = getattr(model, "estimators_", [])
    before = len(members) + getattr(model, "_left_out", 0) if members else 1
    if before != model.n_models:
        given = f"got n_models={model.n_models}"
        raise ValueError(f"warm_start needs as many networks as the fit before, {before}; {given}")


def networks_at_once(model: Any) -> int:
    """How many networks train at the same time: one on each core. The ranks of an MPI job train one at a time."""
    return min(int(plain(model.n_models)), cpu.count(model.n_jobs)) if model.backend == "threads" else 1


def train_all(
    members: Sequence[Any], train: Callable[[int, Any], Any], at_once: int
) -> tuple[list[Any], KeyboardInterrupt | None]:
    """Calls `train` with each member and its number, `at_once` at the same time; returns the fitted members.

    Ctrl-C stops all of them, and is returned, too. A member that has recorded parameters by then keeps its best ones
    and counts as fitted; if there is none, Ctrl-C is raised.
    """
    event, futures, interrupt = threading.Event(), [], None

    def trained(number: int, member: Any) -> None:
        try:
            with stopped_by(event):
                train(number, member)
        except BaseException:
            event.set()  # the others' work is in vain
            raise

    # Networks that train one after the other use the caller's own thread: MPI and Python's signal handlers need that.
    with ThreadPoolExecutor(at_once) if at_once > 1 else nullcontext() as pool:
        try:
            if pool is None:
                for number, member in enumerate(members):
                    trained(number, member)
            else:
                for each in enumerate(members):
                    futures.append(pool.submit(trained, *each))
                # In steps, since a signal that another thread receives does not wake this one.
                while wait(futures, LOOKS, FIRST_EXCEPTION).not_done and not event.is_set():
                    pass
        except KeyboardInterrupt as raised:
            interrupt = raised
            event.set()
        except BaseException:  # of a signal's handler, or of a network
            event.set()
            raise
        if pool is not None:
            pool.shutdown(cancel_futures=event.is_set())
            for future in futures:
                error = None if future.cancelled() else future.exception()
                if isinstance(error, KeyboardInterrupt):
                    interrupt = interrupt or error
                elif error is not None:
                    raise error
    fitted = [member for member in members if hasattr(member, "coefs_")]
    fitted = [member for member in fitted if _has_trained(member)] or fitted
    if interrupt is not None and not fitted:
        raise interrupt
    return fitted, interrupt


def _has_trained(member: Any) -> bool:
    """Whether a network had an update, in this fit or an earlier one: it may have been stopped before the first."""
    return bool(member._stream or sum(member.history_["delay_histogram"]))


class Told:
    """The user's callback, shared by all networks. One thread calls it at a time; a true answer stops all networks.

    With `verbose`, it also shows a line for each epoch.
    """

    def __init__(self, function: Callable[[dict[str, Any]], Any] | None, settings: Settings):
        self.function, self.settings = function, settings
        self.lock, self.stop = threading.Lock(), False

    def of(self, number: int) -> Callable[[dict[str, Any]], bool] | None:
        """The callback for one network, which adds its number to each row. None if there is nobody to tell."""
        if self.function is None and not self.settings.verbose:
            return None

        def tell(row: dict[str, Any]) -> bool:
            with self.lock:
                if self.settings.verbose:
                    streams.err.say(f"network {number}, epoch {row['epoch']}/{self.settings.max_iter}: {describe(row)}")
                if self.function is not None:
                    self.stop = self.stop or bool(self.function(row | {"model": number}))
                return self.stop

        return tell


def take_over(model: Any, members: Sequence[Any]) -> None:
    """Stores the trained members in the estimator, and sets its fitted attributes from theirs.

    Networks that are left out train in a warm start.
    """
    model.estimators_, model._left_out = list(members), int(plain(model.n_models)) - len(members)
    if model._left_out:
        warn(f"{model._left_out} of {model.n_models} networks ended before their first update, and are left out")
    for name in SHARED & vars(members[0]).keys():
        setattr(model, name, vars(members[0])[name])
    model.n_iter_ = max(member.n_iter_ for member in members)
    model.loss_ = float(np.mean([member.loss_ for member in members]))
    model.stopped_ = members[0].stopped_
