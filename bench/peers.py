"""The paper's MNIST setting against every peer: `python bench/peers.py tune`, then `python bench/peers.py run`.

10,000 samples, 784-100-10, mean softmax loss + C / 2 |weights|^2 with C = 1e-3, float32. README.md says what is timed.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    most = len(os.sched_getaffinity(0))
    for name, what in {"tune": "look for each contender's best settings", "run": "the measured run"}.items():
        command = commands.add_parser(name, help=what)
        command.add_argument("--cores", type=int, nargs="+", default=[1, 2][:most], help="default: 1 and 2")
        command.add_argument("--only", default="", help="contenders whose name has this pattern (a regular expression)")
    commands.choices["run"].add_argument("--rounds", type=int, default=5)
    worker = commands.add_parser("worker", help="used by the others: contenders in a process of their own")
    worker.add_argument("family")
    worker.add_argument("cores", type=int)
    given = parser.parse_args()
    if given.command == "worker":
        from contenders.workers import serve

        serve(given.family, given.cores)
    elif given.command == "tune":
        from contenders.grid import tune

        tune(given.cores, given.only)
    else:
        from contenders.race import race

        race(given.cores, given.only, given.rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
