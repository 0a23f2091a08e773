"""`make demo`: three methods side by side, a table and a figure."""

import pytest

from asysvrg import demo


@pytest.mark.parametrize("names", [["digits"], ["digits", "mnist"]], ids=len)
def test_demo_shows_each_method_on_each_set(tmp_path, monkeypatch, capsys, names):
    monkeypatch.setattr(demo, "missing", lambda name: [] if name in names else ["file"])
    monkeypatch.setattr(demo.data, "load", lambda name, load=demo.data.load, **sizes: load("digits"))
    for name in names:
        monkeypatch.setitem(demo.SETTINGS[name], "common", {"max_iter": 2, "batch_size": 50, "n_jobs": 1})
        monkeypatch.setitem(demo.SETTINGS[name]["SGD_SVRG"], "sgd_epochs", 1)
    demo.main(str(tmp_path / "figure.png"))
    out, err = capsys.readouterr()
    rows = [line.split() for line in out.splitlines() if line.startswith(tuple(names))]
    assert [row[:4] for row in rows] == [[name, method, "1", "2"] for name in names for method in demo.METHODS]
    assert all(float(row[-1]) < 0.5 for row in rows)
    assert ("no MNIST in" in err) == ("mnist" not in names)
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert str(tmp_path / "figure.png") in out
