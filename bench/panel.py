"""Many kinds of data beside scikit-learn's MLP, PyTorch and LightGBM, all with defaults: `make bench-panel`.

Each contender fits each problem of bench/panel_sets.py in a process of its own, one after the other. Results are added
to a file in bench/results/, so that a part can be measured alone, and its tables are written beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from contextlib import nullcontext
from typing import Any

import ablation_report
import panel_report
from ablation import busy_cores
from contenders.workers import Process
from panel_sets import SETTINGS
from panel_worker import CONTENDERS, takes_part
from switches import ROOT

from asysvrg.core.trace import environment
from asysvrg.store.files import write_json

START = 300.0  # seconds in which a process has made its data
SMALL, SEVERAL = 6_000, 5  # problems of fewer rows have so many times the rounds: chance counts more


class Contest:
    """The contenders on one problem; what they say is added to `into`."""

    def __init__(self, which: str, given: argparse.Namespace, into: dict[str, Any]):
        self.which, self.given, self.into = which, given, into

    def process(self, contender: str) -> Process:
        quick = "quick" if self.given.quick else "full"
        script = str(ROOT / "bench" / "panel_worker.py")
        return Process([script, contender, self.which, str(self.given.cores), quick], self.given.cores)

    def ask(self, process: Process, do: str, patience: float, **task: Any) -> dict[str, Any]:
        answer = process.answer({"do": do, **task}, patience)
        if answer is None:
            raise RuntimeError(f"a process ended on {self.which}; what it printed stands above")
        return answer

    def fit(self, process: Process, seed: int, target: float | None = None) -> dict[str, Any]:
        """A course; one without rows if it takes too long."""
        limit = self.given.limit
        try:
            # Peers look at the clock themselves; their scoring is outside it, and takes time.
            patience = limit if target is None else 2 * limit + START
            return self.ask(process, "fit", patience, seed=seed, limit=limit, target=target)
        except TimeoutError:
            return {"seed": seed, "rows": [], "end": None, "limit": limit}

    def run(self, contender: str) -> None:
        """All rounds of one contender."""
        target = panel_report.score_of(self.into["ours"]["courses"]) if "ours" in self.into else None
        with self.process(contender) as process:
            about = self.ask(process, "about", START)
            if "missing" in about:
                say(f"{self.which}: {contender} is left out: {about['missing']}")
                return
            courses: list[dict[str, Any]] = []
            for seed in range(self.given.rounds * (SEVERAL if SETTINGS[self.which].rows < SMALL else 1)):
                courses.append(self.fit(process, seed, None if contender == "ours" else target or 0.0))
                if not courses[-1]["rows"]:
                    break
        self.into[contender] = about | {"courses": courses, "commit": ablation_report.commit()}
        say(f"{self.which}: {contender}, {panel_report.in_words(courses)}")

    def run_busy(self, contender: str) -> None:
        """Single predictions alone and beside busy processes in turns; and fits, if they are ours."""
        with self.process(contender) as process:
            about = self.ask(process, "about", START)
            if "missing" in about:
                say(f"{self.which}: {contender} is left out: {about['missing']}")
                return
            found = self.in_turns(process, fits=contender == "ours")
        self.into[contender + panel_report.BUSY] = found
        say(f"{self.which}: {contender}, {panel_report.busy_in_words(found)}")

    def in_turns(self, process: Process, fits: bool) -> list[dict[str, Any]]:
        """A row for each round, with "quiet" and "busy"; a fit that takes too long is the last."""
        rows: list[dict[str, Any]] = []
        for seed in range(self.given.rounds):
            rows.append({})
            for kind in ("quiet", "busy") if seed % 2 == 0 else ("busy", "quiet"):
                with busy_cores() if kind == "busy" else nullcontext():
                    result = self.fit(process, seed) if fits else {"rows": None}
                    rows[-1][kind] = result
                    if result["rows"] == []:
                        return rows
                    result["predict"] = self.ask(process, "predict", START)
        return rows


def say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="", help="problems whose name has this pattern (a regular expression)")
    parser.add_argument("--contenders", default="", help="and contenders; what others did before stays")
    parser.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)), help="default: all")
    seeds = f"fits of each, with seeds 0, 1, ...; {SEVERAL} times as many below {SMALL:,} rows"
    parser.add_argument("--rounds", type=int, default=3, help=seeds)
    parser.add_argument("--limit", type=float, default=300, help="seconds after which a fit is given up")
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows")
    parser.add_argument("--busy", action="store_true", help="ours alone and beside a busy process on each core instead")
    parser.add_argument("--list", action="store_true", help="show the problems, and measure nothing")
    given = parser.parse_args()
    chosen = [name for name in SETTINGS if re.search(given.only, name)]
    if given.list:
        print(panel_report.listed({name: {} for name in chosen}))
        return 0
    name = f"panel-{given.cores}{'-quick' if given.quick else ''}.json"
    path = ROOT / "bench" / "results" / name
    path.parent.mkdir(exist_ok=True)
    content = json.loads(path.read_text()) if path.exists() else {"sets": {}}
    content |= {"environment": environment(), "cores": given.cores, "quick": given.quick, "limit": given.limit}
    for which in chosen:
        contest = Contest(which, given, content["sets"].setdefault(which, {}))
        for contender in ("ours", "scikit-learn") if given.busy else CONTENDERS:
            if re.search(given.contenders, contender) and takes_part(contender, SETTINGS[which]):
                contest.run_busy(contender) if given.busy else contest.run(contender)
                write_json(path, content)
                path.with_suffix(".md").write_text(panel_report.page(content))
    print(panel_report.page(content))
    return 0


if __name__ == "__main__":
    sys.exit(main())
