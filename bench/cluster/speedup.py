"""Updates a second with 1 to 10 workers on an emulated cluster, and where the server saturates: `make bench-cluster`.

Each host is a network namespace that may use a tenth of a core (a t2.micro's share), linked by TCP, at several speeds;
server and workers are ours, at the paper's d = 19,760. The law: K workers need no more than their cycle (answer,
direction, question) for K updates, and the server needs its own time for each, so K* = worker cycle / server time;
beyond it, more workers bring nothing. Cycle and server time are measured apart: the cycle with one worker, the server's
time with workers that have next to nothing to compute. Then runs of the same updates, and the seconds in which each
number of workers reaches the same loss (the paper's Figure 4). As root; results go to bench/results/, the tables to
docs/speedup.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import hosts
import numpy as np

from asysvrg.core.trace import environment
from asysvrg.distributed import launch
from asysvrg.reproduce import speedup as eq22

ROOT = Path(__file__).parents[2]
SHARE = 0.1  # of a core
WORKERS = (1, 2, 4, 8, 10)
SECONDS = 3  # of an epoch, about
EPOCHS, STEPS = 10, 200  # of the runs to a loss


def data(folder: Path) -> tuple[str, list[str]]:
    """CIFAR-10 features, or random samples of the same shape."""
    home = Path(os.environ.get("ASYSVRG_DATA_HOME", ".")) / "cifar10-features.npz"
    if home.exists():
        return "CIFAR-10 features", ["cifar10-features", "--train-size", "20000", "--test-size", "0"]
    rng = np.random.default_rng(0)
    np.savez(folder / "random.npz", X=rng.normal(size=(20_000, 384)).astype(np.float32), y=np.arange(20_000) % 10)
    return "random samples", [str(folder / "random.npz"), "--test-size", "0"]


def train(
    cluster: hosts.Cluster, folder: Path, sets: list[str], workers: int, batch: int, steps: int, epochs: int = 5
) -> list[dict]:
    """The rows of a run with so many workers."""
    trace, temporary = folder / "trace.json", Path(tempfile.mkdtemp(dir=folder))
    options, variables = cluster.launch(launch.find().kind, folder, workers)
    command = [sys.executable, "-m", "asysvrg", "launch", *options]
    command += ["train", *sets, "--hidden-layer-sizes", 50, "--alpha", 1e-4, "--learning-rate-init", 0.1, "--tol", 0]
    command += ["--batch-size", batch, "--inner-steps", steps, "--max-iter", epochs, "--n-jobs", 1]
    command += ["--trace", trace, "--quiet"]
    variables |= {"OMP_NUM_THREADS": "1", "TMPDIR": str(temporary), "PYTHONPATH": str(ROOT), "ASYSVRG_LOST_AFTER": "60"}
    cluster.limit(1.0)  # while programs start
    process = subprocess.Popen(
        cluster.command(0, *map(str, command)),
        env=os.environ | variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    try:
        while process.poll() is None and not list(temporary.glob("asysvrg-*/running")):
            time.sleep(0.05)
        cluster.limit(SHARE)
        if process.wait(600):
            raise RuntimeError(f"a run with {workers} workers ended with {process.returncode}")
    finally:
        process.terminate()
        process.wait()
    return json.loads(trace.read_text())["epochs"]


def updates(cluster: hosts.Cluster, folder: Path, sets: list[str], workers: int, batch: int, steps: int) -> float:
    """Updates a second of a run with so many workers."""
    rows = train(cluster, folder, sets, workers, batch, steps)
    # The first epoch began without limits; of the others the fastest, as other programs here can only slow them down.
    return max(row["updates_per_second"] for row in rows[2:])


def to_a_loss(batch: int, folder: Path, sets: list[str]) -> dict:
    """Eq. (22) by number of workers: runs of the same updates, links without limit."""
    curves = {}
    with hosts.Cluster(max(WORKERS) + 1, None) as cluster:
        for workers in WORKERS:
            rows = train(cluster, folder, sets, workers, batch, STEPS, EPOCHS)
            curves[str(workers)] = [[{name: row[name] for name in ("seconds", "loss")} for row in rows]]
            print(f"{workers:3d} workers: loss {rows[-1]['loss']:.4f} after {rows[-1]['seconds']:.1f} s", flush=True)
    return {"loss": eq22.similar_loss(curves), "speedups": eq22.speedups(curves), "curves": curves}


def at_speed(rate: str | None, batch: int, folder: Path, sets: list[str]) -> dict:
    """Rates with each number of workers over links of one speed."""
    with hosts.Cluster(max(WORKERS) + 1, rate) as cluster:
        busy = updates(cluster, folder, sets, max(WORKERS), 1, 2000)
        found, guess = dict.fromkeys(WORKERS, 0.0), 30.0
        # One worker at first and at last: a machine that others use may have become faster or slower meanwhile.
        for workers in (*WORKERS, WORKERS[0]):
            speed = updates(cluster, folder, sets, workers, batch, int(SECONDS * guess * workers))
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
    return "\n".join([*lines, "", *loss_table(result["to_a_loss"])]) + "\n"


def loss_table(found: dict) -> list[str]:
    lines = [
        f"The same training loss, {found['loss']:.4f}, by runs of {EPOCHS} epochs of {STEPS:,} updates, links without",
        "limit (Eq. (22) of the paper):",
        "",
        "| K | seconds of the run | last loss | speed-up to the loss |",
        "|---|---|---|---|",
    ]
    for workers, (rows,) in found["curves"].items():
        speedup = found["speedups"][workers]
        cells = [workers, f"{rows[-1]['seconds']:.1f}", f"{rows[-1]['loss']:.4f}"]
        lines.append(f"| {' | '.join(cells)} | {'never' if speedup is None else format(speedup, '.1f')} |")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rates", default=",700mbit,100mbit", help="link speeds; an empty one for no limit")
    parser.add_argument("--batch", type=int, default=1000, help="mini-batch: how long a worker computes")
    parser.add_argument("--output", default=str(ROOT / "docs" / "speedup.md"), metavar="FILE.md")
    args = parser.parse_args()
    if lacks := hosts.why_not():
        sys.exit(f"this machine cannot emulate a cluster: {lacks}")
    mpi = launch.find()
    with tempfile.TemporaryDirectory() as name:
        kind, sets = data(Path(name))
        speeds = [at_speed(rate or None, args.batch, Path(name), sets) for rate in args.rates.split(",")]
        found = to_a_loss(args.batch, Path(name), sets)
    result = {"data": kind, "batch": args.batch, "mpi": mpi.kind, "speeds": speeds, "environment": environment()}
    result["to_a_loss"] = found
    folder = ROOT / "bench" / "results"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{time.strftime('%Y%m%d-%H%M%S')}-cluster.json").write_text(json.dumps(result, indent=1))
    Path(args.output).write_text(table(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
