"""Where the tools put their files, and how they run commands and say what is missing."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
WORK = ROOT / "build" / "wheels"  # sysroots, chroots, unrepaired wheels, results
DIST = ROOT / "dist"


def stop(message):
    """Ends the program with one line and exit code 2."""
    print(f"wheels: {message}", file=sys.stderr)
    raise SystemExit(2)


def need(*programs):
    """Stops if a program is not installed; a value is the Debian package that has it."""
    for program, package in programs:
        if shutil.which(program) is None:
            stop(f"{program} is missing; install it, as in: apt-get install {package}")


def need_root(why):
    if os.geteuid() != 0:
        stop(f"root is needed {why}; run as root, or leave this step out")


def run(*command, **variables):
    """Runs a command with more environment variables; stops with its exit code if it fails."""
    words = [str(word) for word in command]
    environment = os.environ | {name: str(value) for name, value in variables.items()}
    done = subprocess.run(words, env=environment, check=False)
    if done.returncode:
        stop(f"exit code {done.returncode} of: {' '.join(words)[:300]}")


def output(*command):
    """What a program says, in one line."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def whole(folder, make):
    """The folder, made by `make(part)` if it is not there yet.

    It is made under another name, so a folder of this name is never half made.
    """
    if folder.exists():
        return folder
    part = folder.with_name(f"{folder.name}.part")
    if part.exists():
        shutil.rmtree(part)
    part.mkdir(parents=True)
    make(part)
    part.rename(folder)
    return folder


def only(folder, pattern):
    """The one file of a folder that fits the pattern."""
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        stop(f"{folder} has {len(found)} files {pattern}, not 1")
    return found[0]


def tests_in(folder):
    """Makes the folder anew, with the tests and their settings."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "tests", folder / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2(ROOT / "pyproject.toml", folder)


def passed(report, where):
    """The last line of what pytest has printed into the file `report`; stops unless all tests have passed."""
    last = report.read_text().splitlines()[-1]
    if " passed" not in last or "failed" in last or "error" in last:
        stop(f"{where}: {last}; see {report}")
    return last


def save(name, found):
    """Keeps a result as JSON in build/wheels/results/, and prints it."""
    folder = WORK / "results"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found))
