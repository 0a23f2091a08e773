"""bench/crossing.py: which method is ahead from which target on."""

import math
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def crossing(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    return pytest.importorskip("crossing")


def rows(losses, cost):
    return [{"loss": loss, "sample_gradients": k * cost, "seconds": k * cost / 10} for k, loss in enumerate(losses)]


def test_fastest_run_of_a_method_counts(crossing):
    tried = [
        ({"learning_rate_init": 1, "decay": 0}, rows([1, 0.5, 0.4], 10)),
        ({"learning_rate_init": 2, "decay": 0}, rows([1, 0.7, 0.1], 10)),
    ]
    assert crossing.fastest(tried, 0.5)["sample_gradients"] == 10
    last = crossing.fastest(tried, 0.1)
    assert last == {"sample_gradients": 20, "seconds": 2, "setting": {"learning_rate_init": 2, "decay": 0}}
    assert crossing.fastest(tried, 0.01)["seconds"] is None


@pytest.mark.parametrize(
    ("sgd", "svrg", "where"),
    [
        ([1, 2, 8], [2, 3, 4], 0.1),  # ahead at the last target
        ([3, 1, 8], [2, 3, 4], 0.1),  # and not only at the first
        ([3, 4, None], [2, 3, 4], 0.3),
        ([1, 2, 3], [2, 3, 4], None),
        ([3, 4, None], [2, 3, None], None),
    ],
)
def test_crossing_is_the_target_from_which_on_a_method_is_ahead(crossing, sgd, svrg, where):
    found = {name: [{"sample_gradients": value} for value in values] for name, values in (("SGD", sgd), ("SVRG", svrg))}
    content = {"targets": [0.3, 0.2, 0.1], "found": found}
    assert crossing.crossing(content, "sample_gradients", "SVRG") == where


def test_advantage_names_who_never_arrives(crossing):
    found = {"SGD": [{"seconds": 4}, {"seconds": None}, {"seconds": 4}, {"seconds": None}]}
    found["PAGE"] = [{"seconds": 2}, {"seconds": 2}, {"seconds": None}, {"seconds": None}]
    *some, last = crossing.advantage(found, "seconds", "PAGE")
    assert some == [2, math.inf, 0]
    assert math.isnan(last)
