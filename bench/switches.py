"""How each mechanism is switched off; bench/ablation.py uses it.

Most mechanisms hang on a constant of `asysvrg.plan` or on a parameter of the estimator. The others are decided in
compiled code. For these, `build` copies the package, edits a few lines so that a constant decides, and builds the copy.
An edit whose line does not stand in its file exactly once is an error, and so is a patch of a name that does not exist.
"""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from asysvrg import plan

ROOT = Path(__file__).parents[1]
COPIED = ("asysvrg", "csrc", "setup.py", "pyproject.toml", "README.md", "LICENSE")

# File, a part of a line that stands there, and what takes its place.
EDITS = [
    (
        "asysvrg/core/inner.pyx",
        "UPDATES = {",
        "PADDED, SHIFTED, SPREAD, CHAINED = True, True, True, False\nUPDATES = {",
    ),
    ("asysvrg/core/inner.pyx", "        if inner.threads > 1:\n", "        if SPREAD and inner.threads > 1:\n"),
    ("asysvrg/core/inner.pyx", "if self.samples.skips_zeros and not", "if PADDED and self.samples.skips_zeros and not"),
    ("asysvrg/core/inner.pyx", "if inner.preconditioner.rank and", "if SHIFTED and inner.preconditioner.rank and"),
    (
        "asysvrg/core/inner.pyx",
        "        inner.execution, inner.threads =",
        "        inner.chained = CHAINED\n        inner.execution, inner.threads =",
    ),
    ("asysvrg/core/_csrc.pxd", "        int execution\n", "        int execution, chained\n"),
    ("csrc/types.h", "    int execution; /* enum asv_execution */", "    int execution, chained;"),
    ("csrc/kernels/iteration.inc", "if (!p->lazy.done) return ASV_IN_ORDER;", "if (!p->lazy.done) return ORDER;"),
    (
        "csrc/kernels/iteration.inc",
        "/* How gradients of the first layer read",
        "#define ORDER (p->chained ? ASV_CHAINED : ASV_IN_ORDER)\n/* How gradients of the first layer read",
    ),
]


@dataclass(frozen=True)
class Switch:
    """A mechanism, off.

    Attributes
    ----------
    where : str
        Where the mechanism is.
    patches : dict of str to value
        "module.name" of the package, and what it is while the mechanism is off.
    settings : dict
        Parameters of the estimator while the mechanism is off.
    tuned : tuple of dict
        Settings that are tried while it is off, because the best ones were tuned with it. The best of them counts.
    turns_on : bool
        Whether the switch turns the mechanism on, because nothing chooses it by itself.
    """

    where: str
    patches: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    tuned: tuple[dict[str, Any], ...] = ()
    turns_on: bool = False


_storage = plan.storage


def _without_cache(*args: Any) -> plan.Storage:
    return _storage(*args)._replace(snapshot_cache=(False, "switched off"))


PLAIN = tuple(
    {"batch_size": batch, "inner_steps": 10_000 // batch, "learning_rate_init": rate, "deflation": 0}
    for batch, rate in ((20, 0.2), (50, 0.4), (64, 0.5))
)
INNER = "asysvrg/core/inner.pyx: _make_rows"
NOISE = "nothing (noise)"
SWITCHES = {
    NOISE: Switch("the package as it is, twice"),
    "padded rows": Switch(INNER, {"core.inner.PADDED": False}),
    "shift of the preconditioner": Switch(INNER, {"core.inner.SHIFTED": False}),
    "thread placement": Switch("csrc/affinity.h", {"core.inner.SPREAD": False}),
    "columns in order": Switch(
        "csrc/kernels/batch.inc: mark_columns; linked lists instead", {"core.inner.CHAINED": True}
    ),
    "lazy rows": Switch("csrc/kernels/lazy.inc", {"plan.LAZY": -1.0}),
    "threads that do not wait, in the place of lockstep": Switch(
        "csrc/kernels/shared.inc", settings={"execution": "shared"}, turns_on=True
    ),
    "importance sampling: shuffle": Switch("asysvrg/core/importance.py", settings={"sampling": "shuffle"}),
    "importance sampling: replacement": Switch("asysvrg/core/importance.py", settings={"sampling": "replacement"}),
    "preconditioner": Switch("csrc/kernels/precondition.inc", settings={"deflation": 0}, tuned=PLAIN),
    "l2 continuation": Switch("asysvrg/core/schedule.py", settings={"alpha_boost": 1}),  # of SVRG
    "snapshot cache": Switch("csrc/kernels/direction.inc: cached_gradient", {"plan.storage": _without_cache}),
    "zero skipping": Switch("asysvrg/plan.py: DENSE", {"plan.DENSE": 0.0}),
    "atomic updates of all coordinates": Switch(
        "csrc/kernels/apply.inc: apply_atomic", settings={"execution": "shared", "update": "atomic"}, turns_on=True
    ),
}


@contextmanager
def patched(patches: dict[str, Any]) -> Iterator[None]:
    """Names in the package's modules have other values for a while. An AttributeError if there is no such name."""
    with ExitStack() as stack:
        for name, value in patches.items():
            module, _, constant = name.rpartition(".")
            stack.enter_context(patch.object(importlib.import_module(f"asysvrg.{module}"), constant, value))
        yield


def edited() -> dict[str, str]:
    """The text of each edited file, by its name."""
    texts: dict[str, str] = {}
    for name, line, instead in EDITS:
        text = texts.get(name) or (ROOT / name).read_text()
        if text.count(line) != 1:
            raise SystemExit(f"bench/switches.py: {name} has this {text.count(line)} times, once is expected: {line}")
        texts[name] = text.replace(line, instead)
    return texts


def build(folder: Path) -> Path:
    """The edited copy of the package in a folder, built there."""
    texts = edited()
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
        else:
            shutil.copy(ROOT / name, folder / name)
    for name, text in texts.items():
        (folder / name).write_text(text)
    subprocess.run([sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"], cwd=folder, check=True)
    return folder
