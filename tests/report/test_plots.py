"""Figures."""

import pytest
from helpers.traces import rows

from asysvrg.report import plots

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize("name", ["figure.png", "figure.svg"])
def test_figures(tmp_path, name):
    pytest.importorskip("matplotlib")
    traces = {"SGD": {"epochs": rows([2.0, 1.0, 0.5])}, "SVRG": {"epochs": rows([2.0])}}
    without_test = {"SVRG": {"epochs": [row | {"test_error": None} for row in rows([2.0, 1.0])]}}
    plots.draw({"one": traces, "two": without_test}, tmp_path / name)
    content = (tmp_path / name).read_bytes()
    assert content.startswith(PNG) if name.endswith("png") else b"<svg" in content
    assert len(content) > 10_000
