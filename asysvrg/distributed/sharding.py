"""Which rank has which samples: all ranks have all of them, each rank has a data shard, or several ranks have the same.

Ranks with equal samples form a group. The objective is over the samples of all groups, each counted once. Servers do
not train: if no worker has the samples of rank 0, they are given to the workers. `script` has the exchanges.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import joblib
import numpy as np
from scipy import sparse

from asysvrg.core.network import KIND_OF_LOSS, Network, Samples
from asysvrg.core.objective import spread_of
from asysvrg.core.warn import warn
from asysvrg.distributed.protocol import Lost
from asysvrg.inputs import rows
from asysvrg.store.files import digest

EQUAL = (
    "n_features", "outputs", "hidden_layer_sizes", "activation", "loss", "label_smoothing", "fit_intercept", "dtype",
    "alpha", "compress", "servers",
)  # fmt: skip


@dataclass(frozen=True)
class Sharding:
    """The samples of all ranks, in numbers.

    Attributes
    ----------
    n : int
    spread : float or None
        Weighted sum of the squares of the centred targets; None for classes.
    shards : list of str
        Fingerprints of the groups' samples; empty if every rank has all samples.
    """

    n: int
    spread: float | None
    shards: list[str]


def describe(network: Network, samples: Samples, mass: float, threads: int, **settings: Any) -> dict[str, Any]:
    """What a rank says of itself: the settings that must be equal, and its samples."""
    mean, spread = spread_of(samples) if KIND_OF_LOSS[network.loss] == "reals" else (np.zeros(0), 0.0)
    return settings | {
        "n_features": network.widths[0], "outputs": network.widths[-1], "dtype": network.dtype.name,
        "hidden_layer_sizes": list(network.widths[1:-1]), "activation": network.activation, "loss": network.loss,
        "label_smoothing": network.smoothing,
        "fit_intercept": network.intercepts,
        "samples": [digest(samples.X), digest(samples.y), digest(samples.weight)],
        "threads": threads, "cores": joblib.cpu_count(),
        "n_rows": samples.size, "mass": mass, "weighted": samples.weight is not None, "mean": mean, "spread": spread,
    }  # fmt: skip


def agree(given: dict[int, dict[str, Any]], needs_all: str | None, size: int | None = None) -> dict[str, Any]:
    """Rank 0's conclusions from what all ranks say of themselves.

    `needs_all` names a parameter that needs all samples on every rank. `size` is the number of ranks at the start.
    Raises ValueError if settings differ, or if samples are where nobody trains on them. Raises `Lost` if a rank was
    lost that may have had samples of its own.
    """
    first = given[0]
    for rank, one in given.items():
        for name in EQUAL:
            if one[name] != first[name]:
                raise ValueError(f"rank {rank} has {name} = {one[name]}, rank 0 has {first[name]}")
    holders: dict[tuple[str, ...], list[int]] = {}
    for rank, one in given.items():
        holders.setdefault(tuple(one["samples"]), []).append(rank)
    if size is not None and len(given) < size:
        lost = min(set(range(size)) - set(given))
        told = f"rank {lost} was lost before it said which samples it has"
        if len(holders) > 1:
            raise Lost(told)
        warn(f"{told}: the run has those of the other ranks, which are the same on each")
    servers = first["servers"]
    idle = [ranks for ranks in holders.values() if ranks[-1] < servers]
    gives = idle[:1] == [holders[tuple(first["samples"])]]
    if len(idle) > gives:
        raise ValueError(
            f"rank {idle[-1][0]}, one of {servers} servers, has samples that no worker has: give it those of rank 0"
        )
    if needs_all and len(holders) > 1:
        raise ValueError(f"{needs_all} needs the same samples on every rank; the ranks have different ones")
    groups = [
        [given[ranks[-1]]["n_rows"], [rank for rank in ranks if rank >= servers]]
        for ranks in holders.values()
        if ranks[-1] >= servers
    ]
    if gives:
        for group, (begin, end) in zip(groups, _cuts(first["n_rows"], len(groups)), strict=True):
            group[0] += end - begin
    each = [given[ranks[0]] for ranks in holders.values()]
    n, mass = sum(one["n_rows"] for one in each), sum(one["mass"] for one in each)
    center = sum(one["mass"] * one["mean"] for one in each) / mass
    spread = sum(
        one["spread"] * one["mass"] / one["n_rows"] + one["mass"] * float(((one["mean"] - center) ** 2).sum())
        for one in each
    )
    return {
        "groups": groups, "gives": gives, "servers": servers, "n": n, "mass": mass, "spread": spread * n / mass,
        "weighted": len(each) > 1 and (any(one["weighted"] for one in each) or mass != n),
        "bound": [[r, one["threads"], one["cores"]] for r, one in given.items() if one["threads"] > one["cores"]],
        "shards": sorted(":".join(key) for key in holders) if len(each) > 1 else [],
    }  # fmt: skip


def _cuts(count: int, parts: int) -> list[tuple[int, int]]:
    return [(count * i // parts, count * (i + 1) // parts) for i in range(parts)]


def weighted(samples: Samples, factor: float) -> np.ndarray:
    """The weights of samples, ones where there are none, times a factor."""
    weight = np.ones(samples.size, samples.X.dtype) if samples.weight is None else samples.weight
    return (weight * factor).astype(samples.X.dtype, copy=False)


def split(samples: Samples, factor: float, agreed: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """Rank 0's samples with their weights times a factor: for each rank those of its group, for a server none."""
    weight = weighted(samples, factor)
    given: dict[int, dict[str, Any]] = {rank: {} for rank in range(agreed["servers"])}
    for (_, ranks), (begin, end) in zip(agreed["groups"], _cuts(samples.size, len(agreed["groups"])), strict=True):
        X, y, w = rows(slice(begin, end), samples.X, samples.y, weight)
        X = {"data": X.data, "indices": X.indices, "indptr": X.indptr} if sparse.issparse(X) else {"X": X}
        given |= dict.fromkeys(ranks, X | {"y": y, "weight": w})
    return given


def join(samples: Samples, factor: float, given: dict[str, Any]) -> Samples:
    """A worker's own samples, their weights times a factor, and those that rank 0 gave it."""
    X, weight = samples.X, np.concatenate([weighted(samples, factor), given["weight"]])
    if sparse.issparse(X):
        shape = len(given["y"]), X.shape[1]
        more = type(X)((given["data"], given["indices"], given["indptr"]), shape=shape)
        X = sparse.vstack([X, more], format="csr")
    else:
        X = np.concatenate([X, given["X"]])
    return Samples(X, np.concatenate([samples.y, given["y"]]), None if (weight == 1).all() else weight)
