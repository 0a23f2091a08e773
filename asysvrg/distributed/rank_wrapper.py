"""A process between the MPI launcher and a rank, so that the loss of one rank does not end the others.

MPICH's launcher kills all ranks of a machine if one of its children dies by a signal, and any launcher reports a job
with a failed rank as failed. So the launcher's child is this process, which always ends with 0. It writes the rank's
exit status into the folder of the result: see `launch.Folder`. Run it as `python -I -S rank_wrapper.py COMMAND...`.
"""

import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType

RESULT = "ASYSVRG_RESULT"  # set by the launcher: the file into which rank 0 writes the result
LIBC, PR_SET_PDEATHSIG = ctypes.CDLL(None) if os.name == "posix" else None, 1
RANK = ("PMI_RANK", "OMPI_COMM_WORLD_RANK")


def note(name: str, value: int) -> None:
    """Writes a number into the launcher's folder. On another machine there is no such folder."""
    folder = Path(os.environ.get(RESULT, "")).parent
    temporary = folder / f"{name}.{os.getpid()}.tmp"
    try:
        temporary.write_text(str(value))
        temporary.replace(folder / name)
    except OSError:
        pass


def die_with_parent(number: int) -> None:
    """Has Linux send this process a signal when its parent dies, so that no rank stays behind."""
    if LIBC is not None and hasattr(LIBC, "prctl"):
        LIBC.prctl(PR_SET_PDEATHSIG, number)


def main() -> int:
    """Runs the command and waits for its end."""
    rank = next((os.environ[name] for name in RANK if name in os.environ), None)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # MPICH's launcher sends it to the survivors of a loss
    die_with_parent(signal.SIGKILL)

    def prepare() -> None:
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)
        die_with_parent(signal.SIGKILL)

    # The rank talks to MPICH's launcher over a file descriptor (PMI_FD), which has to stay open.
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
