"""Runs that survive: kill -9, full disks, checkpoints of other runs, SIGTERM."""

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from helpers.problems import Problem, shared_execution
from sklearn.datasets import load_digits

import asysvrg
from asysvrg import AsySVRGClassifier, AsySVRGRegressor, cli, load
from asysvrg.core.loop import minimize
from asysvrg.core.schedule import Schedule
from asysvrg.core.trace import Trace
from asysvrg.store import archive, checkpoint
from asysvrg.store.files import replacing

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_digits(return_X_y=True)

X = X[:300] / 16

Y = Y[:300]


def model(folder=None, **options):
    options = {"max_iter": 6, "tol": 0, "n_jobs": 1, "random_state": 0} | options
    options = {"learning_rate_init": 0.05, "batch_size": 10, "alpha": 1e-4} | options
    return AsySVRGClassifier((10,), checkpoint_dir=folder, **options)


def parameters(fitted):
    return np.concatenate([part.ravel() for part in (*fitted.coefs_, *fitted.intercepts_)])


def without_time(history):
    return [{name: value for name, value in row.items() if name != "seconds"} for row in history["epochs"]]


def load_rows(folder):
    return archive.read(folder / "checkpoint.npz", checkpoint.FORMAT, checkpoint.VERSION, ())[0]["rows"]


def assert_same(a, b):
    np.testing.assert_array_equal(parameters(a), parameters(b))
    assert without_time(a.history_) == without_time(b.history_)
    assert a.history_["delay_histogram"] == b.history_["delay_histogram"]
    assert (a.n_iter_, a.loss_, a.stopped_) == (b.n_iter_, b.loss_, b.stopped_)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"solver": "sgd", "decay": 0.5},
        {"sgd_epochs": 2},
        {"coordinates": 40},
        {"dtype": "float64"},
        {"cache_size": 0},
        {"sampling": "importance"},
        {"deflation": 2},
        {"alpha_boost": 6.0},
        {"deflation": 2, "learning_rate_init": "auto", "solver": "svrg"},
        {"learning_rate_init": "auto", "decay": 0},
        {"early_stopping": True},
        {"early_stopping": True, "learning_rate_init": "auto", "decay": 0, "tol": 1e-4},
        {"learning_rate_init": 200.0},  # rolls back
        {"max_iter": 40, "tol": 0.05, "n_iter_no_change": 2},
    ],
    ids=str,
)
def test_resumed_equals_uninterrupted_bit_for_bit(tmp_path, options):
    whole = model(**options).fit(X, Y)
    folder = tmp_path / "new" / "folder"
    model(folder, **options | {"max_iter": 1}).fit(X, Y)
    model(folder, resume=True, **options | {"max_iter": 3}).fit(X, Y)
    assert os.listdir(folder) == ["checkpoint.npz"]
    resumed = model(folder, resume=True, **options).fit(X, Y)
    assert_same(resumed, whole)
    again = model(folder, resume=True, **options).fit(X, Y)  # nothing is left to do
    assert_same(again, whole)
    seconds = [row["seconds"] for row in resumed.history_["epochs"]]
    assert seconds == sorted(seconds)


def test_a_line_to_zero_goes_on(tmp_path):
    """Its end depends on max_iter, so that the run is stopped in another way."""
    options = {"learning_rate_init": "auto"}
    whole = model(**options).fit(X, Y)
    model(tmp_path, **options).fit(X, Y, callback=lambda row: row["epoch"] == 2)
    assert_same(model(tmp_path, resume=True, **options).fit(X, Y), whole)


def test_the_same_samples_are_held_out_without_an_int_as_seed(tmp_path):
    """Here and in a warm start: otherwise samples that were trained on would choose the parameters."""
    for random_state in (None, np.random.RandomState(5)):
        folder = tmp_path / type(random_state).__name__
        options = {"early_stopping": True, "random_state": None}
        model(folder, max_iter=2, **options).fit(X, Y)
        assert len(model(folder, resume=True, **options).fit(X, Y).history_["epochs"]) == 7


def test_another_smoothing_is_refused(tmp_path):
    model(tmp_path, max_iter=1).fit(X, Y)
    with pytest.raises(ValueError, match=r"label_smoothing was 0.0, is 0\.1"):
        model(tmp_path, resume=True, label_smoothing=0.1).fit(X, Y)


