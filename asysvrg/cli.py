"""The command `asysvrg`: what each command does, and how they end."""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import signal
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from asysvrg import data, options
from asysvrg.config import show_config
from asysvrg.core import system
from asysvrg.data import targets
from asysvrg.distributed import launch, mpi, script, session
from asysvrg.distributed.protocol import Lost, RankError
from asysvrg.estimators import AsySVRGClassifier, AsySVRGRegressor
from asysvrg.options import BAD_INPUT, INTERRUPTED, LOST, UNWRITTEN
from asysvrg.plan import Plan
from asysvrg.report import plots, speedup, streams
from asysvrg.report.progress import short, table
from asysvrg.reproduce import command as experiments
from asysvrg.simulation.calibrate import calibrate
from asysvrg.simulation.events import record
from asysvrg.simulation.run import simulate
from asysvrg.store.files import replacing, write_json
from asysvrg.store.model import load
from asysvrg.store.schema import Schema
from asysvrg.theory.report import report


def _check_outputs(args: argparse.Namespace) -> None:
    given = (getattr(args, name, None) for name in ("data", "model", "schedule", "costs"))
    inputs = [str(name) for name in given if name and Path(name).exists()]
    taken = {os.path.realpath(name): "is an input" for name in inputs}
    for name in ("save", "trace", "record", "plot", "output"):
        path = getattr(args, name, None)
        if path is None:
            continue
        if not path:
            raise ValueError(f"--{name} is empty: a file is expected")
        if (why := taken.setdefault(os.path.realpath(path), f"is --{name}, too")) != f"is --{name}, too":
            raise ValueError(f"--{name} {path} {why}: give another name")
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
    alone = args.dry_run or (args.n_models or 1) > 1  # several networks train in turns, each in its own session
    with script.open_session(args.backend == "mpi" and not alone) as ranks:
        shows = (mpi.launched()[0] if ranks is None else ranks.rank) == 0
        if shows:
            _check_outputs(args)
        model, sets = _model(args)
        if args.dry_run:
            return _say_plan(model._plan(sets.X_train, sets.y_train))
        interrupted, unwritten = False, None
        try:
            _fit(args, model, sets)
        except KeyboardInterrupt:
            interrupted = True
            if not hasattr(model, "stopped_"):  # there is no model yet
                raise
        except OSError as error:
            if not hasattr(model, "stopped_"):
                raise
            unwritten = error  # the schedule: the model is whole
        model.schema_ = sets.schema.as_dict()
    if shows:
        _report(args, model, sets.name, unwritten)
        return INTERRUPTED * interrupted
    return 0


def _model(args: argparse.Namespace) -> tuple[Any, data.Dataset]:
    """The estimator and the data of a command line: features with their names, targets as the task needs them."""
    parameters = options.estimator_parameters(args)
    sizes = {name: getattr(args, name) for name in ("train_size", "test_size", "seed")}
    sets = data.load(args.data, data_home=args.data_home, **sizes, **options.reading(args))
    task = args.task or targets.task_of(sets.y_train)
    pairs: Any = (
        (_named(X, sets.schema), None if y is None else targets.for_task(y, task))
        for X, y in ((sets.X_train, sets.y_train), (sets.X_test, sets.y_test))
    )
    (X, y), (X_test, y_test) = pairs
    kind = AsySVRGClassifier if task == "classification" else AsySVRGRegressor
    return kind(**parameters), replace(sets, X_train=X, y_train=y, X_test=X_test, y_test=y_test)


def _fit(args: argparse.Namespace, model: Any, sets: data.Dataset) -> None:
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
        streams.out.say(f"costs: {args.output}")
    else:
        streams.out.say(json.dumps(costs, indent=1))
    return 0


def _speedup(args: argparse.Namespace) -> int:
    """Compares threads or ranks, writes files, prints the table; returns the exit code."""
    if mpi.launched()[1] > 1:
        raise ValueError("speedup starts the ranks itself: leave mpiexec out, and give their numbers by --workers")
    _check_outputs(args)
    args.backend = "mpi" if args.workers else "threads"
    model, sets = _model(args)
    found = speedup.study(
        model, sets.X_train, sets.y_train, args.workers or args.threads,
        repeats=args.repeats, say=None if args.quiet else streams.err.say,
    )  # fmt: skip
    writers = {
        "study": (args.output, lambda path: write_json(path, found)),
        "plot": (args.plot, lambda path: speedup.draw(found, path, sets.name)),
    }
    _write_and_say(writers, [speedup.table(found, sets.name)])
    return 0


