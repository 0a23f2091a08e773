"""Builds OpenMP's library from gcc's source, for a C library for which no archive has it (musl)."""

import os
import subprocess
import tempfile
from pathlib import Path

from fetch import package, unpack
from places import need, only, run
from targets import GCC_SOURCE

# What libgomp's configure reads outside of its own folder.
PARTS = ["libgomp", "config", "include", "gcc/BASE-VER", "config-ml.in", "config.guess", "config.sub", "install-sh",
         "missing", "ltmain.sh", "multilib.am", "depcomp", "compile", "mkinstalldirs", "move-if-change"]  # fmt: skip


def source(folder):
    """Unpacks libgomp's source into the folder; returns where it is."""
    need(("tar", "tar"), ("xz", "xz-utils"))
    unpack(package(*GCC_SOURCE), folder)
    archive = only(folder / "usr/src/gcc-12", "gcc-*.tar.xz")
    root = archive.name.removesuffix(".tar.xz").removesuffix("-dfsg")
    run("tar", "-C", folder, "-xf", archive, *(f"{root}/{part}" for part in PARTS))
    return folder / root / "libgomp"


def build(compiler, libraries, machine, target):
    """Builds libgomp.so.1 by the compiler, a list of words, and copies it to `target`."""
    need(("make", "make"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        configure = source(folder) / "configure"
        wrapper = folder / "cc"  # configure links programs, too, for which the C library's own start files are needed
        wrapper.write_text(f'#!/bin/sh\nexec {compiler} -B{libraries[-1]} "$@"\n')
        wrapper.chmod(0o755)
        (folder / "build").mkdir()
        options = ["--disable-multilib", "--disable-static", "--build=x86_64-linux-gnu", f"--host={machine}", "FC=none"]
        settings = {"CC": str(wrapper), "CFLAGS": "-O2", "LDFLAGS": "-s", "MAKEINFO": "true"}
        for command in ([configure, *options], ["make", "-j2", "libgomp.la"]):
            done = subprocess.run(
                command, cwd=folder / "build", env=os.environ | settings, capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise SystemExit(done.stdout[-2000:] + done.stderr[-2000:])
        run("cp", "-L", folder / "build/.libs/libgomp.so.1", target)
