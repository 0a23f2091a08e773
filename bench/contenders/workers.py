"""A fresh process for each family of contenders and number of cores: pinned to them, with as many threads."""

from __future__ import annotations

import importlib
import json
import os
import select
import subprocess
import sys
import warnings
from typing import Any, Self

from contenders.setting import Done, Meter, Problem, mnist_or_random

FAMILIES = {
    "ours": "contenders.ours",
    "jax": "contenders.jax_",
    "torch": "contenders.torch_",
    "scikit-learn": "contenders.sklearn_",
    "L-BFGS": "contenders.scipy_",
}
POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def family_of(contender: str) -> str:
    return next(family for family in FAMILIES if contender.startswith(family))


class Process:
    """A process on the last `cores` cores that this one may use, which answers a line of JSON by another."""

    def __init__(self, command: list[str], cores: int):
        self.cores = cores
        own = sorted(os.sched_getaffinity(0))[-cores:]
        env = os.environ | dict.fromkeys(POOLS, str(cores)) | {"JAX_PLATFORMS": "cpu", "PYTHONUNBUFFERED": "1"}
        if cores == 1:
            env["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
        self.process = subprocess.Popen(
            [sys.executable, *command],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, own),
        )

    def answer(self, task: dict[str, Any], patience: float | None = None) -> Any:
        """None if the process has ended; TimeoutError after so many seconds, and then the process is killed."""
        try:
            self.process.stdin.write(json.dumps(task) + "\n")
            self.process.stdin.flush()
            if not select.select([self.process.stdout], [], [], patience)[0]:
                self.process.kill()
                raise TimeoutError(f"no answer after {patience:g} s")
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        return json.loads(line) if line else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *how: object) -> None:
        self.process.stdin.close()
        self.process.wait()


class Worker(Process):
    """Runs the contenders of a family."""

    def __init__(self, family: str, cores: int):
        script = os.path.join(os.path.dirname(__file__), "..", "peers.py")
        super().__init__([script, "worker", family, str(cores)], cores)

    def ask(self, contender: str, settings: dict[str, Any], **task: Any) -> list[dict[str, Any]]:
        """Rows of a run, none if it does not run here; task: seed, limits (target -> seconds), most_updates."""
        task["limits"] = list(task["limits"].items())
        answer = self.answer({"contender": contender, "settings": settings, **task})
        if answer is None:
            raise RuntimeError(f"the process of {contender} ended; what it printed stands above")
        return answer


def serve(family: str, cores: int) -> None:
    """What the process of a worker does: a line of JSON in, a line of JSON out."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever peers print
    warnings.simplefilter("ignore")
    try:
        contenders = importlib.import_module(FAMILIES[family]).CONTENDERS
    except ImportError as error:
        contenders = {}
        print(f"{family} is left out: {error}", file=sys.stderr)
    problem = Problem(*mnist_or_random())
    for line in sys.stdin:
        task = json.loads(line)
        meter = Meter(problem.loss, dict(task["limits"]), task.get("most_updates"))
        try:
            contenders[task["contender"]](problem, task["settings"], cores, task.get("seed", 0), meter)
        except Done:
            pass
        except Exception as error:  # a compiler that is missing, say: the others still run
            meter.rows = []
            print(f"{task['contender']} does not run here: {error!r}", file=sys.stderr)
        print(json.dumps(meter.rows), file=out, flush=True)
