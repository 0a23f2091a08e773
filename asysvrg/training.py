"""Training: scale the data, make the plan, minimise, and express the result in the data's own units."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from asysvrg.core import cpu, memory
from asysvrg.core.control import OutOfTime, seconds_left
from asysvrg.core.loop import Outcome, minimize
from asysvrg.core.network import DEGREE_OF_LOSS, KIND_OF_LOSS, Network, Samples
from asysvrg.core.objective import Objective, initial_parameters
from asysvrg.core.preconditioner import LowRankPreconditioner
from asysvrg.core.scaling import NEUTRAL, Scaling, choose
from asysvrg.core.schedule import Schedule
from asysvrg.core.shared import SharedExecution
from asysvrg.core.smoothness import smoothness
from asysvrg.core.trace import Trace
from asysvrg.core.warn import warn
from asysvrg.distributed.script import assist, finish, lead
from asysvrg.distributed.sharding import Sharding
from asysvrg.method import Choice, Data, learning_rate
from asysvrg.parameters import Settings
from asysvrg.plan import Plan, make_plan, sweep_parts
from asysvrg.report import streams
from asysvrg.report.progress import progress_bar
from asysvrg.simulation.events import current_recorder
from asysvrg.store.checkpoint import Checkpoint, identity
from asysvrg.store.files import digest


@dataclass(frozen=True)
class Start:
    """Where a run starts.

    Attributes
    ----------
    x : array of shape (d,) or None
        Parameters, for the data as given; None for random ones.
    epoch : int
        Number of the first epoch.
    stream : int
        Runs with the same random state and different streams draw different mini-batches.
    factor : float
        Growth and roll-backs of earlier runs multiplied the learning rate by this.
    """

    x: np.ndarray | None = None
    epoch: int = 0
    stream: int = 0
    factor: float = 1.0


class Prepared(NamedTuple):
    """Scaled samples as the plan stores them."""

    scaling: Scaling
    samples: Samples
    plan: Plan


def prepare(
    settings: Settings,
    network: Network,
    samples: Samples,
    early_stopping: Choice,
    placement: Sharding | None = None,
) -> Prepared:
    """Scales the samples and makes the plan.

    Parameters
    ----------
    settings : Settings
    network : Network
    samples : Samples
        As for `train`.
    early_stopping : (bool, str)
        Whether a validation set chooses the parameters, and why.
    placement : Sharding, optional
        The samples of all ranks.

    Returns
    -------
    Prepared
    """
    scaling = NEUTRAL
    if settings.learning_rate_init == "auto":
        y = samples.y if DEGREE_OF_LOSS[network.loss] else None
        scaling = choose(samples.X, y, settings.alpha, centre=network.intercepts)
    X, y = scaling.inputs(samples.X), scaling.targets(samples.y)
    n = samples.size if placement is None else placement.n
    data = Data.of(X)
    plan = make_plan(settings, network, data, n=n, early_stopping=early_stopping)
    asked, threads = plan.threads, plan.threads if settings.backend != "threads" else cpu.team(plan.threads)
    if threads < asked:
        plan = make_plan(replace(settings, threads=threads), network, data, n=n, early_stopping=early_stopping)
        plan.reasons["threads"] = f"of {asked}, OMP_THREAD_LIMIT or a limit of the system allows no more"
    return Prepared(scaling, Samples(X, y, samples.weight, skip_zeros=plan.skips_zeros), plan)


def train(
    settings: Settings,
    network: Network,
    samples: Samples,
    *,
    center: np.ndarray | None,
    config: dict[str, Any],
    early_stopping: Choice,
    validation: Samples | None,
    test: Samples | None,
    random_state: np.random.RandomState,
    start: Start,
    callback: Callable[[dict[str, Any], np.ndarray], Any] | None,
    verbose: bool,
    session: Any = None,
    placement: Sharding | None = None,
    simulation: Any = None,
) -> tuple[Outcome, Trace]:
    """Trains a network on samples.

    Parameters
    ----------
    settings : Settings
    network : Network
    samples : Samples
        With labels or targets, and weights of mean 1 or none.
    center : array of shape (outputs,) or None
        What was subtracted from the targets.
    config : dict
        For the trace, which adds the plan.
    early_stopping : (bool, str)
        Whether a validation set chooses the parameters, and why.
    validation : Samples or None
        This set; None where there is no early stopping.
    test : Samples or None
        Samples whose error is recorded and changes nothing; they may be the same.
    random_state : RandomState
        For the initial parameters and the seed of all draws.
    start : Start
    callback : callable or None
        Called with each new row, and the parameters. A true answer stops the run.
    verbose : bool
        Show plan and progress.
    session : Session, optional
        Train distributed: rank 0 leads here, the others assist.
    placement : Sharding, optional
        The samples of all ranks.
    simulation : Simulation, optional
        Train by virtual workers.

    Returns
    -------
    Outcome, Trace
    """
    if session is not None and session.rank:
        return assist(session, settings, network, samples)
    if simulation is not None:
        settings = simulation.settings(settings)
    scaling, scaled, plan = prepare(settings, network, samples, early_stopping, placement)
    if simulation is not None:
        plan = simulation.plan(plan)
    memory.check(_needs(settings, network, scaled, plan))
    n = samples.size if placement is None else placement.n
    if (settings.batch_size or 0) > n:
        warn(f"batch_size={settings.batch_size} is more than the {n} different samples, which make one mini-batch")
    checkpoint = None
    if settings.checkpoint_dir is not None:
        is_seeded = config.get("random_state") is not None
        about = _method(settings, plan, random_state if is_seeded else None, placement, validation)
        about |= {} if simulation is None else {"simulation": simulation.described()}
        same = identity(network, samples, about, center)
        checkpoint = Checkpoint(settings.checkpoint_dir, same, resume=settings.resume)
    x = initial_parameters(network, random_state)  # also where they are not used: the seed is drawn after them
    x = x if start.x is None else scaling.scaled(network, start.x)
    seed = int(random_state.randint(np.iinfo(np.int32).max)) + start.stream
    if checkpoint is not None:
        seed = int(checkpoint.started_with("seed", lambda: seed))
        plan = replace(plan, restart=int(checkpoint.started_with("restart", lambda: plan.restart)))
    objective = _objective(settings, network, scaled, plan, scaling, placement)
    preconditioner = None
    if plan.deflation:
        preconditioner = LowRankPreconditioner(network, scaled, plan.deflation, seed, first=not plan.lazy_rows)
    recorder = current_recorder() if simulation is None else None
    problem = {"samples": objective.n, "parameters": objective.d, "batch_size": plan.batch_size, "seed": seed}
    if session is None:
        if recorder is not None:
            recorder.describe(source="threads", architecture="shared", workers=plan.threads, **problem)
        make: Any = SharedExecution if simulation is None else simulation.execution
        execution = make(
            objective,
            batch_size=plan.batch_size,
            seed=seed,
            sampling=plan.sampling,
            preconditioner=preconditioner,
            coordinates=settings.coordinates,
            block=settings.block,
            execution=plan.execution,
            update=plan.update,
            max_delay=settings.max_delay,
            adaptive=settings.delay_adaptive,
            track_gradient_norm=settings.track_gradient_norm,
            lazy_rows=plan.lazy_rows,
            parts=plan.parts,
            record=None if recorder is None else recorder.threads,
        )
    else:
        late = {"max_delay": settings.max_delay, "adaptive": settings.delay_adaptive}
        execution, plan = lead(session, plan, objective, scaling, late, seed=seed)
        if recorder is not None:
            ranks = {"workers": session.size - settings.backend.servers, "shards": len(session.groups)}
            recorder.describe(source="mpi", architecture="distributed", **ranks, **problem)
            execution.record = recorder.epoch
    if verbose:
        streams.err.say(plan.describe())

    def find_rate() -> float:
        if plan.learning_rate is not None:
            return plan.learning_rate
        if preconditioner is not None:
            preconditioner.update(x, start.epoch)
        # A loss of degree 1 has no curvature of its own; that of squared errors stands for it.
        loss = "squared_error" if DEGREE_OF_LOSS[network.loss] == 1 else network.loss
        L = smoothness(network.changed(loss=loss), scaled, objective.alpha, x, plan.batch_size, seed, preconditioner)
        return learning_rate(L, settings.coordinates, network.size)

    def errors(x: np.ndarray) -> dict[str, float | None]:
        x = scaling.unscaled(network, x)
        of_validation, of_test = (None if some is None else objective.error(x, some) for some in others)
        return {"validation_error": of_validation, "test_error": of_validation if test is validation else of_test}

    others = (validation, None if test is validation else test)

    with progress_bar(verbose, settings.max_iter) as show:

        def tell(row: dict[str, Any]) -> bool:
            return bool(show(row)) or (callback is not None and callback(row, scaling.unscaled(network, x)))

        try:
            rate = find_rate() if checkpoint is None else checkpoint.started_with("learning_rate", find_rate)
        except OutOfTime:
            rate = None
        trace = Trace(config | _described(settings, network, plan, objective, session) | {"learning_rate": rate})
        trace.config |= {} if simulation is None else {"simulation": simulation.described()}
        if checkpoint is not None:
            checkpoint.restore(trace)
        outcome = minimize(
            execution,
            x,
            _schedule(settings, network, plan, rate, start, seed=seed, unit=objective.unit, validation=validation),
            trace,
            errors=errors,
            callback=tell,
            start=None if checkpoint is None else checkpoint.state,
            keep=None if checkpoint is None else lambda state: checkpoint.keep(state, trace),
            clock=None if simulation is None else execution.clock,
        )
    outcome.x = scaling.unscaled(network, outcome.x)
    if session is not None:
        finish(session, outcome, trace)
    return outcome, trace


def _needs(settings: Settings, network: Network, samples: Samples, plan: Plan) -> dict[str, tuple[Any, float]]:
    """For `memory.check`: what a run takes at least, for each parameter that decides it."""
    itemsize, threads = network.dtype.itemsize, plan.threads
    units = threads * plan.batch_size * 2 * sum(network.widths[1:])  # of a mini-batch: activations and deltas
    cache = samples.size * network.cache_width if plan.snapshot_cache and plan.solver != "sgd" else 0
    return {
        "hidden_layer_sizes": (settings.hidden_layer_sizes, 5 * network.size * itemsize),  # x, snapshot, best, mu, ...
        "n_jobs": (settings.n_jobs, (threads - 1) * network.size * itemsize),  # gradients
        "batch_size": (settings.batch_size, units * itemsize),
        "inner_steps": (settings.inner_steps, plan.inner_steps * (8 + 4)),  # a rate and a delay each
        "cache_size": (settings.cache_size, cache * itemsize),
    }


def _objective(
    settings: Settings,
    network: Network,
    samples: Samples,
    plan: Plan,
    scaling: Scaling,
    placement: Sharding | None,
) -> Objective:
    """The objective of the scaled data, which reports losses in the data's own units."""
    unit, squares = scaling.target_scale ** DEGREE_OF_LOSS[network.loss], scaling.target_scale**2
    return Objective(
        network,
        samples,
        alpha=scaling.l2(settings.alpha, network),
        threads=plan.threads,
        parts=sweep_parts(samples.size, network.size) if plan.execution == "lockstep" else None,
        cache=plan.snapshot_cache,
        unit=unit,
        n=None if placement is None else placement.n,
        spread=None if placement is None or placement.spread is None else placement.spread / squares,
    )


