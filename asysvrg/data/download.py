"""Named data sets: where they are stored, and how missing files are downloaded."""

from __future__ import annotations

import os
import textwrap
from contextlib import suppress
from pathlib import Path

# Name -> (URL of the folder, {file: md5}). Tests replace it by a server of their own.
DOWNLOADS: dict[str, tuple[str, dict[str, str]]] = {
    "mnist": (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        {
            "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
            "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
            "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
        },
    ),
    "fashion-mnist": (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        {
            "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
            "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
            "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
        },
    ),
}
NAMES = (*DOWNLOADS, "cifar10-features")


def home(data_home: str | os.PathLike[str] | None = None) -> Path:
    """Folder of the named data sets; it may not exist yet."""
    chosen = data_home or os.environ.get("ASYSVRG_DATA_HOME")
    if not chosen:
        import pooch

        chosen = pooch.os_cache("asysvrg")
    return Path(chosen).expanduser()


def find_idx(folder: Path, name: str) -> Path | None:
    """Path of an IDX file, or None; it may be gzipped, or spelt ``train-images.idx3-ubyte``."""
    spellings = (name, name.replace("-idx", ".idx"))
    paths = (folder / f"{spelling}{end}" for spelling in spellings for end in ("", ".gz"))
    return next((path for path in paths if path.is_file()), None)


def missing(name: str, data_home: str | os.PathLike[str] | None = None) -> list[str]:
    """Files of a named data set that do not exist."""
    if name not in DOWNLOADS:
        file = f"{name}.npz"
        return [] if (home(data_home) / file).is_file() else [file]
    folder = home(data_home) / name
    return [file for file in DOWNLOADS[name][1] if find_idx(folder, file.removesuffix(".gz")) is None]


def locate(name: str, data_home: str | os.PathLike[str] | None = None) -> Path:
    """Find a named data set, and download its missing files.

    Files that exist are used without a check; downloaded files are checked by md5.

    Parameters
    ----------
    name : str
        One of `NAMES`.
    data_home : path, default=None
        Folder of the named data sets, see `home`.

    Returns
    -------
    pathlib.Path
        The file ``cifar10-features.npz``, or the folder of the four IDX files.

    Raises
    ------
    OSError
        If a file is missing and cannot be downloaded. The message says where to put it.
    """
    absent = missing(name, data_home)
    path = home(data_home) / (name if name in DOWNLOADS else f"{name}.npz")
    if absent and name not in DOWNLOADS:
        raise FileNotFoundError(
            f"{name} has no public address to download from, and {path} does not exist: put "
            "the file there, or name another folder by data_home or ASYSVRG_DATA_HOME"
        )
    for file in absent:
        url, files = DOWNLOADS[name]
        _download(url + file, files[file], path)
    return path


def _download(url: str, md5: str, folder: Path) -> None:
    import pooch

    absent = [path for path in (folder, *folder.parents) if not os.path.exists(path)]  # pooch creates them
    try:
        pooch.retrieve(
            url,
            known_hash=f"md5:{md5}",
            fname=url.rpartition("/")[2],
            path=folder,
            downloader=pooch.HTTPDownloader(timeout=30),
        )
    except (OSError, ValueError) as err:
        raise OSError(
            f"could not download {url} ({type(err).__name__}: {short(err)}); put the file into "
            f"{folder} by hand, or name the folder that contains {folder.name}/ by data_home or "
            "ASYSVRG_DATA_HOME"
        ) from None
    finally:
        for path in absent:
            with suppress(OSError):  # it is not empty
                path.rmdir()


def short(err: Exception) -> str:
    """The message of an error on one line of at most 200 characters."""
    return textwrap.shorten(str(err), 200, placeholder=" ...")
