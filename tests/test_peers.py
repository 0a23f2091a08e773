"""The picture of bench/peers.py: at most six lines in a panel, which can be told apart, also without colours."""

from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
TARGETS = ("0.15", "0.125", "0.118")
SECONDS = {
    "ours sgd": (1, 2, 3), "ours svrg lines": (5, 9, None), "ours, defaults": (2, 4, 5),
    "ours, defaults, max_iter=100": (2, 3, 5), "jax sgd": (3, 6, None), "jax momentum": (4, 5, 9),
    "jax momentum, boosted": (1, 1, 1), "torch sgd": (5, None, None), "torch.compile adam": (4, None, None),
    "scikit-learn adam": (None, None, None), "scikit-learn sgd": (7, 8, 9), "L-BFGS": (9, 10, 11),
}  # fmt: skip


@pytest.fixture
def race(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    return pytest.importorskip("contenders.race")


@pytest.fixture
def table():
    return {name: {"seconds": dict(zip(TARGETS, seconds, strict=True))} for name, seconds in SECONDS.items()}


def test_the_best_of_ours_and_of_each_peer_is_shown(race, table):
    assert race.best_of_each(table) == {
        "ours s": "ours sgd",
        "ours, defaults": "ours, defaults, max_iter=100",
        "jax": "jax momentum",  # first at 0.125; what has our l2 continuation is no peer
        "torch": "torch.compile adam",  # none arrives there: first at 0.15
        "scikit-learn": "scikit-learn sgd",
        "L-BFGS": "L-BFGS",
    }
    del table["L-BFGS"]
    assert "L-BFGS" not in race.best_of_each(table)


def test_lines_can_be_told_apart(race, table, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    from matplotlib.colors import to_rgb
    from matplotlib.figure import Figure

    drawn, save = [], Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *args, **options: drawn.append(self) or save(self, *args, **options)
    )
    race.draw({"cores": {"1": {"table": table}, "2": {"table": table}}}, tmp_path / "peers.png")
    assert (tmp_path / "peers.png").read_bytes().startswith(b"\x89PNG")
    assert "seconds" in drawn[0].axes[0].get_ylabel()
    for axes in drawn[0].axes:
        lines = axes.get_lines()
        assert 2 <= len(lines) <= 6
        assert axes.get_xlabel()
        for what in ("get_color", "get_marker", "get_label"):
            assert len({getattr(line, what)() for line in lines}) == len(lines)
        assert len({str(line._unscaled_dash_pattern) for line in lines}) == len(lines)
        grey = sorted(np.dot(to_rgb(line.get_color()), (0.299, 0.587, 0.114)) for line in lines)
        assert min(np.diff(grey)) > 0.03
        assert grey[-1] < 0.75  # seen on white
