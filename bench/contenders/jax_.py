"""JAX: jit + scan over half a pass, compiled ahead of the clock; SGD, momentum, Adam, SVRG."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from asysvrg.core.schedule import l2_factor
from contenders.setting import ALPHA, Meter, Problem, Settings, flat, halves, rate_at

DECAY = (ALPHA, 0.0)  # l2 weight of a layer's matrix, of its biases


@functools.cache
def _data(problem: Problem) -> tuple[Any, Any]:
    return jnp.array(problem.X), jnp.array(problem.y)


def _loss(params: list[Any], X: Any, y: Any) -> Any:
    for k in range(0, len(params) - 2, 2):
        X = jax.nn.relu(X @ params[k] + params[k + 1])
    outputs = jax.nn.log_softmax(X @ params[-2] + params[-1])
    return -jnp.take_along_axis(outputs, y[:, None], axis=1).mean()


def _with_l2(gradient: list[Any], params: list[Any], boost: Any) -> list[Any]:
    pairs = enumerate(zip(gradient, params, strict=True))
    return [g + boost * DECAY[k % 2] * p if DECAY[k % 2] else g for k, (g, p) in pairs]


def _sgd(state: Any, v: Any, rate: Any, nesterov: bool) -> Any:
    params, extra = state
    return [p - rate * g for p, g in zip(params, v, strict=True)], extra


def _momentum(state: Any, v: Any, rate: Any, nesterov: bool) -> Any:
    params, velocity = state
    velocity = [0.9 * s - rate * g for s, g in zip(velocity, v, strict=True)]
    move = [0.9 * s - rate * g for s, g in zip(velocity, v, strict=True)] if nesterov else velocity
    return [p + s for p, s in zip(params, move, strict=True)], velocity


def _adam(state: Any, v: Any, rate: Any, nesterov: bool) -> Any:
    params, (first, second, t) = state
    t = t + 1
    first = [0.9 * s + 0.1 * g for s, g in zip(first, v, strict=True)]
    second = [0.999 * s + 0.001 * g * g for s, g in zip(second, v, strict=True)]
    rate = rate * jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
    params = [p - rate * a / (jnp.sqrt(b) + 1e-8) for p, a, b in zip(params, first, second, strict=True)]
    return params, (first, second, t)


METHODS = {"sgd": _sgd, "momentum": _momentum, "adam": _adam, "svrg": _sgd}


def _extra(method: str, params: list[Any]) -> Any:
    zeros = [jnp.zeros_like(p) for p in params]
    if method == "adam":
        return zeros, [jnp.zeros_like(p) for p in params], jnp.float32(0)
    return zeros if method == "momentum" else ()


@functools.cache
def _compiled(problem: Problem, method: str, corrected: bool, nesterov: bool, steps: int, batch: int) -> Any:
    X, y = _data(problem)

    def chunk(state: Any, picks: Any, rate: Any, boost: Any, snapshot: Any) -> Any:
        def step(state: Any, rows: Any) -> Any:
            params, data = state[0], (X[rows], y[rows])
            v = jax.grad(_loss)(params, *data)
            if corrected:
                old, mu = jax.grad(_loss)(snapshot[0], *data), snapshot[1]
                v = [a - b + c for a, b, c in zip(v, old, mu, strict=True)]
            return METHODS[method](state, _with_l2(v, params, boost), rate, nesterov), None

        return jax.lax.scan(step, state, picks)[0]

    params = [jnp.array(p) for p in problem.parts(problem.start(0))]
    shapes = (params, _extra(method, params)), jnp.zeros((steps, batch), jnp.int32), jnp.float32(0), jnp.float32(1)
    return jax.jit(chunk, donate_argnums=0).lower(*shapes, (params, params) if corrected else ()).compile()


@functools.cache
def _full_gradient(problem: Problem) -> Any:
    X, y = _data(problem)
    params = [jnp.array(p) for p in problem.parts(problem.start(0))]
    return jax.jit(lambda params: jax.grad(_loss)(params, X, y)).lower(params).compile()


def run(method: str, problem: Problem, settings: Settings, cores: int, seed: int, meter: Meter) -> None:
    """Settings: batch, rate, decay or until, nesterov; for svrg inner (passes between snapshots), sgd (passes).

    And boost, which multiplies the l2 term as `alpha_boost` does ours, with a pass for an epoch.
    """
    batch, nesterov = settings["batch"], settings.get("nesterov", False)
    params = [jnp.array(p) for p in problem.parts(problem.start(seed))]
    state, snapshot = (params, _extra(method, params)), ()
    steps = problem.n // batch // 2
    for corrected in {False, method == "svrg"}:
        _compiled(problem, method, corrected, nesterov, steps, batch)
    full = _full_gradient(problem)
    meter.row(0, flat(state[0]))
    for number, (passes, picks) in enumerate(halves(problem.n, batch, seed)):
        corrected = method == "svrg" and passes >= settings.get("sgd", 0)
        step = _compiled(problem, method, corrected, nesterov, steps, batch)
        picks, rate = jax.device_put(picks), jnp.float32(rate_at(settings, passes))
        boost = jnp.float32(l2_factor(int(passes), settings.get("boost", 1.0)))
        take = corrected and (snapshot == () or (passes - settings.get("sgd", 0)) % settings["inner"] == 0)
        with meter.running():
            if take:
                point = [p.copy() for p in state[0]]
                snapshot = (point, full(point))
            state = jax.block_until_ready(step(state, picks, rate, boost, snapshot if corrected else ()))
        meter.row((number + 1) * steps, flat(state[0]), f"{corrected}")


CONTENDERS = {f"jax {method}": functools.partial(run, method) for method in METHODS}
CONTENDERS["jax momentum, boosted"] = CONTENDERS["jax momentum"]