def test_another_use_of_the_validation_set_is_refused(tmp_path):
    held_out = {"X_val": X[:50], "y_val": Y[:50]}
    model(tmp_path, early_stopping=True, max_iter=1).fit(X, Y, **held_out)
    with pytest.raises(ValueError, match="early_stopping was True, is False"):
        model(tmp_path, resume=True, early_stopping=False).fit(X, Y)


def test_fewer_epochs_than_the_first_fall_of_the_rate_are_one_fall(tmp_path):
    options = {"learning_rate_init": "auto", "early_stopping": True, "tol": 0}
    model(tmp_path, **options, max_iter=40).fit(X, Y, callback=lambda row: row["epoch"] == 2)
    rows = model(tmp_path, **options, max_iter=8, resume=True).fit(X, Y).history_["epochs"]
    assert [row["epoch"] for row in rows] == list(range(9))
    rates = [row["learning_rate"] for row in rows[3:]]
    assert rates == pytest.approx([rates[0] * (8 - epoch) / 6 for epoch in range(2, 8)])


def test_another_validation_set_is_refused(tmp_path):
    options = {"early_stopping": True}
    model(tmp_path, **options).fit(X, Y, X_val=X[:50], y_val=Y[:50])
    with pytest.raises(ValueError, match=r"of another run \(X_val has other values\)"):
        model(tmp_path, resume=True, **options).fit(X, Y, X_val=X[:50] + 1, y_val=Y[:50])
    with pytest.raises(ValueError, match="n_samples was 300, is 27"):
        model(tmp_path, resume=True, **options).fit(X, Y)


@pytest.mark.parametrize("random_state", [None, np.random.RandomState(5)], ids=["none", "instance"])
def test_draws_go_on_without_an_int_as_seed(tmp_path, random_state):
    state = random_state.get_state() if random_state else None
    model(tmp_path, random_state=random_state, max_iter=2).fit(X, Y)
    if random_state:
        random_state.set_state(state)
    resumed = model(tmp_path, random_state=random_state, resume=True).fit(X, Y)
    assert len(resumed.history_["epochs"]) == 7


def test_several_threads_and_a_regressor_resume(tmp_path):
    options = {"tol": 0, "n_jobs": 2, "random_state": 0, "checkpoint_dir": tmp_path}
    short = AsySVRGRegressor((5,), max_iter=2, **options).fit(X, X[:, :2] @ np.eye(2))
    long = AsySVRGRegressor((5,), max_iter=4, resume=True, **options).fit(X, X[:, :2] @ np.eye(2))
    assert without_time(long.history_)[:3] == without_time(short.history_)
    assert long.n_iter_ == 4


def test_an_epoch_that_max_time_cut_short_is_done_again(tmp_path):
    big = {"inner_steps": 3_000_000, "max_iter": 1}
    cut = model(tmp_path, max_time=0.3, **big).fit(X, Y)
    assert cut.stopped_ == "max_time"
    assert sum(cut.history_["delay_histogram"]) < 3_000_000
    values, _ = archive.read(tmp_path / "checkpoint.npz", checkpoint.FORMAT, checkpoint.VERSION, ())
    assert (values["epoch"], len(values["rows"])) == (0, 1)


def test_after_an_interrupt_the_last_complete_epoch_is_there(tmp_path):
    def interrupt(row):
        if row["epoch"] == 4:
            raise KeyboardInterrupt

    interrupted = model(tmp_path)
    with pytest.warns(UserWarning, match="training interrupted"), pytest.raises(KeyboardInterrupt):
        interrupted.fit(X, Y, callback=interrupt)
    assert interrupted.stopped_ == "interrupted"
    assert_same(model(tmp_path, resume=True).fit(X, Y), model().fit(X, Y))


def test_writing_is_no_training_time(monkeypatch, tmp_path):
    write = archive.write

    def slow(*arguments):
        time.sleep(0.3)
        write(*arguments)

    monkeypatch.setattr(archive, "write", slow)
    fitted = model(tmp_path, max_iter=3).fit(X, Y)
    assert fitted.history_["epochs"][-1]["seconds"] < 0.5


# What is refused.


@pytest.fixture
def started(tmp_path):
    model(tmp_path, max_iter=2).fit(X, Y)
    return tmp_path


