"""What the ranks of a distributed fit say to each other, in order; `lead` and `assist` stand side by side.

Every rank runs the same program. Where all ranks do the same, one function is for all of them. Where rank 0, the
coordinator, does something else than the other ranks, `lead` and `finish` are for rank 0, `assist` is for the others.
Each exchange names its `Stage`, on both sides. `session` is None where only this process trains.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from asysvrg.core.loop import Outcome
from asysvrg.core.network import Network, Samples
from asysvrg.core.objective import Objective
from asysvrg.core.scaling import Scaling
from asysvrg.core.trace import Trace
from asysvrg.distributed.backend import MPI
from asysvrg.distributed.codec import CODECS
from asysvrg.distributed.execution import DistributedExecution
from asysvrg.distributed.messages import Stage
from asysvrg.distributed.session import open_session
from asysvrg.distributed.sharding import Placement, place
from asysvrg.distributed.worker import Worker
from asysvrg.parameters import Settings
from asysvrg.plan import Data, Plan, storage

__all__ = ["agreed_random_state", "agreed_samples", "all_labels", "assist", "finish", "lead", "open_session"]


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


def agreed_samples(
    session: Any,
    mpi: MPI,
    network: Network,
    samples: Samples,
    mass: float,
    *,
    alpha: float,
    threads: int,
    needs_all: str | None,
) -> tuple[Samples, Placement | None]:
    """Agrees on who has which samples.

    Parameters
    ----------
    session : Session or None
    mpi : MPI
    network : Network
    samples : Samples
        This rank's, with weights of mean 1 or none.
    mass : float
        Sum of its weights as given.
    alpha : float
    threads : int
        That this rank is to compute with.
    needs_all : str or None
        A parameter for which every rank has to have all samples.

    Returns
    -------
    samples : Samples
        To train on here; the weights of all ranks together have mean 1.
    placement : Placement or None

    Raises
    ------
    ValueError
        Where the ranks' parameters or samples do not go together.
    """
    if session is None:
        return samples, None
    session.set_up(mpi, network)
    return place(
        session, network, samples, mass, alpha=alpha, compress=mpi.compress, servers=mpi.servers, threads=threads,
        needs_all=needs_all,
    )  # fmt: skip


def lead(
    session: Any, plan: Plan, objective: Objective, scaling: Scaling, *, max_delay: int | None, seed: int
) -> tuple[DistributedExecution, Plan]:
    """Rank 0: says what the other ranks must know. Returns the execution that has them work, and the whole plan."""
    told = {name: getattr(plan, name) for name in ("batch_size", "sampling", "alpha_boost")}
    session.exchange(Stage.PLAN, told | {"seed": seed} | scaling.as_dict())
    stored = session.exchange(Stage.WORKERS, {}, _true_of_all)
    session.begin(Stage.EPOCHS)
    execution = DistributedExecution(
        session, objective, draws=plan.inner_steps * plan.batch_size, max_delay=max_delay, seed=seed,
        late=session.mpi.late, compress=session.mpi.compress,
    )  # fmt: skip
    stored["snapshot_cache"] &= all(execution.cache_pays(group) for group in session.groups)
    return execution, plan.with_storage(**stored)


def finish(session: Any, outcome: Outcome, trace: Trace) -> None:
    """Rank 0: ends the work of the other ranks, and gives them the result."""
    session.end()
    session.exchange(Stage.OUTCOME, {"outcome": vars(outcome) | {"x": None}, "x": outcome.x, "trace": trace.as_dict()})


def assist(session: Any, settings: Settings, network: Network, samples: Samples) -> tuple[Outcome, Trace]:
    """The other ranks: does what rank 0 asks for from `lead` to `finish`. Returns the result."""
    plan = session.exchange(Stage.PLAN)
    codecs = [CODECS[session.mpi.compress](where.stop - where.start, network.dtype) for where in session.ranges]
    if session.is_worker:
        worker = _worker(settings, network, samples, plan, codecs=codecs, ranges=session.ranges)
        session.exchange(Stage.WORKERS, {"snapshot_cache": worker.may_keep, "skips_zeros": worker.samples.skips_zeros})
        session.work(Stage.EPOCHS, worker)
    else:
        session.exchange(Stage.WORKERS)
        session.keep(Stage.EPOCHS, network.dtype, codecs[session.rank])
    end = session.exchange(Stage.OUTCOME)
    return Outcome(**end["outcome"] | {"x": network.vector(end["x"])}), Trace(**end["trace"])


def _true_of_all(given: dict[int, dict[str, Any]]) -> dict[str, bool]:
    """What is true of all workers. Servers give nothing."""
    return {name: all(one[name] for one in given.values() if one) for name in ("snapshot_cache", "skips_zeros")}


def _worker(settings: Settings, network: Network, samples: Samples, plan: dict[str, Any], **division: Any) -> Worker:
    scaling = Scaling.from_dict(plan)
    X, y = scaling.inputs(samples.X), scaling.targets(samples.y)
    stored = storage(Data.of(X), network, settings.cache_bytes)
    return Worker(
        network,
        Samples(X, y, samples.weight, skip_zeros=stored.skips_zeros[0]),
        alpha=scaling.l2(settings.alpha, network),
        alpha_boost=plan["alpha_boost"],
        batch_size=plan["batch_size"],
        sampling=plan["sampling"],
        seed=plan["seed"],
        threads=settings.threads,
        may_keep=stored.snapshot_cache[0],
        **division,
    )