def _say_plan(plan: Plan) -> int:
    if mpi.launched()[0] == 0:
        streams.out.say(plan.describe())
    return 0


def _report(args: argparse.Namespace, model: Any, name: str, unwritten: OSError | None) -> None:
    """Writes the files that were asked for, then prints the closing table. `unwritten`: why there is no schedule."""

    def schedule(_: str) -> None:
        if unwritten is not None:
            raise unwritten

    history = model.history_
    shape = "-".join(str(width) for width in history["config"]["widths"])
    curve = {f"{name}, {shape}": {history["config"]["solver"]: history}}
    writers = {
        "model": (args.save, model.save),
        "trace": (args.trace, lambda path: write_json(path, history)),
        "plot": (args.plot, lambda path: plots.draw(curve, path)),
        "schedule": (args.record, schedule),
    }
    _write_and_say(writers, list(_closing_lines(model, name, shape)))


def _write_and_say(writers: dict[str, tuple[str | None, Callable[[str], Any]]], lines: list[str]) -> None:
    """Calls each writer that has a path, then prints the lines, and one for each file: a broken stream loses no file.

    If a file cannot be written, the others are written all the same. OSError then says which ones failed.
    """
    written, failed = [], []
    for what, (path, write) in writers.items():
        if path:
            try:
                write(path)
                written.append(f"{what}: {path}")
            except (OSError, ValueError, MemoryError) as error:
                failed.append(f"the {what} {path} was not written ({getattr(error, 'strerror', None) or error})")
    streams.out.say("\n".join([*lines, *written]))
    if failed:
        raise OSError("; ".join(failed))


def _closing_lines(model: Any, name: str, shape: str) -> Iterator[str]:
    history, settings = model.history_, model.history_["config"]
    workers = f"{settings['workers']} worker(s), " if "workers" in settings else ""
    if settings.get("servers", 1) > 1:
        workers = f"{settings['servers']} servers, {workers}"
    if "simulation" in settings:
        workers = f"{settings['simulation']['workers']} virtual worker(s), "
    threads = f"{settings['threads']} thread(s), {settings['execution']}, update={settings['update']}"
    first = "" if model.n_models == 1 else f", network 0 of {model.n_models}"
    title = f"{name}: {settings['samples']} samples, {shape}, {settings['solver']}, {workers}{threads}{first}"
    yield table(history["epochs"], title)
    yield f"stopped after {model.n_iter_} epochs ({model.stopped_}), objective {short(model.loss_, 5)}"
    if settings["early_stopping"]:
        kept = next(row for row in reversed(history["epochs"]) if row["best"])
        test = "" if kept["test_error"] is None else f", test error {kept['test_error']:.4f}"
        yield f"parameters of epoch {kept['epoch']}: validation error {kept['validation_error']:.4f}{test}"
    for row in history["epochs"]:
        for event in row.get("events", ()):
            yield f"epoch {row['epoch']}: {event}"


def predict(args: argparse.Namespace) -> int:
    """Predicts with a saved model; returns the exit code."""
    _check_outputs(args)
    model = load(args.model)
    if args.proba and not hasattr(model, "predict_proba"):
        raise ValueError(f"--proba: {args.model} is a model of real targets, which has no probabilities")
    names = getattr(model, "feature_names_in_", None)
    schema = Schema(names=None if names is None else tuple(names), **getattr(model, "schema_", {}))
    X = data.load_to_predict(args.data, schema, model.n_features_in_, data_home=args.data_home, **options.reading(args))
    X = _named(X, schema)
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
        streams.out.say(f"predictions: {args.output}")
    elif sys.stdout is None:
        raise ValueError("standard output is closed: --output FILE takes the predictions")
    else:
        _refuse_escapes(text.getvalue())
        streams.out.write(text.getvalue())
    return 0


