"""Updates a second with 1 to 10 workers on an emulated cluster, and where the server saturates: `make bench-cluster`.

Each host is a network namespace that may use a tenth of a core (a t2.micro's share), linked by TCP, at several speeds;
server and workers are ours, at the paper's d = 19,760. The law: K workers need no more than their cycle (answer,
direction, question) for K updates, and the server needs its own time for each, so K* = worker cycle / server time;
beyond it, more workers bring nothing. Cycle and server time are measured apart: the cycle with one worker, the server's
time with workers that have next to nothing to compute. `asysvrg reproduce fig4` has the time to the same loss. As root;
results go to bench/results/, the tables to docs/speedup.md.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

import numpy as np

from asysvrg import AsySVRGClassifier
from asysvrg.core.trace import environment
from asysvrg.data import load
from asysvrg.distributed import hosts, job, launch
from asysvrg.reproduce.cluster import SHARE

ROOT = Path(__file__).parents[1]
WORKERS = (1, 2, 4, 8, 10)
SECONDS = 3  # of an epoch, about
PATIENCE = 600  # seconds for a run
Sets = tuple[np.ndarray, np.ndarray]


def data() -> tuple[str, Sets]:
    """CIFAR-10 features, or random samples of the same shape."""
    if (Path(os.environ.get("ASYSVRG_DATA_HOME", ".")) / "cifar10-features.npz").exists():
        sets = load("cifar10-features", train_size=20_000)
        return "CIFAR-10 features", (sets.X_train, sets.y_train)
    X = np.random.default_rng(0).normal(size=(20_000, 384)).astype(np.float32)
    return "random samples", (X, np.arange(20_000) % 10)


def updates(cluster: hosts.Cluster, sets: Sets, workers: int, batch: int, steps: int) -> float:
    """Updates a second of a run with so many workers."""
    model = AsySVRGClassifier(
        (50,), alpha=1e-4, learning_rate_init=0.1, batch_size=batch, inner_steps=steps, max_iter=5, tol=0, n_jobs=1,
        backend="mpi", random_state=0,
    )  # fmt: skip
    rows = job.history_by_ranks(model, *sets, workers, seconds=PATIENCE, cluster=cluster)["epochs"]
    # The first epoch began without limits; of the others the fastest, as other programs here can only slow them down.
    return max(row["updates_per_second"] for row in rows[2:])


def at_speed(rate: str | None, batch: int, sets: Sets) -> dict:
    """Rates with each number of workers over links of one speed."""
    with hosts.Cluster(max(WORKERS) + 1, rate, SHARE) as cluster:
        busy = updates(cluster, sets, max(WORKERS), 1, 2000)
        found, guess = dict.fromkeys(WORKERS, 0.0), 30.0
        # One worker at first and at last: a machine that others use may have become faster or slower meanwhile.
        for workers in (*WORKERS, WORKERS[0]):
            speed = updates(cluster, sets, workers, batch, int(SECONDS * guess * workers))
            found[workers], guess = max(found[workers], speed), speed / workers
            print(f"{rate or 'no limit':10s} {workers:3d} workers {speed:7.1f} updates/s", flush=True)
    cycle, server = 1 / found[1], 1 / busy
    print(f"{rate or 'no limit':10s} cycle {1e3 * cycle:.1f} ms, server {1e3 * server:.2f} ms, K* {cycle / server:.1f}")
    return {
        "rate": rate, "updates_per_second": found, "cycle_ms": 1e3 * cycle, "server_ms": 1e3 * server,
        "saturates_at": cycle / server,
    }  # fmt: skip


def table(result: dict) -> str:
    """The results in Markdown."""
    machine = result["environment"]
    lines = [
        "# Speed-up on an emulated cluster",
        "",
        f"`make bench-cluster`, on {machine['processor']}, {machine['cores']} cores: network namespaces that may use",
        f"{SHARE:.0%} of a core each, linked by TCP. {result['data']}, 384-50-10 (d = 19,760), float32, mini-batches",
        f"of {result['batch']}; {result['mpi']}. Updates a second of the fastest epoch; speed-up over one worker,",
        "measured before the others and after them: the faster time counts.",
        "The law is min(K / cycle, 1 / server time); the server is busy from K* = cycle / server time on.",
        "",
        "| link | K | updates/s | speed-up | the law |",
        "|---|---|---|---|---|",
    ]
    for speed in result["speeds"]:
        found = speed["updates_per_second"]
        for workers, rate in found.items():
            law = min(int(workers) * 1e3 / speed["cycle_ms"], 1e3 / speed["server_ms"])
            link = speed["rate"] or "no limit"
            lines.append(f"| {link} | {workers} | {rate:.0f} | {rate / found[1]:.1f} | {law:.0f} |")
    lines += ["", "| link | worker cycle, ms | server time, ms | K* |", "|---|---|---|---|"]
    for speed in result["speeds"]:
        numbers = f"{speed['cycle_ms']:.1f} | {speed['server_ms']:.2f} | {speed['saturates_at']:.1f}"
        lines.append(f"| {speed['rate'] or 'no limit'} | {numbers} |")
    lines += ["", "[Figure 4](paper.md#figure-4) has the time to the same loss on such a cluster."]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rates", default=",700mbit,100mbit", help="link speeds; an empty one for no limit")
    parser.add_argument("--batch", type=int, default=1000, help="mini-batch: how long a worker computes")
    parser.add_argument("--output", default=str(ROOT / "docs" / "speedup.md"), metavar="FILE.md")
    args = parser.parse_args()
    if lacks := hosts.why_not():
        sys.exit(f"this machine cannot emulate a cluster: {lacks}")
    mpi = launch.find()
    kind, sets = data()
    speeds = [at_speed(rate or None, args.batch, sets) for rate in args.rates.split(",")]
    result = {"data": kind, "batch": args.batch, "mpi": mpi.kind, "speeds": speeds, "environment": environment()}
    folder = ROOT / "bench" / "results"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{time.strftime('%Y%m%d-%H%M%S')}-cluster.json").write_text(json.dumps(result, indent=1))
    Path(args.output).write_text(table(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
