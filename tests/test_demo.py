"""`make demo`: three methods side by side, a table, a figure; and Figure 1."""

import pytest

from asysvrg import demo
from asysvrg.reproduce import settings


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(demo, "COMMON", {"max_iter": 2, "batch_size": 50, "n_jobs": 1})
    monkeypatch.setitem(demo.METHODS["SGD_SVRG"], "sgd_epochs", 1)


def test_demo_shows_each_method(tmp_path, monkeypatch, capsys, small):
    monkeypatch.setattr(demo, "missing", lambda name: ["file"])
    demo.main(str(tmp_path / "figure.png"), tmp_path / "demo")
    out, err = capsys.readouterr()
    rows = [line.split() for line in out.splitlines() if line.startswith(tuple(demo.METHODS))]
    assert [row[:3] for row in rows] == [[method, "1", "2"] for method in demo.METHODS]
    assert all(float(row[-1]) < 0.5 for row in rows)
    assert "no MNIST in" in err
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert str(tmp_path / "figure.png") in out
    assert not (tmp_path / "demo").exists()


def test_demo_ends_with_figure_1(tmp_path, monkeypatch, capsys, small):
    digits = settings.Problem("digits", "digits", {}, settings.PLAIN | {"inner_steps": 5}, sgd_epochs=1)
    tiny = settings.Effort((0.1,), (0.0,), (1,), seeds=1, epochs=2, short=2)
    whole = demo.reproduce
    monkeypatch.setattr(demo, "missing", lambda name: [])
    monkeypatch.setattr(
        demo, "reproduce", lambda *args, quick: whole(*args, effort=tiny, problems={"fig1": digits}) if quick else None
    )
    demo.main(str(tmp_path / "figure.png"), tmp_path / "demo")
    assert (tmp_path / "demo" / "fig1.png").read_bytes().startswith(b"\x89PNG")
    assert "| claim | held |" in capsys.readouterr().out
