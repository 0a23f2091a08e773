"""What the ranks of a distributed fit say to each other, in order. `lead` and `assist` stand side by side.

Every rank runs the same program. Where all ranks do the same, one function is for all of them. Otherwise `lead` and
`finish` are for rank 0, and `assist` is for the others. Every exchange names its stage on both sides, and ranks that
are at different stages end with an error that names both. `session` is None where only this process trains.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from asysvrg._version import __version__
from asysvrg.core import system
from asysvrg.core.loop import Outcome
from asysvrg.core.network import KIND_OF_LOSS, Network, Samples
from asysvrg.core.objective import Objective
from asysvrg.core.scaling import Scaling
from asysvrg.core.trace import Trace
from asysvrg.core.warn import warn
from asysvrg.distributed import mpi, sharding
from asysvrg.distributed.backend import MPI
from asysvrg.distributed.endpoint import replaced_handlers, restore_handlers
from asysvrg.distributed.execution import DistributedExecution
from asysvrg.distributed.protocol import Stage
from asysvrg.distributed.server import Group
from asysvrg.distributed.session import Coordinator, Participant, announce_running
from asysvrg.distributed.sharding import Sharding
from asysvrg.distributed.worker import Worker
from asysvrg.method import RANK_0_VALIDATES, Data
from asysvrg.plan import Plan, storage
from asysvrg.precision import center_of
from asysvrg.settings import Settings
from asysvrg.store.files import digest

_open: Any = None  # the session of this process


@contextmanager
def open_session(wanted: bool) -> Iterator[Any]:
    """This rank's session; None unless it is `wanted`. Inside of another session, that one.

    What one rank raises inside ends the other ranks, too, with a message that names it.
    """
    global _open
    if not wanted or _open is not None:
        yield _open if wanted else None
        return
    world = mpi.world()
    world.fits += 1
    session = _open = (Participant if world.rank else Coordinator)(world)
    if world.may_beat:
        session.heartbeat.start()
    handlers: dict[int, Any] = {}
    error: BaseException | None = None
    try:
        if session.rank:  # rank 0 decides what a signal means, and says so
            handlers = replaced_handlers(signal.SIG_IGN)
        _find_each_other(session)
        yield session
    except BaseException as raised:
        error = raised
        raise
    finally:
        _open = None
        session.leave(error)
        restore_handlers(handlers)


def _find_each_other(session: Any) -> None:
    """All ranks have the same version, and know which ranks are on the same machine."""
    here = {"version": __version__, "machine": system.process_space(), "process": os.getpid()}

    def combine(given: dict[int, Any]) -> dict[str, Any]:
        for rank, one in given.items():
            if one["version"] != __version__:
                raise ValueError(f"rank {rank} has asysvrg {one['version']}, rank 0 has {__version__}")
        return {"ranks": {str(rank): [one["machine"], one["process"]] for rank, one in given.items()}}

    ranks = session.exchange(Stage.RANKS, here, combine)["ranks"]
    session.processes = {
        int(rank): process
        for rank, (machine, process) in ranks.items()
        if machine == here["machine"] and int(rank) != session.rank
    }
    if session.rank == 0:
        announce_running()


def all_labels(session: Any, labels: np.ndarray) -> np.ndarray:
    """The sorted class labels of all ranks."""
    if session is None:
        return labels
    plain = labels if labels.dtype.kind in "biufU" else labels.tolist()

    def combine(given: dict[int, Any]) -> dict[str, Any]:
        every = np.unique(np.concatenate([np.asarray(one["labels"]) for one in given.values()]))
        return {"labels": every if plain is labels else every.tolist()}

    found = session.exchange(Stage.LABELS, {"labels": plain}, combine)["labels"]
    return np.asarray(found, dtype=None if plain is labels else labels.dtype)


def agreed_random_state(session: Any, state: np.random.RandomState) -> np.random.RandomState:
    """Rank 0's random state, on every rank."""
    if session is None:
        return state
    _, keys, *rest = state.get_state()
    agreed = session.exchange(Stage.RANDOM_STATE, {"keys": keys, "rest": rest})
    if session.rank:
        state = np.random.RandomState()
        state.set_state(("MT19937", agreed["keys"], *agreed["rest"]))
    return state


def agreed_center(session: Any, moments: dict[str, Any]) -> np.ndarray | None:
    """`center_of` the targets of all ranks, on every rank."""
    if session is None:
        return center_of([moments])

    def combine(given: dict[int, Any]) -> dict[str, Any]:
        center = center_of(given.values())
        return {} if center is None else {"center": center}

    return session.exchange(Stage.CENTER, moments, combine).get("center")


def why_not_hold_out(session: Any, has_validation: bool, *arrays: Any) -> str:
    """Why no samples can be held out for validation; empty if all ranks have the same, and no validation set."""
    if session is None:
        return ""

    def combine(given: dict[int, Any]) -> dict[str, Any]:
        if given[0]["samples"] is None:
            return {"why": RANK_0_VALIDATES}
        alike = all(one == given[0] for one in given.values())
        return {"why": "" if alike else "ranks have samples of their own, and no X_val is given"}

    mine = None if has_validation else [digest(array) for array in arrays]
    return session.exchange(Stage.ALIKE, {"samples": mine}, combine)["why"]


