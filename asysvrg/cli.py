"""The command `asysvrg`: what `train`, `predict` and `info` do, and how they end."""

from __future__ import annotations

import argparse
import csv
import io
import json
import signal
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from scipy import sparse

from asysvrg import data, options
from asysvrg.config import show_config
from asysvrg.distributed import launch, mpi, script, session
from asysvrg.distributed.protocol import Lost, RankError
from asysvrg.estimators import AsySVRGClassifier, AsySVRGRegressor
from asysvrg.options import BAD_INPUT
from asysvrg.plan import Plan
from asysvrg.report import plots
from asysvrg.report.progress import table
from asysvrg.simulation.calibrate import calibrate
from asysvrg.simulation.events import record
from asysvrg.simulation.run import simulate
from asysvrg.store.files import replacing, write_json
from asysvrg.store.model import load

LOST, INTERRUPTED, TERMINATED = 3, 130, 143  # exit codes


def _check_outputs(args: argparse.Namespace) -> None:
    for name in ("save", "trace", "record", "plot", "output"):
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
    """Trains, prints the table, writes files; returns the exit code. Of several ranks, rank 0 prints and writes."""
    if mpi.launched()[1] > 1:
        args.backend = "mpi"
    with script.open_session(args.backend == "mpi" and not args.dry_run) as ranks:
        shows = ranks is None or ranks.rank == 0
        if shows:
            _check_outputs(args)
        model, sets = _model(args)
        if args.dry_run:
            return _say_plan(model._plan(sets.X_train, sets.y_train))
        _fit(args, model, sets)
    return _report(args, model, sets.name) if shows else 0


def _model(args: argparse.Namespace) -> tuple[Any, Any]:
    """The estimator and the data of a command line."""
    parameters = options.estimator_parameters(args)
    names = ("data_home", "train_size", "test_size", "target", "seed")
    sets = data.load(args.data, **{name: getattr(args, name) for name in names})
    task = args.task or ("regression" if np.asarray(sets.y_train).dtype.kind == "f" else "classification")
    kind = AsySVRGClassifier if task == "classification" else AsySVRGRegressor
    return kind(**parameters), sets


def _fit(args: argparse.Namespace, model: Any, sets: Any) -> None:
    """Trains by real workers, or by virtual ones. The test set decides nothing."""
    virtual, test = options.simulation(args), (sets.X_test, sets.y_test)
    if virtual is not None:
        if mpi.launched()[1] > 1:
            raise ValueError("--simulate-workers and --schedule are for one process, not for the ranks of mpiexec")
        simulate(model, sets.X_train, sets.y_train, **virtual, test=test)
        return
    with record(args.record) if args.record else nullcontext():
        model._fit(sets.X_train, sets.y_train, test=test)


def _calibrate(args: argparse.Namespace) -> int:
    _check_outputs(args)
    model, sets = _model(args)
    costs = calibrate(model, sets.X_train, sets.y_train, ranks=False if args.no_ranks else None)
    if args.output:
        write_json(args.output, costs)
        print(f"costs: {args.output}")
    else:
        print(json.dumps(costs, indent=1))
    return 0


def _say_plan(plan: Plan) -> int:
    if mpi.launched()[0] == 0:
        print(plan.describe())
    return 0


def _report(args: argparse.Namespace, model: Any, name: str) -> int:
    """Prints the closing table, and writes the files that were asked for."""
    history, settings = model.history_, model.history_["config"]
    shape = "-".join(str(width) for width in settings["widths"])
    workers = f"{settings['workers']} worker(s), " if "workers" in settings else ""
    if settings.get("servers", 1) > 1:
        workers = f"{settings['servers']} servers, {workers}"
    if "simulation" in settings:
        workers = f"{settings['simulation']['workers']} virtual worker(s), "
    threads = f"{settings['threads']} thread(s), {settings['execution']}, update={settings['update']}"
    title = f"{name}: {settings['samples']} samples, {shape}, {settings['solver']}, {workers}{threads}"
    print(table(history["epochs"], title))
    print(f"stopped after {model.n_iter_} epochs ({model.stopped_}), objective {model.loss_:.5f}")
    if settings["early_stopping"]:
        kept = min(reversed(history["epochs"]), key=lambda row: row["validation_error"])
        test = "" if kept["test_error"] is None else f", test error {kept['test_error']:.4f}"
        print(f"parameters of epoch {kept['epoch']}: validation error {kept['validation_error']:.4f}{test}")
    for row in history["epochs"]:
        for event in row.get("events", ()):
            print(f"epoch {row['epoch']}: {event}")
    if args.save:
        model.save(args.save)
        print(f"model: {args.save}")
    if args.trace:
        write_json(args.trace, history)
        print(f"trace: {args.trace}")
    if args.record:
        print(f"schedule: {args.record}")
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
def _sigterm_interrupts() -> Iterator[list[int]]:
    """Turns SIGTERM into KeyboardInterrupt: training then ends with the best model. The list gets the signal."""
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


class _Messages:
    """Writes to stderr, of several ranks by rank 0 only."""

    def __init__(self, args: argparse.Namespace):
        self.shown, self.last = args.command != "train" or mpi.launched()[0] == 0, ""

    def say(self, line: str, *, always: bool = False) -> None:
        self.last = line
        if self.shown or always:
            print(line, file=sys.stderr)

    def warn(self, message: Warning | str, *_: Any, **__: Any) -> None:
        """Stands in for `warnings.showwarning`."""
        self.say(f"asysvrg: warning: {message}")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `asysvrg`; returns the exit code.

    0: done. 2: bad input. 3: the server was lost, or all workers. 130: interrupted. 143: interrupted by SIGTERM.
    Errors are one line on stderr.
    """
    args = options.parser().parse_args(argv)
    messages = _Messages(args)
    with warnings.catch_warnings(), _sigterm_interrupts() as came:
        warnings.showwarning = messages.warn
        code = _run(args, messages)
        code = TERMINATED if code == INTERRUPTED and came else code
    if args.command == "train":
        session.exit_rank(code, messages.last if code else "")
    return code


def _run(args: argparse.Namespace, messages: _Messages) -> int:
    """Runs a command. An error becomes one line and an exit code."""
    try:
        return COMMANDS[args.command](args)
    except Lost as error:
        resume = "; --resume goes on from the last checkpoint" if args.checkpoint_dir else ""
        messages.say(f"asysvrg {args.command}: error: {error}{resume}", always=error.rank == 0)
        return LOST
    except (ValueError, TypeError, OverflowError, OSError, MemoryError, RankError) as error:
        messages.say(f"asysvrg {args.command}: error: {' '.join(str(error).split())}")
        return BAD_INPUT
    except KeyboardInterrupt:
        messages.say(f"asysvrg {args.command}: interrupted")
        return INTERRUPTED


def _info(_: argparse.Namespace) -> int:
    show_config()
    return 0


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "train": train,
    "launch": launch.launch,
    "predict": predict,
    "calibrate": _calibrate,
    "info": _info,
}

if __name__ == "__main__":
    sys.exit(main())
