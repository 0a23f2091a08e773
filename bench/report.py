"""docs/performance.md, the table of bars, from the files in bench/results: `python bench/report.py`.

Each part stands there only if its file does: pytest-benchmark's (the last one of each benchmark), peers.json,
threads.json, linear.json, memory.json.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
BOOSTED = "jax momentum, boosted"  # README.md: not one of the peers
RESULTS, PAGE = HERE / "results", HERE.parent / "docs" / "performance.md"
# Why a bar is missed, by its number and the start of its name: written by hand, shown below the table if one is.
REASONS: dict[str, str] = json.loads((HERE / "reasons.json").read_text()) if (HERE / "reasons.json").exists() else {}


@dataclass(frozen=True)
class Bar:
    """A line of the table; at most or at least `asked`."""

    number: int
    what: str
    asked: float
    measured: float | None
    at_most: bool = False
    form: str = ".2f"

    @property
    def met(self) -> bool:
        if self.measured is None:
            return False
        return self.measured <= self.asked if self.at_most else self.measured >= self.asked

    @property
    def note(self) -> str:
        """Number of the reason for a miss in the list below the table."""
        numbers = (i for i, key in enumerate(REASONS, 1) if f"{self.number} {self.what}".startswith(key))
        return next((f", note {i}" for i in numbers), "")

    def row(self) -> str:
        sign = "at most" if self.at_most else "at least"
        measured = "not measured" if self.measured is None else format(self.measured, self.form)
        if self.measured == float("inf"):
            measured = "the peer never arrives"
        verdict = "met" if self.met else f"**missed**{self.note}" if self.measured is not None else ""
        return f"| {self.number} | {self.what} | {sign} {self.asked:{self.form}} | {measured} | {verdict} |"


def load(name: str) -> dict[str, Any]:
    path = RESULTS / name
    return json.loads(path.read_text()) if path.exists() else {}


def benchmarks() -> dict[str, dict[str, Any]]:
    """extra_info by name; a later file's replaces an earlier one's."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(RESULTS.glob("[0-9]*.json")):
        for bench in json.loads(path.read_text()).get("benchmarks", []):  # none in those of the cluster
            found[bench["name"].removeprefix("test_")] = bench["extra_info"]
    return found


def ratio(found: dict[str, Any], above: str, below: str, key: str = "times_ours") -> float | None:
    """Of two benchmarks, each in units of the same reference."""
    values = [found.get(name, {}).get(key) for name in (above, below)]
    return values[0] / values[1] if all(values) else None


def of_iterations(found: dict[str, Any]) -> Iterator[Bar]:
    lines, single, everything = (f"ours[svrg-{how}-serial-1]" for how in ("lines", "single", "all"))
    jax, torch = "jax_jit_scan[svrg]", "pytorch_eager[svrg]"
    lines_jax, lines_torch = ratio(found, lines, jax), ratio(found, lines, torch)
    yield Bar(1, "svrg, 1000 coordinates in lines: iteration / JAX's svrg step", 1 / 5, lines_jax, True, ".3f")
    yield Bar(1, "the same / PyTorch eager's svrg step", 1 / 20, lines_torch, True, ".3f")
    yield Bar(1, "svrg, 1000 single coordinates / JAX's svrg step", 1 / 3.5, ratio(found, single, jax), True, ".3f")
    yield Bar(
        2, "svrg, all coordinates / JAX's plain sgd step", 0.8, ratio(found, everything, "jax_jit_scan[sgd]"), True
    )


def of_threads(content: dict[str, Any]) -> Iterator[Bar]:
    for name, modes in content.get("problems", {}).items():
        if name.startswith(("mnist", "random, 19%")):
            for mode in [mode for mode in modes if mode.startswith("all")]:
                yield Bar(2, f"{mode}: two threads / one, {name}", 1.8, modes[mode]["speedup"].get("2"))
    for name, modes in content.get("problems", {}).items():
        for mode in [mode for mode in modes if mode.startswith("lines")]:
            yield Bar(4, f"{mode}: two threads / one, {name}", 1.7, modes[mode]["speedup"].get("2"))


