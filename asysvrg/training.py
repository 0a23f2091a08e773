"""From checked settings and clean data to trained parameters: what is left open is decided here."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import sparse

from asysvrg.core.loop import Outcome, Plan, minimize
from asysvrg.core.network import Network, Samples
from asysvrg.core.objective import Objective, initial_parameters
from asysvrg.core.scaling import NEUTRAL, Scaling, choose
from asysvrg.core.shared import SharedExecution, suits_a_team
from asysvrg.core.smoothness import smoothness
from asysvrg.core.trace import Trace
from asysvrg.distributed.execution import DistributedExecution
from asysvrg.distributed.script import assist, finish, lead
from asysvrg.distributed.sharding import Sharding
from asysvrg.report.progress import progress_bar
from asysvrg.settings import Settings
from asysvrg.store.checkpoint import Checkpoint, identity
from asysvrg.store.files import digest

RATE_OF_SMOOTHNESS = 0.8  # eta L of "auto"; curvature grows during training (bench/defaults.py shows what comes of it)
MOST_GROWTH = 3.0  # of that rate, while the loss falls
ENOUGH_TO_GROW = 5000  # samples: smaller sets are fitted in a few epochs as it is, and more would only overfit
SHORTENED = 4  # directions along which its steps are, with as many samples
BOOST = 4.0  # of the l2 term in its first epoch, likewise
PASSES = 2  # over the samples in an epoch under "auto", so that the snapshot is a third of the work
LEAST_STEPS = 50  # of an epoch under "auto": below, the snapshot costs more than it brings
ENOUGH_FOR_THREADS = 500_000  # parameters x mini-batch (x density of CSR): below, threads wait longer than they work
ENOUGH_FOR_A_TEAM = 40_000  # the same where threads go together


@dataclass(frozen=True)
class Start:
    """Where a run before ended, and this one begins.

    Attributes
    ----------
    x : array of shape (d,) or None
        Parameters, for the data as given; None for random ones.
    epoch : int
        Number of the first epoch.
    stream : int
        Runs with the same random state and another stream draw other mini-batches.
    factor : float
        By which growth and roll-backs changed the learning rate.
    """

    x: np.ndarray | None = None
    epoch: int = 0
    stream: int = 0
    factor: float = 1.0


def train(
    settings: Settings,
    network: Network,
    samples: Samples,
    *,
    config: dict[str, Any],
    validation: Samples | None,
    random_state: np.random.RandomState,
    start: Start | None = None,
    callback: Callable[[dict[str, Any], np.ndarray], Any] | None,
    verbose: bool,
    team: Any = None,
    placement: Sharding | None = None,
) -> tuple[Outcome, Trace]:
    """Trains a network on samples.

    Parameters
    ----------
    settings : Settings
    network : Network
    samples : Samples
        With labels or targets, and weights of mean 1 or none.
    config : dict
        For the trace; the choices made here are added.
    validation : Samples or None
    random_state : RandomState
        For the start and the seed of all draws.
    start : Start, optional
        Where to start; random parameters without it.
    callback : callable or None
        Called with each new row, and the parameters; a true answer stops the run.
    verbose : bool
        Show progress.
    team : Team, optional
        Train distributed: rank 0 comes here to serve, the others to work.
    placement : Sharding, optional
        The samples of all ranks.

    Returns
    -------
    Outcome, Trace
    """
    n = samples.size if placement is None else placement.n
    settings = _chosen(settings, samples, n)
    if team is not None and team.rank:
        return assist(team, settings, network, samples)
    batch_size = min(settings.batch_size, n)
    automatic = settings.learning_rate is None
    is_seeded = config.get("random_state") is not None
    shards = [] if placement is None else placement.shards
    checkpoint = _checkpoint(settings, network, samples, random_state if is_seeded else None, shards)
    scaling = (
        choose(samples.X, samples.y if network.loss == "squared" else None, settings.alpha) if automatic else NEUTRAL
    )
    if scaling is not NEUTRAL:
        samples = Samples(scaling.inputs(samples.X), scaling.targets(samples.y), samples.weight)
    alpha = scaling.l2(settings.alpha, network)
    start = start or Start()
    x = initial_parameters(network, random_state)  # drawn in any case, so that the seed is the same
    x = x if start.x is None else scaling.scaled(network, start.x)
    seed = int(random_state.randint(np.iinfo(np.int32).max)) + start.stream
    if checkpoint is not None:
        seed = checkpoint.started_with("seed", seed)
    objective = Objective(
        network,
        samples,
        alpha=alpha,
        threads=_threads(settings, network, samples, batch_size),
        cache_bytes=settings.cache_bytes if team is None else 0,
        unit=scaling.target_scale**2,
        n=n,
        spread=None if placement is None or placement.spread is None else placement.spread / scaling.target_scale**2,
    )
    execution = _execution(
        settings,
        objective,
        team,
        scaling,
        batch_size=batch_size,
        inner_steps=settings.inner_steps or _inner_steps(n, batch_size, automatic),
        max_delay=settings.max_delay,
        seed=seed,
    )
    with progress_bar(verbose, settings.max_iter) as show:
        rate = _rate(settings, execution, x, seed) if automatic else settings.learning_rate
        if checkpoint is not None:
            rate = checkpoint.started_with("learning_rate", rate)
        trace = Trace(config | _choices(settings, execution, team) | {"learning_rate": rate})
        if checkpoint is not None:
            checkpoint.restore(trace)
        outcome = minimize(
            execution,
            x,
            replace(
                _plan(settings, rate * start.factor, n, objective.unit),
                early_stopping=settings.early_stopping and validation is not None,
                first=start.epoch,
            ),
            trace,
            test_error=_validation_error(network, validation, scaling, objective.threads),
            callback=lambda row: (
                bool(show(row)) or (callback is not None and callback(row, scaling.unscaled(network, x)))
            ),
            start=None if checkpoint is None else checkpoint.state,
            keep=None if checkpoint is None else lambda state: checkpoint.keep(state, trace),
        )
    outcome.x = scaling.unscaled(network, outcome.x)
    if team is not None:
        finish(team, outcome, trace)
    return outcome, trace


def _execution(
    settings: Settings, objective: Objective, team: Any, scaling: Scaling, **common: Any
) -> SharedExecution | DistributedExecution:
    """Who carries out the epochs: this process's threads, or the team, which is told what it must know first."""
    if team is None:
        return SharedExecution(
            objective,
            coordinates=settings.coordinates,
            block=settings.block,
            update=settings.update,
            sampling=settings.sampling,
            deflation=settings.deflation,
            **common,
        )
    return lead(team, objective, scaling, **common)