@pytest.fixture
def no_training(started, monkeypatch):
    monkeypatch.setattr("asysvrg.training.minimize", lambda *args, **options: pytest.fail("training started"))


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"alpha": 0.5}, "alpha was 0.0001, is 0.5"),
        ({"batch_size": 11}, "batch_size was 10, is 11"),
        ({"learning_rate_init": 0.1}, "learning_rate_init was 0.05, is 0.1"),
        ({"learning_rate_init": "auto"}, "learning_rate_init was 0.05, is auto"),
        ({"solver": "sgd"}, "solver was svrg, is sgd"),
        ({"sgd_epochs": 1}, "sgd_epochs was 0, is 1"),
        ({"decay": 1}, "decay was 0.0, is 1.0"),
        ({"sampling": "importance"}, "sampling was replacement, is importance"),
        ({"inner_steps": 7}, "inner_steps was 30, is 7"),
        ({"coordinates": 7}, "coordinates was 0, is 7"),
        ({"coordinates": "lines:7"}, "block was 1, is 16"),
        ({"activation": "tanh"}, "activation was relu, is tanh"),
        ({"hidden_layer_sizes": (10, 3)}, r"widths was \[64, 10, 10\], is \[64, 10, 3, 10\]"),
        ({"dtype": "float64"}, "dtype was float32, is float64"),
        ({"random_state": 1}, "random_state was another one"),
        ({"random_state": None}, "is None"),
    ],
    ids=str,
)
def test_a_checkpoint_of_other_settings_is_refused(started, options, words):
    there = (started / "checkpoint.npz").read_bytes()
    other = model(started, resume=True).set_params(**options)
    with pytest.raises(ValueError, match=words) as error:
        other.fit(X, Y)
    assert "\n" not in str(error.value)
    assert (started / "checkpoint.npz").read_bytes() == there


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize(("resume", "words"), [(False, "of another run"), (True, "alpha was")])
def test_a_refused_run_leaves_what_the_other_one_is_writing(started, resume, words):
    half = started / ".checkpoint.npz.123.abc.tmp"
    half.write_bytes(b"half")
    with pytest.raises(ValueError, match=words):
        model(started, resume=resume, alpha=0.5).fit(X, Y)
    assert half.exists()


@pytest.mark.usefixtures("no_training")
def test_a_checkpoint_of_other_data_is_refused(started):
    other = X.copy()
    other[3, 3] += 1
    labels = Y.copy()
    labels[0] = 9 - labels[0]
    weight = np.ones(len(Y))
    weight[0] = 2
    for words, data, options in [
        ("X has other values", (other, Y), {}),
        ("y has other values", (X, labels), {}),
        ("n_samples was 300, is 299", (X[1:], Y[1:]), {}),
        ("sample_weight has other values", (X, Y), {"sample_weight": weight}),
    ]:
        with pytest.raises(ValueError, match=words):
            model(started, resume=True).fit(*data, **options)


@pytest.mark.parametrize(
    ("options", "epochs", "reason"),
    [
        ({}, 6, "max_iter"),
        ({"max_iter": 9}, 9, "max_iter"),
        ({"max_time": 0}, 2, "max_time"),
        ({"max_time": 60}, 6, "max_iter"),
        ({"target_loss": 1e9}, 2, "target_loss"),
        ({"target_loss": -1.0}, 6, "max_iter"),
        ({"n_jobs": 2}, 6, "max_iter"),
        ({"verbose": True}, 6, "max_iter"),
    ],
    ids=str,
)
def test_limits_may_be_others(started, options, epochs, reason, capsys):
    """The run goes on, or is over, by those that it is resumed with."""
    kept = load_rows(started)
    resumed = model(started, resume=True).set_params(**options).fit(X, Y)
    assert (resumed.n_iter_, resumed.stopped_) == (epochs, reason)
    assert resumed.history_["epochs"][:3] == kept
    assert bool(capsys.readouterr().err) == ("verbose" in options)


def rewritten(path, **changes):
    with np.load(path) as file:
        held = {name: file[name] for name in file.files}
    np.savez(path, **held | changes)


def with_values(path, **changes):
    with np.load(path) as file:
        values = json.loads(file["values"].tobytes())
    rewritten(path, values=np.frombuffer(json.dumps(values | changes).encode(), np.uint8))


