"""No stream can end a training: closed, full, broken, missing, bare, or without the letters."""

import errno
import io
import os
import sys
import warnings

import pytest
from helpers.estimators import samples

from asysvrg import AsySVRGClassifier, cli
from asysvrg.core.warn import warn
from asysvrg.report import streams
from asysvrg.report.streams import Stream
from asysvrg.simulation import events


class Full(io.StringIO):
    def write(self, text):
        raise OSError(28, "No space left on device")


class Broken(io.StringIO):
    def flush(self):
        raise BrokenPipeError(32, "Broken pipe")


class Terminal(Full):
    def isatty(self):
        return True


class Bare:
    def write(self, text):
        pass


class Mute:
    pass


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


KINDS = {
    "none": lambda: None,
    "closed": closed,
    "full": Full,
    "broken": Broken,
    "terminal that is gone": Terminal,
    "bare": Bare,
    "mute": Mute,
    "ascii": lambda: io.TextIOWrapper(io.BytesIO(), encoding="ascii"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_verbose_fits_on_any_stream(monkeypatch, kind):
    X, y = samples(AsySVRGClassifier)
    monkeypatch.setattr(sys, "stderr", KINDS[kind]())
    monkeypatch.setattr(sys, "stdout", KINDS[kind]())
    model = AsySVRGClassifier((3,), max_iter=3, verbose=True, random_state=0).fit(X, y)
    assert model.n_iter_ == 3


@pytest.mark.parametrize("kind", KINDS)
def test_warnings_on_any_stream(monkeypatch, kind):
    def show(message):
        sys.stderr.write(str(message))
        sys.stderr.flush()

    monkeypatch.setattr(sys, "stderr", KINDS[kind]())
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        monkeypatch.setattr(warnings, "_showwarnmsg_impl", show)  # pytest's own shows nothing
        warn("größe")


@pytest.mark.filterwarnings("error")
def test_warnings_that_are_errors():
    with pytest.raises(UserWarning, match="size"):
        warn("size")


@pytest.mark.parametrize("kind", KINDS)
def test_the_command_saves_on_any_stream(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stderr", KINDS[kind]())
    monkeypatch.setattr(sys, "stdout", KINDS[kind]())
    code = cli.main(["train", "iris", "--max-iter", "2", "--save", "größe.npz", "--trace", "run.json"])
    assert code == (0 if kind in ("none", "broken", "bare", "ascii") else 1)
    assert {path.name for path in tmp_path.iterdir()} == {"größe.npz", "run.json"}


def test_letters_that_the_encoding_lacks_are_escaped(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    stream = Stream("stdout")
    stream.say("größe")
    assert raw.getvalue() == b"gr\\xf6\\xdfe\n"
    assert stream.leave() is None


def test_a_file_that_cannot_be_written_does_not_keep_others_from_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cli, "write_json", full)
    files = ["--save", "model.npz", "--trace", "run.json", "--plot", "run.png"]
    pytest.importorskip("matplotlib")
    assert cli.main(["train", "iris", "--max-iter", "2", "--quiet", *files]) == 2
    out, err = capsys.readouterr()
    assert {path.name for path in tmp_path.iterdir()} == {"model.npz", "run.png"}
    assert "model: model.npz" in out
    assert "the trace run.json was not written (No space left on device)" in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("workers", [[], ["--simulate-workers", "2"]], ids=["real", "virtual"])
def test_a_schedule_that_cannot_be_written_does_not_cost_the_model(tmp_path, monkeypatch, capsys, workers):
    monkeypatch.chdir(tmp_path)

    def full(recorder):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(events.Recorder, "close", full)
    files = ["--save", "model.npz", "--trace", "run.json", "--record", "run.jsonl"]
    assert cli.main(["train", "iris", "--max-iter", "2", "--quiet", *workers, *files]) == 2
    out, err = capsys.readouterr()
    assert {path.name for path in tmp_path.iterdir()} == {"model.npz", "run.json"}
    assert "model: model.npz" in out
    assert "schedule:" not in out
    assert err == "asysvrg train: error: the schedule run.jsonl was not written (No space left on device)\n"


def test_predictions_without_a_stream(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", "iris", "--max-iter", "2", "--quiet", "--save", "model"]) == 0
    capsys.readouterr()
    for kind, code in (("full", 1), ("closed", 1), ("broken", 0)):
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", KINDS[kind]())
            assert cli.main(["predict", "iris", "--model", "model"]) == code
        err = capsys.readouterr().err
        assert ("standard output takes no more" in err) == (code == 1)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", None)
        assert cli.main(["predict", "iris", "--model", "model"]) == 2
    assert "--output FILE" in capsys.readouterr().err


def test_predictions_are_never_escaped(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    lines = "".join(f"{i},{['süß', 'bitter'][i % 2]}\n" for i in range(20))
    (tmp_path / "data.csv").write_text(lines, encoding="utf-8")
    assert cli.main(["train", "data.csv", "--max-iter", "1", "--quiet", "--save", "model"]) == 0
    raw = io.BytesIO()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
        assert cli.main(["predict", "data.csv", "--model", "model", "--proba"]) == 2
        assert raw.getvalue() == b""
    assert "standard output, in ascii, has no '\\xfc': --output FILE" in capsys.readouterr().err
    assert cli.main(["predict", "data.csv", "--model", "model", "--proba", "--output", "out.csv"]) == 0
    assert "süß" in (tmp_path / "out.csv").read_text(encoding="utf-8")


def test_closed_descriptors_are_occupied():
    """Otherwise a model file could be opened as descriptor 2, and get what libraries print."""
    child = os.fork()
    if child == 0:
        os.close(0)
        os.close(2)
        streams.occupy()
        alike = [os.path.samestat(os.fstat(number), os.stat(os.devnull)) for number in (0, 2)]
        os._exit(0 if all(alike) and os.open(os.devnull, os.O_RDONLY) > 2 else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_forwarded_output_is_read_to_its_end():
    """Also where nobody takes it: mpiexec would end with its output."""
    source, into = os.pipe()
    read, write = os.pipe()
    os.close(read)
    thread = streams.Copy(os.fdopen(source, "rb"), write)
    for _ in range(4):  # more than a pipe holds
        os.write(into, b"x" * 65536)
    os.close(into)
    thread.join(10)
    assert not thread.is_alive()
    assert thread.error is None  # a reader that has gone away
    os.close(write)


def test_forwarded_output_that_is_lost_is_known():
    source, into = os.pipe()
    with open("/dev/full", "wb") as full:
        thread = streams.Copy(os.fdopen(source, "rb"), full.fileno())
        os.write(into, b"x")
        os.close(into)
        thread.join(10)
    assert thread.error.errno == errno.ENOSPC
