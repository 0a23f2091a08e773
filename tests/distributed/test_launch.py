"""`asysvrg launch`: real ranks that work, die, hang and are interrupted, under the MPI of this environment."""

import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest
from helpers import mpi_jobs
from helpers.mpi_jobs import Running, launched, read, run, wait_for

from asysvrg import cli, load
from asysvrg.distributed import launch

pytestmark = pytest.mark.timeout(120)

# A server that receives from each worker until time is over, and does as the distributed server does at its end.
PROGRAM = """
import json, os, signal, sys, time
from pathlib import Path

seconds, code, deaf = float(sys.argv[1]), int(sys.argv[2]), "deaf" in sys.argv
rank = int(os.environ.get("PMI_RANK", os.environ.get("OMPI_COMM_WORLD_RANK")))
if rank == 1 and "ends" in sys.argv:
    sys.exit(1)
if rank == 1 and "stops" in sys.argv:
    os.kill(os.getpid(), signal.SIGSTOP)
from mpi4py import MPI
import numpy as np

world = MPI.COMM_WORLD.Dup()
Path(f"up.{rank}").touch()
start, came = time.monotonic(), []
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, _: came.append(number))

def leave(status):
    sys.stdout.flush()
    os._exit(status)

if world.rank == 0:
    result = Path(os.environ["ASYSVRG_RESULT"])
    (result.parent / "running").touch()
    buffers = [np.zeros(1) for _ in range(world.size)]
    requests = {k: world.Irecv(buffers[k], k) for k in range(1, world.size)}
    dead, counts = [], [0] * world.size
    while time.monotonic() < start + seconds and (deaf or not came):
        for k in list(requests):
            try:
                if requests[k].Test():
                    counts[k] += 1
                    requests[k] = world.Irecv(buffers[k], k)
            except MPI.Exception:
                dead.append(requests.pop(k))
        time.sleep(0.002)
    code = 128 + came[0] if came else code
    Path("counts.json").write_text(json.dumps({"counts": counts, "signals": came}))
    print("the server is done")
    temporary = result.with_suffix(".tmp")
    temporary.write_text(json.dumps({"exit_code": code, "message": ""}))
    temporary.replace(result)
    leave(0)
while time.monotonic() < start + seconds:
    try:
        request = world.Issend(np.ones(1), 0)
        end = time.monotonic() + 1
        while not request.Test():
            if time.monotonic() > end:
                leave(3)
            time.sleep(0.002)
    except MPI.Exception:
        leave(3)
    time.sleep(0.01)
    if came:
        Path(f"signalled.{rank}").touch()
leave(0)
"""


@pytest.fixture
def program(tmp_path, mpi):
    (tmp_path / "program.py").write_text(PROGRAM)
    return tmp_path / "program.py"


def all_ranks(running, folder, count):
    """The ranks' processes, some moments after they have met."""
    wait_for(lambda: len(list(folder.glob("up.*"))) == count)
    time.sleep(0.3)
    return running.ranks()


@pytest.mark.parametrize("code", [pytest.param(0, marks=pytest.mark.full), 7])
def test_exit_code_is_the_results(program, tmp_path, code):
    done = run(launched(program, 3, 0.5, code), tmp_path)
    assert done.code == code, done
    assert done.out == "the server is done\n"
    assert not done.err.strip()
    assert not done.left


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGKILL", "SIGSTOP", pytest.param("SIGSEGV", marks=pytest.mark.full)])
def test_survives_lost_workers(program, tmp_path, name):
    with Running(launched(program, 4, 2, 0), tmp_path) as running:
        ranks = all_ranks(running, tmp_path, 5)
        for rank in (2, 4):
            os.kill(ranks[rank], signal.Signals[name])
        done = running.wait(30)
    assert done.code == 0, done
    assert not done.left
    counts = read(tmp_path / "counts.json")["counts"]
    assert min(counts[1], counts[3]) > max(counts[2], counts[4]) > 0


def test_server_killed(program, tmp_path):
    with Running(launched(program, 2, 30, 0), tmp_path) as running:
        os.kill(all_ranks(running, tmp_path, 3)[0], signal.SIGKILL)
        killed = time.monotonic() - running.started
        done = running.wait(30)
    assert done.code == 3, done
    assert done.err == "the server ended (by SIGKILL)\n"
    assert done.seconds - killed < 15
    assert not done.left


