"""The settings that are tried for each contender, and the search: `python bench/peers.py tune`."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from asysvrg.core.trace import environment
from asysvrg.store.files import write_json
from contenders.setting import TARGETS, quiet, reached
from contenders.workers import Worker, family_of

BEST = Path(__file__).parents[1] / "peers_best.json"
HOPELESS = 2.5  # times the best so far: a run is given up
NEAR, STARTS = 1.25, (1, 2)  # what is within so many times the best is run again, from these starts: medians count

SCHEDULES: list[dict[str, Any]] = [{"decay": 0.4}, {"until": 10}, {"until": 15}, {"until": 20}, {"until": 30}]
PASSES = 40  # at most, for a path
# Rates by mini-batch; for momentum the step in the long run is ten times as long.
RATES = {
    "sgd": {10: (0.2, 0.3), 20: (0.4, 0.6)},
    "momentum": {20: (0.04,), 50: (0.1,), 100: (0.2, 0.3), 200: (0.3, 0.5)},
    "adam": {20: (1e-3,), 50: (1e-3, 2e-3), 100: (2e-3, 4e-3), 200: (4e-3,)},
}


def product(**choices: Iterable[Any]) -> Iterator[dict[str, Any]]:
    return (dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values()))


def stochastic(method: str) -> Iterator[dict[str, Any]]:
    for batch, rates in RATES[method].items():
        for rate, schedule in itertools.product(rates, SCHEDULES):
            yield {"batch": batch, "rate": rate, **schedule, **({"nesterov": True} if method == "momentum" else {})}


def jax_svrg() -> Iterator[dict[str, Any]]:
    for batch, rate in {10: 0.1, 20: 0.2, 30: 0.3, 50: 0.4}.items():
        yield from product(batch=[batch], rate=[rate], inner=[2, 3], sgd=[2, 4])


def ours() -> Iterator[dict[str, Any]]:
    plain = {10: (0.1,), 30: (0.3,), 50: (0.4,)}
    shortened = {10: (0.2,), 20: (0.3, 0.5), 50: (0.6, 0.75, 0.9), 100: (1.0, 1.3, 1.6)}
    for deflation, by_batch in ((0, plain), (4, shortened), (8, shortened)):
        for batch, rates in by_batch.items():
            for rate, passes in itertools.product(rates, (2, 3)):
                how = {"batch_size": batch, "learning_rate_init": rate, "inner_steps": passes * 10_000 // batch}
                yield from ({"deflation": deflation, "alpha_boost": boost, **how} for boost in (1, 4))


def our_sgd_svrg() -> Iterator[dict[str, Any]]:
    """Some passes of SGD at a large rate, then SVRG at the same."""
    for batch, rates in {20: (0.4, 0.6), 50: (0.9, 1.2, 1.5), 64: (1.2, 1.6, 2.0), 96: (1.8, 2.2, 2.8)}.items():
        for passes, epochs in ((1, 2), (1, 3), (1, 4), (1.5, 2), (1.5, 3), (2, 2)):
            how = {"batch_size": batch, "inner_steps": round(passes * 10_000 / batch), "sgd_epochs": epochs}
            choices = product(learning_rate_init=rates, deflation=[4, 8], alpha_boost=[1, 4])
            yield from (how | more for more in choices)


def subsets(form: str = "") -> Iterator[dict[str, Any]]:
    """Coordinates an update touches: the paper's 1000, and a fifth of all; in whole lines with `form` "lines:"."""
    for coordinates, batch, rate in ((1000, 10, 1.0), (1000, 20, 1.4), (16_000, 10, 0.2), (16_000, 30, 0.4)):
        for passes in (3, 8):
            yield {
                "batch_size": batch,
                "learning_rate_init": rate,
                "inner_steps": passes * 10_000 // batch,
                "coordinates": f"{form}{coordinates}" if form else coordinates,
            }


def our_sgd() -> Iterator[dict[str, Any]]:
    for batch, rates in {10: (0.1, 0.2, 0.3), 20: (0.2, 0.4, 0.6)}.items():
        yield from product(batch_size=[batch], learning_rate_init=rates, decay=[0, 0.2, 0.4, 0.6])
    for batch, rates in {20: (0.6,), 48: (1.8,), 64: (2.0, 2.2, 2.4, 2.6), 80: (3.0,), 96: (2.5, 3.0, 3.6)}.items():
        steps, ends = 10_000 // batch, [4, 6, 7, 8, 9, 12, 14]
        for how in product(learning_rate_init=rates, deflation=[4, 8], alpha_boost=[1, 4, 5], max_iter=ends):
            yield {"batch_size": batch, "inner_steps": steps, "decay": "linear", **how}


def boosted() -> Iterator[dict[str, Any]]:
    """The fastest of the peers with our l2 term's continuation: what of our advantage is that."""
    for batch, rates in {50: (0.1,), 100: (0.2, 0.3), 200: (0.3, 0.5)}.items():
        how = product(batch=[batch], rate=rates, until=[7, 8, 10, 12, 15, 20], boost=[4])
        yield from ({"nesterov": True, **one} for one in how)