def _method(
    settings: Settings,
    plan: Plan,
    random_state: np.random.RandomState | None,
    placement: Sharding | None,
    validation: Samples | None,
) -> dict[str, Any]:
    """What a resumed run must have in common with the one before, besides data and network."""
    given = ("alpha", "coordinates", "block", "delay_adaptive")
    chosen = ["solver", "batch_size", "inner_steps", "decay", "alpha_boost", "sampling", "sgd_epochs", "deflation"]
    chosen += ["early_stopping"]
    method = {name: getattr(settings, name) for name in (*given, "learning_rate_init")}
    method |= {name: getattr(plan, name) for name in chosen}
    state: Any = None if random_state is None else random_state.get_state()
    method["random_state"] = None if state is None else digest(state[1])
    if placement is not None and placement.shards:
        method["shards"] = placement.shards
    if validation is not None:
        method |= {"X_val": digest(validation.X), "y_val": digest(validation.y)}
    return method


def _noise(error: float, validation: Any, is_real: bool) -> float:
    """Half the standard error of an error: of a mean of squared residuals, taken as normal, or of a share of samples.

    Half of it, since errors of one run on the same samples differ by less than those on other samples.
    """
    variance = 2 * error**2 if is_real else max(error * (1 - error), 0.0)
    return math.sqrt(variance / validation.size) / 2


