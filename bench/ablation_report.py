"""docs/ablation.md from bench/results/ablation.json; bench/ablation.py calls it."""

from __future__ import annotations

import math
import statistics
import subprocess
from typing import Any

from switches import ROOT, SWITCHES

PATH = ROOT / "docs" / "ablation.md"
EARNS = 1.05
NOISE = "nothing (noise)"

CASES = ("sgd, 2", "sgd_svrg, 2", "sgd, 1", "sgd_svrg, 1", "defaults, 2")
AGAIN = ", tuned again"

HEAD = """# What each mechanism brings

`make bench-ablation`, on {where}, commit {commit}. It was run
in parts (`--parts`, `--only`), with fewer repeats (`--repeats`) of some than of others.

Each mechanism is switched off alone; `bench/switches.py` says how. Figures are seconds without it by seconds with it,
measured in turns in one process: above 1.05 it earns its place. A figure is the median of the pairs' ratios, and the
quartiles stand behind it. Rows with "(on)" are of mechanisms that nothing chooses by itself: what they bring by default
is 0. They are switched on, and figures are again seconds without them by seconds with them.

## Summary

The mean over sets decides, not the largest of them; beside busy processes only where it is above every set's figure
with nothing switched off, since these are far from 1 there. "never": more than half of the runs without the mechanism
did not arrive.

{summary}

- Chains cannot leave samples out by lot. Therefore "marks: chains" has no lots on either side.
- Without the snapshot's cache there are no lots in epochs of SVRG, and without importance sampling in none.
- "marks: entries by row" adds each entry's product to its row of the first layer, after a pass over all rows. With one
  thread, wide rows and the shift its loss is up to 1% off that of the other ways, for a reason that has not been found:
  its figures on two cores are right, those on one core are a hint.
- Beside busy processes the same fit, twice, differs by up to a factor of 2: that column says nothing of most rows.
- None of the sets has mini-batches that are sparse enough for lazy rows. The sparse set, below, has.
- Replicas and atomic updates run with the settings of teams, whose rates are too large for late updates. No other
  settings were tried for them.
"""

BODY = """
## Seconds to the objective 0.125 of `bench/peers.py`

{pairs} pairs, from as many starts. Settings are those of `bench/peers_best.json` for 0.125, by contender and number of
cores, and the defaults. They were tuned on a processor with tiles and with all mechanisms on. The decaying rates of
"sgd" end after 6 or 8 epochs, so that whatever makes an epoch worse never arrives there. For low-rank steps a few other
settings were tried, too, and the best of them is in the row "tuned again"; the best was the smallest mini-batch of
these, so that it may not be the best of all. With nothing switched off, a pair's ratio is
off 1 by {noise} in the middle.

{tuned}

Without lots other samples count, and a run arrives after some more or fewer updates: few pairs do not tell. For what
was close to 1.05 there are {many} pairs on one core, by the processor's time, which other programs hardly change. In
the summary these figures count for one core. What was close was chosen when the table above was known.

{processor}

## Fits with defaults over the sets of `bench/defaults.py`

{fits} pairs for each set, of 2 or 3 seeds. The mean is the geometric one of the sets' medians. Scores are those without
the mechanism less those with it. A fit has up to 12 epochs in any case, so that what makes an epoch better shows in
the score, and not in the time. The sparse set is not in the mean: 6,000 samples with 80 entries in 20,000 columns.

{sets}

## The same beside busy processes

{busy_fits} pairs for each set, of 2 seeds; fits of one epoch, three sets. Beside them ran one process on each core that
only counted, and what else the machine had to do: they used {beside} cores together.

{busy}

## Tiles

Tiles (`csrc/tiles.h`) cannot be switched off where there are none. On the processor with AMX of
[performance](performance.md) a full gradient of dense samples by one thread ran at 1.29 times `sgemm`'s rate; on one
without, at 0.71 ([its rows](performance-avx512.md), an earlier version). On MNIST, whose zeros are skipped, the best
settings took 0.056 s to 0.125 on one core with tiles and 0.059 s without. These are two machines and two versions, no
ablation. `docs/design.md` gives half to a third of BLAS's time for an iteration on 64 dense samples or more
(`bench/bench_kernels.py`, `tiles`).

## Servers' ranges and half precision

Updates a second of the fastest of three epochs, by 4 workers on an emulated cluster (`bench/cluster/`) whose machines
have 0.3 of a core each: dense, 384-50-10 (19,760 parameters) and 384-2400-10 (948,010), mini-batches of 10. Epochs are
short, 5 updates at the least: with the large network at 100 Mbit the first messages are a large part of them. A link
passes 64 kB at once before its rate holds. A message of the small network has 79 kB, and half of it 40 kB; this may be
why two servers are more than twice as fast at 1 Gbit.

{cluster}

## Other programs

Other programs used more than 0.1 cores on average, a part of them while nothing was timed, during: {disturbed}.
"""


