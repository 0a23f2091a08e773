"""Training: scale the data, make the plan, minimise, and express the result in the data's own units."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from asysvrg.core import cpu, memory
from asysvrg.core.control import OutOfTime, seconds_left
from asysvrg.core.directions import DIRECTIONS
from asysvrg.core.loop import Outcome, minimize
from asysvrg.core.network import DEGREE_OF_LOSS, KIND_OF_LOSS, Network, Samples
from asysvrg.core.objective import Objective, constant_error, initial_parameters
from asysvrg.core.preconditioner import LowRankPreconditioner
from asysvrg.core.scaling import NEUTRAL, Scaling, choose
from asysvrg.core.schedule import Schedule
from asysvrg.core.smoothness import smoothness
from asysvrg.core.threaded import ThreadedExecution
from asysvrg.core.trace import Trace
from asysvrg.core.warn import warn
from asysvrg.distributed.execution import DistributedExecution
from asysvrg.distributed.script import assist, finish, lead
from asysvrg.job import Job
from asysvrg.method import Data, learning_rate
from asysvrg.plan import Plan, make_plan, sweep_parts
from asysvrg.report import streams
from asysvrg.report.progress import progress_bar
from asysvrg.settings import Settings
from asysvrg.simulation.events import current_recorder
from asysvrg.simulation.execution import SimulatedExecution
from asysvrg.simulation.run import Simulation
from asysvrg.store.checkpoint import Checkpoint, identity
from asysvrg.store.files import digest


class Prepared(NamedTuple):
    """Scaled samples as the plan stores them."""

    scaling: Scaling
    samples: Samples
    plan: Plan


def prepare(job: Job) -> Prepared:
    """Scales the samples and makes the plan."""
    settings, network, samples = job.settings, job.network, job.samples
    scaling = NEUTRAL
    if settings.learning_rate_init == "auto":
        y = samples.y if DEGREE_OF_LOSS[network.loss] else None
        scaling = choose(samples.X, y, settings.alpha, centre=network.intercepts)
    X, y = scaling.inputs(samples.X), scaling.targets(samples.y)
    data = Data.of(X)
    plan = make_plan(settings, network, data, n=job.n, early_stopping=job.early_stopping)
    asked, threads = plan.threads, plan.threads if settings.backend != "threads" else cpu.team(plan.threads)
    if threads < asked:
        settings = replace(settings, threads=threads)
        plan = make_plan(settings, network, data, n=job.n, early_stopping=job.early_stopping)
        plan.reasons["threads"] = f"of {asked}, OMP_THREAD_LIMIT or a limit of the system allows no more"
    return Prepared(scaling, Samples(X, y, samples.weight, skip_zeros=plan.skips_zeros), plan)


def train(
    job: Job,
    callback: Callable[[dict[str, Any], np.ndarray], Any] | None = None,
    simulation: Simulation | None = None,
) -> tuple[Outcome, Trace]:
    """Trains a network on samples.

    Parameters
    ----------
    job : Job
    callback : callable, optional
        Called with each new row, and the parameters. A true answer stops the run.
    simulation : Simulation, optional
        Train by virtual workers.
    """
    session, network, start = job.session, job.network, job.start
    if session is not None and session.rank:
        return assist(session, job.settings, network, job.samples)
    given = job.settings
    if simulation is not None:
        job = replace(job, settings=simulation.settings(given))
    scaling, scaled, plan = prepare(job)
    if simulation is not None:
        plan = simulation.plan(plan, given)
    memory.check(_needs(job.settings, network, scaled, plan))
    if (asked := job.settings.batch_size or 0) > job.n:
        warn(f"batch_size={asked} is more than the {job.n} different samples, which make one mini-batch")
    checkpoint = None if job.settings.checkpoint_dir is None else _checkpoint(job, plan, simulation)
    x = initial_parameters(network, job.random_state)  # also where they are not used: the seed is drawn after them
    x = x if start.x is None else scaling.scaled(network, start.x)
    seed = int(job.random_state.randint(np.iinfo(np.int32).max)) + start.stream
    if checkpoint is not None:
        seed = int(checkpoint.started_with("seed", lambda: seed))
        restart = int(checkpoint.started_with("restart", lambda: plan.restart))
        plan = replace(plan, restart=restart if restart < job.settings.max_iter else 0)
    objective = _objective(job, scaled, plan, scaling)
    preconditioner = None
    if plan.deflation:
        preconditioner = LowRankPreconditioner(network, scaled, plan.deflation, seed, first=not plan.lazy_rows)
    execution: ThreadedExecution | DistributedExecution
    if session is None:
        execution = _by_threads(job.settings, plan, objective, preconditioner, simulation, seed=seed)
    else:
        execution, plan = _by_ranks(job, plan, objective, scaling, seed=seed)
    if job.verbose:
        streams.err.say(plan.describe())

    def find_rate() -> float:
        if plan.learning_rate is not None:
            return plan.learning_rate
        return _measured_rate(job, plan, objective, preconditioner, x, seed=seed)

    def errors(x: np.ndarray) -> dict[str, float | None]:
        x = scaling.unscaled(network, x)
        error, loss = (None, None) if validation is None else objective.on_others(x, validation)
        of_test = error if test is validation else None if test is None else objective.on_others(x, test)[0]
        return {"validation_error": error, "validation_loss": loss, "test_error": of_test}

    validation, test = job.validation, job.test

    with progress_bar(job.verbose, job.settings.max_iter) as show:

        def tell(row: dict[str, Any]) -> bool:
            return bool(show(row)) or (callback is not None and callback(row, scaling.unscaled(network, x)))

        try:
            rate = find_rate() if checkpoint is None else checkpoint.started_with("learning_rate", find_rate)
        except OutOfTime:
            rate = None
        trace = Trace(job.config | _described(job, plan, objective) | {"learning_rate": rate})
        trace.config |= {} if simulation is None else {"simulation": simulation.described()}
        if checkpoint is not None:
            checkpoint.restore(trace)
        outcome = minimize(
            execution,
            x,
            _schedule(job, plan, rate, seed=seed, unit=objective.unit),
            trace,
            errors=errors,
            callback=tell,
            start=None if checkpoint is None else checkpoint.state,
            keep=None if checkpoint is None else lambda state: checkpoint.keep(state, trace),
            clock=execution.clock if isinstance(execution, SimulatedExecution) else None,
        )
    outcome.x = scaling.unscaled(network, outcome.x)
    if session is not None:
        finish(session, outcome, trace)
    return outcome, trace


def _checkpoint(job: Job, plan: Plan, simulation: Simulation | None) -> Checkpoint:
    """The state of an earlier run that this one may go on with."""
    about = _method(job, plan)
    about |= {} if simulation is None else {"simulation": simulation.described()}
    same = identity(job.network, job.samples, about, job.center)
    return Checkpoint(job.settings.checkpoint_dir, same, resume=job.settings.resume)


def _by_threads(
    settings: Settings,
    plan: Plan,
    objective: Objective,
    preconditioner: LowRankPreconditioner | None,
    simulation: Simulation | None,
    *,
    seed: int,
) -> ThreadedExecution:
    """The execution by threads of this process, or by virtual workers."""
    recorder = current_recorder() if simulation is None else None
    if recorder is not None:
        problem = _recorded(plan, objective, seed)
        about = {"source": "threads", "architecture": "shared", "workers": plan.threads}
        recorder.describe(settings.delay_adaptive, **about, **problem)
    make: Callable[..., ThreadedExecution] = ThreadedExecution if simulation is None else simulation.execution
    return make(
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


def _by_ranks(
    job: Job, plan: Plan, objective: Objective, scaling: Scaling, *, seed: int
) -> tuple[DistributedExecution, Plan]:
    """The execution by the ranks of a session, and the plan with what they can do."""
    late = {"max_delay": job.settings.max_delay, "adaptive": job.settings.delay_adaptive}
    execution, plan = lead(job.session, plan, objective, scaling, late, seed=seed)
    recorder = current_recorder()
    if recorder is not None:
        problem = _ranks(job) | _recorded(plan, objective, seed)
        recorder.describe(source="mpi", architecture="distributed", **problem)
        execution.record = recorder.epoch
    return execution, plan


def _recorded(plan: Plan, objective: Objective, seed: int) -> dict[str, int]:
    """The problem, as a record of its schedule names it."""
    return {"samples": objective.n, "parameters": objective.d, "batch_size": plan.batch_size, "seed": seed}


def _ranks(job: Job) -> dict[str, int]:
    """How many ranks work, on how many shards of the samples."""
    return {"workers": job.session.size - job.settings.backend.servers, "shards": len(job.session.groups)}


def _measured_rate(
    job: Job,
    plan: Plan,
    objective: Objective,
    preconditioner: LowRankPreconditioner | None,
    x: np.ndarray,
    *,
    seed: int,
) -> float:
    """The learning rate that the smoothness at x allows."""
    network = job.network
    if preconditioner is not None:
        preconditioner.update(x, job.start.epoch)
    # A loss of degree 1 has no curvature of its own; that of squared errors stands for it.
    curved = network.changed(loss="squared_error" if DEGREE_OF_LOSS[network.loss] == 1 else network.loss)
    L = smoothness(curved, objective.samples, objective.alpha, x, plan.batch_size, seed, preconditioner)
    return learning_rate(L, job.settings.coordinates, network.size)


def _needs(settings: Settings, network: Network, samples: Samples, plan: Plan) -> dict[str, tuple[Any, float]]:
    """For `memory.check`: what a run takes at least, for each parameter that decides it."""
    itemsize, threads = network.dtype.itemsize, plan.threads
    units = threads * plan.batch_size * 2 * sum(network.widths[1:])  # of a mini-batch: activations and deltas
    cache = samples.size * network.cache_width if plan.snapshot_cache and DIRECTIONS[plan.solver].uses_cache else 0
    return {
        "hidden_layer_sizes": (settings.hidden_layer_sizes, 5 * network.size * itemsize),  # x, snapshot, best, mu, ...
        "n_jobs": (settings.n_jobs, (threads - 1) * network.size * itemsize),  # gradients
        "batch_size": (settings.batch_size, units * itemsize),
        "inner_steps": (settings.inner_steps, plan.inner_steps * (8 + 4)),  # a rate and a delay each
        "cache_size": (settings.cache_size, cache * itemsize),
    }


def _objective(job: Job, samples: Samples, plan: Plan, scaling: Scaling) -> Objective:
    """The objective of the scaled data, which reports losses in the data's own units."""
    network, placement = job.network, job.placement
    unit, squares = scaling.target_scale ** DEGREE_OF_LOSS[network.loss], scaling.target_scale**2
    return Objective(
        network,
        samples,
        alpha=scaling.l2(job.settings.alpha, network),
        threads=plan.threads,
        parts=sweep_parts(samples.size, network.size) if plan.execution == "lockstep" else None,
        cache=plan.snapshot_cache,
        unit=unit,
        n=job.n,
        spread=None if placement is None or placement.spread is None else placement.spread / squares,
    )


