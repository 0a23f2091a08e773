"""`asysvrg speedup`, Eq. (22): what is measured, what is said of it, and what is refused."""

import json

import numpy as np
import pytest

from asysvrg import MPI, AsySVRGClassifier, cli
from asysvrg.core import system
from asysvrg.distributed import launch
from asysvrg.report import speedup

QUICK = ["--hidden-layer-sizes", "8", "--max-iter", "2", "--inner-steps", "30", "--batch-size", "5"]


def run(*arguments):
    try:
        return cli.main(["speedup", "digits", *QUICK, *map(str, arguments)])
    except SystemExit as stop:  # argparse's way
        return stop.code


def test_threads(tmp_path, capsys):
    output, plot = tmp_path / "s.json", tmp_path / "s.png"
    pytest.importorskip("matplotlib")
    assert run("--threads", "2", "--solver", "svrg", "--repeats", 2, "--output", output, "--plot", plot) == 0
    out, err = capsys.readouterr()
    found = json.loads(output.read_text())
    assert (found["by"], found["simulated"], found["updates"]) == ("threads", False, 60)
    assert found["sample_gradients"] >= 60 * 5
    assert [row["count"] for row in found["runs"]] == [1, 2]
    serial = np.median(found["runs"][0]["all_seconds"])
    for row in found["runs"]:
        assert len(row["all_seconds"]) == 2
        assert row["seconds"] == pytest.approx(np.median(row["all_seconds"]))
        assert row["speedup"] == pytest.approx(serial / row["seconds"])  # Eq. (22)
    assert found["config"]["execution"] == "shared"
    place = found["topology"]
    assert len(place["load_average"]) == 3
    assert set(place["places"]) == set(map(str, place["affinity"]))
    assert found["environment"]["processor"]
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert f"knee: {found['knee']} thread(s)" in out
    turns = [line.split(":")[0].split(", ") for line in err.splitlines() if line.startswith("repeat")]
    assert turns == [[f"repeat {r}/2", f"{k} thread(s)"] for r, k in ((1, 1), (1, 2), (2, 2), (2, 1))]


def test_updates_are_those_that_were_made():
    """L-SVRG ends an epoch by chance, but with every number of threads at the same update."""
    X, y = np.random.default_rng(0).normal(size=(60, 4)), np.arange(60) % 2
    how = {"solver": "lsvrg", "sgd_epochs": 0, "max_iter": 4, "inner_steps": 20, "execution": "shared"}
    model = AsySVRGClassifier((3,), random_state=0, **how)
    made = speedup.study(model, X, y, [1, 2], repeats=1)["updates"]
    assert 0 < made != 4 * 20
    alone = model.set_params(tol=0, early_stopping=False, n_jobs=1).fit(X, y)
    assert made == sum(alone.history_["delay_histogram"])


def test_runs_of_different_lengths_are_not_compared(monkeypatch):
    X, y = np.random.default_rng(0).normal(size=(60, 4)), np.arange(60) % 2
    fit = AsySVRGClassifier.fit

    def longer(self, X, y):
        return fit(self.set_params(inner_steps=self.inner_steps + self.n_jobs), X, y)

    monkeypatch.setattr(AsySVRGClassifier, "fit", longer)
    with pytest.raises(ValueError, match="cannot be compared"):
        speedup.study(AsySVRGClassifier((3,), max_iter=1, inner_steps=20, execution="shared"), X, y, [1, 2], repeats=1)


def test_other_programs_are_seen(monkeypatch, tmp_path):
    """Of /proc/stat, all but idle and iowait, less what this process used."""
    path = tmp_path / "stat"
    monkeypatch.setattr(system, "STAT", path)
    monkeypatch.setattr(speedup.os, "times", lambda: (0.25, 0.25, 0.0, 0.0, 0.0))
    monkeypatch.setattr(speedup.os, "sysconf", lambda name: 100)
    path.write_text("cpu 100 20 30 900 7 5 0 5 0 0\n")
    assert speedup._others()[0] == pytest.approx(1.6 - 0.5)
    path.unlink()
    assert speedup._others() is None


def test_pinning_is_recorded(monkeypatch):
    monkeypatch.setenv("OMP_PROC_BIND", "close")
    monkeypatch.delenv("OMP_PLACES", raising=False)
    assert speedup.topology()["pinning"]["OMP_PROC_BIND"] == "close"
    assert "OMP_PLACES" not in speedup.topology()["pinning"]


