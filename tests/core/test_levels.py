"""SIMD levels: what this machine has, which one is taken, and the kernels of each against the NumPy twin."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from asysvrg.core.network import LEVEL, LEVELS, build_info

TESTS = Path(__file__).parents[1]
KERNELS = ["core/test_network.py", "core/test_direction.py", "core/test_inner.py", "core/test_lazy_rows.py"]
KERNELS += ["core/test_preconditioner.py", "core/test_importance.py", "core/test_lockstep.py"]
KERNELS += ["distributed/test_codec.py"]
FLAGS = {
    "x86-64-v3": {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"},
    "x86-64-v4": {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"},
}


def python(*command, level=None):
    """Runs Python with ASYSVRG_SIMD set to `level`, or without it."""
    environment = {name: value for name, value in os.environ.items() if name != "ASYSVRG_SIMD"}
    environment |= {} if level is None else {"ASYSVRG_SIMD": level}
    return subprocess.run([sys.executable, *command], env=environment, cwd=TESTS, capture_output=True, text=True)


def test_levels_are_those_of_the_processor():
    try:
        [flags] = re.findall(r"^flags\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)[:1]
    except (OSError, ValueError):
        pytest.skip("not Linux on x86-64")
    if LEVELS == ("native",):
        pytest.skip("built for one processor")
    missing = FLAGS["x86-64-v3"] - set(flags.split()), FLAGS["x86-64-v4"] - set(flags.split())
    expected = ["x86-64"] + ["x86-64-v3"] * (not missing[0]) + ["x86-64-v4"] * (not any(missing))
    assert list(LEVELS) == expected


SHOWN = "from asysvrg.core.network import LEVEL, build_info; print(LEVEL, build_info()['simd'], sep='\\n')"


def test_the_highest_level_is_taken():
    assert python("-c", SHOWN).stdout.splitlines()[0] == LEVELS[-1]
    assert python("-c", SHOWN, level="").stdout.splitlines()[0] == LEVELS[-1]


@pytest.mark.parametrize("level", LEVELS)
def test_a_level_is_taken_from_the_environment(level):
    name, shown = python("-c", SHOWN, level=level).stdout.splitlines()
    assert name == level
    assert shown.startswith(f"{level} (")
    assert "tiles" not in shown or level == LEVELS[-1]


def test_info_names_the_level():
    assert f"simd: {build_info()['simd']}\n" in python("-m", "asysvrg", "info", level=LEVEL).stdout


def test_an_unknown_level_is_one_clear_line():
    done = python("-m", "asysvrg", "info", level="x86-64-v5")
    assert done.returncode == 2
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    assert "ASYSVRG_SIMD=x86-64-v5" in line
    assert line.endswith(", ".join(LEVELS))


@pytest.mark.slow
@pytest.mark.parametrize("level", [level for level in LEVELS if level != LEVEL])
def test_kernels_of_other_levels(level):
    """Those of this process's level are tested by the same files."""
    some = "not convergence and (not test_lockstep or twin or large or lazy)"
    some = ("-m", "not slow", "-k", some, "-q", "-p", "no:cacheprovider")
    done = python("-m", "pytest", *some, *KERNELS, level=level)
    assert done.returncode == 0, done.stdout[-6000:]
    assert re.search(r"^\d{4} passed in |^\d{4} passed, ", done.stdout, re.MULTILINE), done.stdout[-600:]
