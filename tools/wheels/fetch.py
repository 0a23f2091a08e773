"""Files of Debian's and Ubuntu's archives, checked by their SHA-256, and what is packed in them."""

import hashlib
import urllib.request

from places import WORK, need, run, stop

ARCHIVES = {"debian": "http://deb.debian.org/debian", "ubuntu": "http://archive.ubuntu.com/ubuntu"}


def package(archive, path, sha256):
    """A package's file: downloaded once, and never used if its hash is another."""
    target = WORK / "packages" / path.rpartition("/")[2]
    if not target.exists():
        url = f"{ARCHIVES[archive]}/pool/{path}"
        try:
            with urllib.request.urlopen(url, timeout=120) as answer:
                content = answer.read()
        except OSError as error:
            stop(f"cannot download {url}: {error}")
        if hashlib.sha256(content).hexdigest() != sha256:
            stop(f"{url} has another SHA-256 than tools/wheels says; do not use it")
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f"{target.name}.part")
        part.write_bytes(content)
        part.rename(target)
    return target


def unpack(file, folder):
    need(("dpkg-deb", "dpkg"))
    run("dpkg-deb", "--extract", file, folder)