def test_without_an_mpiexec_workers_are_simulated(tmp_path, capsys, monkeypatch):
    def none(path=None):
        raise ValueError("there is no mpiexec")

    monkeypatch.setattr(launch, "find", none)
    assert run("--workers", "1,4", "--learning-rate-init", 0.02, "--quiet", "--output", tmp_path / "s.json") == 0
    out, err = capsys.readouterr()
    found = json.loads((tmp_path / "s.json").read_text())
    assert (found["by"], found["simulated"], found["repeats"]) == ("workers", True, 1)
    assert found["runs"][1]["speedup"] > 1.5
    assert "simulated workers" in out
    assert err == ""
    assert run("--workers", "2", "--servers", "2") == 2
    assert "several servers are not simulated, and there is no mpiexec" in capsys.readouterr().err


@pytest.mark.usefixtures("mpi")
def test_workers_are_mpi_ranks():
    X, y = np.random.default_rng(0).normal(size=(60, 4)), np.arange(60) % 2
    model = AsySVRGClassifier((3,), solver="svrg", max_iter=2, inner_steps=20, random_state=0, backend=MPI())
    found = speedup.study(model, X, y, [2], repeats=1)
    assert (found["by"], found["simulated"], found["updates"]) == ("workers", False, 40)
    assert [row["count"] for row in found["runs"]] == [1, 2]
    assert found["config"]["workers"] == 2
    assert not hasattr(model, "coefs_")


@pytest.mark.parametrize(
    ("seconds", "knee"),
    [
        ({1: 8.0, 2: 4.0, 4: 2.0}, 4),
        ({1: 8.0, 2: 4.0, 4: 3.9}, 2),
        ({1: 8.0, 2: 9.0, 4: 10.0}, 1),
        ({1: 8.0, 2: 4.0, 4: 6.0, 8: 4.5}, 2),  # faster than the one before, but not than two
        ({1: 8.0, 2: 4.0, 4: 3.9, 8: 2.0}, 8),
        ({1: 10.0, 2: 9.5, 4: 9.0}, 1),  # a tenth faster than one, but not than two
        ({1: 1.1, 2: 1.0}, 2),
    ],
)
def test_knee(seconds, knee):
    assert speedup.knee(seconds) == knee


@pytest.mark.usefixtures("mpi")
def test_what_the_ranks_refuse_is_said_in_their_words(capsys):
    assert run("--workers", "1", "--solver", "page", "--quiet") == 2
    assert "solver='page'" in capsys.readouterr().err


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--threads", "1,x"], "'1,x' is no list of whole numbers from 1 on"),
        (["--threads", ""], "is no list of whole numbers"),
        (["--threads", "0,1"], "is no list of whole numbers"),
        (["--threads=-1"], "is no list of whole numbers"),
        (["--workers", "1,,2"], "is no list of whole numbers"),
        (["--threads", "1,2,2"], "has 2 more than once"),
        (["--threads", "1,99999999999"], "are the most"),
        (["--workers", "1,99999999999"], "are the most"),
        (["--threads", "1", "--workers", "1"], "not allowed with"),
        (["--threads", "1", "--repeats", "0"], "--repeats 0"),
        (["--threads", "1,200", "--execution", "lockstep"], "--threads 200 in lockstep: of "),
        (["--workers", "1", "--execution", "lockstep"], "--execution lockstep is for threads"),
        (["--workers", "1", "--coordinates", "5"], "backend='mpi' updates all coordinates"),
        (["--threads", "1", "--servers", "2"], "--servers 2"),
        (["--threads", "1", "--alpha", "-1"], "alpha"),
        (["--threads", "1", "--n-jobs", "2"], "--n-jobs"),
        (["--threads", "1", "--output", "no/such.json"], "no folder no"),
        (["--threads", "1", "--plot", "figure.txt"], "ends in none of"),
    ],
    ids=str,
)
def test_bad_input_is_one_line(arguments, words, capsys):
    assert run(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err
    assert len(err.splitlines()) == 1


def test_ranks_of_mpiexec_are_refused(monkeypatch, capsys):
    monkeypatch.setenv("PMI_SIZE", "3")
    assert run("--workers", "1") == 2
    assert "leave mpiexec out" in capsys.readouterr().err


def test_more_threads_than_cores_are_named(monkeypatch, capsys):
    monkeypatch.setattr(speedup.joblib, "cpu_count", lambda: 1)
    assert run("--threads", "1,2", "--repeats", 1, "--quiet") == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.lstrip()[:1] in "12"]
    assert [line.endswith("more than cores") for line in rows[-2:]] == [False, True]


def test_fewer_threads_than_asked_for_are_an_error(monkeypatch, capsys):
    monkeypatch.setattr("asysvrg.training.cpu.team", lambda threads: 1)
    assert run("--threads", "1,2", "--repeats", 1, "--quiet") == 2
    assert "2 threads were asked for, and 1 ran: of 2, OMP_THREAD_LIMIT" in capsys.readouterr().err