def _schedule(
    settings: Settings,
    network: Network,
    plan: Plan,
    rate: float | None,
    start: Start,
    *,
    seed: int,
    unit: float,
    validation: Samples | None,
) -> Schedule:
    return Schedule(
        solver=plan.solver,
        max_iter=settings.max_iter,
        inner_steps=plan.inner_steps,
        sgd_epochs=plan.sgd_epochs,
        learning_rate=0.0 if rate is None else rate * start.factor,  # without time for it there is none for an epoch
        decay=plan.decay,
        restart=plan.restart,
        evaluated=plan.evaluated,
        alpha_boost=plan.alpha_boost,
        tol=settings.tol * unit,
        n_iter_no_change=settings.n_iter_no_change,
        early_stopping=plan.early_stopping and settings.early_stopping,
        error_tol=settings.tol,
        error_noise=lambda error: _noise(error, validation, KIND_OF_LOSS[network.loss] == "reals"),
        target_loss=settings.target_loss,
        max_time=seconds_left(),
        most_growth=plan.most_growth,
        first=start.epoch,
        seed=seed,
    )


def _described(settings: Settings, network: Network, plan: Plan, objective: Objective, session: Any) -> dict[str, Any]:
    """For the trace: problem and plan."""
    ranks: dict[str, int] = {}
    if session is not None:
        ranks = {"workers": session.size - settings.backend.servers, "shards": len(session.groups)}
    return {
        "hidden_layer_sizes": list(settings.hidden_layer_sizes),
        "dtype": network.dtype.name,
        "samples": objective.n,
        "loss_unit": objective.unit,
        "widths": list(network.widths),
        "parameters": network.size,
        **ranks,
        **plan.values(),
        "plan": plan.reasons,
    }
