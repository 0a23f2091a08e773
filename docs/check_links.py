"""Checks the built site: each link within it leads to a file, and to a heading or name in that file.

`python docs/check_links.py build/docs/html`. Sphinx follows the links to other sites, and `python docs/check_links.py
--others build/docs/links/output.json` says what it found. A page that a site has not is an error. A site that cannot be
reached from here is named, but is none.
"""

from __future__ import annotations

import json
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The links and the names of a page."""

    def __init__(self, path: Path):
        super().__init__()
        self.links: list[str] = []
        self.names: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if name in ("href", "src") and value:
                self.links.append(value)
            elif name in ("id", "name") and value:
                self.names.add(value)


def broken(root: Path) -> list[str]:
    """The links that lead nowhere, each with its page."""
    pages = {path.resolve(): Page(path) for path in root.rglob("*.html") if "_static" not in path.parts}
    found = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            known = pages.get(target)
            if not target.exists() or (parts.fragment and known and unquote(parts.fragment) not in known.names):
                found.append(f"{path.relative_to(root.resolve())}: {link}")
    return found


NO_CONNECTION = ("Max retries exceeded", "Connection aborted", "Connection refused", "timed out")


def verdict(found: dict[str, Any]) -> str:
    """What Sphinx's finding of a link says of it. Without a connection it says nothing."""
    if found["status"] == "timeout" or any(words in found["info"] for words in NO_CONNECTION):
        return "not tried"
    return {"broken": "nowhere", "working": "somewhere", "redirected": "somewhere"}.get(found["status"], "local")


def others(results: Path) -> dict[str, list[str]]:
    """The links of the site to other sites, by `verdict`."""
    found: dict[str, list[str]] = {"somewhere": [], "nowhere": [], "not tried": [], "local": []}
    for each in map(json.loads, results.read_text(encoding="utf-8").splitlines()):
        found[verdict(each)].append(each["uri"])
    return found


def report(results: Path) -> int:
    """Prints which links to other sites work; returns the exit code, 1 if one of them does not."""
    found = others(results)
    print(f"links to other sites: {len(found['somewhere'])} lead somewhere")
    for link in found["nowhere"]:
        print(f"leads nowhere: {link}")
    for link in found["not tried"]:
        print(f"not tried, since there is no connection: {link}")
    return 1 if found["nowhere"] else 0


if __name__ == "__main__":
    if sys.argv[1] == "--others":
        sys.exit(report(Path(sys.argv[2])))
    lost = broken(Path(sys.argv[1]))
    sys.exit("\n".join(["links that lead nowhere:", *lost]) if lost else 0)
