"""The tables of bench/panel.py: `python bench/panel_report.py bench/results/panel-2.json > docs/panel.md`."""

from __future__ import annotations

import json
import math
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablation_report import rows_of
from panel_sets import SETTINGS

BUSY = ", busy"  # after a contender's name: what it does alone and beside busy processes
NOISE = 0.002  # a score that is lower by more is marked
PEERS = ("scikit-learn", "PyTorch", "LightGBM")

PAGE = """# Panel: many kinds of data, defaults

`make bench-panel`, on {where}{quick}.
Versions: {versions}.
There is [the same on an EPYC](../bench/history/panel-epyc.md), and an earlier version on [a Xeon without AMX
](../bench/history/panel-xeon.md).

Scores on the test set are accuracy, or R^2 of regressions, means over as many seeds as the table says. Seconds are
medians over them, and of short fits of ours means of repetitions. CPU is the seconds of all threads together. Ours,
scikit-learn's MLP and LightGBM have their defaults. All networks have the hidden layers of the table. PyTorch trains
them by Adam with its defaults and mini-batches of 256, until the rule by which scikit-learn's fit ends.

"To our score" are the seconds until the peer first has our score on the test set, which it cannot know: it is scored
after each epoch (or number of trees), outside the clock. A peer without our score goes on after its end for as long
again. A ">" stands before the seconds of a peer that never has our score, or is given up after {limit:g} seconds.
"Ratio" is by our seconds, and in brackets by CPU. A score of ours that is lower by more than {noise} is **bold**.

## The problems

{problems}

{tables}
"""


@dataclass(frozen=True)
class Figure:
    """Seconds, and of the processor; `more` if it is a bound from below."""

    seconds: float
    processor: float
    more: bool = False

    def __str__(self) -> str:
        sign = "> " if self.more else ""
        return f"{sign}{digits(self.seconds)} ({digits(self.processor)})"

    def by(self, other: Figure) -> Figure:
        return Figure(self.seconds / other.seconds, self.processor / max(other.processor, 1e-9), self.more)


def digits(value: float) -> str:
    """Three of them, or all of the integer part."""
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def final(course: dict[str, Any]) -> dict[str, float]:
    """The row at which the contender ended by itself, or its last."""
    return course["rows"][-1 if course["end"] is None else course["end"]]


def score_of(courses: list[dict[str, Any]]) -> float:
    """The mean; nan if a fit was given up without one."""
    return statistics.fmean(final(course)["score"] if course["rows"] else math.nan for course in courses)


def middle(rows: list[tuple[dict[str, float], bool]]) -> Figure:
    """Medians of rows; each with whether it is a bound from below. It is one if half of them are."""
    figures = (statistics.median(row[what] for row, _ in rows) for what in ("seconds", "processor"))
    return Figure(*figures, sum(more for _, more in rows) * 2 >= len(rows))


def given_up(course: dict[str, Any]) -> dict[str, float]:
    return {"seconds": course["limit"], "processor": course["limit"], "score": math.nan}


def whole(courses: list[dict[str, Any]]) -> Figure:
    """Of fits to their own end."""
    rows = [final(course) if course["rows"] else given_up(course) for course in courses]
    return middle([(row, course["end"] is None) for row, course in zip(rows, courses, strict=True)])


def to_score(courses: list[dict[str, Any]], score: float) -> Figure:
    """Until the test score is reached; of a course that never does, all of it."""
    rows = []
    for course in courses:
        there = [row for row in course["rows"] if row["score"] >= score]
        last = course["rows"][-1] if course["rows"] else given_up(course)
        rows.append((there[0] if there else last, not there))
    return middle(rows)


def in_words(courses: list[dict[str, Any]]) -> str:
    return f"score {score_of(courses):.4f}, {whole(courses)} s"


# ---- Tables. ----


def listed(sets: dict[str, Any]) -> str:
    """The problems, and with how many seeds ours was measured."""
    cells = [["data", "what", "rows", "hidden layers", "seeds"]]
    for name, into in sets.items():
        setting = SETTINGS[name]
        hidden = ", ".join(map(str, setting.hidden)) or "none"
        seeds = len(into["ours"]["courses"]) if "ours" in into else 0
        cells.append([name, setting.about, f"{setting.rows:,} + {setting.test_rows:,}", hidden, str(seeds)])
    return rows_of(cells)


def compared(sets: dict[str, Any], peer: str) -> dict[str, tuple[float, float, Figure]]:
    """For each problem that both have: our score, the peer's, and the ratio to our score."""
    found = {}
    for which, into in sets.items():
        if "ours" in into and peer in into:
            ours, theirs = into["ours"]["courses"], into[peer]["courses"]
            score = score_of(ours)
            found[which] = score, score_of(theirs), to_score(theirs, score).by(whole(ours))
    return found