@pytest.mark.slow
def test_server_hangs(program, tmp_path):
    with Running(launched(program, 2, 60, 0), tmp_path) as running:
        os.kill(all_ranks(running, tmp_path, 3)[0], signal.SIGSTOP)
        done = running.wait(40)
    assert done.code == 3, done
    assert "the server hangs" in done.err
    assert not done.left


@pytest.mark.slow
@pytest.mark.parametrize(("how", "said"), [("ends", "ended (exit code 1)"), ("stops", "hangs")])
def test_rank_lost_before_the_others_have_met_it(program, tmp_path, how, said):
    done = run(launched(program, 2, 30, 0, how), tmp_path, 30)
    assert done.code == 1, done
    assert done.err.splitlines()[-1] == f"rank 1, before all ranks had started, {said}"
    assert not done.left


@pytest.mark.parametrize("name", ["SIGINT", pytest.param("SIGTERM", marks=pytest.mark.full)])
def test_signal_goes_to_the_server_alone(program, tmp_path, name):
    number = signal.Signals[name]
    with Running(launched(program, 2, 30, 0), tmp_path) as running:
        all_ranks(running, tmp_path, 3)
        os.kill(running.process.pid, number)
        done = running.wait(20)
    assert done.code == 128 + number, done
    assert read(tmp_path / "counts.json")["signals"] == [number]
    assert not list(tmp_path.glob("signalled.*"))
    assert not done.left


def test_second_signal_ends_all(program, tmp_path):
    with Running(launched(program, 2, 30, 0, "deaf"), tmp_path) as running:
        all_ranks(running, tmp_path, 3)
        os.kill(running.process.pid, signal.SIGINT)
        time.sleep(2)
        os.kill(running.process.pid, signal.SIGINT)
        done = running.wait(10)
    assert done.code == 128 + signal.SIGINT, done
    assert not done.left


@pytest.mark.parametrize("victim", ["launcher", "mpiexec"])
def test_nothing_outlives_the_launcher(program, tmp_path, victim):
    with Running(launched(program, 2, 30, 0), tmp_path) as running:
        all_ranks(running, tmp_path, 3)
        children = Path(f"/proc/{running.process.pid}/task/{running.process.pid}/children").read_text()
        [mpiexec] = map(int, children.split())
        os.kill(running.process.pid if victim == "launcher" else mpiexec, signal.SIGKILL)
        done = running.wait(10)
    assert done.code == (-signal.SIGKILL if victim == "launcher" else 3), done
    assert not done.left


def test_launch_inside_a_rank(program, tmp_path, mpi):
    root = ["--allow-run-as-root"] if mpi.kind == "Open MPI" else []
    done = run([mpi.path, *root, "-n", "1", *launched(program, 2, 0.5, 0)], tmp_path)
    assert done.code == 0, done
    assert read(tmp_path / "counts.json")["counts"][2] > 0


# ---- The real thing. ----


@pytest.mark.slow
def test_readme_example(tmp_path, mpi):
    """As written; with this environment's commands."""
    [example] = re.findall(r"^asysvrg launch .*$", (mpi_jobs.ROOT / "README.md").read_text(), re.MULTILINE)
    script = f'set -e\nasysvrg() {{ {sys.executable} -m asysvrg "$@"; }}\n{example}'
    done = run(["bash", "-c", script], tmp_path, 90)
    assert done.code == 0, done
    assert "4 worker(s)" in done.out
    assert not done.left
    # 22 runs, quiet and beside busy programs, ended at 0.060 to 0.102. The start is at 2.4.
    assert load(tmp_path / "digits.npz").loss_ < 0.15


def test_several_networks_train_one_after_the_other(tmp_path, mpi):
    train = ["train", "digits", "--n-models", "2", "--max-iter", "2", "--quiet", "--save", "m.npz"]
    done = run([sys.executable, "-m", "asysvrg", "launch", "-n", 2, *train], tmp_path, 60)
    assert done.code == 0, done
    assert [len(member.history_["epochs"]) for member in load(tmp_path / "m.npz").estimators_] == [3, 3]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "servers"), [pytest.param("SIGINT", 1, marks=pytest.mark.full), ("SIGTERM", 2)])
