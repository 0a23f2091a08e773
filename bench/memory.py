"""Peak memory of a fit beyond X, against what it may take: `python bench/memory.py`. Linux only.

Allowed: parameters x (4 + 2 for each thread) and what cache_size bounds and 0 switches off: the snapshot's cache, and
the non-zeros of dense samples with many zeros. Each fit has a process of its own, in which a small fit has loaded
everything before. Writes results/memory.json.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

from contenders.setting import mnist_or_random

from asysvrg import AsySVRGClassifier
from asysvrg.core.trace import environment
from asysvrg.method import Data
from asysvrg.plan import copy_bytes
from asysvrg.store.files import write_json

RESULTS = Path(__file__).parent / "results"
MB = 2**20
# Samples, hidden units (many, so that vectors of parameters can be told from noise), megabytes of cache, threads.
CASES = [
    *((10_000, 2000, cache, threads) for cache in (0, 1024) for threads in (1, 2, 4)),
    (60_000, 100, 1024, 2),
]


def resident() -> float:
    """Memory this process holds now, in megabytes."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / MB


def peak() -> float:
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmHWM"))


def one(n: int, hidden: int, cache: float, threads: int) -> dict[str, Any]:
    """A fit, measured in this process."""
    name, X, y = mnist_or_random(n)
    how = {"alpha": 1e-3, "random_state": 0, "cache_size": cache, "n_jobs": threads, "tol": 0.0}
    how |= {"execution": "lockstep" if threads > 1 else "auto"}  # all threads train
    how |= {"early_stopping": False}  # no copies of samples that are held out
    AsySVRGClassifier((100,), max_iter=1, **how).fit(X[:200], y[:200])  # all is imported, BLAS has its buffers
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # loading had a peak of its own; forget it
    before = resident()
    how |= {"sgd_epochs": 0, "inner_steps": 50, "learning_rate_init": 0.01}
    model = AsySVRGClassifier((hidden,), max_iter=2, **how).fit(X, y)
    vectors = sum(part.nbytes for part in (*model.coefs_, *model.intercepts_)) / MB
    config = model.history_["config"]
    kept = len(X) * model._network.cache_width * 4 / MB if config["snapshot_cache"] else 0.0
    if config["skips_zeros"]:  # the copy of the non-zeros is within the same bound
        kept += copy_bytes(Data.of(X), X.itemsize) / MB
    return {
        "data": f"{name}, {len(X):,} samples, {hidden} hidden units",
        "cache_size": cache,
        "threads": threads,
        "parameters_mb": vectors,
        "X_mb": X.nbytes / MB,
        "cache_mb": kept,
        "used_mb": peak() - before,
        "used_vectors": (peak() - before - kept) / vectors,
        "allowed_vectors": 4 + 2 * threads,
    }


def main() -> None:
    if len(sys.argv) > 1:
        print(json.dumps(one(*map(int, sys.argv[1:]))))
        return
    cases = []
    for case in CASES:
        command = [sys.executable, __file__, *map(str, case)]
        # Each array by mmap, given back when it is freed: none hides in what the allocator kept of others.
        env = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
        found = json.loads(subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout)
        cases.append(found)
        print(f"{found['data']}, cache_size={found['cache_size']}, {found['threads']} thread(s), in MB:")
        print("  X {X_mb:.0f}; beyond it {used_mb:.0f}, of which cache {cache_mb:.0f}".format_map(found), end=", ")
        print("and {used_vectors:.1f} vectors of parameters of {allowed_vectors} allowed".format_map(found))
    RESULTS.mkdir(exist_ok=True)
    write_json(RESULTS / "memory.json", {"environment": environment(), "cases": cases})


if __name__ == "__main__":
    sys.exit(main())
