"""Files that are replaced as a whole or not at all."""

import json
import os

import pytest

from asysvrg.store.files import write_json


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "trace.json"
    write_json(path, {"epochs": [1]})
    with pytest.raises(TypeError):  # half of it is written by then
        write_json(path, {"epochs": [2], "other": object()})
    assert json.loads(path.read_text()) == {"epochs": [1]}
    assert os.listdir(tmp_path) == ["trace.json"]
    write_json(str(path), {"epochs": [3]})
    assert json.loads(path.read_text()) == {"epochs": [3]}
