"""README, docs/ and docstrings: each block of Python runs, and prints what the page says; each command is known."""

import contextlib
import doctest
import importlib
import io
import re
import shlex
import subprocess
import sys
import tomllib
import warnings
from pathlib import Path

import pytest
from helpers.mpi_jobs import available, environment, mpiexec
from sklearn.exceptions import ConvergenceWarning

import asysvrg
from asysvrg import options

ROOT = Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("bench/*.md")]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$(?:\n+^```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
DATA = """
import asysvrg
from asysvrg import AsySVRGClassifier, AsySVRGRegressor, simulate
from sklearn.datasets import load_digits
X, y = load_digits(return_X_y=True)
X, y, X_test, y_test = X[:400], y[:400], X[400:500], y[400:500]
"""
# What a reader has when he comes to a block: the page, words of the block, and code that makes it.
BEFORE = [
    ("docs/guide.md", "AsySVRGRegressor", "y = X @ X[0]"),
    ("docs/guide.md", 'model.save("model.npz")', "model = AsySVRGRegressor(max_iter=1).fit(X, y)"),
    ("docs/model-file.md", 'np.load("model.npz")', 'AsySVRGClassifier(max_iter=1).fit(X, y).save("model.npz")'),
    ("docs/simulator.md", "record", 'model = AsySVRGClassifier((50,), solver="svrg", max_iter=2, random_state=0)'),
]
WRITTEN_OUT = {"AsySVRGClassifier(...)": 'AsySVRGClassifier((50,), solver="svrg", max_iter=2, random_state=0)'}
ON_RANKS = "backend=MPI("  # such a block is for several processes
OTHER_PROGRAMS = ("apt-get", "benchopt", "gdb", "gcovr")  # of others, which the tests do not install


def ids(page):
    return str(page.relative_to(ROOT))


def blocks(page, language):
    """The blocks of a page in a language, each with the output that follows it, or None."""
    found = BLOCK.findall(page.read_text())
    return [(code, output or None) for name, code, output in found if name == language]


# tests/test_ecosystem.py runs the blocks of its page.
PYTHON = [page for page in PAGES if blocks(page, "python") and page.name != "ecosystem.md"]


def prints_as(printed, expected):
    """Whether texts are the same, but for numbers, which may differ by 0.02 or a fiftieth."""
    if NUMBER.sub("#", printed).split() != NUMBER.sub("#", expected).split():
        return False
    pairs = zip(NUMBER.findall(printed), NUMBER.findall(expected), strict=True)
    return all(float(a) == pytest.approx(float(b), rel=0.02, abs=0.0201) for a, b in pairs)


@pytest.mark.parametrize("page", PYTHON, ids=ids)
def test_python_of_a_page_runs(page, tmp_path, monkeypatch):
    """The blocks of a page share their names, and see those of `DATA`."""
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(DATA, names)
    for code, expected in blocks(page, "python"):
        if ON_RANKS in code:
            continue
        for name, words, before in BEFORE:
            if name == ids(page) and words in code:
                exec(before, names)
        for short, full in WRITTEN_OUT.items():
            code = code.replace(short, full)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            exec(compile(code, ids(page), "exec"), names)
        assert expected is None or prints_as(printed.getvalue(), expected), printed.getvalue()


def test_python_for_ranks_runs(tmp_path):
    launcher = available()
    if isinstance(launcher, str):
        pytest.skip(launcher)
    codes = [code for page in PYTHON for code, _ in blocks(page, "python") if ON_RANKS in code]
    assert codes
    (tmp_path / "script.py").write_text(DATA + "\n".join(codes) + "\nprint(model.n_features_in_)")
    command = [*mpiexec(launcher, "3"), sys.executable, "-m", "mpi4py", "script.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=120)
    assert done.stdout.replace("\n", "") == "64" * 3, done.stderr  # lines of ranks may mix


MODULES = sorted(
    path for path in Path(asysvrg.__file__).parent.rglob("*.py") if ">>> " in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("path", MODULES, ids=ids)
def test_examples_of_docstrings_run(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    result = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert result.attempted
    assert result.failed == 0


def commands(page):
    """The commands of a page: lines of its blocks of shell, and indented lines that begin with a program's name."""
    text = re.sub(r"\\\n\s*", "", page.read_text())
    shell = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    lines = "\n".join(shell).splitlines()
    lines += [line.strip() for line in re.findall(r"^    (?:asysvrg|python) .*$", text, re.MULTILINE)]
    return [line for line in lines if shlex.split(line, comments=True)]


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=ids)
def test_commands_of_a_page_are_known(page):
    for line in commands(page):
        _check(line)


def _check(line):
    words = [word for word in shlex.split(line, comments=True) if word != "..."]
    while re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words = words[1:]
    program = words[0].removeprefix(".venv/bin/")
    if program == "make":
        targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
        assert {word for word in words[1:] if "=" not in word} <= targets
    elif program == "pip" or words[1:3] == ["-m", "pip"]:
        assert "install" in words
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        assert set(re.findall(r"\[(\w+)\]", line)) <= set(extras)
    elif program == "python" and words[1] == "-m":
        assert words[2] in ("pytest", "coverage")
    elif program == "python":
        assert (ROOT / words[1]).exists()
    elif "asysvrg" in (program, *words):
        _check_asysvrg(words[words.index("asysvrg") + 1 :] if program != "asysvrg" else words[1:])
    else:
        assert program in OTHER_PROGRAMS, program


def _check_asysvrg(words):
    """Parses a command as `asysvrg` does."""
    if words == ["--version"]:
        return
    parser = options.parser()
    args = parser.parse_args(words)
    if args.command == "launch":
        train = next(action.choices for action in parser._actions if action.dest == "command")["train"]
        train.parse_args(args.arguments[1:])
