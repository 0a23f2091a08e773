"""The simulator on the command line, what `calibrate` measures, and a run by ranks that is replayed."""

import json
import sys
from itertools import cycle
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import mpi_jobs
from sklearn.datasets import load_digits

from asysvrg import AsySVRGClassifier, simulate
from asysvrg.cli import main
from asysvrg.simulation import calibrate as calibration
from asysvrg.simulation.calibrate import calibrate
from asysvrg.simulation.events import load

RNG = np.random.default_rng(0)
X = RNG.normal(size=(600, 20))
Y = (X @ RNG.normal(size=(20, 3))).argmax(axis=1)

needs_mpi = pytest.mark.skipif(isinstance(mpi_jobs.available(), str), reason=str(mpi_jobs.available()))


@pytest.fixture(autouse=True)
def _one_attempt(monkeypatch):
    """Costs are measured in a hurry."""
    monkeypatch.setattr(calibration, "ENOUGH", 1.0)
    monkeypatch.setattr(calibration, "LAUNCHES", 1)


def train(*arguments):
    return main(["train", "digits", "--max-iter", "2", "--quiet", *map(str, arguments)])


def test_train_by_virtual_workers_and_again(tmp_path, capsys):
    first, again, schedule = tmp_path / "first.json", tmp_path / "again.json", tmp_path / "schedule.jsonl"
    how = ("--compute", "lognormal:0.01", "--server", "0.002", "--policy", "adaptive", "--record", schedule)
    assert train("--simulate-workers", 5, "--architecture", "distributed", *how, "--trace", first) == 0
    assert "5 virtual worker(s)" in capsys.readouterr().out
    assert train("--schedule", schedule, "--trace", again) == 0
    one, other = (json.loads(path.read_text()) for path in (first, again))
    assert one["delay_histogram"] == other["delay_histogram"]
    assert [row["loss"] for row in one["epochs"]] == [row["loss"] for row in other["epochs"]]
    assert one["config"]["simulation"]["workers"] == 5


def test_an_interrupted_run_is_recorded_up_to_there(tmp_path):
    def press(row):
        if row["epoch"] == 2:
            raise KeyboardInterrupt

    X, y = load_digits(return_X_y=True)
    model = AsySVRGClassifier((8,), random_state=0)
    with pytest.warns(UserWarning, match="interrupted"), pytest.raises(KeyboardInterrupt):
        simulate(model, X, y, workers=3, compute=0.01, record=tmp_path / "run.jsonl", callback=press)
    assert len(load(tmp_path / "run.jsonl").epochs) == 2


def test_a_real_run_is_recorded(tmp_path):
    assert train("--record", tmp_path / "real.jsonl", "--execution", "shared", "--n-jobs", 2) == 0
    recorded = load(tmp_path / "real.jsonl")
    assert (recorded.about["source"], recorded.about["workers"], len(recorded.epochs)) == ("threads", 2, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--simulate-workers", 0), "workers is a whole number"),
        (("--simulate-workers", 2, "--compute", "never"), "compute is seconds"),
        (("--simulate-workers", 2, "--policy", "drop"), "max_delay"),
        (("--simulate-workers", 2, "--costs", "/none.json"), "none.json"),
        (("--schedule", "/none.jsonl"), "none.jsonl"),
        (("--simulate-workers", 2, "--record", "/none/at/all"), "there is no folder"),
    ],
)
def test_bad_input_is_one_line(capsys, arguments, message):
    assert train(*arguments) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_calibrate_gives_what_simulate_takes(tmp_path, capsys):
    path = tmp_path / "costs.json"
    assert main(["calibrate", "digits", "--no-ranks", "--output", str(path)]) == 0
    costs = json.loads(path.read_text())
    for each in costs.values():
        assert set(each) == {"compute", "message", "server", "sweep", "contention"}
        assert 1e-7 < each["compute"] < 0.1
        assert all(cost >= 0 for cost in each.values())
    fitted = simulate(AsySVRGClassifier(max_iter=1), X, Y, workers=2, costs=path)
    assert fitted.history_["epochs"][-1]["seconds"] < 10


@needs_mpi
@pytest.mark.parametrize("how", [{"execution": "shared"}, {"coordinates": "lines:64"}, {"update": "plain"}], ids=str)
def test_calibrate_takes_what_is_for_threads(how):
    """Ranks have nothing of it."""
    costs = calibrate(AsySVRGClassifier((5,), solver="sgd", batch_size=5, **how), X, Y, ranks=True)
    assert costs["shared"]["contention"] >= 0
    assert costs["distributed"]["message"] > 0


