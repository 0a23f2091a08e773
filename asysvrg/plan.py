"""The plan of a fit: every choice that depends on the size of the data and the machine, with a reason for each.

`make_plan` is a pure function. Nothing is chosen anywhere else, except what depends on values: `core.scaling` looks at
the size of inputs and targets, and `core.smoothness` at the curvature.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple

from asysvrg.core.directions import DIRECTIONS
from asysvrg.core.network import Network
from asysvrg.method import Choice, Data, choose_method, chosen_by_validation, restart
from asysvrg.settings import Settings

# Threads; bench/bench_kernels.py measures where these numbers come from, bench/predict.py that of predictions.
LEAST_WORK = {"shared": 500_000, "lockstep": 200_000}  # parameters x mini-batch x density that is worth several threads
LEAST_PREDICTION = 50_000_000  # parameters x samples x density of a prediction that is
# Lockstep: the least samples of a mini-batch, and the least products, that a third part is worth; and the most parts.
PART_SAMPLES, PART_WORK, MOST_PARTS = 50, 2_000_000, 16
# A sweep in lockstep: the least samples of a part, the most numbers in all parts' gradients, and the most parts.
SWEEP_SAMPLES, SWEEP_NUMBERS, MOST_SWEEP_PARTS = 512, 2**23, 8

# Memory and sparsity.
DENSE = 0.4  # density from which BLAS is faster than skipping zeros
LAZY = 0.5  # non-zeros of a mini-batch per input below which updates of untouched rows are faster if they wait
CACHE_HITS = 0.5  # share of draws found in a worker's cache from which it saves more than it costs


class Storage(NamedTuple):
    """How samples are stored: (value, reason) of two choices of the plan."""

    skips_zeros: Choice
    snapshot_cache: Choice


@dataclass(frozen=True)
class Plan:
    """The choices of a fit.

    Attributes
    ----------
    execution : {"serial", "shared", "lockstep", "distributed", "simulated"}
        Who runs the inner loop: one thread; threads that do not wait for each other; threads that share each update;
        the ranks of an MPI job; virtual workers (simulation/run.py).
    threads : int
        With MPI of each rank.
    update : {"plain", "atomic", "striped", "server"}
        Memory mode.
    solver : str
        Direction of an update.
    batch_size : int
        b.
    inner_steps : int
        m.
    decay : float or "linear"
        How the learning rate falls.
    restart : int
        The epoch from which the rate falls to 0 for the second time; 0 for once.
    sampling : {"replacement", "shuffle", "importance"}
    learning_rate : float or None
        None: from the curvature at the start.
    most_growth : float
        The learning rate grows to at most this many times its initial value.
    sgd_epochs : int
    alpha_boost : float
        Factor of the l2 term in epoch 0.
    deflation : int
        Rank of the preconditioner.
    evaluated : int
        Samples from which the loss of an epoch without a snapshot is computed; 0 for all.
    early_stopping : bool
        Whether a validation set chooses the parameters.
    skips_zeros : bool
        Whether the kernels visit non-zero inputs only; of a dense X they need a copy of these.
    snapshot_cache : bool
        Whether the activations and deltas of each sample at the snapshot are kept.
    lazy_rows : bool
        Whether updates of rows of the first layer wait until a mini-batch has a non-zero input there.
    parts : int
        Lockstep: what an update is divided into, from the problem alone, and the most threads that can share it.
    reasons : dict of str
        Why, by the names above.
    """

    execution: str
    threads: int
    update: str
    solver: str
    batch_size: int
    inner_steps: int
    decay: float | str
    restart: int
    sampling: str
    learning_rate: float | None
    most_growth: float
    sgd_epochs: int
    alpha_boost: float
    deflation: int
    evaluated: int
    early_stopping: bool
    skips_zeros: bool
    snapshot_cache: bool
    lazy_rows: bool
    parts: int
    reasons: dict[str, str] = field(compare=False)

    def values(self) -> dict[str, Any]:
        """The choices by name, without the reasons."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name != "reasons"}

    def describe(self) -> str:
        """A line for each choice: name, value, reason."""
        lines = [f"{name:>14}  {_shown(value)}: {self.reasons[name]}" for name, value in self.values().items()]
        return "\n".join(lines)

    def with_storage(self, *, skips_zeros: bool, snapshot_cache: bool) -> Plan:
        """The plan with what all workers of an MPI job chose."""
        reasons = self.reasons | dict.fromkeys(("skips_zeros", "snapshot_cache"), "on all workers")
        return replace(self, skips_zeros=skips_zeros, snapshot_cache=snapshot_cache, reasons=reasons)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "auto" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def make_plan(
    settings: Settings,
    network: Network,
    data: Data,
    *,
    n: int | None = None,
    early_stopping: Choice | None = None,
) -> Plan:
    """Makes every choice that the settings leave open.

    Parameters
    ----------
    settings : Settings
    network : Network
        Its widths and precision count.
    data : Data
        Of X as the kernels get it, after scaling.
    n : int, optional
        Number of samples of all ranks. Default: those of `data`.
    early_stopping : (bool, str), optional
        What `chosen_by_validation` said before samples were held out. Default: what it says of n samples.

    Returns
    -------
    Plan

    Raises
    ------
    ValueError
        If update="plain" is given for several threads that do not wait for each other, or more coordinates than the
        network has.
    """
    n = data.n if n is None else n
    choices = choose_method(settings, data, n)
    settings = replace(settings, solver=choices["solver"][0])
    if DIRECTIONS[settings.solver].recursive:
        settings = _recursive(settings, network)
        choices = choose_method(settings, data, n)
    choices["early_stopping"] = early_stopping or chosen_by_validation(settings, n)
    choices["restart"] = restart(settings, choices["early_stopping"][0], choices["decay"])
    batch_size = choices["batch_size"][0]
    if settings.coordinates > network.size:
        raise ValueError(
            f"coordinates={settings.coordinates} of a network with {network.size} parameters: give as many at most, "
            "or 'all'"
        )
    if settings.backend == "threads":
        subset = settings.coordinates if settings.coordinates < network.size else 0
        store = storage(data, network, settings.cache_bytes)
        density = data.density if store.skips_zeros[0] else 1.0
        choices |= store._asdict()
        choices |= _threads(settings, network, subset, batch_size, density)
        choices["lazy_rows"] = lazy_rows(subset, batch_size, density)
        if settings.delay_adaptive:
            choices["lazy_rows"] = False, "rates depend on delays"
        if DIRECTIONS[settings.solver].recursive:
            choices |= _one_by_one(settings)
    else:
        choices |= _ranks(settings)
    names = [each.name for each in fields(Plan) if each.name != "reasons"]
    return Plan(**{name: choices[name][0] for name in names}, reasons={name: choices[name][1] for name in names})


