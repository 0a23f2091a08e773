"""Distributed runs that lose workers, or the server, at random moments: `make test-faults`.

Each run is one of real ranks, watched from outside: every checkpoint it writes is copied, and at its x the objective
is evaluated serially, here; loss and full gradient of the row must be those. The end is compared with that of an
undisturbed run. `tests/distributed/test_faults.py` has a short form.
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from helpers import mpi_jobs

from asysvrg.core.network import Network, Samples
from asysvrg.core.objective import Objective
from asysvrg.store import archive, checkpoint

WORKERS, ALPHA, HIDDEN = 4, 1e-2, 20

LOST_AFTER = 3  # seconds of silence

LIMIT = 90  # seconds for a run

NEAR = 0.02  # the final objective may differ by this share

RESTARTED = (  # of the server, by the launcher; of another server, by rank 0
    "the same command with --resume goes on from the last checkpoint",
    "--resume goes on from the last checkpoint",
)


def samples(n=4000, p=60, classes=10, seed=0):
    """Ten noisy classes that overlap."""
    rng = np.random.default_rng(seed)
    y = rng.integers(classes, size=n)
    X = rng.normal(size=(classes, p))[y] + 2.5 * rng.normal(size=(n, p))
    return X / X.std(), y.astype(np.int32)


def training_of(folder, epochs, steps):
    """What to type behind `asysvrg launch -n K`."""
    X, y = samples()
    np.savez(folder / "problem.npz", X=X, y=y)
    return [
        "train", folder / "problem.npz", "--test-size", 0, "--hidden-layer-sizes", HIDDEN, "--alpha", ALPHA,
        "--dtype", "float64", "--learning-rate-init", 0.1, "--batch-size", 10, "--inner-steps", steps,
        "--max-iter", epochs, "--tol", 0, "--n-jobs", 1, "--quiet",
    ]  # fmt: skip


class Fault(NamedTuple):
    """What happens to a rank: so many epochs after its first checkpoint, and then so many seconds.

    Epoch -1 is the time from the moment when all ranks have met. A rank that is stopped goes on after `pause` seconds,
    if it has one.
    """

    epoch: int
    seconds: float
    rank: int
    number: int = signal.SIGKILL
    pause: float | None = None

    def __str__(self):
        pause = f" for {self.pause:.1f} s" if self.pause else ""
        return f"rank {self.rank} {signal.Signals(self.number).name}{pause} in epoch {self.epoch}"


@dataclass
class Watched:
    """A run that ended.

    Attributes
    ----------
    code : int or None
    rows : list of dict
        Of its trace; empty without one.
    wrong : list of str
        What is not as it should be.
    """

    code: int | None
    seconds: float
    said: str
    rows: list = field(default_factory=list)
    wrong: list = field(default_factory=list)
    faults: list = field(default_factory=list)
    checked: int = 0
    since_fault: float | None = None

    @property
    def objective(self):
        return self.rows[-1]["loss"] if self.rows else None


class Plot:
    """Faults of a run that wait for their time."""

    def __init__(self, faults, running):
        self.waiting, self.running = list(faults), running
        self.due, self.done = [], []

    def look(self, epoch):
        """The run is in this epoch."""
        now = time.monotonic()
        self.due += [(now + fault.seconds, fault) for fault in self.waiting if fault.epoch <= epoch]
        self.waiting = [fault for fault in self.waiting if fault.epoch > epoch]

    def act(self):
        now, due = time.monotonic(), self.due
        self.due = [(at, fault) for at, fault in due if at > now]
        for at, fault in due:
            process = self.running.ranks().get(fault.rank) if at <= now else None
            if process is None:
                continue
            os.kill(process, fault.number)
            if fault.number != signal.SIGCONT:
                self.done.append((now, fault))
            if fault.pause:
                self.due.append((now + fault.pause, Fault(0, 0, fault.rank, signal.SIGCONT)))


class Campaign:
    """The problem, its serial evaluation, and the objective of an undisturbed run.

    Parameters
    ----------
    folder : Path
    epochs, steps : int
        Of each run.
    workers : int
        Of the undisturbed run.
    """

    def __init__(self, folder, epochs=24, steps=3000, workers=WORKERS):
        self.folder, self.epochs, self.count = Path(folder), epochs, 0
        X, y = samples()
        self.network = Network((X.shape[1], HIDDEN, int(y.max()) + 1), "relu", "softmax", np.float64)
        self.serial = Objective(self.network, Samples(X, y), alpha=ALPHA, threads=1)
        self.options = training_of(self.folder, epochs, steps)
        first = self.watch(self.new_folder(), workers=workers)
        self.objective = first.objective
        self.must_be_complete(first)
        if first.wrong:
            raise RuntimeError(f"an undisturbed run failed: {first}")

    def new_folder(self):
        self.count += 1
        folder = self.folder / f"run{self.count}"
        folder.mkdir()
        return folder

    def watch(self, folder, *faults, resume=False, servers=1, workers=WORKERS):
        """Runs to the end with faults; looks at all it wrote. Ranks of workers begin behind those of servers."""
        seen, trace, since_fault = {}, folder / "trace.json", None
        argv = [sys.executable, "-m", "asysvrg", "launch", "-n", workers, *self.options, "--trace", trace]
        argv += ["--checkpoint-dir", folder / "kept", "--servers", servers, *(["--resume"] if resume else [])]
        temporary = Path(tempfile.mkdtemp(dir=folder))
        with mpi_jobs.Running(argv, folder, TMPDIR=str(temporary), ASYSVRG_LOST_AFTER=str(LOST_AFTER)) as running:
            plot = Plot(faults, running)
            while running.process.poll() is None and time.monotonic() < running.started + LIMIT:
                if any(temporary.glob("asysvrg-*/running")):
                    plot.look(-1)
                if self._look(folder, seen):
                    plot.look(len(seen) - 1)
                plot.act()
                time.sleep(0.01)
            if plot.done:
                since_fault = time.monotonic() - plot.done[-1][0]
            done = running.wait(0.1)
        rows = mpi_jobs.read(trace)["epochs"] if trace.exists() else []
        run = Watched(done.code, done.seconds, f"{done.out}{done.err}", rows)
        run.faults, run.since_fault = [fault for _, fault in plot.done], since_fault
        if done.code is None:
            run.wrong.append(f"not at its end after {LIMIT} s")
        elif done.left:
            run.wrong.append(f"{len(done.left)} processes outlived it")
        self._check(seen, rows, run)
        return run

    def _look(self, folder, seen):
        """Keeps a copy of each checkpoint that is there for a while; all are replaced atomically."""
        path = folder / "kept" / checkpoint.NAME
        try:
            stamp = path.stat().st_mtime_ns
            if stamp in seen:
                return False
            seen[stamp] = folder / f"seen{len(seen)}.npz"
            shutil.copyfile(path, seen[stamp])
        except FileNotFoundError:
            return False
        return True

    def _check(self, seen, rows, run):
        for copy in seen.values():
            values, arrays = archive.read(copy, checkpoint.FORMAT, checkpoint.VERSION, ("x", "best"))
            row = values["rows"][-1]
            here = self.serial.snapshot(self.network.vector(arrays["x"]), keep_cache=False)
            for name in ("loss", "gradient_norm_squared"):
                if not np.isclose(row[name], getattr(here, name), rtol=1e-8, atol=1e-14):
                    run.wrong.append(f"{name} of epoch {row['epoch']}: {row[name]}, serially {getattr(here, name)}")
            if rows and row not in rows:
                run.wrong.append(f"row {row['epoch']} of a checkpoint is not in the trace")
            copy.unlink()
        run.checked = len(seen)

    def _epoch(self, rng):
        """Early enough for what happens a while later to happen at all."""
        return rng.randint(-1, self.epochs * 2 // 3)

    def lose_workers(self, rng, servers=1):
        """A run in which one to three workers are killed, stopped, or stopped for a while."""
        faults = []
        for rank in rng.sample(range(servers, servers + WORKERS), rng.randint(1, WORKERS - 1)):
            kind = rng.choice(["kill", "stop", "pause"])
            number = signal.SIGKILL if kind == "kill" else signal.SIGSTOP
            pause = rng.uniform(0.2, 3) * LOST_AFTER if kind == "pause" else None
            faults.append(Fault(self._epoch(rng), rng.uniform(0, 0.3), rank, number, pause))
        run = self.watch(self.new_folder(), *faults, servers=servers)
        if run.code == 0 and not run.faults:  # it was faster: no test
            return self.lose_workers(rng, servers)
        self.must_be_complete(run)
        return run

    def lose_server(self, rng, servers=1, workers=WORKERS):
        """A run whose server, or one of them, is killed, and its continuation."""
        folder = self.new_folder()
        fault = Fault(self._epoch(rng), rng.uniform(0, 0.3), rng.randrange(servers))
        first = self.watch(folder, fault, servers=servers, workers=workers)
        if first.code == 0 and len(first.rows) == self.epochs + 1:  # it was over before
            return self.lose_server(rng, servers, workers)
        if first.code != 3 or RESTARTED[fault.rank > 0] not in first.said:
            first.wrong.append(f"exit code {first.code}, and it said {first.said}")
        if first.since_fault is None or first.since_fault > 20:
            first.wrong.append(f"it ended {first.since_fault} s after the server")
        kept = folder / "kept" / checkpoint.NAME
        rows = archive.read(kept, checkpoint.FORMAT, checkpoint.VERSION, ())[0]["rows"] if kept.exists() else []
        second = self.watch(folder, resume=True, servers=servers, workers=workers)
        self.must_be_complete(second)
        if second.rows[: len(rows)] != rows:
            second.wrong.append("it did not go on from the checkpoint")
        second.wrong += first.wrong
        second.faults, second.checked = first.faults, first.checked + second.checked
        return second

    def must_be_complete(self, run):
        if run.code != 0:
            run.wrong.append(f"exit code {run.code}")
        elif [row["epoch"] for row in run.rows] != list(range(self.epochs + 1)):
            run.wrong.append("rows are missing")
        elif abs(run.objective / self.objective - 1) > NEAR:
            run.wrong.append(f"objective {run.objective}, undisturbed {self.objective}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workers", type=int, default=50, metavar="N", help="runs that lose workers (default: 50)")
    parser.add_argument("--servers", type=int, default=20, metavar="N", help="runs that lose the server (default: 20)")
    parser.add_argument("--ranges", type=int, default=1, metavar="S", help="servers of each run (default: 1)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--skip", type=int, default=0, metavar="N", help="begin with the N-th run of each kind")
    args = parser.parse_args()
    found = mpi_jobs.available()
    if isinstance(found, str):
        sys.exit(found)
    failed, worst = 0, 0.0
    with tempfile.TemporaryDirectory() as folder:
        campaign = Campaign(folder)
        print(f"{found.kind}: undisturbed, the objective is {campaign.objective:.6f}", flush=True)
        runs = [(campaign.lose_workers, number) for number in range(args.skip, args.workers)]
        runs += [(campaign.lose_server, number) for number in range(args.skip, args.servers)]
        for lose, number in runs:
            run = lose(random.Random(f"{args.seed} {number} {lose.__name__}"), args.ranges)
            failed += bool(run.wrong)
            worst = max(worst, run.seconds)
            share = run.objective / campaign.objective - 1 if run.objective else float("nan")
            print(
                f"{number:3d}  {run.seconds:5.1f} s  objective {share:+.2%}  {run.checked:3d} gradients checked  "
                f"{', '.join(map(str, run.faults))}",
                *(f"     WRONG: {re.sub(chr(10), ' | ', what)}" for what in run.wrong), sep="\n", flush=True,
            )  # fmt: skip
            if run.wrong:
                print(run.said)
    print(json.dumps({"mpi": found.kind, "runs": len(runs), "failed": failed, "longest": worst}))
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