DAMAGE = [
    lambda path: path.write_bytes(b""),
    lambda path: path.write_bytes(b"something else"),
    lambda path: path.write_bytes(path.read_bytes()[:-100]),
    lambda path: path.write_bytes(path.read_bytes()[:2000] + b"xxxxx" + path.read_bytes()[2005:]),
    lambda path: rewritten(path, version=np.array(1)),
    lambda path: rewritten(path, format=np.array("asysvrg-model")),
    lambda path: rewritten(path, format=np.array([1, 2])),
    lambda path: rewritten(path, x=np.zeros(3, np.float32)),
    lambda path: rewritten(path, x=np.load(path)["x"] * np.float32(np.nan)),
    lambda path: rewritten(path, best=np.load(path)["x"].astype(np.float64)),
    lambda path: rewritten(path, x=np.array([object()])),
    lambda path: rewritten(path, values=np.frombuffer(b"{", np.uint8)),
    lambda path: rewritten(path, values=np.frombuffer(b"[" * 100_000, np.uint8)),
    lambda path: rewritten(path, values=np.frombuffer(b"[]", np.uint8)),
    lambda path: with_values(path, epoch="2"),
    lambda path: with_values(path, epoch=1),
    lambda path: with_values(path, rows=[1, 2, 3]),
    lambda path: with_values(path, numbers={}),
    lambda path: with_values(path, start={"seed": -1}),
    lambda path: with_values(path, delay_histogram=[-1]),
    lambda path: with_values(path, identity=None),
    lambda path: np.savez(path, x=np.zeros(3)),
]


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize("damage", DAMAGE, ids=range(len(DAMAGE)))
def test_a_damaged_checkpoint_is_refused(started, damage):
    path = started / "checkpoint.npz"
    damage(path)
    there = path.read_bytes()
    with pytest.raises(ValueError, match=r"checkpoint\.npz") as error:
        model(started, resume=True).fit(X, Y)
    assert "\n" not in str(error.value)
    assert path.read_bytes() == there


@pytest.mark.parametrize("name", ["gradient_norms", "bases"])
def test_the_state_of_the_execution_is_checked_too(name, tmp_path, monkeypatch):
    how = {"sampling": "importance", "deflation": 2, "max_iter": 1}
    model(tmp_path, **how).fit(X, Y)
    rewritten(tmp_path / "checkpoint.npz", **{name: np.ones(3, np.float32)})
    monkeypatch.setattr("asysvrg.training.minimize", lambda *args, **options: pytest.fail("training started"))
    with pytest.raises(ValueError, match=rf"checkpoint\.npz is damaged \({name} is not a float32 array of \d+ finite"):
        model(tmp_path, resume=True, **how).fit(X, Y)


def test_a_newer_version_says_so(started):
    rewritten(started / "checkpoint.npz", version=np.array(99))
    with pytest.raises(ValueError, match="version 99 of the format; this asysvrg reads 8; a newer asysvrg"):
        model(started, resume=True).fit(X, Y)


@pytest.mark.usefixtures("no_training")
def test_folders_that_do_not_suit(started, tmp_path_factory):
    with pytest.raises(ValueError, match="holds the checkpoint of another run: resume it"):
        model(started).fit(X, Y)
    other = tmp_path_factory.mktemp("other")
    (other / "file").write_text("here")
    with pytest.raises(ValueError, match=r"holds no checkpoint.npz to resume, but file"):
        model(other, resume=True).fit(X, Y)
    with pytest.raises(ValueError, match="cannot be written to"):
        model(other / "file").fit(X, Y)
    with pytest.raises(ValueError, match="cannot be written to"):
        model(other / "file" / "below").fit(X, Y)
    with pytest.raises(ValueError, match="no checkpoint_dir to resume from"):
        model(resume=True).fit(X, Y)
    with pytest.raises(TypeError, match="resume is True or False; got 1"):
        model(other, resume=1).fit(X, Y)
    with pytest.raises(ValueError, match="checkpoint_dir is the path of a folder"):
        model(3).fit(X, Y)


