"""Types: mypy over the package, and stubs that say what the compiled modules have."""

import subprocess
import sys
from pathlib import Path

import pytest

import asysvrg

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "asysvrg"
COMPILED = sorted(PACKAGE.rglob("*.pyx"))
IN_TREE = Path(asysvrg.__file__).parent == PACKAGE


def test_each_compiled_module_has_a_stub():
    assert {path.with_suffix(".pyi") for path in COMPILED} == set(PACKAGE.rglob("*.pyi"))


@pytest.mark.slow
@pytest.mark.skipif(not IN_TREE, reason="the package under test is not the one in this tree")
@pytest.mark.parametrize(
    "command",
    [
        pytest.param(("mypy",), marks=pytest.mark.full, id="mypy"),  # `make lint`, too
        pytest.param(
            (
                "mypy.stubtest",
                *(".".join(path.relative_to(ROOT).with_suffix("").parts) for path in COMPILED),
                "--mypy-config-file=pyproject.toml",
                "--allowlist=tests/stubs-without.txt",
                "--ignore-unused-allowlist",
            ),
            id="stubtest",
        ),
    ],
)
def test_mypy_finds_nothing(command):
    pytest.importorskip("mypy")
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
