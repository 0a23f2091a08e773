"""The command `asysvrg`."""

from __future__ import annotations

import argparse
import csv
import inspect
import io
import signal
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from scipy import sparse

from asysvrg import __version__, data
from asysvrg.config import show_config
from asysvrg.core.inner import UPDATES
from asysvrg.core.network import ACTIVATIONS
from asysvrg.distributed import launch, mpi, script, session
from asysvrg.distributed.protocol import Lost, RankError
from asysvrg.estimators import AsySVRGClassifier, AsySVRGRegressor
from asysvrg.report import plots
from asysvrg.report.progress import table
from asysvrg.settings import SAMPLINGS
from asysvrg.store.files import replacing, write_json
from asysvrg.store.model import load

BAD_INPUT, LOST, INTERRUPTED, TERMINATED = 2, 3, 130, 143


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage before it."""

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"{self.prog}: error: {message}\n")


def _sizes(text: str) -> tuple[int, ...]:
    try:
        return () if text in ("none", "") else tuple(int(size) for size in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither sizes, as 100 or 100,50, nor none") from None


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0 to 2^32 - 1")
    return int(text)


def _or(word: str, kind: Callable[[str], Any]) -> Callable[[str], Any]:
    """A type for argparse: `word`, or a number."""

    def parse(text: str) -> Any:
        return text if text == word else kind(text)

    parse.__name__ = f"{kind.__name__} or {word!r}"
    return parse


# Options that carry the estimator's names: type or choices, and help. Defaults are the estimator's.
ESTIMATOR_OPTIONS: list[tuple[str, Any, str]] = [
    ("hidden_layer_sizes", _sizes, "units of the hidden layers, as 100 or 100,50, or none"),
    ("activation", list(ACTIVATIONS), "of the hidden layers"),
    ("alpha", float, "the paper's C: alpha / 2 * sum of squared weights is added to the mean loss"),
    (
        "alpha_boost",
        float,
        "the l2 term's factor in the first epoch, halved in each further one down to 1 (default: 4 or 1)",
    ),
    ("solver", ["svrg", "sgd"], "direction of an update"),
    ("batch_size", int, "samples in a mini-batch"),
    ("sampling", SAMPLINGS, "how mini-batches are drawn (default: by the size of the data, see guide)"),
    ("learning_rate_init", _or("auto", float), "eta of SVRG; alpha of alpha / (1 + s)^decay in epochs of SGD"),
    ("decay", _or("linear", float), "beta of the same; linear: a straight line to 0"),
    ("max_iter", int, "epochs"),
    ("inner_steps", int, "m, updates in an epoch (default: one pass over the samples)"),
    ("sgd_epochs", int, "epochs of SGD before SVRG (SGD_SVRG; default: 2 with an automatic rate, else 0)"),
    ("deflation", int, "directions of each layer's input along which steps are shortened (default: 4 or 0, see guide)"),
    (
        "coordinates",
        _or("all", int),
        "coordinates an update touches: all, or a random subset of so many",
    ),
    (
        "block",
        _or("line", int),
        "of a subset, coordinates drawn together: 1, or line for a cache line",
    ),
    ("update", ["auto", *UPDATES], "memory mode"),
    ("max_delay", int, "most updates that an applied update may have missed (default: no bound)"),
    ("late", ["wait", "drop"], "with --max-delay among ranks: wait for late directions, or compute them again"),
    ("cache_size", float, "megabytes for the snapshot's activations; 0 to do without"),
    (
        "tol",
        float,
        "stop when the loss has not fallen by this in n_iter_no_change epochs; 0 for never",
    ),
    ("n_iter_no_change", int, "see --tol"),
    ("early_stopping", bool, "stop by the test score, and keep the parameters for which it was best"),
    ("validation_fraction", float, "share of the samples held out for --early-stopping where there is no test set"),
    ("target_loss", float, "stop at this objective"),
    ("max_time", float, "stop after so many seconds"),
    ("checkpoint_dir", str, "folder in which the state is kept after every epoch"),
    ("resume", bool, "go on from the checkpoint in --checkpoint-dir; start where there is none yet"),
    ("class_weight", ["balanced"], "balanced: classes of equal weight"),
    ("n_jobs", int, "threads (default: every core this process may use; of each rank: one)"),
    ("backend", ["threads", "mpi"], "threads of one process, or the ranks of an MPI job (the default under mpiexec)"),
    ("wait", ["sleep", "yield", "spin"], "how ranks wait for messages"),
    ("compress", ["float16"], "among ranks: parameters and directions in half precision"),
    ("servers", int, "ranks among which the server's work is divided by ranges of parameters"),
    ("dtype", ["float32", "float64"], "of the arithmetic"),
]


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="asysvrg",
        description="Asynchronous variance-reduced training of neural networks on CPUs.",
    )
    parser.add_argument("--version", action="version", version=f"asysvrg {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    train = commands.add_parser("train", help="train a network", description="Trains a network on DATA.")
    train.add_argument(
        "data",
        nargs="?",
        default="digits",
        metavar="DATA",
        help="digits (default), mnist, fashion-mnist, cifar10-features, or a file or folder: "
        "IDX (.gz), CIFAR-10 binary, .npz, svmlight, CSV",
    )
    source = train.add_argument_group("data")
    source.add_argument("--data-home", metavar="DIR", help="where named sets are looked up (ASYSVRG_DATA_HOME)")
    source.add_argument(
        "--target",
        metavar="COLUMN",
        help="target column of a CSV file, name or index (default: last)",
    )
    source.add_argument("--train-size", type=int, metavar="N", help="train on so many samples")
    source.add_argument("--test-size", type=int, metavar="N", help="test on so many samples; 0 for none")
    source.add_argument(
        "--task",
        choices=["classification", "regression"],
        help="default: regression for fractional targets",
    )
    method = train.add_argument_group("method (names and defaults of AsySVRGClassifier)")
    defaults = inspect.signature(AsySVRGClassifier).parameters
    for name, kind, text in ESTIMATOR_OPTIONS:
        default = defaults[name].default
        how = {"choices": kind} if isinstance(kind, list) else {"type": kind, "metavar": "X"}
        if kind is bool:
            how = {"action": "store_true"}
        elif kind is str:
            how["metavar"] = "DIR"
        shown = "" if default is None or kind is bool else f" (default: {','.join(map(str, np.atleast_1d(default)))})"
        method.add_argument(f"--{name.replace('_', '-')}", default=default, help=text + shown, **how)
    method.add_argument("--seed", type=_seed, default=0, metavar="X", help="start, draws and splits (default: 0)")
    output = train.add_argument_group("output")
    output.add_argument("--save", metavar="FILE", help="write the model, for asysvrg predict and asysvrg.load")
    output.add_argument("--trace", metavar="FILE.json", help="write the trace")
    output.add_argument("--plot", metavar="FILE.png", help="draw loss and errors against seconds")
    output.add_argument("--quiet", action="store_true", help="no progress")
    predict = commands.add_parser(
        "predict", help="predict with a saved model", description="Predicts the rows of DATA."
    )
    predict.add_argument("data", metavar="DATA", help="a file as for train, or a named set, of which the test rows")
    predict.add_argument("--model", required=True, metavar="FILE", help="what train --save wrote")
    predict.add_argument("--output", metavar="FILE.csv", help="where to write (default: standard output)")
    predict.add_argument("--proba", action="store_true", help="the probability of each class")
    predict.add_argument(
        "--target",
        metavar="COLUMN",
        help="target column of a CSV file, which is left out (default: the last where there is one column more than "
        "the model has inputs)",
    )
    predict.add_argument("--data-home", metavar="DIR", help="where named sets are looked up (ASYSVRG_DATA_HOME)")
    launch.add_command(commands)
    commands.add_parser("info", help="version, OpenMP, SIMD level, BLAS, MPI, threads")
    return parser


def _check_outputs(args: argparse.Namespace) -> None:
    for name in ("save", "trace", "plot", "output"):
        path = getattr(args, name, None)
        if not path:
            continue
        folder = Path(path).absolute().parent
        if not folder.is_dir():
            raise ValueError(f"--{name} {path}: there is no folder {Path(path).parent}")
        if Path(path).exists() and not Path(path).is_file():
            raise ValueError(f"--{name} {path} is a folder or a device; a file is expected")
        try:
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            raise ValueError(f"--{name} {path}: cannot write to {folder} ({error.strerror})") from None
    if getattr(args, "plot", None):
        plots.require_matplotlib(args.plot)


def train(args: argparse.Namespace) -> int:
    """Trains, shows, writes; returns the exit code. Among several ranks, rank 0 shows and writes for all."""
    if mpi.launched()[1] > 1:
        args.backend = "mpi"
    with script.open_session(args.backend == "mpi") as ranks:
        serves = ranks is None or ranks.rank == 0
        if serves:
            _check_outputs(args)
        sets = data.load(
            args.data,
            data_home=args.data_home,
            train_size=args.train_size,
            test_size=args.test_size,
            target=args.target,
            seed=args.seed,
        )
        task = args.task or ("regression" if np.asarray(sets.y_train).dtype.kind == "f" else "classification")
        kind = AsySVRGClassifier if task == "classification" else AsySVRGRegressor
        model = kind(
            random_state=args.seed,
            verbose=not args.quiet,
            **{name: getattr(args, name) for name, _, _ in ESTIMATOR_OPTIONS},
        )
        model.fit(sets.X_train, sets.y_train, X_val=sets.X_test, y_val=sets.y_test)
    return _report(args, model, sets.name) if serves else 0


def _report(args: argparse.Namespace, model: Any, name: str) -> int:
    """The closing table, and the files that were asked for."""
    history, settings = model.history_, model.history_["config"]
    shape = "-".join(str(width) for width in settings["widths"])
    workers = f"{settings['workers']} worker(s), " if "workers" in settings else ""
    if settings["servers"] > 1:
        workers = f"{settings['servers']} servers, {workers}"
    method = f"{settings['solver']}, {workers}{settings['threads']} thread(s), update={settings['update']}"
    print(table(history["epochs"], f"{name}: {settings['samples']} samples, {shape}, {method}"))
    print(f"stopped after {model.n_iter_} epochs ({model.stopped_}), objective {model.loss_:.5f}")
    for row in history["epochs"]:
        for event in row.get("events", ()):
            print(f"epoch {row['epoch']}: {event}")
    if args.save:
        model.save(args.save)
        print(f"model: {args.save}")
    if args.trace:
        write_json(args.trace, history)
        print(f"trace: {args.trace}")
    if args.plot:
        plots.draw({f"{name}, {shape}": {settings["solver"]: history}}, args.plot)
        print(f"plot: {args.plot}")
    return INTERRUPTED if model.stopped_ == "interrupted" else 0


def predict(args: argparse.Namespace) -> int:
    """Predicts with a saved model; returns the exit code."""
    _check_outputs(args)
    model = load(args.model)
    if args.proba and not hasattr(model, "predict_proba"):
        raise ValueError(f"--proba: {args.model} is a model of real targets, which has no probabilities")
    X = _as_wide_as(model.n_features_in_, _rows(args, model.n_features_in_), args.data)
    outputs = model.predict_proba(X) if args.proba else model.predict(X)
    if args.proba:
        header = [str(label) for label in model.classes_]
    else:
        header = ["prediction"] if outputs.ndim == 1 else [f"prediction {i}" for i in range(outputs.shape[1])]
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(header)
    lines.writerows(outputs.reshape(len(outputs), -1).tolist())
    if args.output:
        with replacing(args.output) as file:
            file.write(text.getvalue().encode())
        print(f"predictions: {args.output}")
    else:
        print(text.getvalue(), end="")
    return 0


def _rows(args: argparse.Namespace, n_features: int) -> Any:
    """The rows to predict, without the target column."""
    if args.data in data.NAMES:
        return data.load(args.data, data_home=args.data_home, target=args.target).X_test
    if args.target is not None:
        return data.load_file(args.data, args.target)[0]
    try:
        X, _ = data.load_file(args.data, False)  # a CSV file: all columns
    except ValueError as error:
        try:
            return data.load_file(args.data)[0]  # another format, or a last column of labels
        except ValueError:
            raise error from None
    return X if X.shape[1] != n_features + 1 else data.load_file(args.data)[0]


def _as_wide_as(width: int, X: Any, name: str) -> Any:
    """X with as many columns as the model has inputs: a svmlight file may not use the last ones."""
    if sparse.issparse(X) and X.shape[1] < width:
        return sparse.csr_matrix((X.data, X.indices, X.indptr), shape=(X.shape[0], width))
    if X.shape[1] != width:
        raise ValueError(f"{name} has {X.shape[1]} features; the model was trained on {width}")
    return X


@contextmanager
def _terminated() -> Iterator[list[int]]:
    """Makes SIGTERM what Ctrl-C is: training ends with the best model. The list holds the signal once it came."""
    came: list[int] = []

    def interrupt(number: int, _: Any) -> NoReturn:
        came.append(number)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield came
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield came
    finally:
        signal.signal(signal.SIGTERM, before)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `asysvrg`; returns the exit code.

    0: done. 2: bad input, with one line on stderr. 3: the server was lost, or all workers. 130: interrupted. 143: the
    same, by SIGTERM. Of several ranks, rank 0 speaks for all.
    """
    args = _parser().parse_args(argv)
    speaks = args.command != "train" or mpi.launched()[0] == 0
    said = ""

    def say(line: str, *, always: bool = False) -> None:
        nonlocal said
        said = line
        if speaks or always:
            print(line, file=sys.stderr)

    def one_line(message: Warning | str, *_: Any, **__: Any) -> None:
        say(f"asysvrg: warning: {message}")

    with warnings.catch_warnings(), _terminated() as came:
        warnings.showwarning = one_line
        try:
            code = COMMANDS[args.command](args)
        except Lost as error:
            resume = "; --resume goes on from the last checkpoint" if args.checkpoint_dir else ""
            say(f"asysvrg {args.command}: error: {error}{resume}", always=error.rank == 0)
            code = LOST
        except (ValueError, TypeError, OverflowError, OSError, MemoryError, RankError) as error:
            say(f"asysvrg {args.command}: error: {' '.join(str(error).split())}")
            code = BAD_INPUT
        except KeyboardInterrupt:
            say(f"asysvrg {args.command}: interrupted")
            code = INTERRUPTED
        code = TERMINATED if code == INTERRUPTED and came else code
    if args.command == "train":
        session.exit_rank(code, said if code else "")
    return code


def _info(_: argparse.Namespace) -> int:
    show_config()
    return 0


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "train": train,
    "launch": launch.launch,
    "predict": predict,
    "info": _info,
}

if __name__ == "__main__":
    sys.exit(main())
