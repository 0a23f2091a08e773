"""`make wheels`: builds the source distribution and the wheels in dist/, checks and tries them.

`python tools/wheels/everything.py [TARGET...]` builds the named targets only. What the tries found is in
build/wheels/results/; `python tools/wheels/table.py` makes the tables of docs/platforms.md from it.
"""

import shutil
import sys

import abroad
import crossbuild
import emulate
import install
import repair
import sdist
from chroots import PYTHONS
from offline import offline
from places import DIST, WORK, need, need_root, save, stop
from targets import TARGETS


def try_wheel(name, wheel):
    """Installs and fits where that can be done here."""
    if name == "manylinux-x86_64":
        for version in PYTHONS:
            for which in install.RESOLUTIONS:
                install.save_tried(wheel, version, which)
    if name == "manylinux-aarch64":
        emulate.save_tried(wheel, emulate.TESTS)


def main():
    names = sys.argv[1:] or [*TARGETS, *abroad.PLATFORMS]
    unknown = set(names) - {*TARGETS, *abroad.PLATFORMS}
    if unknown:
        stop(f"no target {', '.join(sorted(unknown))}; targets: {', '.join([*TARGETS, *abroad.PLATFORMS])}")
    need_root("for chroot and to cut the network off")
    need(("unshare", "util-linux"), ("debootstrap", "debootstrap"), ("dpkg-deb", "dpkg"))
    source = sdist.build(DIST)
    if sdist.build(WORK / "again").read_bytes() != source.read_bytes():
        stop("two builds of the source distribution differ")
    save(f"{source.name}-offline", offline(source))
    for name in names:
        if name in TARGETS:
            wheel = repair.repair(TARGETS[name], crossbuild.build(TARGETS[name], source))
            try_wheel(name, wheel)
        else:
            shutil.copy2(abroad.build(name, source), DIST)


if __name__ == "__main__":
    main()
