"""The examples of docs/ecosystem.md run, where their libraries are installed."""

import ast
import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[1] / "docs" / "ecosystem.md").read_text()
_EXAMPLE = re.compile(r"^#+ ([^\n]*)\n(?:(?!#|```).*\n)*```python\n((?:(?!```).*\n)*)```", re.MULTILINE)
[(_, FIRST), *EXAMPLES] = _EXAMPLE.findall(PAGE)


def libraries(code):
    """What the code imports."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


def test_each_library_has_an_example():
    assert [title for title, _ in EXAMPLES] == [
        "ONNX", "PyTorch", "safetensors", "skops", "MLflow", "Optuna", "TensorBoard",
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("title", "code"), EXAMPLES, ids=[title for title, _ in EXAMPLES])
def test_example_runs(title, code, tmp_path, monkeypatch):
    for name in libraries(code):
        pytest.importorskip(name)
    monkeypatch.chdir(tmp_path)
    exec(FIRST + code, {"__name__": "example"})