def _method(job: Job, plan: Plan) -> dict[str, Any]:
    """What a resumed run must have in common with the one before, besides data and network."""
    given = ("alpha", "coordinates", "block", "delay_adaptive", "early_stopping")
    chosen = ["solver", "batch_size", "inner_steps", "decay", "alpha_boost", "sampling", "sgd_epochs", "deflation"]
    method = {name: getattr(job.settings, name) for name in (*given, "learning_rate_init")}
    method |= {name: getattr(plan, name) for name in chosen} | {"chosen_by_validation": plan.early_stopping}
    state: Any = None if job.config.get("random_state") is None else job.random_state.get_state()
    method["random_state"] = None if state is None else digest(state[1])
    if job.placement is not None and job.placement.shards:
        method["shards"] = job.placement.shards
    if job.validation is not None:
        method |= {"X_val": digest(job.validation.X), "y_val": digest(job.validation.y)}
    return method


def _noise(error: float, validation: Any, is_real: bool) -> float:
    """Half the standard error of an error: of a mean of squared residuals, taken as normal, or of a share of samples.

    Half of it, since errors of one run on the same samples differ by less than those on other samples.
    """
    variance = 2 * error**2 if is_real else max(error * (1 - error), 0.0)
    return math.sqrt(variance / validation.size) / 2