@pytest.mark.usefixtures("no_training")
def test_a_read_only_folder_is_found_before_training(tmp_path, monkeypatch):
    def refuse(*args, **options):
        raise PermissionError(errno.EACCES, "Permission denied")  # as root, no folder refuses

    monkeypatch.setattr(checkpoint.tempfile, "TemporaryFile", refuse)
    with pytest.raises(ValueError, match=r"cannot be written to \(Permission denied\)"):
        model(tmp_path).fit(X, Y)


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_keeps_the_run_and_the_last_checkpoint(tmp_path, monkeypatch, call):
    whole = model().fit(X, Y)
    real, calls = getattr(os, call), []

    def full(*arguments):
        calls.append(arguments)
        if len(calls) > (6 if call == "fsync" else 3):  # file and folder for each of epochs 0 to 2
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*arguments)

    monkeypatch.setattr(os, call, full)
    with pytest.warns(UserWarning, match="No space left on device.*without checkpoints") as caught:
        fitted = model(tmp_path).fit(X, Y)
    assert [w.filename for w in caught if "space" in str(w.message)] == [__file__]
    monkeypatch.undo()
    assert_same(fitted, whole)
    assert os.listdir(tmp_path) == ["checkpoint.npz"]
    assert_same(model(tmp_path, resume=True).fit(X, Y), whole)


def test_what_a_killed_process_left_is_no_checkpoint(tmp_path):
    half = tmp_path / ".checkpoint.npz.123.tmp"
    half.write_bytes(b"half")
    os.utime(half, (time.time() - 3600,) * 2)
    model(tmp_path, resume=True, max_iter=1).fit(X, Y)
    assert os.listdir(tmp_path) == ["checkpoint.npz"]


def test_a_run_that_resumes_leaves_what_another_one_is_writing(tmp_path):
    model(tmp_path, max_iter=1).fit(X, Y)
    with replacing(tmp_path / "checkpoint.npz") as file:
        model(tmp_path, resume=True, max_iter=2).fit(X, Y)
        file.write((tmp_path / "checkpoint.npz").read_bytes())
    assert_same(model(tmp_path, resume=True).fit(X, Y), model().fit(X, Y))


def test_the_state_is_all_that_the_loop_needs():
    """`minimize` alone, from each of its states."""
    problem = Problem(hidden=(5,))

    def run(start=None, keep=None, rows=()):
        trace, x = Trace({}, epochs=list(rows)), problem.vector(problem.x)
        schedule = Schedule("svrg", max_iter=5, inner_steps=20, learning_rate=0.05)
        return minimize(shared_execution(problem), x, schedule, trace, start=start, keep=keep), trace.epochs

    states = []
    whole, rows = run(keep=states.append)
    assert [state.epoch for state in states] == list(range(6))
    for state in states:
        outcome, more = run(start=state, rows=rows[: state.epoch + 1])
        np.testing.assert_array_equal(outcome.x, whole.x)
        assert [row["loss"] for row in more] == [row["loss"] for row in rows]
        assert [row["sample_gradients"] for row in more] == [row["sample_gradients"] for row in rows]


# From the command line.

TRAIN = [
    "train",
    "--solver",
    "svrg",
    "--batch-size",
    "7",
    "--hidden-layer-sizes",
    "20",
    "--tol",
    "0",
    "--n-jobs",
    "1",
    "--quiet",
]


def environment():
    return os.environ | {"PYTHONPATH": str(Path(asysvrg.__file__).parents[1])}