def _rate(settings: Settings, execution: SharedExecution | DistributedExecution, x: np.ndarray, seed: int) -> float:
    """The learning rate of "auto" at x."""
    f, size = execution.objective, execution.objective.d
    share = settings.coordinates / size if 0 < settings.coordinates < size else 1.0
    curvature = smoothness(f.network, f.samples, f.alpha, x, execution.batch_size, seed, execution.shortening(x, 0))
    return RATE_OF_SMOOTHNESS / curvature / math.sqrt(share)


def _checkpoint(
    settings: Settings,
    network: Network,
    samples: Samples,
    random_state: np.random.RandomState | None,
    shards: list[str],
) -> Checkpoint | None:
    """The run's checkpoint, if it is to have one."""
    if settings.checkpoint_dir is None:
        return None
    names = (
        "alpha",
        "alpha_boost",
        "solver",
        "batch_size",
        "sampling",
        "inner_steps",
        "sgd_epochs",
        "deflation",
        "coordinates",
        "block",
        "decay",
        "early_stopping",
    )
    method = {name: getattr(settings, name) for name in names}
    method["learning_rate_init"] = "auto" if settings.learning_rate is None else settings.learning_rate
    method["random_state"] = None if random_state is None else digest(random_state.get_state()[1])
    if shards:
        method["shards"] = shards
    return Checkpoint(settings.checkpoint_dir, identity(network, samples, method), resume=settings.resume)


def _may_grow(settings: Settings, n: int) -> bool:
    """Whether the rate is automatic, and the data enough for more than the careful one."""
    return settings.learning_rate is None and n >= ENOUGH_TO_GROW


def _chosen(settings: Settings, samples: Samples, n: int) -> Settings:
    """The settings with what is left to be chosen by the size of the data."""
    sampling, deflation, boost = settings.sampling, settings.deflation, settings.alpha_boost
    large = _may_grow(settings, n) and settings.backend == "threads"
    if sampling is None:
        sampling = "importance" if large else "replacement"
    if deflation is None:
        deflation = SHORTENED if large and not sparse.issparse(samples.X) else 0
    if boost is None:
        boost = BOOST if _may_grow(settings, n) else 1.0
    return replace(settings, sampling=sampling, deflation=deflation, alpha_boost=boost)


def _inner_steps(n: int, batch_size: int, automatic: bool) -> int:
    if automatic:
        return max(math.ceil(PASSES * n / batch_size), LEAST_STEPS)
    return math.ceil(n / batch_size)


def _threads(settings: Settings, network: Network, samples: Samples, batch_size: int) -> int:
    may = settings.update in ("auto", "owned") and not 0 < settings.coordinates < network.size
    together = settings.update == "replicated" or (may and suits_a_team(network, samples, settings.threads))
    enough = ENOUGH_FOR_A_TEAM if together else ENOUGH_FOR_THREADS
    if not settings.threads_chosen and samples.density * network.size * batch_size < enough:
        return 1
    return settings.threads


def _plan(settings: Settings, rate: float, n: int, unit: float) -> Plan:
    return Plan(
        solver=settings.solver,
        max_iter=settings.max_iter,
        sgd_epochs=settings.sgd_epochs,
        learning_rate=rate,
        decay=settings.decay,
        alpha_boost=settings.alpha_boost,
        most_growth=MOST_GROWTH if _may_grow(settings, n) else 1.0,
        tol=settings.tol * (1.0 if settings.early_stopping else unit),
        n_iter_no_change=settings.n_iter_no_change,
        target_loss=settings.target_loss,
        max_time=settings.max_time,
    )


def _validation_error(
    network: Network, validation: Samples | None, scaling: Scaling, n_threads: int
) -> Callable[[np.ndarray], float] | None:
    if validation is None:
        return None
    objective = Objective(network, validation, alpha=0.0, threads=n_threads, cache_bytes=0)
    return lambda x: objective.error(scaling.unscaled(network, x), validation)


def _choices(settings: Settings, execution: SharedExecution | DistributedExecution, team: Any) -> dict[str, Any]:
    objective = execution.objective
    return {
        "hidden_layer_sizes": list(settings.hidden),
        "dtype": objective.network.dtype.name,
        "samples": objective.n,
        "widths": list(objective.network.widths),
        "parameters": objective.d,
        "threads": objective.threads,
        **({} if team is None else {"workers": team.size - settings.servers, "shards": len(team.groups)}),
        "batch_size": execution.batch_size,
        "inner_steps": execution.inner_steps,
        "sampling": settings.sampling,
        "alpha_boost": settings.alpha_boost,
        "update": execution.update,
        "deflation": execution.deflation,
        "snapshot_cache": execution.has_cache,
        "skips_zeros": execution.skips_zeros,
    }
