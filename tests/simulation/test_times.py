"""Virtual times: each distribution has the mean that it was asked for; bad ones are refused in one line."""

import numpy as np
import pytest

from asysvrg.simulation.costs import costs, crew
from asysvrg.simulation.times import times

GIVEN = dict.fromkeys(("compute", "message", "server", "sweep", "contention"))


def drawn(given, count=20_000):
    draw = times(given, "compute").stream(np.random.default_rng(0))
    return np.array([draw() for _ in range(count)])


@pytest.mark.parametrize(
    ("given", "deviation"),
    [
        ("constant:0.5", 0.0),
        ("halfnormal:0.5", 0.5 * np.sqrt(np.pi / 2 - 1)),
        ("exponential:0.5", 0.5),
        ("lognormal:0.5", 0.5 * np.sqrt(np.e - 1)),
        ("lognormal:0.5:0.25", 0.5 * np.sqrt(np.exp(0.0625) - 1)),
        ("pareto:0.5:4", 0.5 * np.sqrt(1 / 8)),
    ],
)
def test_mean_and_deviation(given, deviation):
    seconds = drawn(given)
    assert times(given, "compute").mean == 0.5
    assert seconds.min() >= 0
    assert seconds.mean() == pytest.approx(0.5, rel=0.05)
    assert seconds.std() == pytest.approx(deviation, rel=0.15, abs=1e-12)


def test_lists_are_taken_in_order():
    np.testing.assert_array_equal(drawn([1.0, 2.0, 4.0], 7), [1, 2, 4, 1, 2, 4, 1])
    assert times(np.array([1.0, 3.0]), "server").mean == 2


@pytest.mark.parametrize(
    "given",
    [
        "gauss:1",
        "exponential",
        "exponential:x",
        "constant:1:2",
        "pareto:1:1",
        "lognormal:1:1e200",
        -1.0,
        np.inf,
        [],
        [1, -1],
        True,
    ],
)
def test_refuses_what_is_no_time(given):
    with pytest.raises(ValueError, match="message"):
        times(given, "message")


def test_costs_are_given_or_calibrated_or_default():
    measured = {"shared": {"compute": 2e-3, "sweep": 0.5, "contention": 0.1}}
    found = costs(GIVEN | {"compute": "exponential:0.004"}, measured, "shared", 100)
    assert (found.compute.mean, found.sweep, found.contention) == (0.004, 0.5, 0.1)
    assert found.message.mean == found.server.mean == pytest.approx(0.0004)  # a tenth of an iteration
    found = costs(GIVEN, None, "distributed", 100)
    assert (found.compute.mean, found.message.mean, found.sweep) == (1.0, 0.0, 100.0)
    with pytest.raises(ValueError, match="asysvrg calibrate"):
        costs(GIVEN, measured, "distributed", 100)


@pytest.mark.parametrize(
    "how",
    [
        {"speeds": [1, 2]}, {"speeds": 5}, {"speeds": {0: 0}}, {"late": {3: 1.0}}, {"late": {0: np.nan}},
        {"lost": {0: "soon"}}, {"lost": {0: np.nan}}, {"lost": [1, 2, 3]},
    ],
)  # fmt: skip
def test_refuses_workers_that_are_not_there(how):
    with pytest.raises(ValueError, match=next(iter(how))):
        crew(3, **{"speeds": None, "late": None, "lost": None} | how)


def test_a_number_of_workers_may_be_one_of_numpy():
    assert len(crew(np.int64(3), None, None, None).speeds) == 3


@pytest.mark.parametrize("workers", [0, 2.5, None, True])
def test_refuses_a_number_of_workers(workers):
    with pytest.raises(ValueError, match="workers is a whole number"):
        crew(workers, None, None, None)
