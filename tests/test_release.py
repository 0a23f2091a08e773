"""What a release is made of: the source distribution, the tools that build wheels, and the workflows that publish."""

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.locks import alone

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
TOOLS = ROOT / "tools/wheels"

pytestmark = pytest.mark.skipif(not (ROOT / ".github").exists(), reason="not in a source distribution")


def run(*command, **variables):
    done = subprocess.run(
        [str(word) for word in command], env=os.environ | variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_sdist_is_the_same_bytes_each_time(tmp_path):
    """Also if sources have been written again in the meantime, under another umask."""
    pytest.importorskip("build")
    pytest.importorskip("Cython")
    hashes = []
    for number in ("1", "2"):
        with alone("sdist"):
            run("sh", "-c", f'umask 0{number}2; exec "$@"', "sh", sys.executable, TOOLS / "sdist.py", tmp_path / number)
        [sdist] = (tmp_path / number).iterdir()
        hashes.append(hashlib.sha256(sdist.read_bytes()).hexdigest())
        (ROOT / "README.md").touch()
    assert hashes[0] == hashes[1]


def test_actions_are_pinned_by_commit():
    for path in WORKFLOWS:
        uses = re.findall(r"uses: (.+)", path.read_text())
        assert uses
        for action in uses:
            pinned = re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action)
            assert pinned or action.startswith("./.github/workflows/"), f"{path.name}: {action}"


def test_each_action_has_one_version():
    found = {}
    for path in WORKFLOWS:
        for name, version in re.findall(r"uses: ([\w.-]+/[\w.-]+)@(.+)", path.read_text()):
            found.setdefault(name, set()).add(version)
    assert {name: versions for name, versions in found.items() if len(versions) > 1} == {}


def test_workflows_have_the_least_permissions():
    """To read, for all; and to prove its name to PyPI, for the job that publishes."""
    yaml = pytest.importorskip("yaml")
    more = {}
    for path in WORKFLOWS:
        workflow = yaml.safe_load(path.read_text())
        assert workflow["permissions"] == {"contents": "read"}, path.name
        for name, job in workflow["jobs"].items():
            if "permissions" in job:
                more[path.name, name] = job["permissions"]
            assert "timeout-minutes" in job or "uses" in job, f"{path.name}: {name} may hang for hours"
        assert not re.search(r"\{\{\s*secrets\.|secrets: inherit", path.read_text()), path.name
    assert more == {("release.yml", "publish"): {"id-token": "write"}}


def test_workflows_run_targets_that_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    wanted = {target for path in WORKFLOWS for target in re.findall(r"\bmake ([a-z-]+)", path.read_text())}
    assert {"lint", "test", "sdist"} <= wanted
    assert wanted - targets == set()


def test_unknown_target_is_refused_in_one_line():
    done = subprocess.run([sys.executable, TOOLS / "one.py", "solaris"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert re.fullmatch(r"wheels: give one of the targets .*manylinux-x86_64.*\n", done.stderr)


def test_half_made_folder_is_not_taken_for_whole(tmp_path):
    code = f"""
import sys
sys.path.insert(0, {str(TOOLS)!r})
from pathlib import Path
from places import whole
folder = Path({str(tmp_path)!r}, "chroot")
def fail(part):
    (part / "half").touch()
    raise OSError
try:
    whole(folder, fail)
except OSError:
    assert not folder.exists()
whole(folder, lambda part: (part / "all").touch())
assert [path.name for path in folder.iterdir()] == ["all"]
"""
    run(sys.executable, "-c", code)


LINUX = ["asysvrg.libs/libgomp-870cb1d0.so.1.0.0"]
WINDOWS = [f"asysvrg.libs/{name}" for name in ("libgomp-1.dll", "libgcc_s_seh-1.dll", "libwinpthread-1.dll")]
MACOS = ["asysvrg/.dylibs/libomp.dylib"]


@pytest.mark.parametrize(
    ("libraries", "without", "lacks"),
    [
        (LINUX, "", []),
        (WINDOWS, "", []),
        (MACOS, "", []),
        (LINUX, "openmp.txt", ["openmp.txt"]),
        (LINUX, "GCC-exception-3.1.txt", ["GCC-exception-3.1.txt"]),
        (WINDOWS, "winpthreads.txt", ["winpthreads.txt"]),
        (MACOS, "LLVM-exception.txt", ["LLVM-exception.txt"]),
        (["asysvrg.libs/libother.so.3"], "", ["an entry of asysvrg.libs/libother.so.3 in licenses/openmp.txt"]),
    ],
)
def test_a_wheel_has_the_licenses_of_what_is_in_it(libraries, without, lacks):
    folder = "asysvrg-0.1.0.dist-info/licenses"
    names = [f"{folder}/licenses/{path.name}" for path in (ROOT / "licenses").iterdir() if path.name != without]
    names += [f"{folder}/LICENSE", *libraries]
    code = f"""
import sys
sys.path.insert(0, {str(TOOLS)!r})
import licensing
print(licensing.missing({names!r}, licensing.LIST.read_text()))
"""
    assert run(sys.executable, "-c", code) == f"{lacks}\n"