def agreed_samples(
    session: Any,
    options: MPI,
    network: Network,
    samples: Samples,
    mass: float,
    *,
    alpha: float,
    threads: int,
    needs_all: str | None,
) -> tuple[Samples, Sharding | None]:
    """Agrees on which rank has which samples. Returns those to train on here, and the numbers of all.

    This rank's samples have weights of mean 1, or none; `mass` is the sum of the weights as given. In the result the
    weights of all ranks together have mean 1. Raises ValueError if the ranks' parameters or samples do not go together,
    and if they differ but a parameter, `needs_all`, needs all samples on every rank.
    """
    if session is None:
        return samples, None
    session.set_up(options, network)
    mine = sharding.describe(
        network, samples, mass, threads, alpha=alpha, compress=options.compress, servers=options.servers
    )
    agreed = session.exchange(Stage.SAMPLES, mine, lambda given: sharding.agree(given, needs_all, session.size))
    session.divide()
    if session.rank == 0:
        for rank, wanted, cores in agreed["bound"]:
            warn(
                f"rank {rank} is to run {wanted} threads, but its launcher lets it use {cores} core(s) only: "
                "set it free (Open MPI: --bind-to none; Slurm: --cpus-per-task), or take fewer by n_jobs"
            )
        session.groups = [Group(n_rows, tuple(ranks)) for n_rows, ranks in agreed["groups"]]
        session.server.group(session.groups)
    factor = agreed["n"] * (mass / agreed["mass"]) / samples.size
    if agreed["gives"]:
        rows = sharding.split(samples, factor, agreed) if session.rank == 0 else {}
        rows = session.exchange(Stage.ROWS, rows, lambda given: given[0], own=True)
        if session.is_worker:
            samples, factor = sharding.join(samples, factor, rows), 1.0
    if agreed["weighted"]:
        samples = Samples(samples.X, samples.y, sharding.weighted(samples, factor))
    spread = agreed["spread"] if KIND_OF_LOSS[network.loss] == "reals" else None
    return samples, Sharding(agreed["n"], spread, agreed["shards"])


def lead(
    session: Any, plan: Plan, objective: Objective, scaling: Scaling, late: dict[str, Any], *, seed: int
) -> tuple[DistributedExecution, Plan]:
    """Rank 0: says what the other ranks must know. Returns the execution that has them work, and the whole plan.

    `late` has what becomes of late updates: max_delay and adaptive of `DistributedExecution`.
    """
    session.exchange(
        Stage.PLAN, {"batch_size": plan.batch_size, "sampling": plan.sampling, "seed": seed} | scaling.as_dict()
    )
    stored = session.exchange(Stage.WORKERS, {}, _true_of_all)
    session.begin_epochs()
    draws = plan.inner_steps * plan.batch_size
    execution = DistributedExecution(session, objective, draws=draws, seed=seed, **late)
    stored["snapshot_cache"] &= all(execution.cache_pays(group) for group in session.groups)
    return execution, plan.with_storage(**stored)


def finish(session: Any, outcome: Outcome, trace: Trace) -> None:
    """Rank 0: ends the work of the other ranks, and gives them the result."""
    session.end_epochs()
    plain = vars(outcome) | {"x": None, "interrupt": None}
    session.exchange(Stage.OUTCOME, {"outcome": plain, "x": outcome.x, "trace": trace.as_dict()})


def assist(session: Any, settings: Settings, network: Network, samples: Samples) -> tuple[Outcome, Trace]:
    """The other ranks: do what rank 0 asks for from `lead` to `finish`. Returns the result."""
    plan = session.exchange(Stage.PLAN)
    if session.is_worker:
        worker = _worker(session, settings, network, samples, plan)
        session.exchange(Stage.WORKERS, {"snapshot_cache": worker.may_keep, "skips_zeros": worker.samples.skips_zeros})
        session.work(worker)
    else:
        session.exchange(Stage.WORKERS)
        session.serve_shard(network.dtype)
    end = session.exchange(Stage.OUTCOME)
    return Outcome(**end["outcome"] | {"x": network.vector(end["x"])}), Trace(**end["trace"])


def _true_of_all(given: dict[int, dict[str, Any]]) -> dict[str, bool]:
    """What is true of all workers. Servers give nothing."""
    return {name: all(one[name] for one in given.values() if one) for name in ("snapshot_cache", "skips_zeros")}


def _worker(session: Any, settings: Settings, network: Network, samples: Samples, plan: dict[str, Any]) -> Worker:
    scaling = Scaling.from_dict(plan)
    X, y = scaling.inputs(samples.X), scaling.targets(samples.y)
    stored = storage(Data.of(X), network, settings.cache_bytes)
    return Worker(
        network,
        Samples(X, y, samples.weight, skip_zeros=stored.skips_zeros[0]),
        alpha=scaling.l2(settings.alpha, network),
        batch_size=plan["batch_size"],
        sampling=plan["sampling"],
        seed=plan["seed"],
        threads=settings.threads,
        may_keep=stored.snapshot_cache[0],
        codecs=session.codecs(network.dtype),
        shards=session.shards,
    )