def summary(found: dict[str, tuple[float, float, Figure]]) -> str:
    """Least ratio, geometric mean, and scores that are lower."""
    seconds = {which: ratio.seconds for which, (_, _, ratio) in found.items()}
    least = min(seconds, key=seconds.__getitem__)
    mean = statistics.geometric_mean(seconds.values())
    processor = statistics.geometric_mean(ratio.processor for _, _, ratio in found.values())
    lower = [f"{which} ({theirs - ours:.3f})" for which, (ours, theirs, _) in found.items() if theirs - ours > NOISE]
    return (
        f"Least ratio {digits(seconds[least])} ({least}), geometric mean {digits(mean)} (CPU {digits(processor)}), "
        f"over {len(found)} problems. Lower by more than {NOISE}: {'; '.join(lower) or 'none'}."
    )


def peer_table(sets: dict[str, Any], peer: str) -> str:
    cells = [["data", "our score", "its score", "our s (CPU)", "its s (CPU)", "to our score (CPU)", "ratio (CPU)"]]
    found = compared(sets, peer)
    for which, (ours, theirs, ratio) in found.items():
        courses = sets[which][peer]["courses"]
        mine = f"**{ours:.4f}**" if theirs - ours > NOISE else f"{ours:.4f}"
        times = whole(sets[which]["ours"]["courses"]), whole(courses), to_score(courses, ours), ratio
        cells.append([which, mine, f"{theirs:.4f}", *map(str, times)])
    return f"{rows_of(cells)}\n\n{summary(found)}"


def busy_pair(rows: list[dict[str, Any]], get: Any) -> tuple[float, float, float]:
    """Medians of quiet, of busy, and of the rounds' ratios; infinite where a fit was given up."""
    pairs = [tuple(get(row[kind]) if kind in row else math.nan for kind in ("quiet", "busy")) for row in rows]
    return tuple(statistics.median(values) for values in (*zip(*pairs, strict=True), [b / a for a, b in pairs]))


def seconds_of(course: dict[str, Any]) -> float:
    return final(course)["seconds"] if course["rows"] else math.inf


def single_of(course: dict[str, Any]) -> float:
    return course["predict"]["p90"] if "predict" in course else math.inf


def busy_in_words(rows: list[dict[str, Any]]) -> str:
    parts = [("fit, s", seconds_of)] if rows[0]["quiet"]["rows"] else []
    parts += [("90% of single predictions, ms", single_of)]
    return "; ".join(
        "{}: quiet {}, busy {}, ratio {}".format(what, *map(digits, busy_pair(rows, get))) for what, get in parts
    )


def busy_table(sets: dict[str, Any]) -> str:
    head = ["data", "fit, s", "beside", "ratio", "a row, ms", "beside", "scikit-learn, ms", "beside", "ours by its"]
    cells, ratios = [head], {}
    for which, into in sets.items():
        if "ours" + BUSY not in into:
            continue
        ours, theirs = into["ours" + BUSY], into.get("scikit-learn" + BUSY, [])
        fits, row = busy_pair(ours, seconds_of), busy_pair(ours, single_of)
        peer = busy_pair(theirs, single_of) if theirs else (math.nan,) * 3
        ratios[which] = fits[2]
        cells.append([which, *map(digits, (*fits, *row[:2], *peer[:2], row[1] / peer[1]))])
    most = max(ratios, key=ratios.__getitem__)
    return f"{rows_of(cells)}\n\nLargest ratio of fits: {digits(ratios[most])} ({most})."


def tables(content: dict[str, Any]) -> Iterator[str]:
    sets = content["sets"]
    for peer in PEERS:
        if compared(sets, peer):
            yield f"## Beside {peer}\n\n{peer_table(sets, peer)}"
    if any("ours" + BUSY in into for into in sets.values()):
        yield (
            "## Ours beside a busy process on each core\n\nSeconds of a fit alone and beside them, in turns; and "
            f"milliseconds within which nine of ten\npredictions of a single row are made.\n\n{busy_table(sets)}"
        )


def page(content: dict[str, Any]) -> str:
    """Markdown, of what there is of the measurements."""
    machine, sets = content["environment"], content["sets"]
    about = [(who, what) for into in sets.values() for who, what in into.items() if not who.endswith(BUSY)]
    peers = {who: what["version"] for who, what in about if who != "ours"}
    versions = {"asysvrg": machine["asysvrg"]} | peers | {"numpy": machine["numpy"], "Python": machine["python"]}
    return PAGE.format(
        where=f"{machine['processor']}, {content['cores']} cores, {machine['simd']}",
        quick=", with a tenth of the rows" if content["quick"] else "",
        versions=", ".join(f"{name} {version}" for name, version in versions.items()),
        limit=content["limit"],
        noise=NOISE,
        problems=listed(sets),
        tables="\n\n".join(tables(content)) or "Nothing was measured.",
    )


if __name__ == "__main__":
    print(page(json.loads(Path(sys.argv[1]).read_text())), end="")
