"""Builds and tries the wheel for Python 3.14 without the GIL: `python tools/wheels/freethreaded.py SDIST`.

No archive that the build uses has that Python, so it is compiled from Ubuntu's source package, in some minutes.
"""

import json
import os
import shutil
import sys
import tomllib
from pathlib import Path

import repair
from crossbuild import tools, wheel_from
from fetch import package
from places import ROOT, WORK, output, passed, run, save, stop, tests_in, whole
from targets import TARGETS

SOURCE = (
    "ubuntu",
    "main/p/python3.14/python3.14_3.14.0.orig.tar.xz",
    "2299dae542d395ce3883aca00d3c910307cd68e0b2f7336098c8e7b7eee9f3e9",
)
NAME = "manylinux-x86_64-cp314t"
TARGET = TARGETS["manylinux-x86_64"]
TESTS = (  # with fits and predictions by threads of Python at the same time
    "core/test_cpu.py", "core/test_inner.py", "core/test_network.py", "test_training.py", "test_prediction.py",
    "test_ensemble.py",
)  # fmt: skip


def python():
    """The interpreter without the GIL."""

    def make(folder):
        source = folder / "source"
        source.mkdir()
        run("tar", "--extract", "--strip-components=1", "--directory", source, "--file", package(*SOURCE))
        steps = (
            ["./configure", "--quiet", "--disable-gil", "--prefix", folder],
            ["make", "--quiet", f"-j{os.cpu_count()}"],
        )
        for step in (*steps, ["make", "--quiet", "install"]):
            run("env", "--chdir", source, *step)
        shutil.rmtree(source)

    return whole(WORK / "python3.14t", make) / "bin/python3.14t"


def environment(name, *requirements):
    """An empty environment of that Python with what pip gets for the requirements; returns its interpreter."""
    folder = WORK / "freethreaded" / name
    shutil.rmtree(folder, ignore_errors=True)
    run(python(), "-m", "venv", folder)
    here = folder / "bin/python"
    run(here, "-m", "pip", "install", "--quiet", "--only-binary", ":all:", *requirements)
    return here


def build(sdist):
    """Builds and checks the wheel; returns its path in dist/."""
    required = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    folder = WORK / "raw" / "freethreaded"
    shutil.rmtree(folder, ignore_errors=True)
    here = environment("build", *required)
    return repair.repair(TARGET, wheel_from(sdist, folder, TARGET.platform, tools(TARGET), here, "cp314t"))


def attempt(wheel):
    """Fits with the wheel, and runs the tests that have threads of Python, all without the GIL."""
    here = environment("try", wheel, "pytest", "pytest-timeout", "hypothesis", "mpmath")
    found = json.loads(output(here, Path(__file__).with_name("fit.py")))
    if not found["python"].endswith("t"):
        stop(f"{wheel.name} has switched the GIL on")
    shared = WORK / "tries" / "freethreaded"
    tests_in(shared)
    names = " ".join(f"tests/{name}" for name in TESTS)
    run("sh", "-c", f"cd {shared} && {here} -m pytest -q -p no:cacheprovider {names} > tests.txt || cat tests.txt")
    return found | {"tests": passed(shared / "tests.txt", "without the GIL")}


def save_tried(wheel):
    save(
        f"{wheel.stem}-tried",
        {"wheel": wheel.name, "bytes": wheel.stat().st_size, "releases": "newest"} | attempt(wheel),
    )


if __name__ == "__main__":
    if len(sys.argv) != 2:
        stop("give a source distribution")
    save_tried(build(Path(sys.argv[1]).resolve()))