def test_calibrate_leaves_the_estimator_alone():
    estimator = AsySVRGClassifier((5,), solver="sgd", batch_size=5)
    before = estimator.get_params()
    calibrate(estimator, X, Y, ranks=False)
    assert estimator.get_params() == before
    assert not hasattr(estimator, "coefs_")


RANKS = """
import sys
import numpy as np
import asysvrg
from asysvrg import AsySVRGClassifier

X, y = np.load(sys.argv[1]).values()
HOW = {"max_iter": 3, "learning_rate_init": 0.02, "random_state": 0, "dtype": "float64"}
for solver in ("svrg", "sgd"):
    with asysvrg.record(f"{sys.argv[2]}/{solver}.jsonl"):
        model = AsySVRGClassifier((9,), solver=solver, backend="mpi", **HOW)
        model.fit(X, y)
    if asysvrg.distributed.mpi.launched()[0] == 0:
        asysvrg.store.files.write_json(f"{sys.argv[2]}/{solver}.json", model.history_)
"""


@needs_mpi
def test_a_run_by_four_ranks_is_replayed(tmp_path):
    many = np.tile(X, (9, 1)), np.tile(Y, 9)  # of so many samples, threads compute the loss of some
    np.savez(tmp_path / "data.npz", *many)
    (tmp_path / "program.py").write_text(RANKS)
    ranks = mpi_jobs.mpiexec(mpi_jobs.available(), 4)
    done = mpi_jobs.run([*ranks, sys.executable, "program.py", "data.npz", "."], tmp_path, timeout=120)
    assert done.code == 0, done
    for solver in ("svrg", "sgd"):
        real = json.loads((tmp_path / f"{solver}.json").read_text())
        for backend in ("mpi", "threads"):
            # A rate that is too large for the delays would make any rounding grow.
            how = {"max_iter": 3, "learning_rate_init": 0.02, "random_state": 0, "dtype": "float64"}
            one = AsySVRGClassifier((9,), solver=solver, backend=backend, **how)
            again = simulate(one, *many, schedule=tmp_path / f"{solver}.jsonl").history_
            assert again["delay_histogram"] == real["delay_histogram"]
            losses = [[row["loss"] for row in each["epochs"]] for each in (again, real)]
            np.testing.assert_allclose(*losses, rtol=1e-9)
        assert load(tmp_path / f"{solver}.jsonl").about["workers"] == 3


@pytest.mark.parametrize(
    ("short", "long", "expected"),
    [
        ([2.0], [6.0], (0.004, 0.0)),
        ([5.0, 2.0, 3.0], [4.0, 9.0, 5.0], (0.002, 1.0)),
        ([3.0, 2.0], [9.0, 4.0], (0.002, 1.0)),  # the first pair could be used, too
        ([5.0], [4.0], None),
    ],
)
def test_the_fastest_of_all_attempts_counts(monkeypatch, short, long, expected):
    times = {calibration.STEPS: cycle(short), 3 * calibration.STEPS: cycle(long)}

    def fit(*_, inner_steps, **__):
        return SimpleNamespace(history_={"epochs": [{"seconds": 1.0}, {"seconds": 1.0 + next(times[inner_steps])}]})

    monkeypatch.setattr(calibration, "_fit", fit)
    monkeypatch.setattr(calibration, "ENOUGH", 10)
    if expected is None:
        with pytest.raises(OSError, match="too busy"):
            calibration._iteration(AsySVRGClassifier(), X, Y, 1)
    else:
        assert calibration._iteration(AsySVRGClassifier(), X, Y, 1) == pytest.approx(expected)


def test_no_attempt_begins_late(monkeypatch):
    lengths = []
    monkeypatch.setattr(calibration, "ENOUGH", 0)

    def fit(*_, inner_steps, **__):
        lengths.append(inner_steps)
        return SimpleNamespace(history_={"epochs": [{"seconds": 0.0}, {"seconds": inner_steps / 100}]})

    monkeypatch.setattr(calibration, "_fit", fit)
    assert calibration._iteration(AsySVRGClassifier(), X, Y, 1) == pytest.approx((0.01, 0.0))
    assert lengths == [calibration.STEPS, 3 * calibration.STEPS]
