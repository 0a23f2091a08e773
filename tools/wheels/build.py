"""Builds an unrepaired wheel: `python tools/wheels/build.py TARGET SDIST`. TARGET is a name of targets.py.

The source is the source distribution, so the wheel has nothing that it lacks.
"""

import os
import shlex
import shutil
import subprocess
import sys

from fetch import package, unpack
from places import WORK, need, only, run, stop, whole
from sdist import epoch
from targets import TARGETS


def sysroot(target):
    """The folder with the C library and OpenMP's library that the wheel is built for."""

    def make(folder):
        for source in target.packages:
            unpack(package(*source), folder)
        # A folder of its own, because auditwheel is to find this library and no other.
        [library] = folder.glob("usr/lib/*/libgomp.so.1")
        (folder / "openmp").mkdir()
        for name in ("libgomp.so", "libgomp.so.1"):
            shutil.copy2(library, folder / "openmp" / name)

    return whole(WORK / "sysroots" / target.name, make)


def tools(target):
    """CC, LDSHARED and LDFLAGS with which setuptools compiles and links for the target only."""
    need((target.compiler, target.package))
    root = sysroot(target)
    own = subprocess.run([target.compiler, "-print-file-name=include"], capture_output=True, text=True, check=True)
    headers = [own.stdout.strip(), *(root / folder for folder in target.include)]
    compiler = [target.compiler, f"--sysroot={root}", "-nostdinc", *(f"-isystem{folder}" for folder in headers)]
    compiler += [f"-L{root / folder}" for folder in ("openmp", *target.libraries)]
    return {
        "CC": shlex.join(compiler),
        "LDSHARED": shlex.join([*compiler, "-shared"]),
        # -s: without the tables for debuggers, which are most of a module's size.
        "LDFLAGS": shlex.join(["-s", "-Wl,--as-needed"]),
    }


def build(target, sdist):
    """Builds the wheel in build/wheels/raw/NAME/, and returns its path."""
    folder = WORK / "raw" / target.name
    shutil.rmtree(folder, ignore_errors=True)
    variables = tools(target) | {"_PYTHON_HOST_PLATFORM": target.tag.replace("_", "-", 1)}
    variables |= {"SOURCE_DATE_EPOCH": str(epoch()), "CFLAGS": os.environ.get("CFLAGS", "")}
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-cache-dir",
        "--wheel-dir", folder, sdist, **variables)  # fmt: skip
    wheel = only(folder, "*.whl")
    if not wheel.stem.endswith(f"abi3-{target.tag}"):
        stop(f"{wheel.name} is not abi3-{target.tag}")
    return wheel


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in TARGETS:
        stop(f"give a target and a source distribution; targets: {', '.join(TARGETS)}")
    print(build(TARGETS[sys.argv[1]], sys.argv[2]))
