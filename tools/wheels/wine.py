"""Runs the kernels on Windows' ABI, under wine: `python tools/wheels/wine.py`.

Python for Windows is not to be had here, so this is what can run of that wheel: four threads train, and no update may
be lost. The compiler and its options are those of the wheel, the program is that of `make sanitize`.
"""

import shutil
import subprocess
from pathlib import Path

from abroad import MINGW
from places import ROOT, WORK, need, run, save, stop

FLAGS = ["-std=gnu11", "-O3", "-Wno-psabi", "-fopenmp", "-I", ROOT / "csrc", "-I", ROOT / "tests/sanitize"]


def main():
    compiler = f"{MINGW}-gcc-posix"
    need((compiler, "gcc-mingw-w64-x86-64"), ("wine", "wine64"))
    folder = WORK / "wine"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    program = folder / "accounting.exe"
    sources = [Path(__file__).with_name("accounting.c"), *sorted((ROOT / "csrc").rglob("*.c"))]
    run(compiler, *FLAGS, "-static", *sources, "-o", program)
    found = {}
    for mode in ("shared", "lockstep"):
        done = subprocess.run(["wine", program, mode], capture_output=True, text=True, check=False, timeout=500)
        if done.returncode or "no update lost" not in done.stdout:
            stop(f"under wine: {mode} failed: {(done.stdout + done.stderr)[-500:]}")
        found[mode] = done.stdout.strip().splitlines()[-1]
    save("windows-wine", found)


if __name__ == "__main__":
    main()
