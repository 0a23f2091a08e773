"""Builds, repairs and checks one wheel from the source distribution in dist/: `python tools/wheels/one.py TARGET`."""

import shutil
import sys

import abroad
import crossbuild
import freethreaded
import repair
from places import DIST, only, stop
from targets import TARGETS

NAMES = (*TARGETS, freethreaded.NAME, *abroad.PLATFORMS)


def one(name, source):
    """Builds the target's wheel in dist/, and returns its path."""
    if name in TARGETS:
        return repair.repair(TARGETS[name], crossbuild.build(TARGETS[name], source))
    if name == freethreaded.NAME:
        return freethreaded.build(source)
    wheel = abroad.build(name, source)
    shutil.copy2(wheel, DIST)
    return DIST / wheel.name


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in NAMES:
        stop(f"give one of the targets {', '.join(NAMES)}")
    print(one(sys.argv[1], only(DIST, "asysvrg-*.tar.gz")))