def inverse(name: str) -> bool:
    """Whether the switch turns its mechanism on: then what is divided is the other way round."""
    return "(on)" in name


def ratios(name: str, pairs: list[Any]) -> list[float]:
    """Of seconds without the mechanism and with it."""
    result = []
    for on, off in pairs:
        on, off = (math.inf if one is None else one for one in (on, off))
        off, on = (on, off) if inverse(name) else (off, on)
        if on < math.inf:
            result.append(off / on)
        elif off < math.inf:
            result.append(0.0)
    return result or [math.nan]


def middle(values: list[float]) -> float:
    return statistics.median(values)


def with_spread(values: list[float]) -> str:
    """Median and quartiles."""
    if math.isinf(middle(values)):
        return "never"
    low, _, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    return f"{middle(values):.2f} ({low:.2f} to {high:.2f})"


def timed(name: str, pairs: list[Any]) -> list[float]:
    return ratios(name, [(on[0], off[0]) for on, off in pairs])


def geometric_mean(values: list[float]) -> float:
    return math.exp(statistics.fmean(map(math.log, values)))


def over_sets(name: str, sets: dict[str, Any]) -> dict[str, Any]:
    """Of some sets: mean ratio, the largest and the smallest, and what scores lose without the mechanism."""
    by_set = {which: middle(timed(name, pairs)) for which, pairs in sets.items() if "sparse, " not in which}
    scores = {which: statistics.fmean(off[1] - on[1] for on, off in sets[which]) for which in by_set}
    return {
        "mean": geometric_mean(list(by_set.values())),
        "most": max(by_set, key=by_set.get),
        "least": min(by_set, key=by_set.get),
        "by_set": by_set,
        "score": statistics.fmean(scores.values()),
        "worst": min(scores, key=scores.get),
        "best": max(scores, key=scores.get),
        "scores": scores,
    }


def tuned_table(content: dict[str, Any], part: str, cases: tuple[str, ...]) -> list[str]:
    lines = ["| without | " + " | ".join(cases) + " |", "|---|" + "---|" * len(cases)]
    for name, found in content.get(part, {}).items():
        cells = [with_spread(ratios(name, found[case]["seconds"])) if case in found else "" for case in cases]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
        again = [case + AGAIN for case in cases]
        if any(case in found for case in again):
            cells = [with_spread(ratios(name, found[case]["seconds"])) if case in found else "" for case in again]
            lines.append(f"| {name}, settings tuned again | " + " | ".join(cells) + " |")
    return lines