def test_interrupted_training_keeps_the_best_model(tmp_path, mpi, name, servers):
    number = signal.Signals[name]
    argv = [sys.executable, "-m", "asysvrg", "launch", "-n", 2, "train", "digits", "--max-iter", 100_000, "--tol", 0]
    argv += ["--servers", servers]
    with Running([*argv, "--save", "model.npz", "--checkpoint-dir", "run"], tmp_path) as running:
        wait_for((tmp_path / "run" / "checkpoint.npz").exists)
        os.kill(running.process.pid, number)
        sent = time.monotonic() - running.started
        done = running.wait(30)
    assert done.code == 128 + number, done
    assert done.seconds - sent < 20
    assert "did not stop within" not in done.err
    assert not done.left
    assert load(tmp_path / "model.npz").stopped_ == "interrupted"
    assert {1: ", 2 worker(s)", 2: "2 servers, 2 worker(s)"}[servers] in done.out


@pytest.mark.slow
def test_bad_input_is_said_once(tmp_path, mpi):
    done = run([sys.executable, "-m", "asysvrg", "launch", "-n", 2, "train", "nowhere.csv"], tmp_path, 60)
    assert done.code == 2, done
    assert len(done.err.splitlines()) == 1, done
    assert "nowhere.csv" in done.err
    assert not done.left


# ---- What is wrong before anything starts. ----


def fails(capsys, *arguments):
    """The one line with which a command ends."""
    try:
        code = cli.main([str(argument) for argument in arguments])
    except SystemExit as error:
        code = error.code
    shown = capsys.readouterr()
    assert code == 2
    assert len(shown.err.splitlines()) == 1, shown.err
    return shown.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-n", "0", "train"], "launch: error: -n 0: at least one worker"),
        (["-n", "2"], "'train ...', not 'nothing'"),
        (["-n", "2", "predict", "digits"], "not 'predict digits'"),
        (["-n", "2", "train", "digits", "--max-iter", "many"], "train: error: argument --max-iter"),
        (["-n", "2", "train", "--servers", "-1"], "--servers -1: at least one"),
        (["train"], "required: -n"),
    ],
)
def test_bad_arguments(capsys, arguments, message):
    assert message in fails(capsys, "launch", *arguments)


@pytest.mark.usefixtures("mpi")
class TestFind:
    def mpiexec(self, folder, says):
        (folder / "bin").mkdir(exist_ok=True)
        path = folder / "bin" / "mpiexec"
        path.write_text(f"#!/bin/sh\necho '{says}'\n")
        path.chmod(0o755)
        return path

    def test_none(self, capsys, monkeypatch, tmp_path):
        monkeypatch.setattr(sys, "prefix", str(tmp_path))
        message = fails(capsys, "launch", "-n", 2, "train")
        assert f"there is no mpiexec in {tmp_path}/bin" in message
        assert 'pip install "asysvrg[mpi]"' in message

    def test_not_first_on_the_path(self, monkeypatch, tmp_path):
        other = self.mpiexec(tmp_path, "mpiexec (Open MPI) 4.1.4")
        monkeypatch.setenv("PATH", f"{other.parent}:{os.environ['PATH']}")
        assert str(launch.find().path) == f"{sys.prefix}/bin/mpiexec"

    @pytest.mark.parametrize(
        ("says", "message"),
        [
            ("mpiexec (Open MPI) 4.1.4", "Open MPI 4.1.4; version 5"),
            ("HAL 9000", "neither.*: HAL 9000"),
            ("", "nothing"),
        ],
    )
    def test_of_no_use(self, capsys, tmp_path, says, message):
        assert re.search(message, fails(capsys, "launch", "-n", 2, "--mpiexec", self.mpiexec(tmp_path, says), "train"))

    def test_no_file(self, capsys, tmp_path):
        assert "No such file" in fails(capsys, "launch", "-n", 2, "--mpiexec", tmp_path / "none", "train")

    def test_both_wheels(self, capsys, monkeypatch):
        monkeypatch.setattr(launch.mpi, "_installed", lambda package: True)
        assert "pip uninstall both" in fails(capsys, "launch", "-n", 2, "train")

    def test_no_mpi4py(self, capsys, monkeypatch):
        monkeypatch.setitem(sys.modules, "mpi4py", None)
        monkeypatch.setattr(mpi_jobs.launch.importlib.util, "find_spec", lambda name: None)
        assert 'pip install "asysvrg[mpi]"' in fails(capsys, "launch", "-n", 2, "train")
