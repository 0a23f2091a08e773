"""Whose samples are where: all of them on every rank, a shard on each, or shards that several ranks have.

Ranks with equal samples form a group; the objective is over the samples of all groups, each counted once. Samples of
rank 0, which trains on none, that no other rank has are dealt out to the workers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import joblib
import numpy as np
from scipy import sparse

from asysvrg.core.network import Network, Samples
from asysvrg.core.objective import spread_of
from asysvrg.core.warn import warn
from asysvrg.distributed.messages import Stage
from asysvrg.distributed.server import Group
from asysvrg.inputs import rows
from asysvrg.store.files import digest

ALIKE = ("n_features", "outputs", "hidden_layer_sizes", "activation", "loss", "dtype", "alpha", "compress", "servers")


@dataclass(frozen=True)
class Placement:
    """The samples of all ranks, in numbers.

    Attributes
    ----------
    n : int
    spread : float or None
        Weighted sum of the squares of the centred targets.
    shards : list of str
        Fingerprints of the groups' samples; empty where every rank has all.
    """

    n: int
    spread: float | None
    shards: list[str]


def place(
    team: Any,
    network: Network,
    samples: Samples,
    mass: float,
    *,
    alpha: float,
    compress: str | None,
    servers: int,
    threads: int,
    needs_all: str | None,
) -> tuple[Samples, Placement]:
    """Agrees with the other ranks on who has what.

    Parameters
    ----------
    team : Team
    network : Network
    samples : Samples
        This rank's, with weights of mean 1 or none.
    mass : float
        Sum of its weights as given.
    alpha : float
    compress : str or None
    servers : int
        Ranks, from 0 on, that train on none.
    threads : int
        That this rank is to compute with.
    needs_all : str or None
        A parameter for which every rank has to have all samples.

    Returns
    -------
    samples : Samples
        To train on here; the weights of all ranks together have mean 1.
    placement : Placement

    Raises
    ------
    ValueError
        Where ranks do not go together.
    """
    mean, spread = spread_of(samples) if network.loss == "squared" else (np.zeros(0), 0.0)
    mine = {
        "n_features": network.widths[0], "outputs": network.widths[-1], "dtype": network.dtype.name,
        "hidden_layer_sizes": list(network.widths[1:-1]), "activation": network.activation, "loss": network.loss,
        "alpha": alpha, "compress": compress, "servers": servers,
        "samples": [digest(samples.X), digest(samples.y), digest(samples.weight)],
        "threads": threads, "cores": joblib.cpu_count(),
        "rows": samples.size, "mass": mass, "weighted": samples.weight is not None, "mean": mean, "spread": spread,
    }  # fmt: skip
    agreed = team.exchange(Stage.SAMPLES, mine, lambda given: _agreed(given, needs_all))
    team.divide()
    if team.rank == 0:
        for rank, wanted, cores in agreed["bound"]:
            warn(
                f"rank {rank} is to run {wanted} threads, but its launcher lets it use {cores} core(s) only: "
                "set it free (Open MPI: --bind-to none; Slurm: --cpus-per-task), or take fewer by n_jobs"
            )
        team.groups = [Group(rows, tuple(ranks)) for rows, ranks in agreed["groups"]]
        team.server.group(team.groups)
    scale = agreed["n"] / agreed["mass"]  # of weights as given
    factor = scale * mass / samples.size
    if agreed["deal"]:
        mine = _dealt(samples, mass, agreed) if team.rank == 0 else {}
        dealt = team.exchange(Stage.ROWS, mine, lambda given: given[0], own=True)
        if team.is_worker:
            samples, factor = _joined(samples, mass, dealt), scale
    if agreed["weighted"]:
        weight = np.ones(samples.size, samples.X.dtype) if samples.weight is None else samples.weight
        samples = Samples(samples.X, samples.y, (weight * factor).astype(samples.X.dtype))
    spread = agreed["spread"] if network.loss == "squared" else None
    return samples, Placement(agreed["n"], spread, agreed["shards"])


def _agreed(given: dict[int, dict[str, Any]], needs_all: str | None) -> dict[str, Any]:
    """Rank 0's conclusions from what all ranks say of themselves."""
    first = given[0]
    for rank, one in given.items():
        for name in ALIKE:
            if one[name] != first[name]:
                raise ValueError(f"rank {rank} has {name} = {one[name]}, rank 0 has {first[name]}")
    holders: dict[tuple[str, ...], list[int]] = {}
    for rank, one in given.items():
        holders.setdefault(tuple(one["samples"]), []).append(rank)
    servers = first["servers"]
    idle = [ranks for ranks in holders.values() if ranks[-1] < servers]
    deal = idle[:1] == [holders[tuple(first["samples"])]]
    if len(idle) > deal:
        raise ValueError(
            f"rank {idle[-1][0]}, one of {servers} servers, has samples that no worker has: give it those of rank 0"
        )
    if needs_all and len(holders) > 1:
        raise ValueError(f"{needs_all} needs the same samples on every rank; the ranks have different ones")
    parts = [given[ranks[0]] for ranks in holders.values()]
    groups = [
        [given[ranks[-1]]["rows"], [r for r in ranks if r >= servers]]
        for ranks in holders.values()
        if ranks[-1] >= servers
    ]
    if deal:
        for number, (begin, end) in enumerate(_pieces(first["rows"], len(groups))):
            groups[number][0] += end - begin
    mass = sum(one["mass"] for one in parts)
    center = sum(one["mass"] * one["mean"] for one in parts) / mass
    spread = sum(
        one["spread"] * one["mass"] / one["rows"] + one["mass"] * float(((one["mean"] - center) ** 2).sum())
        for one in parts
    )
    n = sum(one["rows"] for one in parts)
    bound = [[rank, one["threads"], one["cores"]] for rank, one in given.items() if one["threads"] > one["cores"]]
    weighted = len(parts) > 1 and (any(one["weighted"] for one in parts) or mass != n)
    return {
        "groups": groups, "deal": deal, "servers": servers, "n": n, "mass": mass, "spread": spread * n / mass,
        "weighted": weighted, "bound": bound,
        "shards": sorted(":".join(key) for key in holders) if len(parts) > 1 else [],
    }  # fmt: skip


