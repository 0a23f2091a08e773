"""PyTorch: eager with its own fused optimisers, and a whole step compiled by torch.compile."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from contenders.setting import ALPHA, Meter, Problem, Settings, flat, halves, rate_at


@functools.cache
def _data(problem: Problem) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(problem.X), torch.from_numpy(problem.y.astype("int64"))


def _loss(params: Any, X: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    for k in range(0, len(params) - 2, 2):
        X = torch.relu(torch.addmm(params[k + 1], X, params[k]))
    return cross_entropy(torch.addmm(params[-1], X, params[-2]), y)


def _optimizer(method: str, params: list[torch.Tensor], settings: Settings) -> torch.optim.Optimizer:
    groups = [{"params": params[::2], "weight_decay": ALPHA}, {"params": params[1::2]}]
    if method == "adam":
        return torch.optim.Adam(groups, fused=True)
    momentum = 0.9 if method == "momentum" else 0.0
    return torch.optim.SGD(groups, lr=0.1, momentum=momentum, nesterov=settings.get("nesterov", False), fused=True)


def eager(method: str, problem: Problem, settings: Settings, cores: int, seed: int, meter: Meter) -> None:
    """Settings: batch, rate, decay or until, nesterov."""
    torch.set_num_threads(cores)
    X, y = _data(problem)
    params = [torch.from_numpy(p).requires_grad_() for p in problem.parts(problem.start(seed))]
    optimizer = _optimizer(method, params, settings)
    updates = 0
    meter.row(0, problem.start(seed))
    for passes, picks in halves(problem.n, settings["batch"], seed):
        for group in optimizer.param_groups:
            group["lr"] = rate_at(settings, passes)
        batches = torch.from_numpy(picks)
        with meter.running():
            for rows in batches:
                optimizer.zero_grad()
                _loss(params, X[rows], y[rows]).backward()
                optimizer.step()
        updates += len(picks)
        meter.row(updates, flat([p.detach() for p in params]))


def _update(method: str, nesterov: bool, params: Any, extra: Any, X: Any, y: Any, rate: Any, t: Any) -> Any:
    """A whole step, out of place: what the compiler fuses."""
    gradient = torch.func.grad(_loss)(params, X, y)
    v = [g + ALPHA * p if k % 2 == 0 else g for k, (g, p) in enumerate(zip(gradient, params, strict=True))]
    if method == "sgd":
        return [p - rate * g for p, g in zip(params, v, strict=True)], extra
    if method == "momentum":
        extra = [0.9 * s - rate * g for s, g in zip(extra, v, strict=True)]
        move = [0.9 * s - rate * g for s, g in zip(extra, v, strict=True)] if nesterov else extra
        return [p + s for p, s in zip(params, move, strict=True)], extra
    first = [0.9 * s + 0.1 * g for s, g in zip(extra[0], v, strict=True)]
    second = [0.999 * s + 0.001 * g * g for s, g in zip(extra[1], v, strict=True)]
    rate = rate * torch.sqrt(1 - 0.999**t) / (1 - 0.9**t)
    params = [p - rate * a / (b.sqrt() + 1e-8) for p, a, b in zip(params, first, second, strict=True)]
    return params, [first, second]


@functools.cache
def _compiled(method: str, nesterov: bool, cores: int) -> Any:
    return torch.compile(functools.partial(_update, method, nesterov), dynamic=False)


def compiled(method: str, problem: Problem, settings: Settings, cores: int, seed: int, meter: Meter) -> None:
    """The same settings; compilation outside the clock."""
    torch.set_num_threads(cores)
    X, y = _data(problem)
    params = [torch.from_numpy(p) for p in problem.parts(problem.start(seed))]
    zeros = [torch.zeros_like(p) for p in params]
    extra: Any = {"sgd": [], "momentum": zeros, "adam": [zeros, zeros]}[method]
    step = _compiled(method, settings.get("nesterov", False), cores)
    rate, t = torch.tensor(0.0), torch.tensor(0.0)
    updates = 0
    with torch.no_grad():
        for passes, picks in halves(problem.n, settings["batch"], seed):
            batches = torch.from_numpy(picks)
            if updates == 0:
                for _ in range(2):
                    step(params, extra, X[batches[0]], y[batches[0]], rate, t + 1)
                meter.row(0, flat(params))
            rate.fill_(rate_at(settings, passes))
            with meter.running():
                for rows in batches:
                    t += 1
                    params, extra = step(params, extra, X[rows], y[rows], rate, t)
            updates += len(picks)
            meter.row(updates, flat(params))


METHODS = ("sgd", "momentum", "adam")
CONTENDERS = {f"torch {method}": functools.partial(eager, method) for method in METHODS} | {
    f"torch.compile {method}": functools.partial(compiled, method) for method in METHODS
}
