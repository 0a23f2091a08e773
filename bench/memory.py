"""Peak memory of a fit on all of MNIST, beyond X: `python bench/memory.py` (needs MNIST in ASYSVRG_DATA_HOME)."""

from __future__ import annotations

import resource
import sys

from asysvrg import AsySVRGClassifier, data


def resident() -> float:
    """Memory it holds now, in megabytes."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


def main() -> None:
    small = data.load("digits")
    AsySVRGClassifier(max_iter=1, random_state=0).fit(small.X_train, small.y_train)  # all is imported
    sets = data.load("mnist")
    X, y = sets.X_train, sets.y_train.copy()
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # loading had a peak of its own; forget it
    before = resident()
    AsySVRGClassifier(max_iter=4, random_state=0).fit(X, y)
    with open("/proc/self/status") as file:
        most = next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmHWM"))
    print(f"X: {X.nbytes / 2**20:.0f} MB, {X.shape[0]} x {X.shape[1]} {X.dtype}")
    print(f"before the fit: {before:.0f} MB; peak: {most:.0f} MB; the fit's own: {most - before:.0f} MB")


if __name__ == "__main__":
    sys.exit(main())
