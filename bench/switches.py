"""A copy of the package in which each mechanism can be switched off while a program runs; bench/ablation.py uses it.

Most mechanisms hang on a constant of a module or on a parameter of the estimator. Some are decided in compiled code:
`build` copies the package into a folder, edits some lines there so that a constant decides, and builds the copy. An
edit whose line is not found exactly once is an error.
"""

from __future__ import annotations

import importlib
import math
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
COPIED = ("asysvrg", "csrc", "setup.py", "pyproject.toml", "README.md", "LICENSE")
IN_ORDER, CHAINED, EACH = 1, 2, 0  # order_t of csrc/layers.h

SCATTER = """
/* Entries of each row added to rows of W_0, one after the other. */
ASV_PART void scatter_entries(const asv_inner *p, const step_scratch *s) {
    const factors_t f = factors_of(p, s, 0);
    for (int64_t r = 0; r < s->in.rows; r++)
        for (int64_t c = 0; c < s->in.count[r] && s->share[r] != 0; c++) {
            int64_t i = s->in.column[r][c], here = p->net->weight[0] + i * f.width_out;
            real *x = p->wide ? (real *)p->wide + i * f.pitch : (real *)p->x + here;
            add_scaled(x, -(real)p->eta * s->in.value[r][c], f.right + r * f.pitch, f.width_out);
        }
}

"""

# File, the line that stands there, and what takes its place.
EDITS = [
    ("asysvrg/_shared.pyx", "SEEN = 100_000", f"WIDENED = SHIFTED = SEATED = True\nORDER = {IN_ORDER}\nSEEN = 100_000"),
    ("asysvrg/_shared.pyx", "        if rank and in_order and", "        if SHIFTED and rank and in_order and"),
    ("asysvrg/_shared.pyx", "        if in_order and samples.", "        if WIDENED and in_order and samples."),
    ("asysvrg/_shared.pyx", "        if inner.threads > 1:", "        if SEATED and inner.threads > 1:"),
    (
        "asysvrg/_shared.pyx",
        "        self.inner.rank = rank",
        "        self.inner.rank, self.inner.order = rank, ORDER",
    ),
    ("asysvrg/_network.pyx", "DENSE_ENOUGH = 0.4", "BITS = True\nDENSE_ENOUGH = 0.4"),
    ("asysvrg/_network.pyx", "        self.data.bits = bits", "        if BITS:\n            self.data.bits = bits"),
    ("asysvrg/_csrc.pxd", "        int replacement", "        int replacement\n        int order"),
    ("csrc/types.h", "    int direction, update, replacement;", "    int direction, update, replacement, order;"),
    (
        "csrc/update.h",
        "    order_t order = !p->done ? ASV_IN_ORDER :",
        "    order_t order = !p->done ? (p->order == ASV_EACH && shares_rows(p) ? ASV_CHAINED : (order_t)p->order) :",
    ),
    ("csrc/layers.h", "    } else if (f->input) {", "    } else if (f->input && f->input->head) {"),
    (
        "csrc/step.h",
        "    return p->enough > 0 && s->in.marks &&",
        "    return p->enough > 0 && (s->in.marks || (p->order == ASV_EACH && s->in.column && !p->done)) &&",
    ),
    ("csrc/step.h", "/* Eq. (4) on the coordinates of iteration t. */", SCATTER + "/* Eq. (4). */"),
    (
        "csrc/step.h",
        "    if (p->shift) update_shift(p, s);",
        "    if (p->order == ASV_EACH && s->in.column && !p->done && !p->subset && !shares_rows(p)) "
        "scatter_entries(p, s);\n    if (p->shift) update_shift(p, s);",
    ),
]


@dataclass(frozen=True)
class Switch:
    """A mechanism, off.

    Attributes
    ----------
    what : str
        Where the mechanism is.
    patches : dict of str to value
        "module.constant" of the package, and what it is then.
    settings : dict
        Parameters of the estimator then.
    base_patches, base_settings : dict
        The same for what it is compared with, where that is not the package as it is.
    tuned : tuple of dict
        Parameters that are tried in place of the best settings, which are for the mechanism; the best of them counts.
    """

    what: str
    patches: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    base_patches: dict[str, Any] = field(default_factory=dict)
    base_settings: dict[str, Any] = field(default_factory=dict)
    tuned: tuple[dict[str, Any], ...] = ()