def storage(data: Data, network: Network, cache_bytes: float) -> Storage:
    """How samples are stored within `cache_bytes`: the copy of the non-zeros goes first, then the snapshot's cache."""
    itemsize, copy = network.dtype.itemsize, 0
    if data.is_sparse:
        skips = True, "X is sparse"
    elif data.density >= DENSE:
        skips = False, f"{data.density:.0%} of X is non-zero, at least {DENSE:.0%}"
    else:
        copy = copy_bytes(data, itemsize)
        fits = copy <= cache_bytes
        skips = fits, f"{data.density:.0%} of X is non-zero, and their copy {_size(copy, cache_bytes, fits)}"
        copy = copy if fits else 0
    cache = data.n * network.cache_width * itemsize
    fits = cache <= cache_bytes - copy
    return Storage(skips, (fits, f"it {_size(cache, cache_bytes - copy, fits)}"))


def copy_bytes(data: Data, itemsize: int) -> int:
    """Bytes of a copy of a dense X's non-zeros: values, columns, and where each row starts."""
    return data.nonzeros * (itemsize + 4) + (data.n + 1) * 8


def _size(needed: float, allowed: float, fits: bool) -> str:
    return f"takes {needed / 2**20:,.1f} MB, {'within' if fits else 'more than'} {allowed / 2**20:,.1f} MB"


def _threads(settings: Settings, network: Network, subset: int, batch_size: int, density: float) -> dict[str, Choice]:
    """Threads, execution and memory mode.

    Without a word of the user one thread trains: its result is the same bits whatever `n_jobs` is, and it never waits
    for a thread that has lost its core. That holds in lockstep, too, whose parts do not depend on the threads.
    """
    execution, threads = _execution(settings, subset), (settings.threads, "given")
    work, parts = density * network.size * batch_size, (1, "not in lockstep")
    if execution[0] == "serial":
        threads = 1, execution[1]
    elif not settings.threads_chosen:
        least = LEAST_WORK[execution[0]]
        enough = work >= least
        reason = f"an update has {work:,.0f} products, {'at least' if enough else 'fewer than'} {least:,}"
        threads = settings.threads if enough else 1, reason
    if execution[0] == "lockstep":
        parts = lockstep_parts(batch_size, work)
        if threads[0] > parts[0]:
            threads = parts[0], "as many as parts"
    elif threads[0] == 1 and execution[0] != "serial":
        execution = "serial", "one thread"
    if settings.update != "auto":
        update = settings.update, "given"
    elif execution[0] != "shared":
        update = "plain", "one writer for each coordinate"
    elif subset and settings.block == 1:
        update = "atomic", "single coordinates"
    else:
        update = "striped", "cache lines" if subset else "threads write to all coordinates"
    if (execution[0], update[0]) == ("shared", "plain"):
        raise ValueError(
            f"update='plain' loses updates where {threads[0]} threads do not wait for each other: "
            "take another update, n_jobs=1, or, for all coordinates, execution='lockstep'"
        )
    return {"execution": execution, "threads": threads, "update": update, "parts": parts}


