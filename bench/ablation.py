"""What each mechanism brings: it is switched off alone, and times are compared. `make bench-ablation`.

Ratios are seconds without the mechanism by seconds with it. Both are measured in turns in one process, on a copy of
the package that has the switches (bench/switches.py). Results are added to bench/results/ablation.json, so that a part
can be measured alone; docs/ablation.md is written from that file.
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
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ablation_report
import numpy as np
from asysvrg.trace import environment
from switches import ROOT, SWITCHES, Switch, build, patched

RESULTS = ROOT / "bench" / "results" / "ablation.json"
TARGET = 0.125
PATIENCE = 3.0  # seconds after which a run to the objective is given up
CASES = {  # of the first column: contender and cores
    "sgd, 2": ("ours sgd", 2),
    "sgd_svrg, 2": ("ours sgd_svrg", 2),
    "sgd, 1": ("ours sgd", 1),
    "sgd_svrg, 1": ("ours sgd_svrg", 1),
    "defaults, 2": ("ours, defaults", 2),
}
CLOSE = ("nothing (noise)", "lots", "shift", "bits", "snapshot cache")  # which need more runs to tell
WIDE_SPARSE = "sparse, 20,000 columns"  # a set of which only the separate column is
BUSY = ("table, 4 classes", "mushrooms (CSR)", "MNIST")
BUSY_EPOCHS = 1  # of a fit beside busy processes; a team there is many times slower
QUIET, ATTEMPTS, LONGEST_WAIT = 0.15, 4, 30.0  # cores that others may use; times that a pair is taken; seconds
LONG_ENOUGH, MOST_TIMES = 0.15, 6  # seconds of fits on a set for each seed; and of how many at most
SHORT = 0.1  # seconds in which the processor's time, in ticks of 10 ms, says nothing
LINKS = {"100mbit": 12.5e6, "1gbit": 125e6, "": math.inf}  # and bytes a second
SHARE = 0.3  # of a core, for each machine
CLUSTERED = {"one server": [], "two servers": ["--servers", 2], "float16": ["--compress", "float16"]}


# ---- In a process of its own: what is timed. ----


def sparse_set() -> tuple[Any, ...]:
    """Samples with 80 of 20,000 columns, and labels by a linear rule."""
    from scipy import sparse

    rng = np.random.default_rng(0)
    columns = np.sort(np.minimum(rng.pareto(0.8, (8000, 80)) * 40, rng.integers(0, 20_000, (8000, 80))), axis=1)
    X = sparse.csr_matrix((np.ones(columns.size), columns.astype(int).ravel(), np.arange(8001) * 80), (8000, 20_000))
    X.sum_duplicates()
    y = X @ rng.normal(size=20_000) > 0
    return X[:6000], y[:6000].astype(int), X[6000:], y[6000:].astype(int)


def serve() -> None:
    """Lines of JSON in, lines of JSON out."""
    import defaults
    from contenders.setting import Problem, mnist_or_random

    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    sets: dict[str, Any] = {}
    problem = None
    for line in sys.stdin:
        task = json.loads(line)
        switch, off = SWITCHES[task["switch"]], task["off"]
        how = switch.settings if off else switch.base_settings
        with patched(switch.patches if off else switch.base_patches):
            if "case" in task:
                problem = problem or Problem(*mnist_or_random())
                answer = to_objective(problem, task, task["settings"] | how | task["more"])
            else:
                name = task["set"]
                if name not in sets:
                    sets[name] = sparse_set() if name == WIDE_SPARSE else defaults.SETS[name]()
                answer = one_fit(sets[name], task, how)
        print(json.dumps(answer), file=out, flush=True)


def to_objective(problem: Any, task: dict[str, Any], settings: dict[str, Any]) -> float | None:
    """Seconds to the objective; None if it is not reached."""
    from contenders.ours import CONTENDERS
    from contenders.setting import Meter, reached

    contender, cores = CASES[task["case"]]
    meter = Meter(problem.loss, {TARGET: PATIENCE})
    CONTENDERS[contender](problem, settings, cores, task["seed"], meter)
    return reached(meter.rows, TARGET, task["clock"])


def one_fit(sets: Any, task: dict[str, Any], how: dict[str, Any]) -> list[float]:
    """Seconds and score of a fit with defaults."""
    from defaults import fit

    from asysvrg import AsySVRGClassifier, AsySVRGRegressor

    kind = AsySVRGRegressor if sets[1].dtype.kind == "f" else AsySVRGClassifier
    return list(fit(kind(random_state=task["seed"], **how, **task["more"]), sets))


class Worker:
    """Such a process, on the last `cores` cores."""

    def __init__(self, tree: Path, cores: int):
        own = sorted(os.sched_getaffinity(0))[-cores:]
        path = os.pathsep.join([str(tree), str(ROOT / "bench")])
        self.process = subprocess.Popen(
            [sys.executable, __file__, "worker"],
            env=os.environ | {"PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, own),
        )

    def ask(self, switch: str, off: bool, seed: int, more: dict[str, Any] | None = None, **task: Any) -> Any:
        line = json.dumps({"switch": switch, "off": off, "seed": seed, "more": more or {}, **task})
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the process ended at {line}")
        return json.loads(answer)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stdin.close()
        self.process.wait()


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


def measure_tuned(
    worker: dict[int, Worker], name: str, switch: Switch, repeats: int, others: Others, clock: str = "seconds"
) -> dict[str, Any]:
    """Seconds to the objective with our best settings and with defaults, on and off; of the processor on one core."""
    best = json.loads((ROOT / "bench" / "peers_best.json").read_text())["contenders"]
    result = {}
    for case, (contender, cores) in CASES.items():
        if (cores == 1 and "(on)" in name) or (cores > 1 and clock == "processor"):
            continue
        tuned = contender in best
        settings = best[contender][str(cores)][str(TARGET)]["settings"] if tuned else {}

        def ask(off: bool, seed: int, more: Any = None, case: str = case, settings: Any = settings, cores=cores) -> Any:
            more = more if off else None
            return worker[cores].ask(name, off, seed, more, case=case, settings=settings, clock=clock)

        ask(False, 0)
        ask(True, 0)
        result[case] = {"seconds": pairs(ask, repeats, others)}
        if switch.tuned and tuned and clock == "seconds":
            more = retuned(ask, switch, contender)
            again = pairs(lambda off, seed, ask=ask, more=more: ask(off, seed, more), repeats, others)
            result[case + ", tuned again"] = {"seconds": again, "settings": more}
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


# ---- Messages between machines: servers' ranges and half precision. ----


def measure_cluster(hidden: int, workers: int, seconds: float) -> dict[str, dict[str, list[float]]]:
    """Updates a second by link, then by who serves, of each epoch."""
    sys.path.insert(0, str(ROOT / "bench" / "cluster"))
    import hosts

    if lacks := hosts.why_not():
        raise SystemExit(f"this machine cannot emulate a cluster: {lacks}")
    found: dict[str, dict[str, list[float]]] = {}
    size = 385 * hidden + 11 * hidden - hidden + 10
    for (link, most), (name, options) in itertools.product(LINKS.items(), CLUSTERED.items()):
        steps = max(int(seconds * min(most / 4 / size, 600, 3e7 / size)), 5)
        with tempfile.TemporaryDirectory() as folder, hosts.Cluster(workers + 2, link or None) as cluster:
            rates = updates(cluster, Path(folder), hidden, workers, options, steps)
        found.setdefault(link or "no limit", {})[name] = rates
        print(f"{link or 'no limit'}, {hidden} hidden, {name}: {rates}", file=sys.stderr, flush=True)
    return found


def updates(cluster: Any, folder: Path, hidden: int, workers: int, options: list[Any], steps: int) -> list[float]:
    """Updates a second of each epoch but the first, which began without limits."""
    import speedup

    from asysvrg import launch

    servers = 2 if "--servers" in options else 1
    _, sets = speedup.data(folder)
    trace = folder / "trace.json"
    through, variables = cluster.launch(launch.find().kind, folder, workers + servers - 1)
    through[through.index("-n") + 1] = str(workers)
    command = [sys.executable, "-m", "asysvrg", "launch", *through, "train", *sets, "--train-size", 2000]
    command += ["--hidden-layer-sizes", hidden, "--alpha", 1e-4, "--learning-rate-init", 0.01, "--tol", 0]
    command += ["--batch-size", 10, "--inner-steps", steps, "--max-iter", 4, "--n-jobs", 1, "--trace", trace, "--quiet"]
    variables |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "TMPDIR": str(folder), "ASYSVRG_LOST_AFTER": "60"}
    cluster.limit(1.0)  # while programs start
    process = subprocess.Popen(
        cluster.command(0, *map(str, [*command, *options])), env=os.environ | variables, stdin=subprocess.DEVNULL
    )
    try:
        while process.poll() is None and not list(folder.glob("asysvrg-*/running")):
            time.sleep(0.05)
        cluster.limit(SHARE)
        if process.wait(60):
            raise RuntimeError(f"a run ended with {process.returncode}")
    finally:
        process.terminate()
        process.wait()
    return [row["updates_per_second"] for row in json.loads(trace.read_text())["epochs"][2:]]


# ---- The run. ----


def keep(content: dict[str, Any]) -> None:
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(content))


def measure(tree: Path, parts: list[str], only: str, repeats: dict[str, int], content: dict[str, Any]) -> None:
    """All switches whose name has the pattern, in these parts; kept after each."""
    import defaults

    chosen = {name: switch for name, switch in SWITCHES.items() if re.search(only, name)}
    used = content.setdefault("others", {})  # cores that other programs used meanwhile
    with Worker(tree, 1) as one, Worker(tree, 2) as two:
        workers, own = {1: one, 2: two}, [os.getpid(), one.process.pid, two.process.pid]
        for part, (name, switch) in itertools.product(parts, chosen.items()):
            if ("(on)" in name and part != "tuned") or (part == "processor" and name not in CLOSE):
                continue
            into, began = content.setdefault(part, {}), time.monotonic()
            others = Others(own, matter=part in ("tuned", "defaults"))
            if part == "tuned":
                into[name] = measure_tuned(workers, name, switch, repeats[part], others)
            elif part == "processor":
                into[name] = measure_tuned(workers, name, switch, repeats[part], others, part)
            elif part == "defaults":
                into[name] = measure_sets(two, name, [*defaults.SETS, WIDE_SPARSE], repeats[part], others)
            else:
                with busy_cores():
                    into[name] = measure_sets(two, name, BUSY, repeats[part], others, {"max_iter": BUSY_EPOCHS})
            used[f"{part}, {name}"] = others.total
            keep(content)
            took = time.monotonic() - began
            print(f"{part}, {name}: {took:.0f} s; others used {others.total:.2f} cores", file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--parts", nargs="*", default=["tuned", "processor", "defaults", "cluster", "busy"])
    parser.add_argument("--only", default="", help="mechanisms whose name has this pattern (a regular expression)")
    parser.add_argument("--repeats", type=int, nargs=4, default=[9, 32, 3, 3], help="by part, without cluster")
    parser.add_argument("--tree", type=Path, help="a folder in which the copy with switches was built before")
    given = parser.parse_args()
    content = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    repeats = dict(zip(("tuned", "processor", "defaults", "busy"), given.repeats, strict=True))
    content |= {"environment": environment(), "commit": ablation_report.commit(), "repeats": repeats}
    if "cluster" in given.parts:
        for hidden in (50, 2400):
            content.setdefault("cluster", {})[str(hidden)] = measure_cluster(hidden, 4, 1.0)
            keep(content)
    with tempfile.TemporaryDirectory() as folder:
        timed = [part for part in given.parts if part != "cluster"]
        if timed:
            measure(given.tree or build(Path(folder)), timed, given.only, repeats, content)
    ablation_report.write(content)
    return 0


if __name__ == "__main__":
    if sys.argv[1:] == ["worker"]:
        serve()
        sys.exit(0)
    sys.exit(main())