def child(*arguments, cwd):
    return subprocess.Popen(
        [sys.executable, "-m", "asysvrg", *arguments],
        env=environment(),
        cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


# A process that imports once and forks for every run, so that a run is under way in milliseconds.
KILLS = """
import os, random, signal, sys, time
from pathlib import Path
import numpy as np
from sklearn.datasets import load_digits
from asysvrg import AsySVRGClassifier
from asysvrg.store import archive, checkpoint

kills, epochs, seed = map(int, sys.argv[1:])
choose, file = random.Random(seed), Path("run/checkpoint.npz")
X, y = load_digits(return_X_y=True)
X, y = (X[:300] / 16).astype(np.float32), y[:300]

def run(**options):
    AsySVRGClassifier(
        (10,), max_iter=epochs, tol=0, n_jobs=1, random_state=0, batch_size=10, learning_rate_init=0.05, **options
    ).fit(X, y).save("resumed" if options else "whole")

def started(**options):
    child = os.fork()
    if child == 0:
        try:
            run(**options)
            os._exit(0)
        finally:
            os._exit(1)
    return child

for _ in range(kills):
    before = file.stat().st_mtime_ns if file.exists() else 0
    child = started(checkpoint_dir="run", resume=True)
    while not file.exists() or file.stat().st_mtime_ns == before:
        assert os.waitpid(child, os.WNOHANG) == (0, 0), "a run ended before it was killed"
    time.sleep(choose.random() * 0.1)
    os.kill(child, signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL, "a run ended before it was killed"
    values, _ = archive.read(file, checkpoint.FORMAT, checkpoint.VERSION, ("x", "best"))  # never half a file
    print(values["epoch"], len(list(Path("run").iterdir())))
assert os.waitpid(started(checkpoint_dir="run", resume=True), 0)[1] == 0
run()
"""


@pytest.mark.slow
def test_kills_at_random_moments(tmp_path, full):
    """kill -9 at any moment, writing included; each run goes on from its checkpoint; the end is the same."""
    (kills, epochs), seed = (20, 1500) if full else (6, 500), random.randrange(10**6)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", KILLS, str(kills), str(epochs), str(seed)],
        env=environment(), cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, (seed, done.stderr)
    at = [int(line.split()[0]) for line in done.stdout.splitlines()]
    assert len(at) == kills
    assert at == sorted(at)
    assert len(set(at)) > kills / 2
    assert at[-1] < epochs
    assert os.listdir(tmp_path / "run") == ["checkpoint.npz"]
    assert_same(load(tmp_path / "resumed"), load(tmp_path / "whole"))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_leave_model_and_checkpoint(tmp_path, number, code):
    arguments = [*TRAIN, "--max-iter", "1000000", "--checkpoint-dir", "run", "--save", "model.npz"]
    process = child(*arguments, cwd=tmp_path)
    while not (tmp_path / "run" / "checkpoint.npz").exists():
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(0.3)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == code
    assert "Traceback" not in err
    assert "training interrupted in epoch" in err
    assert "model: model.npz" in out
    kept = load(tmp_path / "model.npz")
    assert kept.stopped_ == "interrupted"
    values, arrays = archive.read(tmp_path / "run" / "checkpoint.npz", checkpoint.FORMAT, checkpoint.VERSION, ("best",))
    losses = [row["loss"] for row in kept.history_["epochs"]]
    assert kept.loss_ == min(losses)
    assert values["epoch"] in (len(losses) - 1, len(losses) - 2)
    assert arrays["best"].size == parameters(kept).size
    assert os.listdir(tmp_path / "run") == ["checkpoint.npz"]


def test_ctrl_c_while_an_array_is_written_stays_ctrl_c(tmp_path, monkeypatch):
    opened = zipfile.ZipFile.open

    def press(*given, **options):
        handle = opened(*given, **options)
        raise KeyboardInterrupt(handle)

    monkeypatch.setattr(zipfile.ZipFile, "open", press)
    with pytest.raises(KeyboardInterrupt):
        archive.write(tmp_path / "a.npz", "a", 1, {}, {"x": np.zeros(3)})
    assert os.listdir(tmp_path) == []


def test_resume_on_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder = ["--checkpoint-dir", "run"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert cli.main([*TRAIN, "--max-iter", "4", "--save", "whole"]) == 0
        assert cli.main([*TRAIN, "--max-iter", "2", *folder]) == 0
        assert cli.main([*TRAIN, "--max-iter", "4", *folder, "--resume", "--save", "resumed"]) == 0
    assert_same(load("resumed"), load("whole"))
    capsys.readouterr()
    for arguments, words in [
        (folder, "holds the checkpoint of another run"),
        ([*folder, "--resume", "--batch-size", "3"], "batch_size was 7, is 3"),
        (["--resume"], "no checkpoint_dir to resume from"),
        (["--checkpoint-dir", "resumed"], "cannot be written to"),
        (["--save", "no/such/folder"], "no folder no/such"),
    ]:
        assert cli.main([*TRAIN, *arguments]) == 2
        err = capsys.readouterr().err
        assert words in err
        assert len(err.splitlines()) == 1
    assert zipfile.is_zipfile("resumed")