DIRECT: dict[str, list[dict[str, Any]]] = {
    "jax svrg": list(jax_svrg()),
    "L-BFGS": [{"memory": memory} for memory in (5, 10, 20, 40)],
    "ours svrg all": list(ours()),
    "ours sgd_svrg": list(our_sgd_svrg()),
    "ours svrg lines": list(subsets("lines:")),
    "ours svrg single": list(subsets()),
    "ours sgd": list(our_sgd()),
    "ours sgd lines": list(subsets("lines:")),
    "jax momentum, boosted": list(boosted()),
}
# Peers that follow the same path in every library: it is found once, by JAX, the fastest of them.
LIBRARIES = {"jax": "sgd momentum adam", "torch": "sgd momentum adam", "torch.compile": "sgd momentum adam",
             "scikit-learn": "sgd momentum adam"}  # fmt: skip


def limits(best: dict[str, float]) -> dict[float, float]:
    return {target: HOPELESS * best.get(str(target), 5.0) for target in TARGETS}


class Search:
    """Best settings by contender, cores and target, kept in a file after each contender."""

    def __init__(self, cores: list[int]):
        self.cores = cores
        self.found: dict[str, Any] = json.loads(BEST.read_text()) if BEST.exists() else {}

    def keep(self, contender: str, cores: int, tried: list[tuple[dict[str, Any], dict[str, float]]]) -> None:
        """tried: settings, and seconds to those targets that were reached."""
        best = {}
        for target in map(str, TARGETS):
            able = [(seconds[target], settings) for settings, seconds in tried if seconds.get(target, np.inf) < np.inf]
            if able:
                seconds, settings = min(able, key=lambda pair: pair[0])
                best[target] = {"settings": settings, "seconds": round(seconds, 4)}
        self.found.setdefault("contenders", {}).setdefault(contender, {})[str(cores)] = best
        self.found["environment"] = environment()
        write_json(BEST, self.found)
        for target, what in best.items():
            print(
                f"{contender}, {cores} core(s), {target}: {what['seconds']:.3f} s with {what['settings']}", flush=True
            )

    def direct(self, contender: str) -> None:
        """Runs the whole grid on one core, and on more cores what was near the best; that, from other starts, too."""
        grid = DIRECT[contender]
        for cores in self.cores:
            tried: list[tuple[dict[str, Any], dict[str, float]]] = []
            best: dict[str, float] = {}
            with Worker(family_of(contender), cores) as worker:
                for settings in grid:
                    tried.append((settings, self.run(worker, contender, settings, 0, best)))
                    best |= {t: min(s, best.get(t, np.inf)) for t, s in tried[-1][1].items()}
                near = [(s, seconds) for s, seconds in tried if any(v <= NEAR * best[t] for t, v in seconds.items())]
                for settings, seconds in near:
                    more = [self.run(worker, contender, settings, seed, best) for seed in STARTS]
                    for t in map(str, TARGETS):
                        seconds[t] = float(np.median([run.get(t, np.inf) for run in (seconds, *more)]))
            self.keep(contender, cores, near or tried)
            grid = [settings for settings, _ in near] or grid

    def run(
        self, worker: Worker, contender: str, settings: dict[str, Any], seed: int, best: dict[str, float]
    ) -> dict[str, float]:
        """Seconds to those targets that are reached."""
        rows = quiet(worker.ask(contender, settings, seed=seed, limits=limits(best)), worker.cores)
        return {str(t): s for t in TARGETS if (s := reached(rows, t)) is not None}

    def by_price(self, method: str, libraries: list[str]) -> None:
        """Updates to each target by JAX; then each library's price of an update, by mini-batch and cores."""
        paths: list[tuple[dict[str, Any], dict[str, float]]] = []
        with Worker("jax", 1) as worker:
            for settings in stochastic(method):
                most = PASSES * 10_000 // settings["batch"]
                rows = worker.ask(f"jax {method}", settings, limits=dict.fromkeys(TARGETS, 60.0), most_updates=most)
                updates = {str(t): u for t in TARGETS if (u := reached(rows, t, "updates")) is not None}
                print(f"{method}, {settings}: updates {updates}", flush=True)
                paths.append((settings, updates))
        for library, cores in itertools.product(libraries, self.cores):
            contender = f"{library} {method}"
            with Worker(family_of(contender), cores) as worker:
                price = {batch: self.price(worker, contender, batch, method) for batch in RATES[method]}
            self.keep(
                contender,
                cores,
                [(s, {t: u * price[s["batch"]] for t, u in updates.items()}) for s, updates in paths],
            )

    def price(self, worker: Worker, contender: str, batch: int, method: str) -> float:
        settings = next(s for s in stochastic(method) if s["batch"] == batch)
        rows = quiet(
            worker.ask(contender, settings, limits={0.0: 60.0}, most_updates=4 * (10_000 // batch // 2)), worker.cores
        )
        return rows[-1]["seconds"] / rows[-1]["updates"] if rows else np.inf


def tune(cores: list[int], only: str) -> None:
    """Searches all contenders in whose name the pattern `only` is found."""
    search = Search(cores)
    for contender in DIRECT:
        if re.search(only, contender):
            search.direct(contender)
    for method in RATES:
        libraries = [library for library in LIBRARIES if re.search(only, f"{library} {method}")]
        if libraries:
            search.by_price(method, libraries)
