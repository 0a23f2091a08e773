"""The parameters of the estimators, each written once; `settings.check` turns an estimator's into `Settings`.

To add a parameter, add a field to `Parameters`. The constructors, their checks, the docstrings, the command line and
`Settings` follow from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

from asysvrg import kinds
from asysvrg.core.directions import DIRECTIONS
from asysvrg.core.network import ACTIVATIONS, KIND_OF_LOSS
from asysvrg.core.preconditioner import MOST_RANK
from asysvrg.distributed.backend import MPI
from asysvrg.kinds import Kind, parameter


def _backend() -> Kind:
    def check(value: Any, name: str) -> str | MPI:
        if isinstance(value, MPI) or (isinstance(value, str) and value in ("threads", "mpi")):
            return MPI() if value == "mpi" else value
        raise ValueError(f"{name} is one of threads, mpi, MPI(...); got {value!r}")

    return Kind('"threads", "mpi" or MPI', check, {"choices": ["threads", "mpi"]})


@dataclass(eq=False, repr=False)
class Parameters:
    """The table: a field is a parameter of the constructors, in their order."""

    hidden_layer_sizes: Sequence[int] = parameter(
        (100,),
        kinds.sizes(),
        "Units of each hidden layer",
        "``()``, on the command line none: no hidden layer, which is softmax or linear regression.",
    )
    activation: str = parameter("relu", kinds.one_of(*ACTIVATIONS), "Activation of the hidden layers")
    _: KW_ONLY
    fit_intercept: bool = parameter(True, kinds.flag(opposite=True), "Whether layers have biases; else these are 0")
    alpha: float = parameter(
        1e-4,
        kinds.number(0),
        "Weight of the l2 term (the paper's C)",
        "The objective is mean loss + alpha / 2 * sum of squared weights. Biases are not penalised.",
    )
    alpha_boost: float | None = parameter(
        None,
        kinds.number(1),
        "L2 continuation: the factor of `alpha` in the first epoch, halved in each later epoch down to 1",
        "Random initial weights then shrink faster to the size that `alpha` wants. The objective and the recorded loss "
        "have `alpha` itself.",
        unset='4 for SVRG with learning_rate_init="auto" and at least 5,000 samples, else 1, as in the paper',
    )
    solver: str | None = parameter(
        None,
        kinds.one_of(None, *DIRECTIONS),
        "Direction of an update",
        " ".join(f'"{direction.name}": {direction.about}.' for direction in DIRECTIONS.values()),
        unset='"sgd" with learning_rate_init="auto" and neither `target_loss` nor `sgd_epochs`: a rate that falls to 0 '
        'gives the best score in the fewest passes; else "svrg", which reaches small losses sooner',
    )
    batch_size: int | None = parameter(
        None,
        kinds.integer(1),
        "Samples in a mini-batch, at most all",
        unset='20; with learning_rate_init="auto" from 20 to 50, so that a pass over the samples has at least 1,000 '
        "mini-batches (SGD) or 200 (SVRG)",
    )
    sampling: str | None = parameter(
        None,
        kinds.one_of(None, "replacement", "shuffle", "importance"),
        "How mini-batches are drawn",
        '"replacement": independently of each other (Assumption 1). "shuffle": in a new random order of all samples in '
        "each pass, which needs fewer passes for the same training loss. "
        '"importance": in a random order, too, but samples with large gradient norms are drawn more often and have '
        'smaller weights; the first epoch draws all alike. Not with backend="mpi".',
        unset='"importance" with learning_rate_init="auto" and at least 1,000 samples (SVRG: 5,000); else '
        '"replacement"',
    )
    learning_rate_init: float | str = parameter(
        "auto",
        kinds.or_word("auto", kinds.number(0, ends="neither")),
        "Learning rate: eta of SVRG, which is constant; eta_0 of eta_s = eta_0 / (1 + s)^decay in epochs of SGD",
        '"auto" measures the curvature of mini-batches at the start, and raises the rate while the loss falls. It also '
        "scales inputs and targets internally where they are far from 1; the objective and the meaning of `coefs_` and "
        "`alpha` do not change.",
    )
    scale: str | None = parameter(
        None,
        kinds.one_of(None, "robust-clip"),
        "Transform of dense inputs, a part of the model: each column by its quartiles, outliers bent into (-3, 3)",
        "It is `asysvrg.RobustClip`, fitted by `fit` and kept as `scaler_`. On tables it is often worth more than a "
        "larger network. `coefs_` and `alpha` are then for scaled inputs. With MPI take the transformer in a pipeline.",
        unset="inputs as they are",
    )
    decay: float | str | None = parameter(
        None,
        kinds.or_word("linear", kinds.number(0)),
        "Exponent of SGD's falling learning rate eta_s = eta_0 / (1 + s)^decay in epoch s; linear: with each solver a "
        "straight line to 0 at the last update",
        unset='"linear" for SGD with learning_rate_init="auto", else 0',
    )
    max_iter: int = parameter(12, kinds.integer(1), "Epochs, of `inner_steps` updates each")
    inner_steps: int | None = parameter(
        None,
        kinds.integer(1, kinds.MOST_STEPS),
        "Updates between two snapshots (m)",
        unset='one pass, ceil(n / batch_size); with learning_rate_init="auto" two passes, for SGD '
        "(10,000 / n)^(1/4) passes, at most 2, or half of that without hidden layers; at least 50 updates",
    )
    sgd_epochs: int | None = parameter(
        None,
        kinds.integer(0),
        "Epochs of SGD before SVRG (the paper's SGD_SVRG); counted in `max_iter`",
        unset='4 for SVRG with learning_rate_init="auto", else 0',
    )
    deflation: int | None = parameter(
        None,
        kinds.integer(0, MOST_RANK),
        "Rank of the preconditioner: steps are shortened along so many principal directions of each layer's input",
        "The learning rate can then be several times as large where inputs are not centred. The l2 term acts "
        "more slowly along these directions, in proportion. 0 for the paper's steps. The first layer has none "
        'where a mini-batch of sparse input leaves out most columns; with backend="mpi" no layer has one.',
        unset='4 with learning_rate_init="auto" and at least 1,000 samples (SVRG: 5,000) of dense input, else 0',
    )
    coordinates: int | str = parameter(
        "all",
        kinds.coordinates(),
        "Coordinates that an update changes: all; B random ones; or lines:B, B coordinates in whole cache lines",
        "Single random coordinates are what the paper does. Cache lines (16 coordinates in float32, 8 in float64) are "
        "faster with several threads. Each coordinate has the same probability in both.",
    )
    execution: str = parameter(
        "auto",
        kinds.one_of("auto", "shared", "lockstep"),
        "How threads share the inner loop",
        '"shared": each thread computes updates of its own and does not wait for others (Algorithm 1). "lockstep": all '
        "threads share the parts of each update of all coordinates; no update is late, and any number of threads gives "
        'the same bits. "auto": "shared" if `coordinates`, `update`, `max_delay` or `delay_adaptive` ask for it; else '
        "one thread trains. It waits for no other thread, and its result is the same bits whatever `n_jobs` is.",
    )
    update: str = parameter(
        "auto",
        kinds.one_of("auto", "plain", "atomic", "striped"),
        "Memory mode: how threads write to the parameters",
        '"plain": plain stores, for one thread or lockstep. "atomic": a compare-and-swap for each coordinate, without '
        'locks. "striped": vector stores under a lock, one for each drawn cache line or for every 1,024 of all '
        'coordinates. "auto": "plain" where that is safe, "atomic" for single coordinates, else "striped". No mode '
        "loses an update.",
    )
    max_delay: int | None = parameter(
        None,
        kinds.integer(0),
        "Largest delay of an update (Delta of Assumption 4)",
        "If x has had more updates since a thread read it, the update is computed again before it is applied.",
        unset="no bound",
    )
    delay_adaptive: bool = parameter(
        False,
        kinds.flag(),
        "Shorten late steps: of K workers, an update of delay tau takes K / (tau + 1) of its step, at most all of it",
        "Wu et al., ICML 2022 (docs/simulator.md). It pays where some threads or ranks are much slower than others.",
    )
    cache_size: float = parameter(
        1024,
        kinds.number(0, finite=False),
        "Megabytes for copies that save work",
        "They hold the samples that `early_stopping` holds out and the others, then the non-zeros of a dense X with "
        "many zeros, then the activations and deltas of each sample at the snapshot. Where these do not fit, each "
        "inner iteration of SVRG passes through the network twice. Results are the same up to rounding.",
    )
    tol: float = parameter(
        1e-4,
        kinds.number(0),
        "Stop when the loss has not fallen by `tol` in `n_iter_no_change` epochs; 0 for never",
    )
    n_iter_no_change: int = parameter(10, kinds.integer(1), "Epochs that `tol` looks at")
    early_stopping: bool | str = parameter(
        "auto",
        kinds.flag_or("auto"),
        "Keep the parameters with the lowest validation error, the last ones where several are equal",
        "The validation set is `X_val, y_val` of `fit`, or else `validation_fraction` of the samples, which are then "
        'not trained on. "auto": from 10,000 samples on, without `target_loss`. It holds out at most 10,000, and of '
        "epochs within half a standard error of the lowest error it keeps the last. With the default `decay` the rate "
        "falls to 0 in the first quarter of the epochs, and once more in the others. If `tol` is not 0, the run ends "
        "after the first fall where the loss on the validation set hardly fell any longer; with hidden layers only if "
        "the network overfits. Training goes on while either the loss or the validation error falls by `tol`: the "
        "score often improves when the rate is small. No samples are held out where their copies do not fit into "
        "`cache_size`. "
        'True: the validation error alone decides when to stop. With backend="mpi" and no `X_val`, all ranks need the '
        'same samples; "auto" is off where they have their own.',
    )
    validation_fraction: float = parameter(
        0.1,
        kinds.number(0, 1, ends="neither"),
        "Share of the samples held out for `early_stopping` where no validation set is given",
        "Each class has the same share. A class that has too few samples for that stays in the training set; with "
        "early_stopping=True some of these give a sample, too, so that the share is as large as asked for. Each class, "
        "or label, keeps a sample in the training set.",
    )
    target_loss: float | None = parameter(
        None, kinds.number(), "Stop when the objective is at most this", unset="no target"
    )
    max_time: float | None = parameter(
        None,
        kinds.number(0, finite=False),
        "Seconds of wall-clock time, from the beginning of `fit`, after which to stop, within an epoch if need be",
        "Even 0 gives a model. Sums over samples are cut a little later; loss and errors are then of a few samples.",
        unset="no limit",
    )
    checkpoint_dir: str | None = parameter(
        None,
        kinds.folder(),
        "Folder that keeps the state after every epoch, for `resume`",
        "It is made if it does not exist, and belongs to one run at a time.",
        unset="no checkpoints",
    )
    resume: bool = parameter(
        False,
        kinds.flag(),
        "Go on from the checkpoint in `checkpoint_dir`; start where the folder is empty",
        "With one thread, and `random_state` an int or in the same state as before, the result is that of an "
        "uninterrupted run, bit for bit. A checkpoint of other data, another network or another method is refused; "
        "`n_jobs`, max_iter, tol and max_time (from the resumption on) may differ, target_loss if there was one.",
    )
    track_gradient_norm: int | None = parameter(
        None,
        kinds.integer(1),
        "Iterations of each epoch at which the gradient of the whole objective is measured",
        "Rows of `history_` then have mean_gradient_norm_squared, an unbiased estimate of the mean of "
        "``|grad f(x_t)|^2`` over the epoch's iterations t (exact if that many are measured), and the L of "
        "Assumption 3 where the epoch starts: smoothness of the whole objective, batch_smoothness of mini-batches. "
        "`asysvrg.theory.report` sets them beside the theorems. Each measurement takes a pass, for which all threads "
        "pause. Training is the same, up to rounding where rows are lazy or there is a preconditioner. Not "
        'with backend="mpi" or solver="page".',
        unset="nothing is measured",
    )
    loss: str = parameter(
        "squared_error",
        kinds.one_of(*(name for name, kind in KIND_OF_LOSS.items() if kind == "reals")),
        "Loss of a real target (regressor only), summed over targets",
        "The score and the recorded errors are those of squared residuals whatever the loss.",
    )
    label_smoothing: float = parameter(
        0.0,
        kinds.number(0, 1, ends="left"),
        "Share s of a label that is given to all classes alike (a regressor has none): targets are 1 - s + s / classes "
        "for the label, s / classes for others",
        "Of an indicator matrix, ones become 1 - s / 2 and zeros s / 2. Wrong and rare labels then pull less, and "
        "probabilities are less extreme. The objective and the recorded loss are those of these targets; errors and "
        "scores are by the labels themselves.",
    )
    class_weight: Any = parameter(
        None,
        kinds.as_given('dict or "balanced"', choices=["balanced"]),
        "Weights of the classes, multiplied into the samples' weights",
        'A dict {label: weight}, or "balanced", with which all classes have the same total weight. Classifier only.',
        unset="1 for each class",
    )
    n_models: int = parameter(
        1,
        kinds.integer(1, 10_000),
        "Networks that differ in their seeds; their outputs are averaged",
        "They train side by side, one on each core, and are in `estimators_`. Five have fewer errors than one, in "
        "classification and in regression, and take five times the work.",
    )
    warm_start: bool = parameter(
        False, kinds.flag(), "Whether another `fit` goes on from the parameters of the fit before", option=False
    )
    n_jobs: int | None = parameter(
        None,
        kinds.as_given("int", type=int, metavar="N"),
        "Number of threads, at most 64 a core; -1 for all cores that this process may use (affinity, cgroup quota)",
        "They train one network if `execution`, `coordinates`, `update`, `max_delay` or `delay_adaptive` ask for it; "
        'they also train several networks and predict many rows. With backend="mpi" it is the number of each rank.',
        unset="for what several threads do, every core, or one thread where an update has too little work for several "
        "(batch_size x parameters x density of X below 500,000, or 200,000 in lockstep); one per rank",
    )
    backend: Any = parameter(
        "threads",
        _backend(),
        "Who trains: the threads of this process, or the ranks of an MPI job (the default under mpiexec)",
        '"threads": Shared-AsySVRG (Algorithm 1). "mpi", the same as ``asysvrg.MPI()``: Distributed-AsySVRG '
        "(Algorithms 2 and 3). Every rank calls `fit`; rank 0 is the server, the others are workers. Each rank gives "
        "all samples, or each its own; every rank ends with the fitted model. Callbacks, progress and checkpoints are "
        "rank 0's. ``asysvrg.MPI`` has the options. Needs ``asysvrg[mpi]``.",
    )
    random_state: Any = parameter(
        None,
        kinds.seed(),
        "Initial parameters and all draws",
        "An int determines the result, bit by bit. Only with threads that do not wait for each other "
        '(`execution="shared"`), or with MPI, does timing matter, too.',
        option=False,
    )
    verbose: bool = parameter(
        False,
        kinds.verbosity(),
        "Progress bar, or plain lines: without a terminal, and of several networks",
        option=False,
    )
    dtype: Any = parameter(
        "float32", kinds.dtype(), "Precision of parameters and arithmetic", "X is converted to it once, after `scale`."
    )
