"""What differs between operating systems. No other module of the package asks which one it is on."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import platform
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows, which neither removes nor renames an open file
    fcntl = None  # type: ignore[assignment]

MEMINFO = Path("/proc/meminfo")
LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))  # of a container
CPUS, STAT = Path("/sys/devices/system/cpu"), Path("/proc/stat")
# Lets another thread or process have this one's core.
offer_core: Callable[[], None] = getattr(os, "sched_yield", functools.partial(time.sleep, 0))
RENAMED_AFTER = 60.0  # seconds within which a process renames a file that it has closed
# What asks a program to end: SIGHUP when its terminal is closed.
ENDINGS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


def after_fork(action: Callable[[], None]) -> None:
    """Has forked children of this process begin with `action`."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=action)


def is_root() -> bool:
    """Whether this process may do everything."""
    return hasattr(os, "geteuid") and os.geteuid() == 0


def write_names(folder: Path) -> None:
    """Has the names of a folder's files written to disk, where a folder can be opened."""
    if os.name == "nt":
        return
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def hold(file: BinaryIO) -> None:
    """Has `remove_abandoned` leave a file alone until it is closed, or its process ends in any way."""
    if fcntl is not None:
        with contextlib.suppress(OSError):  # a file system without locks, where `remove_abandoned` does nothing
            fcntl.flock(file, fcntl.LOCK_EX)


def close_to_rename(file: BinaryIO) -> None:
    """Closes a file where an open one cannot be renamed."""
    if fcntl is None:
        file.close()


def remove_abandoned(path: Path) -> None:
    """Removes a file, unless a process holds it. Does nothing where that cannot be told."""
    with contextlib.suppress(OSError):
        if fcntl is None:
            if time.time() - path.stat().st_mtime > RENAMED_AFTER:
                path.unlink()
            return
        with open(path, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


# ---- The machine. ----


def processor() -> str:
    """The processor's name, as its maker gives it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    if platform.system() == "Darwin":
        with contextlib.suppress(OSError):
            asked = ("sysctl", "-n", "machdep.cpu.brand_string")
            return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    return platform.processor()


def free_memory() -> float:
    """Bytes that this process may still take; infinity where the system does not say."""
    found = math.inf
    with contextlib.suppress(OSError, ValueError, StopIteration):
        line = next(line for line in MEMINFO.read_text().splitlines() if line.startswith("MemAvailable:"))
        found = 1024.0 * int(line.split()[1])
    for path in LIMITS:
        with contextlib.suppress(OSError, ValueError):  # "max"
            found = min(found, float(int(path.read_text())))
    return found


def cores() -> list[int]:
    """Numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def load_average() -> list[float]:
    """Processes that wanted a core in the last 1, 5 and 15 minutes; none where the system does not count them."""
    return list(os.getloadavg()) if hasattr(os, "getloadavg") else []


def place(core: int) -> dict[str, int | str]:
    """Socket, core and the core's other hardware threads; empty where the system does not say."""
    files = {"socket": "physical_package_id", "core": "core_id", "shared": "thread_siblings_list"}
    try:
        texts = {name: (CPUS / f"cpu{core}" / "topology" / file).read_text().strip() for name, file in files.items()}
    except OSError:
        return {}
    return texts | {name: int(texts[name]) for name in ("socket", "core")}


def busy_seconds() -> float | None:
    """Seconds that all programs have had of the cores so far; None where the system does not say."""
    try:
        used = [int(k) for k in STAT.read_text().split("\n", 1)[0].split()[1:9]]
    except OSError:
        return None
    idle = used[3] + used[4]
    return (sum(used) - idle) / os.sysconf("SC_CLK_TCK")


# ---- Processes. ----


def process_space() -> str:
    """Names the machine and the namespace of process numbers: equal for processes that can see each other."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + os.readlink("/proc/self/ns/pid")
    except OSError:
        return f"{platform.node()} {os.getpid()}"


def state_of(pid: int) -> str | None:
    """Linux's letter for the state of a process: "T" stopped, "Z" ended and not waited for; None for no process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return None
