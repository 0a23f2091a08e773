"""The choices of a plan that change the result: direction, rates, mini-batches, passes, preconditioner.

bench/panel.py measures what the numbers below lead to.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, NamedTuple

from scipy import sparse

from asysvrg.core.blocks import count_nonzeros
from asysvrg.core.directions import DIRECTIONS
from asysvrg.settings import Settings

RANK_0_VALIDATES = "rank 0 has a validation set"  # a reason why other ranks hold nothing out

# With learning_rate_init="auto".
RATE = 0.8  # eta L; the curvature L grows during training
MOST_GROWTH = 6.0  # of the rate while the loss falls, for large sets
RANK = 4  # of the preconditioner, for large sets
LEAST_STEPS = 50  # of an epoch
BATCH_SIZES = 20, 50  # the smallest and the largest

# SGD whose rate falls to 0.
LARGE = 1000  # samples from which a set is large; on smaller ones, faster methods only overfit
ONE_PASS = 10_000  # samples with which an epoch is one pass; with fewer samples it is longer, with more it is shorter
MOST_PASSES = 2.0  # in an epoch
CONVEX = 0.5  # factor of the number of passes if there are no hidden layers
BATCHES = 1000  # mini-batches in a pass, if their size is then within BATCH_SIZES
# The recorded loss is that of EXACT samples, or of this share of an epoch's draws if that is more.
EXACT, EVALUATED = 5_000, 0.2

# SVRG.
SVRG_LARGE = 5000  # samples from which a set is large
SVRG_BATCHES = 200  # as BATCHES; less variance allows larger mini-batches
SGD_EPOCHS = 4  # before it; they do not depend on max_iter, which a resumed run may raise
PASSES = 2  # over the samples in an epoch, so that the snapshot is a third of the work
BOOST = 4.0  # of the l2 term in the first epoch, for large sets

EARLY_STOPPING = 10_000  # samples from which "auto" is on, as scikit-learn's histogram boosting has it
FIRST_FALL = 0.25  # share of the epochs after which the rate reaches 0 for the first time
HELD_OUT = 10_000  # the most samples that "auto" holds out: more would hardly make the choice better

Choice = tuple[Any, str]  # a value and the reason for it


class Data(NamedTuple):
    """What the plan knows of X."""

    n: int
    inputs: int
    nonzeros: int
    is_sparse: bool

    @classmethod
    def of(cls, X: Any) -> Data:
        """Counts the non-zeros of an array, or the entries of a CSR matrix."""
        is_sparse = sparse.issparse(X)
        return cls(X.shape[0], X.shape[1], int(X.nnz if is_sparse else count_nonzeros(X)), is_sparse)

    @property
    def density(self) -> float:
        """Share of non-zeros."""
        return self.nonzeros / max(self.n * self.inputs, 1)


def choose_method(settings: Settings, data: Data, n: int) -> dict[str, Choice]:
    """The choices by name, of `n` samples of all ranks."""
    automatic = settings.learning_rate_init == "auto"
    basis = "automatic learning rate" if automatic else "the learning rate is given"
    solver = _choice(settings.solver, *_solver(settings, automatic, basis))
    sgd = automatic and not DIRECTIONS[solver[0]].needs_snapshot
    batch_size = _batch_size(settings, n, automatic, sgd, basis)
    steps = _choice(settings.inner_steps, *_steps(n, batch_size[0], automatic, sgd, bool(settings.hidden_layer_sizes)))
    limit = LARGE if sgd else SVRG_LARGE
    large = automatic and n >= limit
    size = f"{basis} and {n:,} samples, {'at least' if large else 'fewer than'} {limit:,}" if automatic else basis
    sampling, why_sampling = "importance" if large else "replacement", size
    rank, why_rank = RANK if large else 0, size
    if settings.backend != "threads":
        sampling, why_sampling = "replacement", "ranks do not exchange gradient norms"
        rank, why_rank = 0, "ranks take steps as they are"
    elif data.is_sparse:
        rank, why_rank = 0, "X is sparse"
    boost = BOOST if large and not sgd else 1.0
    return {
        "solver": solver,
        "batch_size": batch_size,
        "inner_steps": steps,
        "decay": _choice(settings.decay, *(("linear", "SGD ends at rate 0") if sgd else (0.0, "a constant rate"))),
        "sampling": _choice(settings.sampling, sampling, why_sampling),
        "learning_rate": _choice(
            None if automatic else settings.learning_rate_init, None, "from the curvature at the start"
        ),
        "most_growth": (MOST_GROWTH if large else 1.0, size),
        "sgd_epochs": _choice(settings.sgd_epochs, SGD_EPOCHS if automatic and not sgd else 0, basis),
        "alpha_boost": _choice(settings.alpha_boost, boost, "SGD" if sgd else size),
        "deflation": _choice(settings.deflation, rank, why_rank),
        "evaluated": _evaluated(settings, n, batch_size[0] * steps[0]),
    }


def _choice(given: Any, value: Any, reason: str) -> Choice:
    return (value, reason) if given is None else (given, "given")


def _solver(settings: Settings, automatic: bool, basis: str) -> Choice:
    if not automatic:
        return "svrg", basis
    if settings.sgd_epochs is not None:
        return "svrg", "sgd_epochs is given"
    if math.isfinite(settings.target_loss):
        return "svrg", "a target for the loss is given"
    return "sgd", "a rate that falls to 0 gives the score in the fewest passes"


def _batch_size(settings: Settings, n: int, automatic: bool, sgd: bool, basis: str) -> Choice:
    smallest, largest = BATCH_SIZES
    size, reason = smallest, basis
    if automatic:
        batches = BATCHES if sgd else SVRG_BATCHES
        size = min(max(n // batches, smallest), largest)
        reason = f"{n:,} samples / {batches:,}, but at least {smallest} and at most {largest}"
    size, reason = _choice(settings.batch_size, size, reason)
    return (size, reason) if size <= n else (n, "there are no more samples")


def _steps(n: int, batch_size: int, automatic: bool, sgd: bool, hidden: bool) -> Choice:
    if not automatic:
        return math.ceil(n / batch_size), "one pass over the samples"
    passes: float = PASSES
    if sgd:
        passes = min((ONE_PASS / n) ** 0.25, MOST_PASSES) * (1 if hidden else CONVEX)
    steps = math.ceil(passes * n / batch_size)
    if steps < LEAST_STEPS:
        return LEAST_STEPS, "the least of an epoch"
    return steps, f"{passes:.2g} passes over the samples"


def _evaluated(settings: Settings, n: int, draws: int) -> Choice:
    if math.isfinite(settings.target_loss):
        return 0, "a target for the loss is given"
    samples = max(EXACT, int(EVALUATED * draws))
    if samples >= n:
        return 0, "they are few"
    return samples, f"an epoch draws {draws:,}"


def chosen_by_validation(settings: Settings, n: int, copied: float = 0, obstacle: str = "") -> Choice:
    """Whether a validation set chooses the parameters.

    copied: bytes of the copies of X that holding out samples needs. obstacle: another reason why "auto" cannot.
    """
    if settings.early_stopping != "auto":
        return settings.early_stopping and obstacle != RANK_0_VALIDATES, "given"
    if math.isfinite(settings.target_loss):
        return False, "a target for the loss is given"
    large = n >= EARLY_STOPPING
    if large and copied > settings.cache_bytes:
        obstacle = f"a copy of X takes {copied / 2**20:,.1f} MB, more than {settings.cache_bytes / 2**20:,.1f} MB"
    if large and obstacle:
        return False, obstacle
    return large, f"{n:,} samples, {'at least' if large else 'fewer than'} {EARLY_STOPPING:,}"


def one_epoch(settings: Settings, epoch: int) -> Settings:
    """For `partial_fit`: the caller decides when to stop and what to keep. Nobody knows which epoch is the last."""
    if settings.decay == "linear":
        raise ValueError(
            "decay='linear' falls to 0 in the last epoch, and partial_fit does not know which that is: "
            "give decay a number"
        )
    off = {"tol": 0.0, "early_stopping": False, "target_loss": -math.inf, "checkpoint_dir": None, "resume": False}
    method = {"solver": settings.solver or "svrg", "decay": settings.decay or 0.0}
    return replace(settings, max_iter=epoch + 1, **method, **off)


def restart(settings: Settings, early_stopping: bool, decay: Choice) -> Choice:
    """The epoch in which the rate, after it has reached 0, begins to fall a second time.

    The first fall is short. If a longer run would overfit, its parameters have the lowest validation error; and where
    little was left to gain when it ended, it is the only one (`core.schedule`).
    """
    if decay[0] != "linear" or decay[1] == "given":
        return 0, "the rate does not fall to 0" if decay[0] != "linear" else "decay is given"
    if not early_stopping:
        return 0, "no validation set chooses"
    return int(settings.max_iter * FIRST_FALL), "a validation set chooses between a short run and a longer one"


def held_out(settings: Settings, n: int) -> float:
    """The share of n samples that is held out."""
    share = settings.validation_fraction
    return min(share, HELD_OUT / n) if settings.early_stopping == "auto" else share


def learning_rate(curvature: float, coordinates: int, size: int) -> float:
    """The automatic learning rate, from L of a mini-batch, B (0 for all coordinates) and d."""
    share = coordinates / size if 0 < coordinates < size else 1.0
    return RATE / curvature / math.sqrt(share)