def of_peers(content: dict[str, Any], target: str = "0.125") -> Iterator[Bar]:
    for cores, what in content.get("cores", {}).items():
        table = {name: row for name, row in what["table"].items() if name != BOOSTED}
        for family, asked in {"jax": 5, "torch": 15, "scikit-learn": 15, "L-BFGS": 10}.items():
            if cores == "2":
                asked = 10
            elif family == "L-BFGS":
                continue
            ratios = [row["times_ours"].get(target) for name, row in table.items() if name.startswith(family)]
            ratios = [value for value in ratios if value is not None]
            known = min(ratios) if ratios else None
            yield Bar(
                3, f"seconds to {target}, {cores} core(s): best of {family} / best of ours", asked, known, form=".1f"
            )
        peers = [row["seconds"].get(target) for name, row in table.items() if not name.startswith("ours")]
        peers = [value for value in peers if value is not None]
        defaults = [row["seconds"].get(target) for name, row in table.items() if name.startswith("ours, defaults")]
        defaults = [value for value in defaults if value is not None]
        value = min(peers) / min(defaults) if peers and defaults else 0.0 if peers else None
        yield Bar(3, f"seconds to {target}, {cores} core(s): best of all peers / our defaults", 1, value)


def of_linear(content: dict[str, Any], found: dict[str, Any]) -> Iterator[Bar]:
    def growth(part: str) -> float | None:
        names = [name for name in found if name.startswith("growth[") and part in name and name.endswith("-all]")]
        return found[names[0]]["growth"] if names else None

    few, many = growth("-inputs=5000"), growth("-inputs=200000")
    value = many / few if few and many else None
    yield Bar(
        5, "an iteration with 200,000 columns / with 5,000, 80 non-zeros a row, all coordinates", 1.5, value, True
    )
    for name, problem in content.get("problems", {}).items():
        for cores, what in problem["cores"].items():
            what_of = f"time to a gap of {problem['gap']:g}, {name}, {cores} core(s): scikit-learn's SAGA / ours"
            yield Bar(5, what_of, 1, what["times_faster"])


def of_kernels(found: dict[str, Any]) -> Iterator[Bar]:
    share = found.get("full_gradient[gemm-float32]", {}).get("share_of_gemm_rate")
    yield Bar(6, "full gradient, dense, one thread: share of sgemm's rate", 0.7, share)
    for road, what in {"gemm": "dense", "skip": "skipping zeros"}.items():
        speedup = found.get(f"threads_of_full_gradient[{road}-float32-2]", {}).get("times_as_fast")
        yield Bar(6, f"full gradient, {what}: two threads / one", 1.8, speedup)


def of_memory(content: dict[str, Any]) -> Iterator[Bar]:
    for case in content.get("cases", []):
        what = f"vectors of parameters beside X and cache: {case['data']}, cache_size={case['cache_size']}, "
        what += f"{case['threads']} thread(s); cache {case['cache_mb']:.0f} MB"
        yield Bar(7, what, case["allowed_vectors"], case["used_vectors"], True, ".1f")


def settings_of(table: dict[str, Any]) -> Iterator[str]:
    yield "| who | us an update | s to 0.15 | s to 0.125 | s to 0.118 | times ours, 0.125 | settings for 0.125 |"
    yield "|---|---|---|---|---|---|---|"
    far = float("inf")
    for name, row in sorted(table.items(), key=lambda pair: pair[1]["seconds"].get("0.125") or far):
        cells = [row["microseconds_per_update"], *row["seconds"].values(), row["times_ours"].get("0.125")]
        forms = (".1f", ".3f", ".3f", ".3f", ".2f")
        shown = ["-" if value is None else format(value, form) for value, form in zip(cells, forms, strict=True)]
        how = ", ".join(f"{k}={v}" for k, v in (row["settings"]["0.125"] or {}).items()) or "as they are"
        yield f"| {name} | {' | '.join(shown)} | {how} |"


def worth(table: dict[str, Any]) -> str:
    """Whether variance reduction pays in seconds."""
    ours = {name: row["seconds"] for name, row in table.items() if name.startswith("ours s")}
    words = []
    for target in next(iter(table.values()))["seconds"]:
        best = [
            min((seconds[target] for name, seconds in ours.items() if ("svrg" in name) == reduced and seconds[target]),
                default=None)
            for reduced in (True, False)
        ]  # fmt: skip
        if all(best):
            words.append(f"{best[0] / best[1]:.2f} to {target}")
    if not words:
        return ""
    return f"\nOur best variance-reduced setting / our best plain SGD, above 1 where SGD is faster: {', '.join(words)}."


