"""Installs the source distribution without a network: `python tools/wheels/offline.py SDIST`.

pip first fetches what the build and the package require, for this Python. Then, in a network namespace that reaches
nothing, it builds and installs into an empty environment with those files alone, and the result fits.
"""

import shutil
import sys
import time
import tomllib
from pathlib import Path

from places import ROOT, WORK, need, need_root, run, save, stop

FIT = Path(__file__).with_name("fit.py")


def offline(sdist):
    need_root("to cut the network off")
    need(("unshare", "util-linux"))
    folder = WORK / "offline"
    shutil.rmtree(folder, ignore_errors=True)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    required = project["build-system"]["requires"] + project["project"]["dependencies"]
    run(sys.executable, "-m", "pip", "download", "--quiet", "--only-binary", ":all:", "--dest", folder / "files",
        *required)  # fmt: skip
    run(sys.executable, "-m", "venv", folder / "env")
    alone = ("unshare", "--net", folder / "env/bin/python")
    start = time.perf_counter()
    run(*alone, "-m", "pip", "install", "--quiet", "--no-cache-dir", "--no-index", "--find-links", folder / "files",
        sdist, PIP_CONFIG_FILE="/dev/null", PIP_EXTRA_INDEX_URL="", PIP_FIND_LINKS="")  # fmt: skip
    seconds = time.perf_counter() - start
    run(*alone, FIT)
    shutil.rmtree(folder)
    return {"sdist": sdist.name, "python": sys.version.split()[0], "pip_s": round(seconds, 1)}


if __name__ == "__main__":
    if len(sys.argv) != 2:
        stop("give a source distribution")
    path = Path(sys.argv[1]).resolve()
    save(f"{path.name}-offline", offline(path))
