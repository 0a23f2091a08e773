"""Training as a whole: what is computed once, and what the trace and the output say of the plan."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from asysvrg import AsySVRGClassifier, AsySVRGRegressor, training
from asysvrg.core.preconditioner import LowRankPreconditioner
from asysvrg.method import MOST_GROWTH

X, Y = load_digits(return_X_y=True)
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def calls_of(monkeypatch, owner, name):
    """A list that grows by each call."""
    calls, original = [], getattr(owner, name)

    def called(*args, **options):
        calls.append(args)
        return original(*args, **options)

    monkeypatch.setattr(owner, name, called)
    return calls


def test_bases_are_computed_once_an_epoch(monkeypatch):
    """The automatic rate and epoch 0 share them; they are due in epochs 0 and 1."""
    calls = calls_of(monkeypatch, LowRankPreconditioner, "_set_basis")
    model = AsySVRGClassifier((9, 5), deflation=2, max_iter=3, tol=0, n_jobs=1, random_state=0).fit(X, Y)
    assert model.history_["config"]["learning_rate"] > 0
    assert [len(basis) for _, _, basis in calls] == [65, 10, 6, 10, 6]


def test_a_resumed_run_does_not_look_for_its_rate_again(monkeypatch, tmp_path):
    calls = calls_of(monkeypatch, training, "smoothness")
    how = {"checkpoint_dir": tmp_path, "tol": 0, "n_jobs": 1, "random_state": 0}
    first = AsySVRGClassifier((9,), max_iter=2, **how).fit(X, Y)
    assert len(calls) == 1
    resumed = AsySVRGClassifier((9,), max_iter=4, resume=True, **how).fit(X, Y)
    assert len(calls) == 1
    rates = [model.history_["config"]["learning_rate"] for model in (first, resumed)]
    assert rates[0] == rates[1]


@pytest.fixture(scope="module")
def few_far_off():
    """Targets of which a few that cost nearly all of the loss are in none of the blocks that stand for all samples."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((20_000, 5))
    y = X @ np.ones(5)
    y[2000:2050] += 30
    return X, y


def test_expensive_samples_do_not_undo_the_last_epoch(few_far_off):
    model = AsySVRGRegressor((), random_state=0, early_stopping=False, tol=0, n_jobs=1).fit(*few_far_off)
    rows = model.history_["epochs"]
    assert model.history_["config"]["evaluated"] == 5000
    assert not any(row["rolled_back"] for row in rows)
    assert rows[-1]["loss"] > 2 * rows[-2]["loss"]


def test_the_rate_of_partial_fit_stays_within_its_limits(few_far_off):
    X, y = few_far_off
    of_sgd, of_svrg = (AsySVRGRegressor((5,), solver=solver, random_state=0, n_jobs=1) for solver in ("sgd", "svrg"))
    for _ in range(6):
        of_sgd.partial_fit(X, y)
        of_svrg.partial_fit(X, X[:, 0])
        assert not of_sgd.history_["epochs"][-1]["rolled_back"]
        assert of_sgd._factor == 1  # its losses are of different samples
        assert of_svrg._factor <= MOST_GROWTH


def test_the_trace_has_the_plan_and_verbose_shows_it(capsys):
    model = AsySVRGClassifier((9,), max_iter=1, n_jobs=2, verbose=True, random_state=0).fit(X, Y)
    config = model.history_["config"]
    shown = capsys.readouterr().err
    for name, reason in config["plan"].items():
        assert name in config
        assert f"{name}  " in shown
        assert f": {reason}\n" in shown
    AsySVRGClassifier((9,), max_iter=1, random_state=0).fit(X, Y)
    assert capsys.readouterr().err == ""


def test_samples_are_stored_as_the_plan_says():
    """Of scaled inputs: those of a dense X have no zeros left."""
    for factor, skips in ((1 / 16, True), (1000.0, False)):
        data = (X * factor * (X > 8)).astype(np.float32)
        config = AsySVRGClassifier((9,), max_iter=1, random_state=0).fit(data, Y).history_["config"]
        assert config["skips_zeros"] is skips