def _refuse_escapes(text: str) -> None:
    """Refuses text that standard output cannot encode: an escaped label would be another label."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError as error:
        raise ValueError(
            f"standard output, in {encoding}, has no {text[error.start]!a}: --output FILE writes UTF-8"
        ) from None


def _reproduce(args: argparse.Namespace) -> int:
    figures = tuple(experiments.FIGURES) if args.figure == "all" else (args.figure,)
    done = experiments.reproduce(
        figures, Path(args.out), data_home=args.data_home, quick=args.quick, resume=args.resume
    )
    streams.out.say(f"verdict: {done}")
    return 0


def theory(args: argparse.Namespace) -> int:
    """Prints what the theorems say of a run; returns the exit code."""
    try:
        history = json.loads(Path(args.trace).read_bytes())
    except ValueError as error:
        raise ValueError(f"--trace {args.trace} is not a trace: {error}") from None
    streams.out.say(str(report(history, L=args.smoothness)))
    return 0


def _named(X: Any, schema: Schema) -> Any:
    """X as a frame where its columns have names, which the model then keeps. No copy."""
    if not isinstance(X, np.ndarray) or schema.names is None:
        return X
    import pandas as pd  # here, since importing it takes long

    return pd.DataFrame(X, columns=list(schema.names), copy=False)


@contextmanager
def _signals_interrupt() -> Iterator[list[int]]:
    """Turns SIGTERM and SIGHUP into KeyboardInterrupt: training then ends with the best model. The list gets them.

    SIGHUP comes when a terminal is closed; under nohup it is ignored, and stays so.
    """
    came: list[int] = []

    def interrupt(number: int, _: Any) -> NoReturn:
        came.append(number)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield came
        return
    numbers = [number for number in system.ENDINGS if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _warnings_shown_by(show: Callable[..., None]) -> Iterator[None]:
    """Restores `showwarning`, too: `warnings.catch_warnings` does not in Python 3.14 without the GIL."""
    before, warnings.showwarning = warnings.showwarning, show
    try:
        yield
    finally:
        warnings.showwarning = before


class _Messages:
    """Writes to stderr, of several ranks by rank 0 only."""

    def __init__(self, args: argparse.Namespace):
        self.shown = args.command != "train" or mpi.launched()[0] == 0

    def say(self, line: str, *, always: bool = False) -> None:
        if self.shown or always:
            streams.err.say(line)

    def warn(self, message: Warning | str, *_: Any, **__: Any) -> None:
        """Stands in for `warnings.showwarning`."""
        self.say(f"asysvrg: warning: {message}")


def run(args: argparse.Namespace) -> int:
    """Runs a command; returns the exit code.

    0: done. 1: standard output took no more (a full disk; but a reader that has gone away is no error). 2: bad input.
    3: the server was lost, or all workers. 130: interrupted. 143: interrupted by SIGTERM. Errors are one line on
    stderr.
    """
    streams.occupy()
    messages = _Messages(args)
    with warnings.catch_warnings(), _warnings_shown_by(messages.warn), _signals_interrupt() as came:
        code = _run(args, messages)
        code = 128 + came[0] if code == INTERRUPTED and came else code
        if (failure := streams.out.leave()) is not None:
            messages.say(f"asysvrg {args.command}: error: standard output takes no more ({failure})")
            code = code or UNWRITTEN
        streams.err.leave()
    if args.command == "train":
        session.exit_rank(code)
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
        text = str(error) or "there is too little memory"  # MemoryError alone may have no text
        if isinstance(error, OSError) and error.strerror and error.filename:
            text = f"{error.filename}: {error.strerror}"  # without the number
        messages.say(f"asysvrg {args.command}: error: {' '.join(text.split())}")
        return BAD_INPUT
    except KeyboardInterrupt:
        messages.say(f"asysvrg {args.command}: interrupted")
        return INTERRUPTED


def _info(_: argparse.Namespace) -> int:
    show_config()
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Parses and runs a command; returns the exit code."""
    return run(options.parser().parse_args(argv))


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "train": train,
    "launch": launch.launch,
    "predict": predict,
    "theory": theory,
    "calibrate": _calibrate,
    "speedup": _speedup,
    "reproduce": _reproduce,
    "info": _info,
}
