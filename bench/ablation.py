"""What each mechanism brings: it is switched off alone, and times are compared. `make bench-ablation`.

Seconds without the mechanism and with it are measured in turns in one process, on a copy of the package that has the
switches (bench/switches.py). Results are added to bench/results/ablation.json, so that a part can be measured alone.
bench/results/ablation.md has the tables; docs/ablation.md says what followed from them.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ablation_report
from ablation_worker import CASES, TARGET, WIDE_SPARSE, Worker
from switches import ROOT, SWITCHES, Switch, build

from asysvrg.core.trace import environment

RESULTS = ROOT / "bench" / "results" / "ablation.json"
SOME = ("table, 4 classes", "mushrooms (CSR)", "MNIST")  # sets of the parts "svrg" and "busy"
BUSY_EPOCHS = 1  # of a fit beside busy processes
QUIET, ATTEMPTS, LONGEST_WAIT = 0.15, 4, 30.0  # cores that others may use; times that a pair is taken; seconds
LONG_ENOUGH, MOST_TIMES = 0.15, 6  # seconds of fits on a set for each seed; and of how many at most
SHORT = 0.1  # seconds in which the processor's time, in ticks of 10 ms, says nothing
LINKS = {"100mbit": 12.5e6, "1gbit": 125e6, "": math.inf}  # and bytes a second
SHARE = 0.3  # of a core, for each machine
CLUSTERED: dict[str, dict[str, Any]] = {
    "one server": {}, "two servers": {"servers": 2}, "float16": {"compress": "float16"}
}  # fmt: skip
PATIENCE = 60  # seconds for a run on the cluster


# ---- The measurements. ----


def processor(pid: int | None = None) -> float:
    """Seconds of the processor that all processes have used so far, or one of them."""
    tick = os.sysconf("SC_CLK_TCK")
    if pid is None:
        used = [int(k) for k in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        return (sum(used) - used[3] - used[4]) / tick
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / tick


def wait_for_quiet(longest: float) -> None:
    """Until nobody else uses the processor, or so many seconds are over."""
    began, used = time.monotonic(), 1.0
    while used > 0.1 and time.monotonic() - began < longest:
        before = processor()
        time.sleep(1.0)
        used = processor() - before


class Others:
    """What others than these processes use of the processor; `total` since the start, in cores."""

    def __init__(self, own: list[int], matter: bool):
        self.own, self.matter = own, matter
        self.began = self.last = self._now()

    def _now(self) -> tuple[float, float]:
        return time.monotonic(), processor() - sum(processor(pid) for pid in self.own)

    def _since(self, then: tuple[float, float]) -> float:
        seconds, used = self._now()
        return max(used - then[1], 0) / max(seconds - then[0], 1e-3)

    def look(self) -> float:
        """Cores since the last look; 0 where that is too short to tell."""
        used = self._since(self.last) if time.monotonic() - self.last[0] > SHORT else 0.0
        self.last = self._now()
        return used

    @property
    def total(self) -> float:
        return self._since(self.began)


def pairs(ask: Any, repeats: int, others: Others, times: int = 1) -> list[tuple[Any, Any]]:
    """What `ask(off, seed)` gives on and off, so many times for each seed.

    A seed during which others were busy is taken again.
    """
    found = []
    for seed in range(repeats):
        for attempt in range(ATTEMPTS):
            others.look()
            taken = []
            for time_ in range(times):
                pair = {off: ask(off, seed) for off in ((seed + time_ + turn) % 2 == 1 for turn in (0, 1))}
                taken.append((pair[False], pair[True]))
            if others.look() < QUIET or attempt == ATTEMPTS - 1 or not others.matter:
                break
            wait_for_quiet(LONGEST_WAIT)
        found += taken
    return found


def measure_tuned(worker: dict[int, Worker], name: str, switch: Switch, repeats: int, others: Others) -> dict[str, Any]:
    """Seconds to the objective with our best settings and with defaults, on and off."""
    best = json.loads((ROOT / "bench" / "peers_best.json").read_text())["contenders"]
    result = {}
    for case, (contender, cores) in CASES.items():
        if cores == 1 and switch.turns_on:
            continue
        tuned = contender in best
        settings = best[contender][str(cores)][str(TARGET)]["settings"] if tuned else {}

        def ask(off: bool, seed: int, more: Any = None, case: str = case, settings: Any = settings, cores=cores) -> Any:
            more = more if off else None
            return worker[cores].ask(name, off, seed, more, case=case, settings=settings)

        ask(False, 0)
        ask(True, 0)
        result[case] = pairs(ask, repeats, others)
        if switch.tuned and tuned:
            more = retuned(ask, switch, contender)
            print(f"{name}, {case}: tuned again, {more}", file=sys.stderr)
            again = pairs(lambda off, seed, ask=ask, more=more: ask(off, seed, more), repeats, others)
            result[case + ablation_report.AGAIN] = again
    return result


def retuned(ask: Any, switch: Switch, contender: str) -> dict[str, Any]:
    """The best of other settings for a mechanism that is off, from one start."""
    sgd = contender == "ours sgd"
    lengths = [{"max_iter": k} for k in (10, 15)] if sgd else [{"sgd_epochs": k} for k in (4, 8)]
    tried = [how | length for how, length in itertools.product(switch.tuned, lengths)]
    return min(tried, key=lambda how: ask(True, 0, how) or math.inf)


def measure_sets(
    worker: Worker, name: str, sets: Any, repeats: int, others: Others, more: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Fits with defaults over sets, on and off: (seconds, score) each."""
    result = {}
    for which in sets:

        def ask(off: bool, seed: int, which: str = which) -> Any:
            return worker.ask(name, off, seed, more, set=which)

        warm = (False, True, False, True) if others.matter else (False,)
        seconds = min(ask(off, 0)[0] for off in warm)
        times = max(min(round(LONG_ENOUGH / seconds), MOST_TIMES if others.matter else 2), 1)
        result[which] = pairs(ask, repeats, others, times)
    return result


