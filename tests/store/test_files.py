"""Files that are replaced as a whole or not at all."""

import json
import os
import subprocess
import sys
import time

import pytest

from asysvrg.core import system
from asysvrg.store.files import clear_abandoned, replacing, write_json

WRITER = """
import sys, time
from asysvrg.store.files import replacing
with replacing(sys.argv[1]) as file:
    print("writing", flush=True)
    time.sleep(60)
"""


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "trace.json"
    write_json(path, {"epochs": [1]})
    with pytest.raises(TypeError):  # half of it is written by then
        write_json(path, {"epochs": [2], "other": object()})
    assert json.loads(path.read_text()) == {"epochs": [1]}
    assert os.listdir(tmp_path) == ["trace.json"]
    write_json(str(path), {"epochs": [3]})
    assert json.loads(path.read_text()) == {"epochs": [3]}


def temporary_files(folder):
    return [name for name in os.listdir(folder) if name.endswith(".tmp")]


def test_a_signal_while_the_temporary_file_is_made_leaves_none(tmp_path, monkeypatch):
    def press(file):
        raise KeyboardInterrupt

    monkeypatch.setattr(system, "hold", press)
    with pytest.raises(KeyboardInterrupt):
        write_json(tmp_path / "a.json", {})
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_a_pipe_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="pipe is a device or a pipe; a file is expected"):
        write_json(tmp_path / "pipe", {})
    assert (tmp_path / "pipe").is_fifo()
    assert os.listdir(tmp_path) == ["pipe"]


def test_what_another_process_is_writing_stays_until_it_is_killed(tmp_path):
    path = tmp_path / "checkpoint.npz"
    with subprocess.Popen([sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE, text=True) as writer:
        try:
            assert writer.stdout.readline() == "writing\n"
            with replacing(path) as file:
                file.write(b"mine")
                clear_abandoned(path)
                assert len(temporary_files(tmp_path)) == 2
            assert path.read_bytes() == b"mine"
            assert len(temporary_files(tmp_path)) == 1
        finally:
            writer.kill()
    _make_old(tmp_path)
    clear_abandoned(path)
    assert os.listdir(tmp_path) == ["checkpoint.npz"]


def _make_old(folder):
    """Where files have no locks, only old ones are removed."""
    for name in temporary_files(folder):
        os.utime(folder / name, (time.time() - 3600,) * 2)


def test_a_file_that_is_taken_for_abandoned_before_it_is_held_is_opened_anew(tmp_path, monkeypatch):
    hold, held = system.hold, []

    def late(file):
        if not held:
            os.unlink(file.name)  # as another process does that opened it first
        held.append(file.name)
        hold(file)

    monkeypatch.setattr(system, "hold", late)
    write_json(tmp_path / "trace.json", {"epochs": [1]})
    assert len(set(held)) == 2
    assert json.loads((tmp_path / "trace.json").read_text()) == {"epochs": [1]}
    assert os.listdir(tmp_path) == ["trace.json"]


@pytest.mark.skipif(system.fcntl is None, reason="this system has no locks of files")
def test_a_file_system_without_locks_writes_and_removes_nothing(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(system.fcntl, "flock", refuse)
    with replacing(tmp_path / "model") as file:
        clear_abandoned(tmp_path / "model")
        file.write(b"whole")
    assert (tmp_path / "model").read_bytes() == b"whole"


def test_without_locks_a_file_that_was_just_closed_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(system, "fcntl", None)
    with replacing(tmp_path / "model") as file:
        clear_abandoned(tmp_path / "model")
        assert len(temporary_files(tmp_path)) == 1
        _make_old(tmp_path)
        file.write(b"whole")
    (tmp_path / ".model.1.a.tmp").write_bytes(b"half")
    clear_abandoned(tmp_path / "model")
    assert len(temporary_files(tmp_path)) == 1
    _make_old(tmp_path)
    clear_abandoned(tmp_path / "model")
    assert os.listdir(tmp_path) == ["model"]
