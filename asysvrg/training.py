"""From checked settings and clean data to trained parameters: what is left open is decided here."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from asysvrg import threads
from asysvrg._network import Network, Samples
from asysvrg.epochs import Outcome, Plan, minimize
from asysvrg.objective import Objective, initial_parameters
from asysvrg.progress import progress_bar
from asysvrg.settings import Settings
from asysvrg.shared import SharedExecution
from asysvrg.trace import Trace


def train(
    settings: Settings,
    network: Network,
    samples: Samples,
    *,
    config: dict[str, Any],
    validation: Samples | None,
    random_state: np.random.RandomState,
    callback: Callable[[dict[str, Any]], Any] | None,
    verbose: bool,
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
    callback : callable or None
        See `epochs.minimize`.
    verbose : bool
        Show progress.

    Returns
    -------
    Outcome, Trace
    """
    n = samples.size
    x = initial_parameters(network, random_state)
    objective = Objective(
        network, samples, alpha=settings.alpha, threads=settings.threads, cache_bytes=settings.cache_bytes
    )
    execution = SharedExecution(
        objective,
        batch_size=min(settings.batch_size, n),
        inner_steps=settings.inner_steps or math.ceil(n / settings.batch_size),
        coordinates=settings.coordinates,
        block=settings.block,
        update=settings.update,
        max_delay=settings.max_delay,
        seed=int(random_state.randint(np.iinfo(np.int32).max)),
    )
    plan = Plan(
        solver=settings.solver,
        max_iter=settings.max_iter,
        sgd_epochs=settings.sgd_epochs,
        learning_rate=settings.learning_rate,
        decay=settings.decay,
        tol=settings.tol,
        n_iter_no_change=settings.n_iter_no_change,
        target_loss=settings.target_loss,
        max_time=settings.max_time,
    )
    trace = Trace(config | _choices(settings, objective, execution))
    with threads.one_blas_thread(), progress_bar(verbose, plan.max_iter) as show:
        outcome = minimize(
            execution,
            x,
            plan,
            trace,
            test_error=None if validation is None else lambda x: objective.error(x, validation),
            callback=lambda row: bool(show(row)) or (callback is not None and callback(row)),
        )
    return outcome, trace


def _choices(settings: Settings, objective: Objective, execution: SharedExecution) -> dict[str, Any]:
    return {
        "hidden_layer_sizes": list(settings.hidden),
        "dtype": objective.network.dtype.name,
        "samples": objective.n,
        "widths": list(objective.network.widths),
        "parameters": objective.d,
        "threads": objective.threads,
        "batch_size": execution.batch_size,
        "inner_steps": execution.inner_steps,
        "update": execution.update,
        "snapshot_cache": objective.has_cache,
        "skips_zeros": objective.samples.skips_zeros,
    }