@contextmanager
def busy_cores() -> Iterator[None]:
    """A process on each core that does nothing but count."""
    others = [
        subprocess.Popen(
            [sys.executable, "-c", f"import os\nos.sched_setaffinity(0, {{{core}}})\nwhile True: pass"],
        )
        for core in sorted(os.sched_getaffinity(0))
    ]
    try:
        time.sleep(0.5)
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


# ---- Messages between machines: parameter shards and half precision. ----


def measure_cluster(hidden: int, workers: int, seconds: float) -> dict[str, dict[str, list[float]]]:
    """Updates a second by link, then by who serves, of each epoch."""
    from asysvrg.distributed import hosts

    if lacks := hosts.why_not():
        raise SystemExit(f"this machine cannot emulate a cluster: {lacks}")
    found: dict[str, dict[str, list[float]]] = {}
    size = 385 * hidden + 11 * hidden - hidden + 10
    for (link, most), (name, options) in itertools.product(LINKS.items(), CLUSTERED.items()):
        steps = max(int(seconds * min(most / 4 / size, 600, 3e7 / size)), 5)
        with hosts.Cluster(workers + 2, link or None, SHARE) as cluster:
            rates = updates(cluster, hidden, workers, options, steps)
        found.setdefault(link or "no limit", {})[name] = rates
        print(f"{link or 'no limit'}, {hidden} hidden, {name}: {rates}", file=sys.stderr, flush=True)
    return found


def updates(cluster: Any, hidden: int, workers: int, options: dict[str, Any], steps: int) -> list[float]:
    """Updates a second of each epoch but the first, which began without limits."""
    import cluster as benchmark

    from asysvrg import MPI, AsySVRGClassifier
    from asysvrg.distributed import job

    _, (X, y) = benchmark.data()
    model = AsySVRGClassifier(
        (hidden,), alpha=1e-4, learning_rate_init=0.01, batch_size=10, inner_steps=steps, max_iter=4, tol=0, n_jobs=1,
        backend=MPI(**options), random_state=0,
    )  # fmt: skip
    servers = options.get("servers", 1)
    done = job.history_by_ranks(model, X[:2000], y[:2000], workers, servers=servers, seconds=PATIENCE, cluster=cluster)
    return [row["updates_per_second"] for row in done["epochs"][2:]]


# ---- The run. ----


def keep(content: dict[str, Any]) -> None:
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(content))
    ablation_report.write(content)


def measure(
    tree: Path, parts: list[str], only: str, repeats: dict[str, int], patient: bool, content: dict[str, Any]
) -> None:
    """All switches whose name has the pattern, in these parts; kept after each."""
    import defaults

    chosen = {name: switch for name, switch in SWITCHES.items() if re.search(only, name)}
    used = content.setdefault("others", {})  # cores that other programs used meanwhile
    with Worker(tree, 1) as one, Worker(tree, 2) as two:
        workers, own = {1: one, 2: two}, [os.getpid(), one.process.pid, two.process.pid]
        for part, (name, switch) in itertools.product(parts, chosen.items()):
            if switch.turns_on and part != "tuned":
                continue
            into, began = content.setdefault(part, {}), time.monotonic()
            others = Others(own, matter=patient and part != "busy")
            if part == "tuned":
                into[name] = measure_tuned(workers, name, switch, repeats[part], others)
            elif part == "defaults":
                into[name] = measure_sets(two, name, [*defaults.SETS, WIDE_SPARSE], repeats[part], others)
            elif part == "svrg":
                into[name] = measure_sets(two, name, SOME, repeats["defaults"], others, {"solver": "svrg"})
            else:
                with busy_cores():
                    into[name] = measure_sets(two, name, SOME, repeats[part], others, {"max_iter": BUSY_EPOCHS})
            used[f"{part}, {name}"] = others.total
            keep(content)
            took = time.monotonic() - began
            print(f"{part}, {name}: {took:.0f} s; others used {others.total:.2f} cores", file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--parts", nargs="*", default=["tuned", "defaults", "svrg", "cluster", "busy"])
    parser.add_argument("--only", default="", help="mechanisms whose name has this pattern (a regular expression)")
    parser.add_argument(
        "--repeats", type=int, nargs="+", default=[9, 3, 3], help="of tuned, defaults (and svrg) and busy; or of all"
    )
    parser.add_argument("--tree", type=Path, help="a folder in which the copy with switches was built before")
    parser.add_argument("--anyway", action="store_true", help="do not wait until other programs are quiet")
    given = parser.parse_args()
    content = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    each = given.repeats * 3 if len(given.repeats) == 1 else given.repeats
    repeats = dict(zip(("tuned", "defaults", "busy"), each, strict=True))
    content |= {"environment": environment(), "commit": ablation_report.commit()}
    if "cluster" in given.parts:
        for hidden in (50, 2400):
            content.setdefault("cluster", {})[str(hidden)] = measure_cluster(hidden, 4, 1.0)
            keep(content)
    with tempfile.TemporaryDirectory() as folder:
        timed = [part for part in given.parts if part != "cluster"]
        if timed:
            measure(given.tree or build(Path(folder)), timed, given.only, repeats, not given.anyway, content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
