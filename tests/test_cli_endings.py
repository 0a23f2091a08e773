"""How commands end that are interrupted while they start, whose output nobody takes, or whose input is bad."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.files import named

import asysvrg
from asysvrg import cli

ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(asysvrg.__file__).parents[1])}
ENVIRONMENT.pop("PYTHONUNBUFFERED", None)
# Ctrl-C comes at the moment when a module is imported.
INTERRUPTED = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
class Finder:
    def find_spec(self, name, *_):
        if name == sys.argv[1]:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
from asysvrg.__main__ import main
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize(
    ("module", "arguments", "said"),
    [
        ("sklearn", ["train"], "asysvrg: interrupted\n"),
        ("asysvrg.core.network", ["train", "--help"], "asysvrg: interrupted\n"),
        ("asysvrg.cli", ["train"], "asysvrg train: interrupted\n"),
        ("sklearn", ["predict", "digits", "--model", "m.npz"], "asysvrg predict: interrupted\n"),
    ],
)
def test_ctrl_c_while_modules_are_imported(module, arguments, said):
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, module, *arguments],
        env=ENVIRONMENT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (130, "", said)


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["predict", "--help"], ["info"]], ids=" ".join)
def test_a_reader_that_has_gone_away_is_no_error(arguments):
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "asysvrg", *arguments]
    done = subprocess.run(
        command, env=ENVIRONMENT, stdout=write, stderr=subprocess.PIPE, text=True, timeout=120, check=False
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
@pytest.mark.parametrize("arguments", [["--version"], ["info"]], ids=" ".join)
def test_a_full_disk_is_an_error_of_one_line(arguments):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "asysvrg", *arguments],
            env=ENVIRONMENT, stdout=full, stderr=subprocess.PIPE, text=True, timeout=120, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "error: standard output takes no more" in done.stderr


def table(name, targets):
    """A CSV file of a feature and the targets."""

    def write(folder):
        (folder / name).write_text("x,y\n" + "".join(f"{i},{target}\n" for i, target in enumerate(targets)))
        return name

    return write


def bytes_of(folder):
    """A file that is text in no usual encoding."""
    (folder / "bytes.csv").write_bytes(b"x,y\n1,\x8f\x9d\n")
    return "bytes.csv"


def existing(folder):
    """A file that no command may write to."""
    (folder / "run.jsonl").touch()
    return "run.jsonl"


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["theory", "--trace", "missing"], "missing: No such file or directory"),
        (["theory", "--trace", "."], ".: Is a directory"),
        (["predict", "digits", "--model", "missing"], "missing: No such file or directory"),
        (["train", "--schedule", "missing"], "missing: No such file or directory"),
        (["train", "--simulate-workers", "2", "--costs", "missing"], "missing: No such file or directory"),
        (["train", "--compute", "2"], "--compute 2 is for virtual workers: --simulate-workers K"),
        (["train", "--policy", "drop"], "--policy drop is for virtual workers: --simulate-workers K"),
        (["train", "--schedule", existing, "--record", "run.jsonl"], "--record run.jsonl is an input"),
        (["train", "--save", ""], "--save is empty: a file is expected"),
        (["predict", "digits", "--model", "missing", "--output", ""], "--output is empty: a file is expected"),
        (["train", "--n-models", "2", "--record", "r.jsonl"], "record() is for one network; got n_models=2"),
        (["train", "--simulate-workers", "1000000000000"], "memory"),
        (["train", bytes_of], "bytes.csv is not text in UTF-8 or cp1252"),
        (["train", table("one.csv", [1] * 40)], "one class only"),
        (["train", table("prices.csv", [*np.arange(100) + 0.5, *["inf"] * 9])], "('inf' is no number)"),
        (["launch", "-n", "1", "--hosts", "", "train"], "--hosts '': names of machines"),
        (["launch", "-n", "1", "--hosts", "a,,b", "train"], "--hosts 'a,,b': names of machines"),
        (["launch", "-n", "1", "--mpiexec-args", "'", "train"], "--mpiexec-args ': No closing quotation"),
    ],
    ids=named,
)
def test_bad_input_of_each_command(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = [a(tmp_path) if callable(a) else a for a in arguments]
    there = os.listdir()
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert err.startswith(f"asysvrg {arguments[0]}: error: ")
    assert words in err
    assert (out, len(err.splitlines())) == ("", 1)
    assert os.listdir() == there
