"""Downloads, from a server of this process."""

import functools
import gzip
import hashlib
import http.server
import threading

import numpy as np
import pytest
from helpers.files import LABELS, idx, write, write_idx_folder

from asysvrg import data
from asysvrg.data import download

pytestmark = pytest.mark.filterwarnings("error")

FILES = dict.fromkeys(download.DOWNLOADS["mnist"][1], "0" * 32)


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    folder = write_idx_folder(tmp_path / "served")
    md5 = {name: hashlib.md5((folder / name).read_bytes(), usedforsecurity=False).hexdigest() for name in FILES}
    handler = functools.partial(QuietHandler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
        thread.start()
        address = f"http://127.0.0.1:{httpd.server_port}/"
        monkeypatch.setattr(download, "DOWNLOADS", {"mnist": (address, md5)})
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield folder
        httpd.shutdown()
        thread.join()


def test_download(server, tmp_path):
    home = tmp_path / "home"
    d = data.load("mnist", data_home=home)
    assert d.name == "mnist"
    assert np.array_equal(d.y_train, LABELS[:40])
    assert sorted(p.name for p in (home / "mnist").iterdir()) == sorted(FILES)
    for path in server.iterdir():
        path.unlink()
    assert np.array_equal(data.load("mnist", data_home=home).X_train, d.X_train)


def test_download_fetches_only_what_is_missing(server, tmp_path):
    home = tmp_path / "home"
    own = gzip.compress(idx(LABELS[:40][::-1]))  # not of the md5 asked of a download
    (home / "mnist").mkdir(parents=True)
    write(home / "mnist", "train-labels-idx1-ubyte.gz", own)
    assert np.array_equal(data.load("mnist", data_home=home).y_train, LABELS[:40][::-1])


def test_download_goes_to_the_cache_folder(server, tmp_path, monkeypatch):
    import pooch

    monkeypatch.delenv("ASYSVRG_DATA_HOME", raising=False)
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache" / project)
    assert len(data.load("mnist").y_test) == 10
    assert len(list((tmp_path / "cache" / "asysvrg" / "mnist").iterdir())) == 4


def test_download_with_a_wrong_checksum(server, tmp_path):
    write(server, "train-labels-idx1-ubyte.gz", b"something else")
    with pytest.raises(OSError, match=r"train-labels-idx1-ubyte.gz.*hash") as error:
        data.load("mnist", data_home=tmp_path / "home")
    assert str(tmp_path / "home" / "mnist") in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "home" / "mnist" / "train-labels-idx1-ubyte.gz").exists()


def test_download_that_is_not_there(server, tmp_path):
    (server / "t10k-images-idx3-ubyte.gz").unlink()
    with pytest.raises(OSError, match=r"could not download .*t10k-images.*404.*by hand"):
        data.load("mnist", data_home=tmp_path / "home")


def test_download_without_a_network(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "DOWNLOADS", {"mnist": ("http://127.0.0.1:1/", FILES)})
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    for home in (tmp_path, tmp_path / "new" / "home"):
        with pytest.raises(OSError, match=r"could not download .*by hand") as error:
            data.load("mnist", data_home=home)
        assert str(home / "mnist") in str(error.value)
        assert "\n" not in str(error.value)
        assert error.value.__suppress_context__
        assert list(tmp_path.iterdir()) == []
