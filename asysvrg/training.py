"""Training: scale the data, make the plan, minimise, and express the result in the data's own units."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from asysvrg.core.loop import Outcome, minimize
from asysvrg.core.network import DEGREE_OF_LOSS, KIND_OF_LOSS, Network, Samples
from asysvrg.core.objective import Objective, initial_parameters
from asysvrg.core.preconditioner import LowRankPreconditioner
from asysvrg.core.scaling import NEUTRAL, Scaling, choose
from asysvrg.core.schedule import Schedule
from asysvrg.core.shared import SharedExecution
from asysvrg.core.smoothness import smoothness
from asysvrg.core.trace import Trace
from asysvrg.distributed.script import assist, finish, lead
from asysvrg.distributed.sharding import Sharding
from asysvrg.method import Choice, Data, learning_rate
from asysvrg.parameters import Settings
from asysvrg.plan import Plan, make_plan, sweep_parts
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
        scaling = choose(samples.X, samples.y if DEGREE_OF_LOSS[network.loss] else None, settings.alpha)
    X, y = scaling.inputs(samples.X), scaling.targets(samples.y)
    n = samples.size if placement is None else placement.n
    plan = make_plan(settings, network, Data.of(X), n=n, early_stopping=early_stopping)
    return Prepared(scaling, Samples(X, y, samples.weight, skip_zeros=plan.skips_zeros), plan)


def train(
    settings: Settings,
    network: Network,
    samples: Samples,
    *,
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
    checkpoint = None
    if settings.checkpoint_dir is not None:
        is_seeded = config.get("random_state") is not None
        about = _method(settings, plan, random_state if is_seeded else None, placement, validation)
        about |= {} if simulation is None else {"simulation": simulation.described()}
        checkpoint = Checkpoint(settings.checkpoint_dir, identity(network, samples, about), resume=settings.resume)
    x = initial_parameters(network, random_state)  # also where they are not used: the seed is drawn after them
    x = x if start.x is None else scaling.scaled(network, start.x)
    seed = int(random_state.randint(np.iinfo(np.int32).max)) + start.stream
    if checkpoint is not None:
        seed = checkpoint.started_with("seed", lambda: seed)
    objective = _objective(settings, network, scaled, plan, scaling, placement)
    preconditioner = None
    if plan.deflation:
        preconditioner = LowRankPreconditioner(network, scaled, plan.deflation, seed, first=not plan.lazy_rows)
    recorder = current_recorder() if simulation is None else None
    about = {"samples": objective.n, "parameters": objective.d, "batch_size": plan.batch_size, "seed": seed}
    if session is None:
        if recorder is not None:
            recorder.describe(source="threads", architecture="shared", workers=plan.threads, **about)
        execution = (SharedExecution if simulation is None else simulation.execution)(
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
            lazy_rows=plan.lazy_rows,
            parts=plan.parts,
            record=None if recorder is None else recorder.threads,
        )
    else:
        execution, plan = lead(session, plan, objective, scaling, max_delay=settings.max_delay, seed=seed)
        if recorder is not None:
            ranks = {"workers": session.size - settings.backend.servers, "shards": len(session.groups)}
            recorder.describe(source="mpi", architecture="distributed", **ranks, **about)
            execution.record = recorder.epoch
    if verbose:
        print(plan.describe(), file=sys.stderr)

    def find_rate() -> float:
        if plan.learning_rate is not None:
            return plan.learning_rate
        if preconditioner is not None:
            preconditioner.update(x, start.epoch)
        # A loss of degree 1 has no curvature of its own; that of squared errors stands for it.
        loss = "squared_error" if DEGREE_OF_LOSS[network.loss] == 1 else network.loss
        curved = Network(network.widths, network.activation, loss, network.dtype, smoothing=network.smoothing)
        L = smoothness(curved, scaled, objective.alpha, x, plan.batch_size, seed, preconditioner)
        return learning_rate(L, settings.coordinates, network.size)

    def errors(x: np.ndarray) -> dict[str, float | None]:
        x = scaling.unscaled(network, x)
        of_validation, of_test = (None if some is None else objective.error(x, some) for some in others)
        return {"validation_error": of_validation, "test_error": of_validation if test is validation else of_test}

    others = (validation, None if test is validation else test)

    with progress_bar(verbose, settings.max_iter) as show:

        def tell(row: dict[str, Any]) -> bool:
            return bool(show(row)) or (callback is not None and callback(row, scaling.unscaled(network, x)))

        rate = find_rate() if checkpoint is None else checkpoint.started_with("learning_rate", find_rate)
        trace = Trace(config | _described(settings, network, plan, objective.n, session) | {"learning_rate": rate})
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
    given = ("alpha", "coordinates", "block")
    chosen = ("solver", "batch_size", "inner_steps", "decay", "alpha_boost", "sampling", "sgd_epochs", "deflation")
    chosen += ("early_stopping", "restart")
    method = {name: getattr(settings, name) for name in (*given, "learning_rate_init")}
    method |= {name: getattr(plan, name) for name in chosen}
    method["random_state"] = None if random_state is None else digest(random_state.get_state()[1])
    if placement is not None and placement.shards:
        method["shards"] = placement.shards
    if validation is not None:
        method |= {"X_val": digest(validation.X), "y_val": digest(validation.y)}
    return method


def _noise(error: float, validation: Samples, is_real: bool) -> float:
    """Half the standard error of an error: of a mean of squared residuals, taken as normal, or of a share of samples.

    Half of it, since errors of one run on the same samples differ by less than those on other samples.
    """
    variance = 2 * error**2 if is_real else max(error * (1 - error), 0.0)
    return math.sqrt(variance / validation.size) / 2


def _schedule(
    settings: Settings,
    network: Network,
    plan: Plan,
    rate: float,
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
        learning_rate=rate * start.factor,
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
        max_time=settings.max_time,
        most_growth=plan.most_growth,
        first=start.epoch,
        seed=seed,
    )


def _described(settings: Settings, network: Network, plan: Plan, n: int, session: Any) -> dict[str, Any]:
    """For the trace: problem and plan."""
    ranks = {}
    if session is not None:
        ranks = {"workers": session.size - settings.backend.servers, "shards": len(session.groups)}
    return {
        "hidden_layer_sizes": list(settings.hidden_layer_sizes),
        "dtype": network.dtype.name,
        "samples": n,
        "widths": list(network.widths),
        "parameters": network.size,
        **ranks,
        **plan.values(),
        "plan": plan.reasons,
    }
