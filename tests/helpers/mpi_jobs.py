"""Real ranks for tests: programs under the launcher or under mpiexec itself, each with a time limit."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from asysvrg.core import system
from asysvrg.distributed import launch

START = """
import json, os, sys, time
import numpy as np
from asysvrg import MPI, AsySVRGClassifier, AsySVRGRegressor
RANK = int(os.environ.get("PMI_RANK", os.environ.get("OMPI_COMM_WORLD_RANK")))

def digits(dtype=np.float64):
    from sklearn.datasets import load_digits
    X, y = load_digits(return_X_y=True)
    return X / 16, y

def vector(model):
    return np.concatenate([a.ravel() for a in (*model.coefs_, *model.intercepts_)])

def tell(**what):
    with open(f"rank{RANK}.json", "w") as file:
        json.dump(what, file, default=lambda a: a.tolist())
"""


def mpiexec(launcher, ranks):
    """A plain launch, as a user types it."""
    if launcher.kind == "MPICH":
        return [launcher.path, "-n", ranks]
    flags = ["--bind-to", "none", "--map-by", ":OVERSUBSCRIBE", "--allow-run-as-root"]
    return [launcher.path, *flags, "--mca", "pml", "ob1", "--mca", "btl", "self,sm", "-n", ranks]


def digits():
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    return X / 16, y


ROOT = Path(launch.__file__).parents[2]


@dataclass
class Done:
    """How a command ended; `code` None means that it was killed at its time limit."""

    code: int | None
    out: str
    err: str
    seconds: float
    left: list[int] = field(default_factory=list)

    def __str__(self):
        return f"code {self.code} after {self.seconds:.1f} s\n{self.out[-3000:]}\n{self.err[-3000:]}"


def available():
    """The launcher, or the reason why there is none."""
    try:
        return launch.find()
    except ValueError as error:
        return str(error)


def environment(**variables):
    """This process's, as a user's shell would have it: one thread a rank, no rank's variables, no terminal."""
    drop = (*launch.RANK_VARIABLES, "ASYSVRG_RESULT", "OMP_", "PYTEST_")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(drop)}
    return kept | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)} | variables


def processes(mark):
    """Live processes, by id, whose environment holds MARK=`mark`: the ranks of one command and all that it started."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            variables = dict(v.partition("=")[::2] for v in (path / "environ").read_text().split("\0"))
        except (OSError, UnicodeDecodeError):
            continue
        if variables.get("MARK") == mark and system.state_of(int(path.name)) not in ("Z", None):
            found[int(path.name)] = variables
    return found


class Running:
    """A command in a session of its own; as a context, nothing of it is left behind."""

    count = 0

    def __init__(self, argv, cwd, **variables):
        Running.count += 1
        self.mark = f"{os.getpid()}.{Running.count}"
        self.started = time.monotonic()
        self.out, self.err = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115, __exit__ closes them
        self.process = subprocess.Popen(
            [str(part) for part in argv],
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=self.out,
            stderr=self.err,
            env=environment(MARK=self.mark, **variables),
            start_new_session=True,
        )

    def ranks(self):
        """Processes of the ranks, by rank; not their wrappers."""
        found = {}
        for process, variables in processes(self.mark).items():
            rank = next((variables[name] for name in launch.rank_wrapper.RANK if name in variables), None)
            if rank is not None and _is_rank(process):
                found[int(rank)] = process
        return found

    def wait(self, timeout):
        """Waits to the end, or kills all at the time limit."""
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            code = None
        seconds = time.monotonic() - self.started
        left = self.kill()
        for stream in (self.out, self.err):
            stream.seek(0)
        out, err = (stream.read().decode(errors="replace") for stream in (self.out, self.err))
        return Done(code, out, err, seconds, left)

    def kill(self):
        """Kills whatever of it is alive; returns what outlived the launcher by more than a moment."""
        end = time.monotonic() + (10 if self.process.poll() is not None else 0)
        while (left := list(processes(self.mark))) and time.monotonic() < end:
            time.sleep(0.05)
        for process in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self.process.wait()
        return left

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()
        self.out.close()
        self.err.close()


def _is_rank(process):
    try:
        words = Path(f"/proc/{process}/cmdline").read_text().split("\0")
    except OSError:
        return False
    return "python" in Path(words[0]).name and not any(word.endswith("rank_wrapper.py") for word in words)


def run(argv, cwd, timeout=60, **variables):
    """Runs a command to its end."""
    with Running(argv, cwd, **variables) as running:
        return running.wait(timeout)


def launched(program, workers, *arguments):
    """A command that starts `program`, a file of mpi4py, as the launcher starts training."""
    code = (
        "import sys; from asysvrg.distributed import launch; command = [sys.executable, *sys.argv[2:]]\n"
        "ending = launch.start(command, int(sys.argv[1]), launch.find())\n"
        "print(ending.message, file=sys.stderr); sys.exit(ending.code)"
    )
    return [sys.executable, "-c", code, str(workers + 1), program, *map(str, arguments)]


def wait_for(condition, timeout=60):
    """The first true value of a condition."""
    end = time.monotonic() + timeout
    while not (found := condition()):
        assert time.monotonic() < end, "it never came"
        time.sleep(0.05)
    return found


def read(path):
    """A JSON file."""
    return json.loads(Path(path).read_text())