def _pieces(count: int, parts: int) -> list[tuple[int, int]]:
    return [(count * i // parts, count * (i + 1) // parts) for i in range(parts)]


def _dealt(samples: Samples, mass: float, agreed: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """Rank 0's samples, a piece for each group, with their weights as given."""
    weight = np.ones(samples.size) if samples.weight is None else samples.weight
    weight = (weight * (mass / samples.size)).astype(samples.X.dtype)
    dealt: dict[int, dict[str, Any]] = {rank: {} for rank in range(agreed["servers"])}
    for (_, ranks), (begin, end) in zip(agreed["groups"], _pieces(samples.size, len(agreed["groups"])), strict=True):
        X, y, w = rows(slice(begin, end), samples.X, samples.y, weight)
        part = {"y": y, "weight": w}
        part |= {"data": X.data, "indices": X.indices, "indptr": X.indptr} if sparse.issparse(X) else {"X": X}
        dealt |= dict.fromkeys(ranks, part)
    return dealt


def _joined(samples: Samples, mass: float, dealt: dict[str, Any]) -> Samples:
    """A worker's samples and those that it was dealt, with weights as given."""
    X = samples.X
    weight = np.ones(samples.size, X.dtype) if samples.weight is None else samples.weight
    weight = np.concatenate([weight * X.dtype.type(mass / samples.size), dealt["weight"]])
    if sparse.issparse(X):
        shape = len(dealt["y"]), X.shape[1]
        more = type(X)((dealt["data"], dealt["indices"], dealt["indptr"]), shape=shape)
        X = sparse.vstack([X, more], format="csr")
    else:
        X = np.concatenate([X, dealt["X"]])
    return Samples(X, np.concatenate([samples.y, dealt["y"]]), None if (weight == 1).all() else weight)
