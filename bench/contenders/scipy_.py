"""L-BFGS of SciPy on the full objective by NumPy and BLAS, float32 but for the solver's own vectors."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

from contenders.setting import ALPHA, Meter, Problem, Settings


def _value_and_gradient(problem: Problem, x: np.ndarray) -> tuple[float, np.ndarray]:
    x = x.astype(np.float32)
    layers = problem.network.layers(x)
    inputs = [problem.X]
    for weights, biases in layers[:-1]:
        hidden = inputs[-1] @ weights
        hidden += biases
        inputs.append(np.maximum(hidden, 0, out=hidden))
    weights, biases = layers[-1]
    delta = inputs[-1] @ weights + biases
    delta -= delta.max(axis=1, keepdims=True)
    rows = np.arange(problem.n)
    log_sum = np.log(np.exp(delta).sum(axis=1, keepdims=True))
    delta -= log_sum
    loss = -float(delta[rows, problem.y].mean(dtype=np.float64))
    np.exp(delta, out=delta)
    delta[rows, problem.y] -= 1
    delta /= problem.n
    gradient = np.empty_like(x)
    parts = problem.network.layers(gradient)
    for k in range(len(layers) - 1, -1, -1):
        weights = layers[k][0]
        parts[k][0][:] = inputs[k].T @ delta + ALPHA * weights
        parts[k][1][:] = delta.sum(axis=0)
        loss += ALPHA / 2 * float(np.vdot(weights, weights))
        if k:
            delta = delta @ weights.T
            delta *= inputs[k] > 0
    return loss, gradient.astype(np.float64)


def run(problem: Problem, settings: Settings, cores: int, seed: int, meter: Meter) -> None:
    """Settings: memory (pairs of vectors). An update is an iteration, line search included."""
    count = 0

    def told(x: np.ndarray) -> None:
        nonlocal count, clock
        clock.__exit__(None, None, None)
        count += 1
        meter.row(count, x.astype(np.float32))
        clock = meter.running()
        clock.__enter__()

    start = problem.start(seed)
    meter.row(0, start)
    clock = meter.running()
    clock.__enter__()
    options = {"maxcor": settings["memory"], "maxiter": 10**6, "maxfun": 10**6, "ftol": 0.0, "gtol": 0.0}
    minimize(
        lambda x: _value_and_gradient(problem, x),
        start.astype(np.float64),
        jac=True,
        method="L-BFGS-B",
        callback=told,
        options=options,
    )


CONTENDERS = {"L-BFGS": run}
