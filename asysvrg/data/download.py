"""Named data sets: where they are looked up, and their download where they are missing."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path

# Name -> (address of the folder, {file: md5}). Tests put their own server here.
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


def home(data_home: str | os.PathLike | None = None) -> Path:
    """Folder of the named data sets (it need not exist)."""
    chosen = data_home or os.environ.get("ASYSVRG_DATA_HOME")
    if not chosen:
        import pooch

        chosen = pooch.os_cache("asysvrg")
    return Path(chosen).expanduser()


def find_idx(folder: Path, name: str) -> Path | None:
    """The file of that name, plain or gzipped, or spelt ``train-images.idx3-ubyte``, or None."""
    spellings = (name, name.replace("-idx", ".idx"))
    paths = (folder / f"{spelling}{end}" for spelling in spellings for end in ("", ".gz"))
    return next((path for path in paths if path.is_file()), None)


def missing(name: str, data_home: str | os.PathLike | None = None) -> list[str]:
    """Files of a named data set that are not in place."""
    if name not in DOWNLOADS:
        file = f"{name}.npz"
        return [] if (home(data_home) / file).is_file() else [file]
    folder = home(data_home) / name
    return [file for file in DOWNLOADS[name][1] if find_idx(folder, file.removesuffix(".gz")) is None]


def locate(name: str, data_home: str | os.PathLike | None = None) -> Path:
    """Find a named data set, and download what is missing of it.

    Files already in place are used as they are; downloads are checked by md5.

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
        If the set is neither there nor to be had; the message says where to put it by hand.
    """
    absent = missing(name, data_home)
    if name not in DOWNLOADS:
        path = home(data_home) / f"{name}.npz"
        if absent:
            raise FileNotFoundError(
                f"{name} has no public address to download from, and {path} does not exist: put "
                "the file there, or name another folder by data_home or ASYSVRG_DATA_HOME"
            )
        return path
    folder = home(data_home) / name
    address, files = DOWNLOADS[name]
    for file in absent:
        _download(address + file, files[file], folder)
    return folder


def _download(url: str, md5: str, folder: Path) -> None:
    import pooch

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
            f"{folder} by hand, or name the folder that holds {folder.name}/ by data_home or "
            "ASYSVRG_DATA_HOME"
        ) from None


def short(err: Exception) -> str:
    return textwrap.shorten(str(err), 200, placeholder=" ...")
