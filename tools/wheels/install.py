"""Installs a wheel into an empty environment and fits: `python tools/wheels/install.py WHEEL 3.13 oldest`.

"oldest" has the oldest releases that pyproject.toml allows and that have wheels for this Python; "newest" the newest.
Nothing is compiled, and pip keeps no cache, so the seconds are those of a first installation.
"""

import json
import shutil
import sys
import time
from pathlib import Path

from chroots import PYTHONS, chroot, inside
from places import ROOT, WORK, run, save, stop

LOWER = ("x86-64", "x86-64-v3")  # SIMD levels, of which a processor takes the highest that it has
RESOLUTIONS = {"oldest": "lowest-direct", "newest": "highest"}


def requirements(version, which, platform, file):
    """Writes the releases of all that asysvrg depends on, for that Python, into `file`."""
    run(sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--only-binary",
        ":all:", "--resolution", RESOLUTIONS[which], "--python-version", version, "--python-platform", platform,
        ROOT / "pyproject.toml", "--output-file", file)  # fmt: skip


def install(wheel, version, which):
    """Returns what fit.py found, with the seconds that pip took."""
    root = chroot(version)
    shared = WORK / "tries" / f"{version}-{which}"
    shutil.rmtree(shared, ignore_errors=True)
    shared.mkdir(parents=True)
    requirements(version, which, "x86_64-manylinux_2_28", shared / "requirements.txt")
    for file in (wheel, Path(__file__).with_name("fit.py")):
        shutil.copy2(file, shared)
    inside(root, shared, "python3", "-m", "venv", "/mnt/wheels/env")
    python = "/mnt/wheels/env/bin/python"
    start = time.perf_counter()
    quiet = ("--quiet", "--disable-pip-version-check")
    inside(root, shared, python, "-m", "pip", "install", *quiet, "--no-cache-dir", "--only-binary", ":all:", "-r",
           "/mnt/wheels/requirements.txt", f"/mnt/wheels/{wheel.name}")  # fmt: skip
    installed = time.perf_counter() - start
    inside(root, shared, "sh", "-c", f"cd /tmp && {python} /mnt/wheels/fit.py > /mnt/wheels/found.json")
    for level in LOWER if which == "newest" else ():
        inside(root, shared, "sh", "-c", f"cd /tmp && {python} /mnt/wheels/fit.py", ASYSVRG_SIMD=level)
    inside(root, shared, "sh", "-c", "cd /tmp && /mnt/wheels/env/bin/asysvrg info")
    found = json.loads((shared / "found.json").read_text()) | {"pip_s": round(installed, 1)}
    shutil.rmtree(shared / "env")
    return found


def save_tried(wheel, version, which):
    found = {"wheel": wheel.name, "bytes": wheel.stat().st_size, "releases": which} | install(wheel, version, which)
    save(f"{wheel.stem}-{version}-{which}", found)


def main():
    if len(sys.argv) != 4 or sys.argv[2] not in PYTHONS or sys.argv[3] not in RESOLUTIONS:
        stop(f"give a wheel, one of {', '.join(PYTHONS)}, and one of {', '.join(RESOLUTIONS)}")
    save_tried(Path(sys.argv[1]), *sys.argv[2:])


if __name__ == "__main__":
    main()