def sets_table(content: dict[str, Any], part: str) -> list[str]:
    lines = [
        "| without | mean | largest, its set | smallest, its set | score, mean | score, worst set | sparse set |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, sets in content.get(part, {}).items():
        all_ = over_sets(name, sets)
        rows = [f"{all_['mean']:.3f}"]
        rows += [f"{all_['by_set'][all_[key]]:.2f}, {all_[key]}" for key in ("most", "least")]
        rows += [f"{all_['score']:+.4f}", f"{all_['scores'][all_['worst']]:+.4f}, {all_['worst']}"]
        extra = [with_spread(timed(name, pairs)) for which, pairs in sets.items() if "sparse, " in which]
        lines.append(f"| {name} | " + " | ".join([*rows, *(extra or [""])]) + " |")
    return lines


def cluster_table(content: dict[str, Any]) -> list[str]:
    lines = ["| hidden units | link | one server | two servers | float16 |", "|---|---|---|---|---|"]
    for hidden, links in content.get("cluster", {}).items():
        for link, found in links.items():
            one = max(found["one server"])
            cells = [f"{one:.1f}"]
            for who in ("two servers", "float16"):
                cells.append(f"{max(found[who]):.1f} ({max(found[who]) / one:.2f} times)")
            lines.append(f"| {hidden} | {link} | " + " | ".join(cells) + " |")
    return lines


def to_objective(name: str, found: dict[str, Any], by_processor: dict[str, Any]) -> dict[str, float]:
    """By case, the figure of the first column.

    That of settings that were tuned again, where these arrive; on one core by the processor's time, where it is there.
    """
    figures = {case: middle(ratios(name, one["seconds"])) for case, one in (found | by_processor).items()}
    for case in [case for case in figures if case.endswith(AGAIN)]:
        if math.isinf(again := figures.pop(case)):
            figures.pop(case.removesuffix(AGAIN))
        else:
            figures[case.removesuffix(AGAIN)] = again
    return figures


def summary(content: dict[str, Any]) -> list[str]:
    """A row for each mechanism: the largest figure of each column, and what the rule says."""
    columns = ["mechanism", "where", "objective, largest", "sets, mean", "sets, largest", "score, mean"]
    columns += ["busy, mean", "busy, largest", ""]
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    noise = content.get("busy", {}).get(NOISE)
    enough_busy = max(EARNS, *over_sets(NOISE, noise)["by_set"].values()) if noise else math.inf
    for name, switch in SWITCHES.items():
        cases = to_objective(name, content["tuned"][name], content.get("processor", {}).get(name, {}))
        most = max(cases, key=cases.get)
        figures = [cases[most]]
        cells = [f"{'never' if math.isinf(cases[most]) else format(cases[most], '.2f')}, {most}"]
        for part in ("defaults", "busy"):
            if name in content.get(part, {}):
                found = over_sets(name, content[part][name])
                figures.append(found["mean"] if part == "defaults" or found["mean"] > enough_busy else 0.0)
                cells += [f"{found['mean']:.2f}", f"{found['by_set'][found['most']]:.2f}, {found['most']}"]
                cells += [f"{found['score']:+.4f}"] if part == "defaults" else []
            else:
                cells += ["", "", ""] if part == "defaults" else ["", ""]
        says = "earns its place" if max(figures) > EARNS else "**less than 5%**"
        says = "" if name.startswith("nothing") else says
        lines.append(f"| {name} | {switch.what} | " + " | ".join(cells) + f" | {says} |")
    return lines


def counts(content: dict[str, Any], part: str) -> str:
    """How many pairs there are of a case, or a set: from the fewest to the most."""
    found = content.get(part, {}).values()
    numbers = [
        len(one["seconds"] if part in ("tuned", "processor") else one) for sets in found for one in sets.values()
    ]
    return f"{min(numbers)} to {max(numbers)}" if numbers else "no"


def spread_of_noise(content: dict[str, Any]) -> str:
    found = content.get("tuned", {}).get(NOISE, {})
    values = [abs(r - 1) for case in found.values() for r in ratios("", case["seconds"])]
    return f"{middle(values):.1%}" if values else "not measured"


def commit() -> str:
    command = ["git", "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "no commit"


def disturbed(content: dict[str, Any]) -> str:
    """Measurements during which other programs used more than a tenth of a core."""
    used = {what: used for what, used in content["others"].items() if used > 0.1 and not what.startswith("busy")}
    return "; ".join(f"{what}: {cores:.2f}" for what, cores in used.items()) or "none"


def beside(content: dict[str, Any]) -> str:
    used = [cores for what, cores in content["others"].items() if what.startswith("busy")]
    return f"{min(used):.1f} to {max(used):.1f}" if used else "no"


def text(content: dict[str, Any]) -> str:
    """The document."""
    machine = content["environment"]
    where = f"{machine['processor']}, {machine['cores']} cores, {machine['simd']}"
    return HEAD.format(where=where, commit=content["commit"], summary="\n".join(summary(content))) + BODY.format(
        pairs=counts(content, "tuned"),
        noise=spread_of_noise(content),
        tuned="\n".join(tuned_table(content, "tuned", CASES)),
        many=counts(content, "processor"),
        processor="\n".join(tuned_table(content, "processor", CASES[2:4])),
        fits=counts(content, "defaults"),
        sets="\n".join(sets_table(content, "defaults")),
        busy_fits=counts(content, "busy"),
        beside=beside(content),
        busy="\n".join(sets_table(content, "busy")),
        cluster="\n".join(cluster_table(content)),
        disturbed=disturbed(content),
    )


def write(content: dict[str, Any]) -> None:
    PATH.write_text(text(content))
