"""A run beside the theorems."""

import copy
import json
import math
import re

import numpy as np
import pytest
from helpers.estimators import data, small

from asysvrg import AsySVRGClassifier, AsySVRGRegressor, cli, theory


def fitted(kind=AsySVRGClassifier, hidden=(6,), **options):
    X, y = data(kind, n=200, outputs=3 if kind is AsySVRGClassifier else 1)
    usual = {"activation": "tanh", "solver": "svrg", "track_gradient_norm": 3, "tol": 0, "early_stopping": False}
    return small(kind, hidden, **usual | options).fit(X, y)


@pytest.fixture(scope="module")
def history():
    return fitted(learning_rate_init=0.5).history_


@pytest.mark.parametrize(
    ("coordinates", "architecture", "size"),
    [("all", "distributed", 1), (1, "shared", 93), (10, "shared", 9), ("lines:32", "shared", 3),
     (93, "distributed", 1)],
)  # fmt: skip
def test_numbers_are_those_of_the_equations(coordinates, architecture, size):
    found = theory.report(fitted(coordinates=coordinates).history_, L=3.0)
    assert (found["architecture"], found["n"], found["d"], found["b"]) == (architecture, 200, 11 * 6 + 6 + 7 * 3, 10)
    assert found["size"] == size
    of = {"architecture": architecture, "L": 3.0, "b": 10, "d": size}
    allowed, used, measured = found["allowed"], found["used"], found["measured"]
    assert allowed["u0"] == 0.99 * theory.largest_u0(architecture, b=10, delay=0, d=size)
    chosen = theory.settings(n=200, u0=allowed["u0"], a=2 / 3, **of)
    assert (allowed["eta"], allowed["m"]) == (chosen.eta, chosen.m)
    assert allowed["sigma"] == theory.sigma(n=200, u0=allowed["u0"], a=2 / 3, delay=0, **of)
    assert allowed["largest_eta"] == theory.largest_eta(beta=6.0, m=20, delay=0, **of)
    bound = theory.simplified_bound(
        n=200, a=2 / 3, sigma=allowed["sigma"], gap=measured["gap"], T=allowed["T"].__ceil__(), **of
    )
    assert bound == pytest.approx(measured["gradient"], 1e-3)
    assert (used["eta"], used["m"], used["T"]) == (0.05, 20, 60)
    assert used["times_eta"] == pytest.approx(0.05 / chosen.eta)


def test_what_was_measured(history):
    rows, found = history["epochs"], theory.report(history)
    assert found["L"] == max(max(row["smoothness"], row["batch_smoothness"]) for row in rows[1:])
    measured = found["measured"]
    assert measured["gap"] == rows[0]["loss"]
    assert measured["gradient"] == pytest.approx(np.mean([row["mean_gradient_norm_squared"] for row in rows[1:]]))
    assert measured["sampled"]
    assert theory.report(history, optimum=0.5)["measured"]["gap"] == rows[0]["loss"] - 0.5
    assert found["broken"] == []


def test_a_run_with_the_theorems_own_eta():
    """Then the bound is finite, and says something."""
    chosen = theory.settings("distributed", L=5.0, n=200, b=10, u0=0.005, a=2 / 3)
    model = fitted(learning_rate_init=chosen.eta, inner_steps=chosen.m)
    found = theory.report(model.history_, L=5.0)
    assert found["used"]["is_proved"]
    constants = theory.constants("distributed", L=5.0, eta=chosen.eta, beta=10.0, b=10, m=chosen.m, delay=0)
    bound = theory.bound(gap=found["measured"]["gap"], gamma=constants.gamma, T=3 * chosen.m)
    assert found["used"]["bound"] == pytest.approx(bound)
    assert found["measured"]["gradient"] < bound
    assert "the mean is at most" in str(found)
    assert "far too careful" not in str(found)


def test_a_usual_run_in_plain_words(history):
    text = str(theory.report(history))
    assert "Theorems 3 and 4 (distributed): n = 200, d = 93, 1 in its place, b = 10" in text
    assert "gamma is not positive, so that the theorem says nothing about this run" in text
    assert "constants are far too careful to train with" in text
    assert theory.report(history)["used"]["bound"] == math.inf
    assert max(map(len, text.splitlines())) < 160