def _without_cache(network: Any, samples: Any, cache_bytes: float) -> bool:
    samples.compress(cache_bytes)
    return False


NO_LOTS = {"importance.ENOUGH": 0.0}
PLAIN = tuple(
    {"batch_size": batch, "inner_steps": 10_000 // batch, "learning_rate_init": rate, "deflation": 0}
    for batch, rate in ((20, 0.2), (50, 0.4), (64, 0.5))
)
SWITCHES = {
    "nothing (noise)": Switch("the package as it is, twice"),
    "lots": Switch("importance.py, step.h: by_lot", NO_LOTS),
    "wide rows": Switch("_shared.pyx: _widen", {"_shared.WIDENED": False}),
    "shift": Switch("_shared.pyx: _shift, deflate.h", {"_shared.SHIFTED": False}),
    "bits": Switch("_network.pyx: compress, layers.h: turn_bits; marks from entries", {"_network.BITS": False}),
    "marks: chains": Switch(
        "layers.h: mark_columns; chains instead, no lots in both", {"_shared.ORDER": CHAINED} | NO_LOTS, {}, NO_LOTS
    ),
    "marks: entries by row": Switch("layers.h: mark_columns; each row's entries instead", {"_shared.ORDER": EACH}),
    "marks and lots: chains": Switch("the same by chains, which cannot leave samples out", {"_shared.ORDER": CHAINED}),
    "lazy rows": Switch("lazy.h, _shared.pyx: SPARSE_ENOUGH", {"_shared.SPARSE_ENOUGH": -1.0}),
    "seats": Switch("seats.h", {"_shared.SEATED": False}),
    "lockstep teams": Switch("team.h, shared.py: suits_a_team", {"shared.TEAM_INPUTS": math.inf}),
    "replicas (on)": Switch('replica.h; update="replicated" instead of auto', {}, {"update": "replicated"}),
    "atomic, all (on)": Switch('update="atomic" instead of auto', {}, {"update": "atomic"}),
    "importance: shuffle": Switch("importance.py, listing.h", {}, {"sampling": "shuffle"}),
    "importance: replacement": Switch("importance.py, listing.h", {}, {"sampling": "replacement"}),
    "low-rank steps": Switch("deflate.h, deflation.py", {}, {"deflation": 0}, tuned=PLAIN),
    "l2 continuation": Switch("objective.py: boost_in", {}, {"alpha_boost": 1}),
    "snapshot cache": Switch("step.h: cached_gradient", {"objective.save_work": _without_cache}),
    "zero skipping": Switch("_network.pyx: compress", {"_network.DENSE_ENOUGH": 0.0}),
}


@contextmanager
def patched(patches: dict[str, Any]) -> Iterator[None]:
    """Constants of the package's modules have other values for a while."""
    before = {}
    for name, value in patches.items():
        module, _, constant = name.rpartition(".")
        owner = importlib.import_module(f"asysvrg.{module}")
        before[owner, constant] = getattr(owner, constant)  # an AttributeError if there is none
        setattr(owner, constant, value)
    try:
        yield
    finally:
        for (owner, constant), value in before.items():
            setattr(owner, constant, value)


def build(folder: Path) -> Path:
    """The edited copy of the package in a folder, built there."""
    built = shutil.ignore_patterns("*.so", "__pycache__", "_*.c")
    for name in COPIED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name, **({"ignore": built} if copy is shutil.copytree else {}))
    for name, line, instead in EDITS:
        path = folder / name
        text = path.read_text()
        if text.count(line) != 1:
            raise SystemExit(f"bench/switches.py: {name} has this {text.count(line)} times, once is expected: {line}")
        path.write_text(text.replace(line, instead))
    subprocess.run([sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"], cwd=folder, check=True)
    return folder
