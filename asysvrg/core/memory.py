"""How much memory there is: a fit that takes more would not fail, but be killed."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path

MEMINFO = Path("/proc/meminfo")
LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))  # of a container


def free() -> float:
    """Bytes that this process may still take; infinity where the system does not say."""
    found = math.inf
    with contextlib.suppress(OSError, ValueError, StopIteration):
        line = next(line for line in MEMINFO.read_text().splitlines() if line.startswith("MemAvailable:"))
        found = 1024.0 * int(line.split()[1])
    for path in LIMITS:
        with contextlib.suppress(OSError, ValueError):  # "max"
            found = min(found, float(int(path.read_text())))
    return found


def check(needs: dict[str, tuple[object, float]]) -> None:
    """Raises ValueError if so much is not free.

    Parameters
    ----------
    needs : dict of (value, float)
        For each parameter its value, and the bytes that are taken because of it.
    """
    total, there = sum(size for _, size in needs.values()), free()
    if total > there:
        name, (value, _) = max(needs.items(), key=lambda need: need[1][1])
        raise ValueError(
            f"{name}={value!r}: training takes at least {total / 2**30:,.1f} GB, and {there / 2**30:,.1f} GB are free; "
            f"give a smaller {name}"
        )