def test_delays_count():
    """A late update makes the allowed rate smaller."""
    early = fitted(coordinates=1).history_
    late = copy.deepcopy(early)
    late["delay_histogram"] = [*early["delay_histogram"], 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]
    found = [theory.report(each, L=1.0) for each in (early, late)]
    assert [each["measured"]["delay"] for each in found] == [0, 20]
    assert found[1]["allowed"]["eta"] < 0.9 * found[0]["allowed"]["eta"]
    assert theory.admissible_delay("shared", u0=found[1]["allowed"]["u0"], b=10, d=93) > 20


def test_losses_of_scaled_targets_are_in_their_units():
    """An automatic rate scales targets; gradients and L are of the scaled problem, and so is the gap."""
    X, y = data(AsySVRGRegressor, n=200, outputs=1)
    options = {"learning_rate_init": "auto", "track_gradient_norm": 3, "max_iter": 2, "tol": 0, "random_state": 0}
    small_y, large_y = (AsySVRGRegressor((4,), **options).fit(X, scale * y).history_ for scale in (1e3, 1e6))
    assert large_y["epochs"][0]["loss"] > 1e5 * small_y["epochs"][0]["loss"]
    gaps, gradients = zip(
        *((each["measured"]["gap"], each["measured"]["gradient"]) for each in map(theory.report, (small_y, large_y))),
        strict=True,
    )
    assert gaps[0] == pytest.approx(gaps[1], rel=0.05)
    assert gradients[0] == pytest.approx(gradients[1], rel=0.1)


@pytest.mark.parametrize(
    ("how", "broken"),
    [
        ({"activation": "relu"}, "Assumption 3: .*activation='relu'"),
        ({"sampling": "shuffle"}, "Assumption 1: .*sampling='shuffle'"),
        ({"solver": "sgd", "decay": 0.5}, "another direction .sgd."),
        ({"sgd_epochs": 1}, "another direction .sgd."),
        ({"solver": "sgd", "decay": 0.5}, "eta is constant"),
        ({"alpha_boost": 4.0}, "alpha_boost=4.0"),
        ({"deflation": 2}, "deflation=2"),
    ],
)
def test_assumptions_that_are_not_kept(how, broken):
    found = theory.report(fitted(**how).history_)
    assert [each for each in found["broken"] if re.search(broken, each)]
    assert "Not kept: " in str(found)


def test_relu_without_hidden_layers_is_smooth():
    assert theory.report(fitted(hidden=(), activation="relu").history_)["broken"] == []


def test_snapshots_stand_in_where_nothing_was_measured():
    plain = fitted(track_gradient_norm=None).history_
    with pytest.raises(ValueError, match="the trace has no L: train with track_gradient_norm"):
        theory.report(plain)
    found = theory.report(plain, L=2.0)
    assert not found["measured"]["sampled"]
    rows = plain["epochs"]
    assert found["measured"]["gradient"] == pytest.approx(np.mean([r["gradient_norm_squared"] for r in rows[:-1]]))
    assert "over snapshots" in str(found)
    sgd = theory.report(fitted(track_gradient_norm=None, solver="sgd").history_, L=2.0)
    assert sgd["measured"]["gradient"] is None
    assert "not measured" in str(sgd)


@pytest.mark.parametrize("wrong", [{}, [], "run.json", {"config": {}, "epochs": [], "delay_histogram": []},
                                   {"config": 1, "epochs": [{}], "delay_histogram": []}])  # fmt: skip
def test_what_is_no_trace(wrong):
    with pytest.raises(ValueError, match="trace"):
        theory.report(wrong, L=1.0)


# The command.


def test_command(history, tmp_path, capsys):
    path = tmp_path / "run.json"
    path.write_text(json.dumps(history))
    assert cli.main(["theory", "--trace", str(path)]) == 0
    assert capsys.readouterr().out == f"{theory.report(history)}\n"
    assert cli.main(["theory", "--trace", str(path), "--smoothness", "7"]) == 0
    assert "L = 7" in capsys.readouterr().out


def test_command_of_a_run_by_the_command(tmp_path, capsys):
    path = str(tmp_path / "run.json")
    train = ["train", "digits", "--train-size", "300", "--hidden-layer-sizes", "none", "--max-iter", "2", "--quiet"]
    assert cli.main([*train, "--track-gradient-norm", "2", "--trace", path]) == 0
    capsys.readouterr()
    assert cli.main(["theory", "--trace", path]) == 0
    assert "Mean of |grad f|^2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "is not a trace: "), ("[1]", "report takes a trace"), (None, "No such file")],
)
def test_command_without_a_trace(content, message, tmp_path, capsys):
    path = tmp_path / "run.json"
    if content is not None:
        path.write_text(content)
    assert cli.main(["theory", "--trace", str(path)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
