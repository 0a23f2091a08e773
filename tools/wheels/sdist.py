"""Builds the source distribution in dist/, the same bytes each time: `python tools/wheels/sdist.py [FOLDER]`.

All times in it are SOURCE_DATE_EPOCH, by default that of the last commit; owners and permissions are the same
everywhere, and files are in the order of their names.
"""

import gzip
import io
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from places import DIST, ROOT, only, run


def epoch():
    """SOURCE_DATE_EPOCH, or the time of the last commit, or, outside of a repository, 1980-01-01 (zip's first day)."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if given:
        return int(given)
    command = ["git", "-C", ROOT, "log", "-1", "--format=%ct"]
    done = subprocess.run(command, capture_output=True, text=True, check=False) if (ROOT / ".git").exists() else None
    return int(done.stdout) if done and done.returncode == 0 else 315532800


def repacked(source, seconds):
    """The bytes of the archive `source`, without what differs from build to build."""
    packed = io.BytesIO()
    with (
        tarfile.open(source) as old,
        gzip.GzipFile(fileobj=packed, mode="wb", mtime=seconds, filename="") as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as new,
    ):
        for member in sorted(old.getmembers(), key=lambda member: member.name):
            entry = tarfile.TarInfo(member.name)
            entry.type, entry.size, entry.mtime = member.type, member.size, seconds
            entry.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            new.addfile(entry, old.extractfile(member))
    return packed.getvalue()


def build(folder):
    """Builds it in `folder`, and returns its path."""
    with tempfile.TemporaryDirectory() as scratch:
        run(sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", scratch, ROOT)
        built = only(Path(scratch), "*.tar.gz")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / built.name).write_bytes(repacked(built, epoch()))
    return folder / built.name


if __name__ == "__main__":
    print(build(Path(sys.argv[1]) if len(sys.argv) > 1 else DIST))
