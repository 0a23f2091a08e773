"""README and docs/: links lead somewhere, files and names that they mention exist. Their code: test_docs_code.py."""

import inspect
import json
import pydoc
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from asysvrg import options

ROOT = Path(__file__).parents[1]
BENCH = (path for path in ROOT.glob("bench/**/*.md") if path.parent.name != "results")
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *BENCH])
NOW = [page for page in PAGES if "history" not in page.parts and page.name != "CHANGELOG.md"]


def ids(page):
    return str(page.relative_to(ROOT))


def anchors(page):
    """Names of a page's headings, as hosting sites make them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        name, _, anchor = link.partition("#")
        if not link.startswith("http"):
            target = page.parent / name if name else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", NOW, ids=ids)
def test_code_that_is_mentioned_exists(page):
    """`folder/file` is there, and in `folder/file: name` the file has the name."""
    folders = "asysvrg|bench|csrc|docs|examples|tests"
    for name, parts in re.findall(rf"`((?:{folders})/[\w./]+\.\w+)(?:: ([\w., ]+))?`", page.read_text()):
        assert (ROOT / name).exists(), name
        source = (ROOT / name).read_text() if parts else ""
        for part in re.findall(r"\w+", parts):
            assert re.search(rf"\b{part}\b", source), f"{name} has no {part}"


def test_command_line_page_has_each_option():
    """Of an option and its opposite, one has an example."""
    parser, seen = options.parser(), set()
    commands = next(action.choices for action in parser._actions if action.dest == "command")
    page = (ROOT / "docs" / "command-line.md").read_text()
    for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL):
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            words = words[words.index("asysvrg") + 1 :]
            seen |= {word for word in words if word.startswith("--")}
            if words != ["--version"]:
                args = parser.parse_args(words)
                if args.command == "launch":
                    commands["train"].parse_args(args.arguments[1:])
    known = [action.option_strings for each in (parser, *commands.values()) for action in each.filled()._actions]
    shown = seen | {"-n", "--help"}
    assert [names for names in known if names and not shown.intersection(names)] == []


def test_summaries_in_the_reference_are_whole():
    """Sphinx ends a summary at the first full stop before a blank. What follows there is a sentence of its own."""
    module, names = "", []
    for line in (ROOT / "docs" / "api.rst").read_text().splitlines():
        module = line.split()[-1] if line.startswith(".. currentmodule::") else module
        names += [f"{module}.{line.strip()}"] if re.fullmatch(r" {3}[\w.]+", line) else []
    assert len(names) > 30
    for name in names:
        summary = inspect.getdoc(pydoc.locate(name)).split("\n\n")[0]
        assert not re.search(r"\.\s+[^A-Z`]", summary), name


@pytest.mark.parametrize(("status", "info", "code", "line"), [
    ("working", "", 0, "1 lead somewhere"),
    ("broken", "404 Client Error: Not Found for url", 1, "leads nowhere: https://a.org/b"),
    ("broken", "HTTPSConnectionPool(host='a.org', port=443): Max retries exceeded", 0, "not tried, since"),
    ("timeout", "timed out", 0, "not tried, since"),
    ("unchecked", "", 0, "0 lead somewhere"),
])  # fmt: skip
def test_links_to_other_sites(tmp_path, status, info, code, line):
    """A site that cannot be reached from here says nothing about its pages."""
    results = tmp_path / "output.json"
    results.write_text(json.dumps({"uri": "https://a.org/b", "status": status, "info": info}) + "\n")
    command = [sys.executable, ROOT / "docs/check_links.py", "--others", results]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert line in done.stdout


def test_pre_commit_has_the_versions_of_make_lint():
    wanted = re.search(r"^lint = \[(.*)\]", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]
    config = ROOT / ".pre-commit-config.yaml"
    if not config.exists():
        pytest.skip("not in a source distribution")
    hooks = config.read_text()
    for requirement in re.findall(r'"([^"]+)"', wanted):
        assert f'["{requirement}"' in hooks, requirement
