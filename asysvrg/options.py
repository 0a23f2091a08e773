"""The options of the command `asysvrg`. Those of `train` that are parameters come from their tables.

The options of a command are made when it is parsed: their tables import scikit-learn.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, NoReturn

from asysvrg._version import __version__

UNWRITTEN, BAD_INPUT, LOST, INTERRUPTED = 1, 2, 3, 130  # exit codes


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage before it. `fill` adds the options when they are needed."""

    def __init__(self, *, fill: Callable[[Parser], None] | None = None, **options: Any):
        super().__init__(**options)
        self._fill = fill

    def filled(self) -> Parser:
        """This parser, with its options."""
        fill, self._fill = self._fill, None
        if fill is not None:
            fill(self)
        return self

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse's own."""
        return super(Parser, self.filled()).parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """One line, and the exit code of bad input."""
        self.exit(BAD_INPUT, f"{self.prog}: error: {message}\n")


def parser() -> Parser:
    """The parser of all commands."""
    parser = Parser(prog="asysvrg", description="Asynchronous variance-reduced training of neural networks on CPUs.")
    parser.add_argument("--version", action="version", version=f"asysvrg {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("train", help="train a network", description="Trains a network on DATA.", fill=_add_train)
    commands.add_parser(
        "predict", help="predict with a saved model", description="Predicts the rows of DATA.", fill=_add_predict
    )
    launch = commands.add_parser(
        "launch",
        help="train on several processes or machines",
        description="Starts one server, or train's --servers, and K workers by MPI, and survives the loss of workers.",
        usage="asysvrg launch -n K [options] train ...",
        fill=_add_launch,
    )
    launch.set_defaults(train=commands.choices["train"])
    commands.add_parser(
        "theory",
        help="what the paper's theorems say of a run",
        description="Sets a run beside the paper's theorems: what they allow, what the run used, their bound.",
        fill=_add_theory,
    )
    commands.add_parser(
        "calibrate",
        help="measure the costs that train --simulate-workers takes",
        description="Measures what an iteration, a sweep, a message and an update cost on this machine.",
        fill=_add_calibrate,
    )
    commands.add_parser(
        "speedup",
        help="how much faster several threads or ranks train",
        description="Trains on DATA by 1, 2, 4, ... threads or ranks, with as many updates each time, and compares.",
        fill=_add_speedup,
    )
    commands.add_parser(
        "reproduce",
        help="run the paper's experiments again",
        description="Runs the paper's experiments; writes pictures, their JSON, and verdict.md: what held.",
        fill=_add_reproduce,
    )
    commands.add_parser("info", help="version, OpenMP, SIMD level, BLAS, MPI, threads")
    return parser


def _add_training(command: argparse.ArgumentParser, **replaced: Mapping[str, Any]) -> None:
    """What to train, and how. `replaced` is for `kinds.add_options`."""
    from asysvrg.distributed.backend import MPI
    from asysvrg.kinds import add_options
    from asysvrg.parameters import Parameters

    command.add_argument(
        "data",
        nargs="?",
        default="digits",
        metavar="DATA",
        help="digits (default), mnist, fashion-mnist, cifar10-features, or a file or folder: "
        "IDX (.gz), CIFAR-10 binary, .npz, svmlight, CSV, Parquet, Feather",
    )
    data = command.add_argument_group("data")
    _add_data_home(data)
    data.add_argument("--target", metavar="COLUMN", help="target column of a table, name or index (default: last)")
    _add_reading(data)
    data.add_argument("--train-size", type=int, metavar="N", help="train on so many samples")
    data.add_argument("--test-size", type=int, metavar="N", help="test on so many samples; 0 for none")
    task = ["classification", "regression"]
    data.add_argument("--task", choices=task, help="default: regression for fractional numbers")
    method = command.add_argument_group("method (names and defaults of AsySVRGClassifier)")
    add_options(method, Parameters, **replaced)
    method.add_argument("--seed", type=_seed, default=0, metavar="N", help="start, draws and splits (default: 0)")
    add_options(command.add_argument_group("with --backend mpi (names and defaults of asysvrg.MPI)"), MPI)


def _add_train(train: argparse.ArgumentParser) -> None:
    _add_training(train)
    _add_simulation(train.add_argument_group("by virtual workers (asysvrg.simulate)"))
    output = train.add_argument_group("output")
    output.add_argument("--dry-run", action="store_true", help="show the plan and its reasons, and train nothing")
    output.add_argument("--save", metavar="FILE", help="write the model, for asysvrg predict and asysvrg.load")
    output.add_argument("--trace", metavar="FILE.json", help="write the trace")
    output.add_argument("--record", metavar="FILE", help="write who read and wrote when, for --schedule")
    output.add_argument("--plot", metavar="FILE.png", help="draw loss and errors against seconds")
    output.add_argument("--quiet", action="store_true", help="no progress")


def _add_simulation(group: argparse._ArgumentGroup) -> None:
    """The arguments of `simulate` that a command line can give."""
    from asysvrg.simulation.costs import ARCHITECTURES, POLICIES

    group.add_argument("--simulate-workers", type=int, metavar="K", help="train by so many, in virtual time")
    group.add_argument("--schedule", metavar="FILE", help="train by a schedule that --record wrote")
    group.add_argument("--architecture", choices=ARCHITECTURES, default="shared", help="(default: shared)")
    seconds = "SECONDS|NAME:MEAN[:SHAPE]"
    group.add_argument("--compute", metavar=seconds, help="an iteration (default: 1)")
    group.add_argument("--message", metavar=seconds, help="a message; shared: reading x")
    group.add_argument("--server", metavar=seconds, help="an update at the server; shared: writing one")
    group.add_argument("--costs", metavar="FILE", help="what asysvrg calibrate wrote, for costs that are not given")
    group.add_argument("--policy", choices=POLICIES, default="none", help="for late updates (default: none)")


def _add_calibrate(calibrate: argparse.ArgumentParser) -> None:
    _add_training(calibrate)
    calibrate.add_argument("--output", metavar="FILE.json", help="where to write (default: standard output)")
    calibrate.add_argument("--no-ranks", action="store_true", help="without MPI: a message costs a copy")
    calibrate.set_defaults(quiet=True)


def _add_speedup(speedup: argparse.ArgumentParser) -> None:
    from asysvrg.report.speedup import FIXED

    _add_training(speedup, fixed=FIXED, defaults={"execution": "shared"})
    study = speedup.add_argument_group("study")
    counts = study.add_mutually_exclusive_group()
    counts.add_argument(
        "--threads", type=_counts, metavar="K,K,...", help="1 is always among them (default: 1,2,4,... up to the cores)"
    )
    counts.add_argument(
        "--workers",
        type=_counts,
        metavar="K,K,...",
        help="by MPI ranks, beside the server; simulated without an mpiexec",
    )
    study.add_argument("--repeats", type=int, default=3, metavar="N", help="in turns; medians count (default: 3)")
    study.add_argument("--output", metavar="FILE.json", help="write all times, the processor, its cores and its load")
    study.add_argument("--plot", metavar="FILE.png", help="draw the speedup and the ideal line")
    study.add_argument("--quiet", action="store_true", help="no progress")


def _counts(text: str) -> list[int]:
    """Numbers of threads or ranks, in order."""
    words = text.split(",")
    if not all(word.strip().isdecimal() and int(word) > 0 for word in words):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of whole numbers from 1 on, as 1,2,4")
    counts = sorted(map(int, words))
    twice = [str(a) for a, b in pairwise(counts) if a == b]
    if twice:
        raise argparse.ArgumentTypeError(f"{text!r} has {twice[0]} more than once")
    return counts


def simulation(args: argparse.Namespace) -> dict[str, Any] | None:
    """The arguments of `simulate`; None where real workers train."""
    if args.simulate_workers is None and args.schedule is None:
        unused = {"architecture": "shared", "compute": None, "message": None, "server": None, "costs": None}
        for name, default in (unused | {"policy": "none"}).items():
            if (value := getattr(args, name)) != default:
                raise ValueError(f"--{name} {value} is for virtual workers: --simulate-workers K, or --schedule FILE")
        return None
    names = ("architecture", "compute", "message", "server", "costs", "policy", "record", "schedule")
    return {name: getattr(args, name) for name in names} | {"workers": args.simulate_workers}


def _add_predict(predict: argparse.ArgumentParser) -> None:
    predict.add_argument("data", metavar="DATA", help="a file as for train, or a named set, of which the test rows")
    predict.add_argument("--model", required=True, metavar="FILE", help="what train --save wrote")
    predict.add_argument("--output", metavar="FILE.csv", help="where to write (default: standard output)")
    predict.add_argument("--proba", action="store_true", help="the probability of each class")
    predict.add_argument(
        "--target",
        metavar="COLUMN",
        help="target column of a table, which is left out (default: that of the model's training file, if it is there)",
    )
    _add_reading(predict)
    _add_data_home(predict)


def _add_launch(launch: argparse.ArgumentParser) -> None:
    launch.add_argument("-n", type=int, required=True, metavar="K", dest="workers", help="workers")
    launch.add_argument("--hosts", metavar="A,B,...", help="machines; the first one, with the server, is this one")
    launch.add_argument("--mpiexec", metavar="FILE", help="another mpiexec than the one beside this Python")
    launch.add_argument(
        "--mpiexec-args", default="", metavar="'...'", help="further arguments of mpiexec, in one string"
    )
    launch.add_argument("arguments", nargs=argparse.REMAINDER, metavar="train ...", help="a command of asysvrg")


def _add_data_home(group: argparse._ActionsContainer) -> None:
    group.add_argument("--data-home", metavar="DIR", help="where named sets are looked up (ASYSVRG_DATA_HOME)")


def _add_reading(group: argparse._ActionsContainer) -> None:
    group.add_argument("--delimiter", metavar="CHAR", help="between columns of a CSV file: ; tab ... (default: found)")
    group.add_argument("--decimal", default=".", choices=[".", ","], help="decimal point of a CSV file (default: .)")
    group.add_argument("--encoding", metavar="NAME", help="of a CSV file (default: UTF-8, or by its byte order mark)")
    group.add_argument(
        "--zero-based",
        action=argparse.BooleanOptionalAction,
        help="whether indices of an svmlight file start from 0 (default: those of the model; else if there is a 0)",
    )


def reading(args: argparse.Namespace) -> dict[str, Any]:
    """The options that say how to read a file, for `asysvrg.data`."""
    return {name: getattr(args, name) for name in ("target", "delimiter", "decimal", "encoding", "zero_based")}


def _add_theory(theory: argparse.ArgumentParser) -> None:
    theory.add_argument("--trace", required=True, metavar="FILE.json", help="what train --trace wrote")
    theory.add_argument(
        "--smoothness",
        type=float,
        metavar="L",
        help="of Assumption 3 (default: the largest in the trace of a run with --track-gradient-norm)",
    )


def _add_reproduce(reproduce: argparse.ArgumentParser) -> None:
    from asysvrg.reproduce.command import FIGURES

    reproduce.add_argument("figure", choices=[*FIGURES, "all"], help="of the paper, or all")
    _add_data_home(reproduce)
    reproduce.add_argument("--out", default="figures", metavar="DIR", help="folder to write to (default: figures)")
    reproduce.add_argument("--quick", action="store_true", help="coarse grids, short runs, one seed: two minutes")
    reproduce.add_argument("--resume", action="store_true", help="take the runs that are in DIR/runs already")


def estimator_parameters(args: argparse.Namespace) -> dict[str, Any]:
    """The parameters of the estimator that the options of `train` ask for.

    Raises
    ------
    ValueError
        For an option of `MPI` without --backend mpi.
    """
    from asysvrg.distributed.backend import MPI
    from asysvrg.kinds import entries
    from asysvrg.parameters import Parameters

    given = {name: getattr(args, name) for name, entry in entries(Parameters).items() if entry.option}
    ranks = {name: getattr(args, name) for name in entries(MPI)}
    if args.backend == "mpi":
        given["backend"] = MPI(**ranks)
    for name, default in vars(MPI()).items():
        if args.backend != "mpi" and ranks[name] != default:
            raise ValueError(f"--{name} {ranks[name]} is for messages between ranks: --backend mpi")
    return given | {"random_state": args.seed, "verbose": not args.quiet}


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0 to 2^32 - 1")
    return int(text)
