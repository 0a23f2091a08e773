"""bench/slopes.py and bench/theorems.py: what they compute from runs and equations."""

import math
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def scripts(monkeypatch):
    if not (ROOT / "bench").is_dir():
        pytest.skip("bench/ is not here")
    monkeypatch.syspath_prepend(str(ROOT / "bench"))


def test_slopes(scripts, tmp_path):
    pytest.importorskip("matplotlib")
    import slopes

    T = [1000, 2000, 4000]
    assert slopes.slope(T, [5 / t for t in T]) == pytest.approx(-1)
    assert slopes.slope(T, [5 / t**0.5 for t in T]) == pytest.approx(-0.5)
    bound = slopes.beside_the_bound(2)
    assert bound["T"] == [bound["m"], 2 * bound["m"]]
    assert (np.array(bound["measured"]) < bound["bound"]).all()
    names = ("AsySVRG", "AsySGD", "AsySGD, constant rate")
    found = {"data": "none", "T": T, "bound": bound, "slopes": dict.fromkeys(names, -1.0)}
    slopes.draw(found | {"metric": {name: [5 / t for t in T] for name in names}}, tmp_path / "slopes.png")
    assert (tmp_path / "slopes.png").stat().st_size > 10_000


def test_the_grid_says_where_the_theorems_fail(scripts):
    import theorems

    assert theorems.holding((0.05,), 100) == "135 of 135 | 27 of 27"
    fails = [where for where, value in theorems.points((0.9,), (1,), (1.0,)) if value.share <= 0]
    assert fails
    assert theorems.point("distributed", None, 1, 1.0, 0.9, 1, 0) is None  # m = 0
    assert math.isnan(theorems.point("shared", 79_510, 10_000, 1.0, 0.05, 1, 0).young)


def test_a_kink_has_no_smoothness(scripts, capsys):
    """Assumption 3."""
    import theorems

    theorems.kinks()
    rows = [line.split("|")[1:4] for line in capsys.readouterr().out.splitlines() if line.startswith(("| 0", "| 1e"))]
    relu, tanh = (np.array([float(row[column]) for row in rows]) for column in (1, 2))
    assert relu[-1] > 5 * relu[-2] > 25 * relu[0]
    assert tanh.max() < 1.1 * tanh.min()