def _schedule(job: Job, plan: Plan, rate: float | None, *, seed: int, unit: float) -> Schedule:
    settings, start = job.settings, job.start
    is_real = KIND_OF_LOSS[job.network.loss] == "reals"
    return Schedule(
        solver=plan.solver,
        max_iter=settings.max_iter,
        inner_steps=plan.inner_steps,
        sgd_epochs=plan.sgd_epochs,
        learning_rate=rate or 0.0,  # without time for it there is none for an epoch
        decay=plan.decay,
        restart=plan.restart,
        evaluated=plan.evaluated,
        alpha_boost=plan.alpha_boost,
        tol=settings.tol * unit,
        n_iter_no_change=settings.n_iter_no_change,
        early_stopping=plan.early_stopping and settings.early_stopping,
        error_tol=settings.tol,
        error_noise=lambda error: _noise(error, job.validation, is_real),
        is_convex=not settings.hidden_layer_sizes,
        constant_error=math.inf if job.validation is None else constant_error(job.network, job.validation),
        target_loss=settings.target_loss,
        max_time=seconds_left(),
        most_growth=plan.most_growth,
        first=start.epoch,
        factor=start.factor,
        seed=seed,
    )


def _described(job: Job, plan: Plan, objective: Objective) -> dict[str, Any]:
    """For the trace: problem and plan."""
    settings, network = job.settings, job.network
    return {
        "hidden_layer_sizes": list(settings.hidden_layer_sizes),
        "dtype": network.dtype.name,
        "samples": objective.n,
        "loss_unit": objective.unit,
        "widths": list(network.widths),
        "parameters": network.size,
        **({} if job.session is None else _ranks(job)),
        **plan.values(),
        "plan": plan.reasons,
    }
