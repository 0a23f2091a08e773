"""Stands between the MPI launcher and a rank, so that the loss of one rank does not end the others.

MPICH's launcher kills all ranks of a machine when one of its children dies by a signal, and any launcher reports a job
with a failed rank as failed. So the child that it sees is this one, which always ends with 0, and how the rank itself
ended stands in a file, in the folder of the result (`launch.Folder`). Run as `python -I -S supervisor.py COMMAND...`.
"""

import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType

RESULT = "ASYSVRG_RESULT"  # set by the launcher: the file in which rank 0 says how it ended
LIBC, PR_SET_PDEATHSIG = ctypes.CDLL(None), 1
RANK = ("PMI_RANK", "OMPI_COMM_WORLD_RANK")


def note(name: str, value: int) -> None:
    """Writes a number into the launcher's folder; on another machine there is no such folder."""
    folder = Path(os.environ.get(RESULT, "")).parent
    temporary = folder / f"{name}.{os.getpid()}.tmp"
    try:
        temporary.write_text(str(value))
        temporary.replace(folder / name)
    except OSError:
        pass


def die_with_parent(number: int) -> None:
    """Sends this process a signal when its parent dies (on Linux): no rank stays behind."""
    if hasattr(LIBC, "prctl"):
        LIBC.prctl(PR_SET_PDEATHSIG, number)


def main() -> int:
    """Runs the command to its end."""
    rank = next((os.environ[name] for name in RANK if name in os.environ), None)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # what MPICH's launcher sends to survivors
    die_with_parent(signal.SIGKILL)

    def prepare() -> None:
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)
        die_with_parent(signal.SIGKILL)

    # The descriptor by which the rank speaks with MPICH's launcher (PMI_FD) has to stay open.
    process = subprocess.Popen(sys.argv[1:], close_fds=False, preexec_fn=prepare)

    def forward(number: int, _: FrameType | None) -> None:
        process.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, forward)
    note(f"started.{rank}", process.pid)
    code = process.wait()
    note(f"left.{rank}", code)
    return 0


if __name__ == "__main__":
    sys.exit(main())
