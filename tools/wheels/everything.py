"""`make wheels`: builds the source distribution and the wheels in dist/, checks and tries them.

`python tools/wheels/everything.py [TARGET...]` builds the named targets only. What the tries found is in
build/wheels/results/; `python tools/wheels/table.py` makes the tables of docs/platforms.md from it.
"""

import sys

import emulate
import freethreaded
import install
import sdist
import wine
from chroots import PYTHONS
from offline import offline
from one import NAMES, one
from places import DIST, WORK, need, need_root, save, stop


def try_wheel(name, wheel):
    """Installs and fits where that can be done here."""
    if name == "manylinux-x86_64":
        for version in PYTHONS:
            for which in install.RESOLUTIONS:
                install.save_tried(wheel, version, which)
    if name == "manylinux-aarch64":
        emulate.save_tried(wheel, emulate.TESTS)
    if name == freethreaded.NAME:
        freethreaded.save_tried(wheel)
    if name == "windows-x86_64":
        wine.main()


def main():
    names = sys.argv[1:] or NAMES
    unknown = set(names) - set(NAMES)
    if unknown:
        stop(f"no target {', '.join(sorted(unknown))}; targets: {', '.join(NAMES)}")
    need_root("for chroot and to cut the network off")
    need(("unshare", "util-linux"), ("debootstrap", "debootstrap"), ("dpkg-deb", "dpkg"))
    for old in DIST.glob("asysvrg-*"):
        old.unlink()
    source = sdist.build(DIST)
    if sdist.build(WORK / "again").read_bytes() != source.read_bytes():
        stop("two builds of the source distribution differ")
    save(f"{source.name}-offline", offline(source))
    for name in names:
        try_wheel(name, one(name, source))


if __name__ == "__main__":
    main()