def _execution(settings: Settings, subset: int) -> Choice:
    """Who runs the inner loop, if there is more than one thread."""
    if settings.execution != "auto":
        return settings.execution, "given"
    if subset:
        return "shared", "updates of some coordinates"
    if settings.update not in ("auto", "plain"):
        return "shared", f"update={settings.update!r}"
    if settings.max_delay is not None:
        return "shared", f"max_delay={settings.max_delay}"
    if settings.delay_adaptive:
        return "shared", "delay_adaptive=True"
    return "serial", "the same bits whatever n_jobs is"


def suits_threads(rows: int, products: float) -> bool:
    """Whether a prediction of so many products, zeros left out, is worth several threads, which divide the rows."""
    return rows > 1 and products >= LEAST_PREDICTION


def _recursive(settings: Settings, network: Network) -> Settings:
    """The settings of a direction that depends on the one before; refuses those that it cannot have."""
    for name, is_possible, what in (
        ("backend", settings.backend == "threads", "'threads'"),
        ("coordinates", not 0 < settings.coordinates < network.size, "'all'"),
        ("execution", settings.execution != "shared", "'auto' or 'lockstep'"),
        ("update", settings.update in ("auto", "plain"), "'auto' or 'plain'"),
        ("deflation", not settings.deflation, "None or 0"),
        ("delay_adaptive", not settings.delay_adaptive, "False"),
        ("track_gradient_norm", settings.track_gradient_norm is None, "None"),
    ):
        if not is_possible:
            raise ValueError(
                f"solver={settings.solver!r} takes {name}={what}; got {getattr(settings, name)!r}: "
                "each of its updates needs the one before"
            )
    return replace(settings, deflation=0, update="plain")


def _one_by_one(settings: Settings) -> dict[str, Choice]:
    """What follows from updates that each need the one before."""
    why = f"solver={settings.solver!r} needs the update before"
    return {
        "snapshot_cache": (False, f"solver={settings.solver!r} evaluates at the iterate before"),
        "lazy_rows": (False, why),
    }


def lazy_rows(subset: int, batch_size: int, density: float) -> Choice:
    """Whether rows of the first layer wait while mini-batches have no input there; `subset` is B, or 0 for all."""
    if subset:
        return False, "updates of some coordinates"
    filled = batch_size * density
    return filled < LAZY, f"a mini-batch has {filled:.2g} non-zeros for each input; the limit is {LAZY}"


def lockstep_parts(batch_size: int, work: float) -> Choice:
    """What an update in lockstep is divided into. Few parts cost one thread least; more are for more threads."""
    parts = max(2, min(batch_size // PART_SAMPLES, int(work // PART_WORK), MOST_PARTS))
    return parts, f"a mini-batch has {batch_size:,} samples, and an update {work:,.0f} products"


def sweep_parts(n: int, size: int) -> int:
    """What a sweep over n samples in lockstep is divided into; each part has a gradient of its own."""
    return max(1, min(n // SWEEP_SAMPLES, max(2, SWEEP_NUMBERS // size), MOST_SWEEP_PARTS))


def _ranks(settings: Settings) -> dict[str, Choice]:
    """What is fixed with MPI."""
    by_worker, unused = "each worker chooses", "workers compute whole directions"
    return {
        "execution": ("distributed", "backend is MPI"),
        "threads": (settings.threads, "one for each rank" if settings.n_jobs is None else "given"),
        "update": ("server", "backend is MPI"),
        "evaluated": (0, "workers compute the loss beside the gradient"),
        "skips_zeros": (False, by_worker),
        "snapshot_cache": (False, by_worker),
        "lazy_rows": (False, unused),
        "parts": (1, unused),
    }


def cache_pays(n: int, draws: int, workers: int) -> bool:
    """Whether the snapshot's cache saves a worker more than it costs; the arguments are those of `cache_hits`."""
    return cache_hits(n, draws, workers) >= CACHE_HITS


def cache_hits(n: int, draws: int, workers: int) -> float:
    """Share of an epoch's draws that a worker finds in its cache: samples that it sweeps, or draws another time.

    n: samples in all. draws: samples that all mini-batches of an epoch draw. workers: those with the same samples.
    """
    swept, drawn = 1 / workers, draws / (n * workers)
    return swept + (1 - swept) * (1 + math.expm1(-drawn) / drawn)