def boosted(table: dict[str, Any]) -> str:
    """What of our advantage a peer's user can have, too."""
    ratio = table.get(BOOSTED, {}).get("times_ours", {}).get("0.125")
    if not ratio:
        return ""
    return (
        f"\n{BOOSTED}: JAX with our l2 continuation, written by hand. The l2 term counts four times in the first pass "
        "and twice in the second. No peer has it, so the bars leave it out. To 0.125 it takes "
        f"{ratio:.1f} times as long as our best."
    )


def notes(bars: list[Bar]) -> Iterator[str]:
    """Why bars are missed, once for all bars with the same reason."""
    missed = {bar.note for bar in bars if bar.measured is not None and not bar.met}
    for number, reason in enumerate(REASONS.values(), 1):
        if f", note {number}" in missed:
            yield f"\nNote {number}. {reason}"


def tables(peers: dict[str, Any], threads: dict[str, Any], linear: dict[str, Any]) -> Iterator[str]:
    for cores, what in peers.get("cores", {}).items():
        yield f"\n## Every peer, {cores} core(s)\n"
        yield from settings_of(what["table"])
        yield worth(what["table"])
        yield boosted(what["table"])
    if peers and (PAGE.parent / "peers.png").exists():
        yield "\n![seconds to an objective: the best of ours and of each peer](peers.png)"
    if threads:
        yield "\n## Threads: time to the same objective\n"
        yield "| problem | coordinates | threads | seconds | times as fast | us an update | largest delay |"
        yield "|---|---|---|---|---|---|---|"
    for name, modes in threads.get("problems", {}).items():
        for mode, found in modes.items():
            for k, seconds in found["seconds"].items():
                reached = [f"{seconds:.3f}", f"{found['speedup'][k]:.2f}"] if seconds < float("inf") else ["never", "-"]
                numbers = " | ".join([*reached, f"{found['microseconds_per_update'][k]:.1f}"])
                yield f"| {name}, to {found['objective']:.4f} | {mode} | {k} | {numbers} | {found['delay_max'][k]} |"
    if linear:
        yield "\n## No hidden layer\n"
        yield "| problem, gap | cores | who | seconds | us an update | settings |\n|---|---|---|---|---|---|"
    for problem, kind in linear.get("problems", {}).items():
        for cores, what in kind["cores"].items():
            for name, row in what["contenders"].items():
                how = what["our_settings"] if name == "ours" else {"step": "its own"}
                numbers = f"{row['seconds']:.3f} | {row['microseconds_per_update']:.2f}"
                settings = ", ".join(f"{k}={v}" for k, v in how.items())
                yield f"| {problem}, {kind['gap']:g} | {cores} | {name} | {numbers} | {settings} |"


def page() -> str:
    found, peers, threads = benchmarks(), load("peers.json"), load("threads.json")
    linear, memory = load("linear.json"), load("memory.json")
    machine = next((part["environment"] for part in (peers, threads, linear, memory) if part), None)
    if machine is None:
        machine = next((info["environment"] for info in found.values() if "environment" in info), None)
    if machine is None:
        raise SystemExit(f"{RESULTS} holds no results: run `make bench` first")
    bars = [
        *of_iterations(found),
        *of_threads(threads),
        *of_peers(peers),
        *of_linear(linear, found),
        *of_kernels(found),
        *of_memory(memory),
    ]
    lines = [
        "# Performance",
        "",
        f"`make bench` on {machine['processor']}, {machine['cores']} cores, {machine['simd']}.",
        f"Contenders take turns in rounds. The peers have {peers.get('rounds', 'no')} rounds. A ratio is the median of",
        "its rounds' ratios. [bench/README.md](../bench/README.md) says what is timed. There are tables of",
        "earlier versions on [an AMD EPYC](../bench/history/epyc.md), [a Xeon without",
        "AMX](../bench/history/avx512.md) and [a Xeon with AMX](../bench/history/amx.md).",
        "",
        "| bar | what | asked | measured | |",
        "|---|---|---|---|---|",
        *(bar.row() for bar in sorted(bars, key=lambda bar: bar.number)),
        *notes(bars),
        *tables(peers, threads, linear),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    picture = RESULTS / "peers.png"
    if picture.exists():
        (PAGE.parent / "peers.png").write_bytes(picture.read_bytes())
    PAGE.write_text(page())
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    sys.exit(main())
