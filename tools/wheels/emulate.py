"""Tries a wheel for ARM under qemu: `python tools/wheels/emulate.py WHEEL [TEST...]`.

It fits, and the tests of the kernels against their NumPy twin run on the installed wheel; TEST names others. The
packages are those that pip would install on an ARM machine, in a system of that machine's programs.
"""

import json
import shutil
import sys
import time
from pathlib import Path

from chroots import QEMU, foreign, inside
from places import WORK, passed, run, save, stop, tests_in

PLATFORM = ("--python-version", "3.11", "--python-platform", "aarch64-manylinux_2_28", "--only-binary", ":all:")
TESTS = ("core/test_network.py", "core/test_inner.py", "core/test_direction.py", "core/test_rng.py")


def emulate(wheel, tests):
    """Returns what fit.py found, and how the tests ended."""
    root, shared = foreign(), WORK / "tries" / "aarch64"
    tests_in(shared)
    shutil.copy2(Path(__file__).with_name("fit.py"), shared)
    run(sys.executable, "-m", "uv", "pip", "install", "--quiet", "--target", shared / "packages", *PLATFORM, wheel,
        "pytest", "pytest-timeout", "hypothesis", "mpmath")  # fmt: skip
    python = f"{QEMU} /usr/bin/python3.11 -B"

    def shell(command):
        # Not the processor that qemu makes up, which has all there is: by its SME, a fit ended in NaN.
        inside(root, shared, QEMU, "/bin/sh", "-c", command, PYTHONPATH="/mnt/wheels/packages", QEMU_CPU="cortex-a72")

    shell(f"cd /tmp && {python} /mnt/wheels/fit.py --anywhere > /mnt/wheels/found.json")
    start = time.perf_counter()
    names = " ".join(f"tests/{name}" for name in tests)
    options = "-q -p no:cacheprovider -o timeout=0 -m 'not slow'"
    shell(f"cd /mnt/wheels && {python} -m pytest {options} {names} > tests.txt")
    last = passed(shared / "tests.txt", "under qemu")
    found = json.loads((shared / "found.json").read_text())
    return found | {"tests": last, "tests_s": round(time.perf_counter() - start)}


def save_tried(wheel, tests):
    found = {"wheel": wheel.name, "bytes": wheel.stat().st_size, "releases": "newest"} | emulate(wheel, tests)
    save(f"{wheel.stem}-qemu", found)


def main():
    if len(sys.argv) < 2:
        stop("give a wheel for aarch64")
    save_tried(Path(sys.argv[1]), sys.argv[2:] or TESTS)


if __name__ == "__main__":
    main()
