"""Wheels for systems that cannot run here.

Windows is built by mingw's gcc, with gcc's OpenMP library inside; macOS by zig's clang, with LLVM's OpenMP library
inside. They show that the sources compile and link there. Those that are published are built on such systems.
"""

import os
import shutil
import sys
from pathlib import Path

from crossbuild import wheel_from
from fetch import package
from places import WORK, need, only, output, run, whole
from repair import check

# Python's headers for Windows, and the list of its stable ABI.
PYTHON = (
    "debian",
    "main/p/python3.11/python3.11_3.11.2.orig.tar.gz",
    "2411c74bda5bbcfcddaf4531f66d1adc73f247f529aee981b029513aefdbf849",
)
MINGW = "x86_64-w64-mingw32"
PLATFORMS = {
    "windows-x86_64": "win-amd64",
    "macos-arm64": "macosx-11.0-arm64",
    "macos-x86_64": "macosx-10.9-x86_64",
}
LIBOMP = "cmeel-libomp"  # PyPI's package with LLVM's library for macOS


def script(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def python_for_windows():
    """A folder with Python's headers, and a library that stands for python3.dll."""

    def make(folder):
        run(
            "tar", "-C", folder, "--strip-components=1", "--wildcards", "-xf", package(*PYTHON), "*/Include/*", "*/PC/*"
        )
        names = ["LIBRARY python3.dll", "EXPORTS"]
        for line in (folder / "PC/python3dll.c").read_text().splitlines():
            kind, _, name = line.strip().rstrip(")").partition("(")
            if kind in ("EXPORT_FUNC", "EXPORT_DATA"):
                names.append(name + " DATA" * (kind == "EXPORT_DATA"))
        (folder / "python3.def").write_text("\n".join(names) + "\n")
        run(f"{MINGW}-dlltool", "-d", folder / "python3.def", "-l", folder / "libpython3.a")

    return whole(WORK / "sysroots" / "windows", make)


def windows_tools(folder):
    need((f"{MINGW}-gcc-posix", "gcc-mingw-w64-x86-64"))
    python = python_for_windows()
    compiler = f"{MINGW}-gcc-posix -DMS_WIN64 -I{python}/PC -I{python}/Include"
    # Libraries come behind the objects that use them.
    link = script(folder / "link", f'exec {MINGW}-gcc-posix -shared "$@" -L{python} -lpython3')
    return {"CC": compiler, "LDSHARED": link, "LDFLAGS": "-s"}


def libomp(platform):
    """The folder of cmeel-libomp for a system: include/ and lib/."""

    def make(folder):
        tag = platform.replace("-", "_").replace(".", "_")
        run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:", "--platform",
            tag, "--target", folder, LIBOMP)  # fmt: skip

    return whole(WORK / "sysroots" / platform, make) / "cmeel.prefix"


def macos_tools(folder, platform):
    root = libomp(platform)
    _, version, machine = platform.split("-")
    zig = f"{sys.executable} -m ziglang cc -target {machine.replace('arm64', 'aarch64')}-macos.{version}"
    # zig refuses options that mean nothing to it; Linux's Python hands some down.
    drop = 'for word; do shift; case "$word" in -Wl,--*|-Wno-psabi) ;; *) set -- "$@" "$word" ;; esac; done'
    compiler = script(folder / "cc", f'{drop}\nexec {zig} -I{root}/include -L{root}/lib "$@"')
    flags = "-shared -undefined dynamic_lookup -Wl,-rpath,@loader_path/../.dylibs"
    return {"CC": compiler, "LDSHARED": f"{compiler} {flags}", "LDFLAGS": "-s"}


def change(wheel, folder, edit):
    """Unpacks a wheel, calls `edit` with the folder, and packs it again."""
    run(sys.executable, "-m", "wheel", "unpack", "--dest", folder, wheel)
    wheel.unlink()
    unpacked = only(folder, "asysvrg-*/")
    edit(unpacked)
    run(sys.executable, "-m", "wheel", "pack", "--dest-dir", wheel.parent, unpacked)
    shutil.rmtree(unpacked)


def windows_names(folder):
    for module in folder.glob("asysvrg/**/*.abi3.so"):
        module.rename(module.with_name(module.name.replace(".abi3.so", ".pyd")))


def repaired_for_windows(wheel, folder):
    compiler = f"{MINGW}-gcc-posix"
    found = (f"-print-file-name={name}" for name in ("libgomp-1.dll", "libwinpthread-1.dll"))
    paths = [str(Path(output(compiler, option)).resolve().parent) for option in found]
    run(sys.executable, "-m", "delvewheel", "repair", "--add-path", os.pathsep.join(paths), "--no-mangle-all",
        "--wheel-dir", folder, wheel)  # fmt: skip
    return only(folder, "*.whl")


def build(name, sdist):
    platform = PLATFORMS[name]
    folder = WORK / "raw" / name
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "repaired").mkdir(parents=True)
    tools = windows_tools(folder) if name.startswith("windows") else macos_tools(folder, platform)
    wheel = wheel_from(sdist, folder, platform, tools)
    if name.startswith("windows"):
        change(wheel, folder, windows_names)
        wheel = repaired_for_windows(wheel, folder / "repaired")
    else:

        def add_libomp(unpacked):
            (unpacked / "asysvrg/.dylibs").mkdir()
            shutil.copy2(libomp(platform) / "lib/libomp.dylib", unpacked / "asysvrg/.dylibs")

        change(wheel, folder, add_libomp)
    check(wheel)
    return wheel
