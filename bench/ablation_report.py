"""The tables of bench/ablation.py: bench/results/ablation.md from bench/results/ablation.json."""

from __future__ import annotations

import math
import statistics
import subprocess
from typing import Any

from ablation_worker import CASES
from switches import NOISE, ROOT, SWITCHES

PATH = ROOT / "bench" / "results" / "ablation.md"
AGAIN = ", tuned again"

PAGE = """# What each mechanism brings

`make bench-ablation`, on {where}, commit {commit}.

Each mechanism is switched off alone. Figures are seconds without it by seconds with it: medians of pairs, and in
brackets the quartiles. Mechanisms that nothing chooses by itself are switched on, and figures are again seconds without
them by seconds with them. "never": more than half of the runs without the mechanism did not arrive. With nothing
switched off, half of the pairs' ratios are off 1 by more than {noise}.

## Seconds to the objective 0.125 of `bench/peers.py`

{tuned}

## Fits with defaults over the sets of `bench/defaults.py`

The mean is the geometric one of the sets' medians, without the sparse set. Scores are those without the mechanism less
those with it.

{sets}

## Fits with solver="svrg"

{svrg}

## Fits with defaults beside a busy process on each core

{busy}

## Parameter shards and half precision

Updates a second of the fastest epoch, by 4 workers on the emulated cluster.

{cluster}

## Other programs

They used more than 0.1 cores on average during: {disturbed}.
"""


def ratios(name: str, pairs: list[Any]) -> list[float]:
    """Of seconds without the mechanism and with it."""
    result = []
    for pair in pairs:
        on, off = (math.inf if one is None else one for one in pair)
        if name in SWITCHES and SWITCHES[name].turns_on:
            on, off = off, on
        if on < math.inf:
            result.append(off / on)
        elif off < math.inf:
            result.append(0.0)
    return result or [math.nan]


def with_spread(values: list[float]) -> str:
    """Median and quartiles."""
    if math.isinf(statistics.median(values)):
        return "never"
    low, _, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    return f"{statistics.median(values):.2f} ({low:.2f} to {high:.2f})"


def rows_of(cells: list[list[str]]) -> str:
    """A table in Markdown; its first row is the head."""
    lines = ["| " + " | ".join(row) + " |" for row in cells]
    return "\n".join([lines[0], "|---" * len(cells[0]) + "|", *lines[1:]])


def tuned_table(found: dict[str, Any]) -> str:
    cells = [["without", *CASES]]
    for name, cases in found.items():
        for suffix in ("", AGAIN):
            these = [case + suffix for case in CASES]
            if any(case in cases for case in these):
                spread = [with_spread(ratios(name, cases[case])) if case in cases else "" for case in these]
                cells.append([name + suffix, *spread])
    return rows_of(cells)


def sets_table(found: dict[str, Any]) -> str:
    cells = [
        ["without", "mean", "largest, its set", "smallest, its set", "score, mean", "score, worst set", "sparse set"]
    ]
    for name, sets in found.items():
        times = {which: ratios(name, [(on[0], off[0]) for on, off in pairs]) for which, pairs in sets.items()}
        sparse = [with_spread(times.pop(which)) for which in list(times) if "sparse, " in which]
        middle = {which: statistics.median(values) for which, values in times.items()}
        if not middle:
            continue
        scores = {which: statistics.fmean(off[1] - on[1] for on, off in sets[which]) for which in middle}
        most, least, worst = max(middle, key=middle.get), min(middle, key=middle.get), min(scores, key=scores.get)
        row = [name, f"{statistics.geometric_mean(middle.values()):.3f}"]
        row += [f"{middle[which]:.2f}, {which}" for which in (most, least)]
        row += [f"{statistics.fmean(scores.values()):+.4f}", f"{scores[worst]:+.4f}, {worst}"]
        cells.append(row + (sparse or [""]))
    return rows_of(cells)


def cluster_table(found: dict[str, Any]) -> str:
    cells = [["hidden units", "link", "one server", "two servers", "float16"]]
    for hidden, links in found.items():
        for link, rates in links.items():
            one = max(rates["one server"])
            more = [f"{max(rates[who]):.1f} ({max(rates[who]) / one:.2f} times)" for who in cells[0][3:]]
            cells.append([hidden, link, f"{one:.1f}", *more])
    return rows_of(cells)


def noise(found: dict[str, Any]) -> str:
    values = [abs(ratio - 1) for pairs in found.get(NOISE, {}).values() for ratio in ratios(NOISE, pairs)]
    return f"{statistics.median(values):.1%}" if values else "(not measured)"


def commit() -> str:
    command = ["git", "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def write(content: dict[str, Any]) -> None:
    """Writes the page from all that was measured so far."""
    machine = content["environment"]
    used = {what: used for what, used in content.get("others", {}).items() if used > 0.1 and "busy" not in what}
    PATH.write_text(
        PAGE.format(
            where=f"{machine['processor']}, {machine['cores']} cores, {machine['simd']}",
            commit=content["commit"],
            noise=noise(content.get("tuned", {})),
            tuned=tuned_table(content.get("tuned", {})),
            sets=sets_table(content.get("defaults", {})),
            svrg=sets_table(content.get("svrg", {})),
            busy=sets_table(content.get("busy", {})),
            cluster=cluster_table(content.get("cluster", {})),
            disturbed="; ".join(f"{what}: {cores:.2f}" for what, cores in used.items()) or "nothing",
        )
    )
