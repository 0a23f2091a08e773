"""SIMD levels side by side, or builds of the package: `python bench/simd.py [FOLDER ...] [--rounds 30]`.

Without a folder: each SIMD level of this build that this machine has (ASYSVRG_SIMD). With folders: the package in each
of them, built in another way, beside this one, all at their highest level. Each contender has a process of its own. In
a round each one carries out each case once, in an order that changes, and a ratio is that to the first contender in the
same round. Each has one thread, and the processor's time counts: other programs hardly change it. Prints medians as a
table.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
SECONDS = 0.05  # that a case takes in a round, about


def cases() -> dict[str, Callable[[], object]]:
    """What is timed: a call for each case."""
    import numpy as np
    from bench_kernels import full_gradient
    from conftest import Inner, Problem, random_samples
    from predict import fitted, samples

    from asysvrg import AsySVRGClassifier
    from asysvrg.distributed._message import Buffer, Message

    pictures, dense = random_samples(4000, 784, 0.19), random_samples(4000, 384, 1.0)
    zeros = Problem(*pictures)
    model, row = fitted(AsySVRGClassifier, (784, 100, 10)), samples(784, 1)
    buffer, vector = Buffer(np.zeros(1 << 17, np.uint8)), (np.zeros(19_760, np.float32),)

    def message() -> None:
        for k in range(100):
            buffer.write(Message(5, vector, seq=k))
            buffer.read()

    return {
        "SVRG, pictures, all coordinates": Inner(zeros, 300, coordinates="all").run,
        "SVRG, pictures, lines": Inner(zeros, 300).run,
        "SVRG, pictures, float64": Inner(Problem(*pictures, dtype=np.float64), 300).run,
        "SVRG, dense, all coordinates": Inner(Problem(*dense, hidden=50), 300, coordinates="all").run,
        "SGD, pictures, lines": Inner(zeros, 300, "sgd").run,
        "full gradient, pictures, zeros skipped": full_gradient(zeros),
        "full gradient, pictures, by BLAS": full_gradient(Problem(*pictures, skip_zeros=False)),
        "prediction of one row": lambda: [model.predict(row) for _ in range(20)],
        "100 messages of the server": message,
    }


def work() -> None:
    """A contender: carries out the cases whose names it reads, and writes the seconds of a call."""
    from asysvrg.core.cpu import one_blas_thread

    with one_blas_thread():
        calls = {}
        for name, call in cases().items():
            call()
            start = time.process_time()
            call()
            calls[name] = call, max(1, round(SECONDS / (time.process_time() - start)))
        print(*calls, sep="|", flush=True)
        for line in sys.stdin:
            call, times = calls[line.strip()]
            start = time.process_time()
            for _ in range(times):
                call()
            print((time.process_time() - start) / times, flush=True)


class Contender:
    """A process with the package in `folder`, at a SIMD level or the highest one. `names`: of its cases."""

    def __init__(self, folder: Path, level: str | None = None):
        variables = (
            os.environ
            | {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
            | ({} if level is None else {"ASYSVRG_SIMD": level})
        )
        command = [sys.executable, str(HERE / "simd.py"), "--work"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen(command, env=variables, text=True, **pipes)
        self.names = self.read().split("|")

    def read(self) -> str:
        if not (line := self.process.stdout.readline()):
            sys.exit("a contender has ended")
        return line.strip()

    def seconds(self, name: str) -> float:
        print(name, file=self.process.stdin, flush=True)
        return float(self.read())


def race(contenders: list[Contender], rounds: int) -> dict[str, list[list[float]]]:
    """Of each case, the seconds of each contender in each round."""
    found: dict[str, list[list[float]]] = {name: [] for name in contenders[0].names}
    for turn in range(rounds):
        for name, times in found.items():
            order = contenders[turn % len(contenders) :] + contenders[: turn % len(contenders)]
            seconds = {each: each.seconds(name) for each in order}
            times.append([seconds[each] for each in contenders])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        work()
        return
    from asysvrg.core.network import LEVELS
    from asysvrg.core.trace import environment

    if args.folders:
        contenders = {str(folder): Contender(folder.absolute()) for folder in [HERE.parent, *args.folders]}
    else:
        contenders = {level: Contender(HERE.parent, level) for level in reversed(LEVELS)}
    found = race(list(contenders.values()), args.rounds)
    machine = environment()
    print(f"`python bench/simd.py` on {machine['processor']}, {machine['cores']} cores, {args.rounds} rounds.\n")
    first, *others = contenders
    print(f"| one call of | {first}, us |", *[f"{name} / it |" for name in others])
    print("|---" * (2 + len(others)) + "|")
    for name, times in found.items():
        ratios = [statistics.median(turn[k] / turn[0] for turn in times) for k in range(1, len(contenders))]
        microseconds = 1e6 * statistics.median(turn[0] for turn in times)
        print(f"| {name} | {microseconds:.0f} |", *[f"{ratio:.3f} |" for ratio in ratios])
    for each in contenders.values():
        each.process.communicate()


if __name__ == "__main__":
    main()
