"""`verdict.md`: each claim of the paper, whether it held, and the numbers. All of it follows from the JSON files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from asysvrg.reproduce.measures import finite

HEAD = """# The paper's figures, again

`asysvrg reproduce` ran the experiments of Huo & Huang, "Asynchronous Mini-Batch Gradient Descent with Variance
Reduction for Non-Convex Optimization", AAAI-17. Every number here follows from the JSON file of its figure.

**Mean or sum.** The gradient of a mini-batch is the mean over its samples here; the paper's text leaves that open. With
the sum, each rate would be smaller by the size of the mini-batch, 10: 0.1 here is 0.01 there.

**Tuning.** A rate is the best if its run ends with the lowest loss, and was never so large that it was halved. Where it
is the least or the largest alpha, or the largest beta, the grid is widened. beta = 0, a constant rate, is an
edge that stays.

**Gradient evaluations** are those that were computed. The gradients at the snapshot come from a cache with threads, so
that an epoch of SVRG takes n + m b of them. Several ranks of MPI, each of which sweeps a part of the samples and draws
from all, keep no cache: n + 2 m b. An epoch of SGD takes m b.

**Seconds** are those of this machine, which others may use at the same time. Where the load is above the number of
cores, measured speedups are worth little.
"""


def text(contents: Mapping[str, Mapping[str, Any]]) -> str:
    """The verdict on figures by their names."""
    return "\n".join([HEAD, *(line for name, content in contents.items() for line in _figure(name, content))])


def _figure(name: str, content: Mapping[str, Any]) -> Iterator[str]:
    yield f"## {content['title']}\n"
    yield f"![{content['title']}]({name}.png)\n"
    effort = "coarse grid, one seed" if content["quick"] else "full grid"
    yield f"{content['setting']} ({effort}; {content['cores']} cores, whose load was {content['load']} at the end.)\n"
    yield "| claim | held | numbers |"
    yield "|---|---|---|"
    for claim in content["claims"]:
        numbers = "; ".join(f"{what}: {_number(value)}" for what, value in claim["numbers"].items())
        yield f"| {claim['claim']} | {'yes' if claim['held'] else '**no**'} | {numbers} |"
    yield ""
    if content.get("tuned"):
        yield from _tuning(content["tuned"])
    yield from (f"{note}\n" for note in content.get("notes", ()))


def _number(value: Any) -> str:
    return "never" if value is None else value if isinstance(value, str) else finite(value)


def _tuning(tuned: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    yield "| tuned | alpha | beta | final loss | runs | the grid was widened by |"
    yield "|---|---|---|---|---|---|"
    for method, best in tuned.items():
        wider = "; ".join(
            f"{name} {', '.join(finite(value) for value in values)}" for name, values in best["added"].items() if values
        )
        wider = f"{wider}, as the best lay at its edge" if wider else "-"
        wider += ", and the best still lies there" if best["at_edge"] else ""
        numbers = " | ".join(finite(best[name]) for name in ("alpha", "beta", "loss"))
        yield f"| {method} | {numbers} | {len(best['tried'])} | {wider} |"
    yield ""
