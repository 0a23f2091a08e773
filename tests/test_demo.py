"""`make demo`: the methods side by side, with few epochs."""

import pytest

from asysvrg import data, demo

ROWS = 3  # of the closing table, for each set


@pytest.fixture
def short(monkeypatch):
    pytest.importorskip("matplotlib")
    for settings in demo.SETTINGS.values():
        monkeypatch.setitem(settings["common"], "max_iter", 2)
        monkeypatch.setitem(settings["common"], "inner_steps", 50)
    return monkeypatch


def test_without_mnist(short, tmp_path, capsys):
    short.setattr(demo, "missing", lambda name: ["train-images-idx3-ubyte.gz"])
    demo.main(str(tmp_path / "figure.png"))
    out, err = capsys.readouterr()
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert f"figure: {tmp_path / 'figure.png'}" in out
    methods = [line.split()[:2] for line in out.splitlines() if line.startswith("digits")]
    assert methods == [["digits", "SGD"], ["digits", "SVRG"], ["digits", "SGD_SVRG"]]
    assert "no MNIST in" in err


def test_with_mnist(short, tmp_path, capsys):
    """Digits stand for it."""
    asked, load = [], data.load
    short.setattr(demo, "missing", lambda name: [])
    short.setattr(demo.data, "load", lambda name, **sizes: asked.append((name, sizes)) or load("digits"))
    demo.main(str(tmp_path / "figure.png"))
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if line.startswith(("digits", "mnist"))]) == 2 * ROWS
    assert asked == [("digits", {}), ("mnist", {"train_size": 10_000, "test_size": 2_000})]


def test_figures_of_the_closing_table(short):
    traces = demo.compare("digits")
    assert set(traces) == {"SGD", "SVRG", "SGD_SVRG"}
    assert [row["direction"] for row in traces["SGD"]["epochs"][1:]] == ["sgd", "sgd"]
    assert [row["direction"] for row in traces["SVRG"]["epochs"][1:]] == ["svrg", "svrg"]
    header, *lines = demo.closing_table({"digits": traces}).splitlines()
    assert len({len(line) for line in (header, *lines)}) == 1
    for line, trace in zip(lines, traces.values(), strict=True):
        last = trace["epochs"][-1]
        _, _, threads, epochs, seconds, *rest = line.split()
        assert (int(threads), int(epochs)) == (trace["config"]["threads"], 2)
        assert float(seconds) == pytest.approx(last["seconds"], abs=0.006)
        expected = [last[name] for name in ("loss", "train_error", "test_error")]
        assert [float(number) for number in rest] == pytest.approx(expected, abs=6e-5)
