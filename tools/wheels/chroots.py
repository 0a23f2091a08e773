"""Small systems with Python 3.11 to 3.14, made by debootstrap: `python tools/wheels/chroots.py 3.13`.

They have Python and pip, and no compiler. `aarch64` in the place of a version makes one for ARM, with Python alone: its
programs run one at a time under qemu. Programs run in them by `inside`, in a mount namespace of its own, so that no
mount is left when a program ends, however it ends.
"""

import os
import shutil
import sys
from pathlib import Path

from fetch import ARCHIVES, package, unpack
from places import WORK, need, need_root, run, stop, whole

PYTHONS = {
    "3.11": ("debian", "bookworm"),
    "3.12": ("ubuntu", "noble"),
    "3.13": ("debian", "trixie"),
    "3.14": ("debian", "forky"),
}
# Suites that this debootstrap may not know yet are made as these are; the keys of Ubuntu are not in Debian.
SCRIPTS = {"debian": "sid", "ubuntu": "gutsy"}
QEMU = "/usr/bin/qemu-aarch64-static"
KEYS = (
    "ubuntu",
    "main/u/ubuntu-keyring/ubuntu-keyring_2023.11.28.1_all.deb",
    "36de43b15853ccae0028e9a767613770c704833f82586f28eb262f0311adb8a8",
)
ENTER = Path(__file__).with_name("enter.sh")


def keyring(archive):
    if archive == "debian":
        return "/usr/share/keyrings/debian-archive-keyring.gpg"
    folder = whole(WORK / "keys", lambda folder: unpack(package(*KEYS), folder))
    return folder / "usr/share/keyrings/ubuntu-archive-keyring.gpg"


def chroot(version):
    """The folder of the system with that Python."""
    archive, suite = PYTHONS[version]

    def make(folder):
        need_root("for debootstrap and chroot")
        need(("debootstrap", "debootstrap"), ("unshare", "util-linux"))
        components = ["--components=main,universe"] if archive == "ubuntu" else []
        run("debootstrap", "--variant=minbase", "--include=python3-venv,ca-certificates", *components,
            f"--keyring={keyring(archive)}", suite, folder, ARCHIVES[archive], SCRIPTS[archive])  # fmt: skip
        resolver = folder / "etc/resolv.conf"
        resolver.unlink(missing_ok=True)  # a place to mount this system's on
        resolver.touch()

    return whole(WORK / "chroots" / f"{suite}-python{version}", make)


def foreign():
    """The folder of the system for ARM. debootstrap only unpacks there: to configure packages, programs would run."""

    def make(folder):
        need_root("for debootstrap and chroot")
        need(("debootstrap", "debootstrap"), (QEMU, "qemu-user-static"))
        run("debootstrap", "--foreign", "--arch=arm64", "--variant=minbase", "--include=python3",
            f"--keyring={keyring('debian')}", "bookworm", folder, ARCHIVES["debian"], "sid")  # fmt: skip
        packages = folder / "var/cache/apt/archives"
        for file in sorted(packages.glob("*.deb")):
            unpack(file, folder)
            file.unlink()
        shutil.copy2(QEMU, folder / QEMU[1:])

    return whole(WORK / "chroots" / "bookworm-aarch64", make)


def inside(root, shared, *command, **variables):
    """Runs a command in the system in the folder `root`; the folder `shared` is its /mnt/wheels."""
    need_root("for chroot")
    keep = {key: os.environ[key] for key in ("http_proxy", "https_proxy", "PIP_CERT") if key in os.environ}
    settings = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8"} | keep | variables
    environment = [f"{key}={value}" for key, value in settings.items()]
    run("env", "-i", *environment, "unshare", "--mount", "sh", ENTER, root, shared, *command)


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in (*PYTHONS, "aarch64"):
        stop(f"give aarch64, or one of the versions {', '.join(PYTHONS)}")
    print(foreign() if sys.argv[1] == "aarch64" else chroot(sys.argv[1]))
