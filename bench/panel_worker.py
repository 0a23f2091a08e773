"""A process with one contender and one setting of bench/panel.py: lines of JSON in, lines of JSON out.

A course is what a fit answers: rows of seconds, processor (seconds of it) and score, of each epoch or of some numbers
of trees. Scoring is outside the clock. "end" is the row at which the contender's own rule ends the fit, or None.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from typing import Any

import numpy as np
from panel_sets import SETTINGS, Sets, Setting

EPOCHS, TOL, NO_CHANGE = 200, 1e-4, 10  # scikit-learn's own end of a fit, which PyTorch's loop gets, too
TWICE = 2.0  # a peer that ended without our score goes on, up to so many times its seconds
FIRST = 500  # rows of the fit that loads libraries and starts threads, outside the clock
SINGLE = 200  # predictions of one row
LONG_ENOUGH, MOST_TIMES = 0.3, 30  # seconds of our fits with one seed; and of how many at most
TREES = (1, 2, 3, 5, 7, 10, 14, 20, 28, 40, 50, 60, 70, 80, 90, 100)


class Over(Exception):
    """The fit has our score and has ended by itself, or its time is over."""


class Course:
    """The rows of a fit, and its clock."""

    def __init__(self, score: Callable[[], float], limit: float, target: float | None):
        self.score, self.limit, self.target = score, limit, target
        self.rows: list[dict[str, float]] = []
        self.end: int | None = None
        self.seconds, self.processor = 0.0, 0.0
        self.start()

    def start(self) -> None:
        self.began = time.perf_counter(), time.process_time()

    def stop(self) -> None:
        self.seconds += time.perf_counter() - self.began[0]
        self.processor += time.process_time() - self.began[1]

    def row(self, ends: bool) -> None:
        """After an epoch, of which the own rule says whether it is the last; raises Over."""
        self.stop()
        self.rows.append({"seconds": self.seconds, "processor": self.processor, "score": self.score()})
        if ends and self.end is None:
            self.end = len(self.rows) - 1
        if self.over():
            raise Over
        self.start()

    def over(self) -> bool:
        if self.seconds > self.limit:
            return True
        if self.end is None:
            return False
        reached = self.target is None or any(row["score"] >= self.target for row in self.rows)
        return reached or self.seconds > TWICE * self.rows[self.end]["seconds"]


class Stopping:
    """scikit-learn's rule: 200 epochs, or ten in a row whose loss is not below the best one by 1e-4."""

    def __init__(self) -> None:
        self.best, self.worse, self.epochs = np.inf, 0, 0

    def __call__(self, loss: float) -> bool:
        self.worse = self.worse + 1 if loss > self.best - TOL else 0
        self.best, self.epochs = min(self.best, loss), self.epochs + 1
        return self.worse > NO_CHANGE or self.epochs >= EPOCHS


def score_of(found: np.ndarray, y: np.ndarray) -> float:
    """Accuracy of classes; R^2 of numbers, the mean over targets."""
    from sklearn.metrics import accuracy_score, r2_score

    return float((r2_score if y.dtype.kind == "f" else accuracy_score)(y, found))


# ---- The contenders: objects with fit(sets, seed, limit, target), which gives a course, and predict(X). ----


class Ours:
    """The package with its defaults. Its course has one row. A short fit is repeated, and the row has mean times."""

    needs = "asysvrg"

    def __init__(self, setting: Setting, cores: int):
        from asysvrg import AsySVRGClassifier, AsySVRGRegressor

        self.kind = AsySVRGClassifier if setting.classes else AsySVRGRegressor
        self.hidden = setting.hidden

    def fit(self, sets: Sets, seed: int, limit: float, target: float | None) -> Course:
        self.model = self.kind(hidden_layer_sizes=self.hidden, random_state=seed)
        course = Course(lambda: self.model.score(*sets[2:]), limit, target)
        times = 0
        while times == 0 or (time.perf_counter() - course.began[0] < LONG_ENOUGH and times < MOST_TIMES and limit):
            self.model.fit(*sets[:2])
            times += 1
        with suppress(Over):
            course.row(ends=True)
        course.rows[0] |= {what: course.rows[0][what] / times for what in ("seconds", "processor")}
        return course

    def predict(self, X: Any) -> Any:
        return self.model.predict(X)


class ScikitLearn(Ours):
    """MLPClassifier or MLPRegressor, defaults: `fit`, looked at after each epoch.

    scikit-learn calls `_update_no_improvement_count` there. So this is the path and the time of `fit`. Calls of
    `partial_fit` would check and encode all the data again, which takes half as much time as digits' epochs.
    """

    needs = "sklearn"

    def __init__(self, setting: Setting, cores: int):
        from sklearn.neural_network import MLPClassifier, MLPRegressor

        class Watched(MLPClassifier if setting.classes else MLPRegressor):
            def _update_no_improvement_count(self, *given: Any) -> None:
                super()._update_no_improvement_count(*given)
                self.course.row(ends=self.course.ends(self.loss_curve_[-1]))
                self._no_improvement_count = 0

        self.kind, self.hidden = Watched, setting.hidden

    def fit(self, sets: Sets, seed: int, limit: float, target: float | None) -> Course:
        self.model = self.kind(hidden_layer_sizes=self.hidden, random_state=seed, max_iter=10**6)
        self.model.course = course = Course(lambda: self.model.score(*sets[2:]), limit, target)
        course.ends = Stopping()
        with suppress(Over):
            self.model.fit(*sets[:2])
        return course


class LightGBM:
    """Defaults, 100 trees for each class; the course has some numbers of trees."""

    needs = "lightgbm"

    def __init__(self, setting: Setting, cores: int):
        import lightgbm

        self.kind = lightgbm.LGBMClassifier if setting.classes else lightgbm.LGBMRegressor
        self.cores, self.stop = cores, lightgbm.callback.EarlyStopException

    def fit(self, sets: Sets, seed: int, limit: float, target: float | None) -> Course:
        self.model = self.kind(n_jobs=self.cores, random_state=seed, verbose=-1)
        course = Course(lambda: 0.0, limit, target)

        def note(state: Any) -> None:
            last = state.iteration == state.end_iteration - 1
            try:
                course.row(ends=last)
            except Over:
                if not last:
                    raise self.stop(state.iteration, []) from None

        self.model.fit(*sets[:2], callbacks=[note])
        last = len(course.rows)
        kept = [k for k in TREES if k < last] + [last]
        scores = [score_of(self.model.predict(sets[2], num_iteration=k), sets[3]) for k in kept]
        course.rows = [course.rows[k - 1] | {"score": score} for k, score in zip(kept, scores, strict=True)]
        course.end = None if course.end is None else len(kept) - 1
        return course

    def predict(self, X: Any) -> Any:
        return self.model.predict(X)


class PyTorch:
    """The same network by Adam with its defaults, mini-batches of 256; it ends as scikit-learn's fit does."""

    needs = "torch"

    def __init__(self, setting: Setting, cores: int):
        import torch

        torch.set_num_threads(cores)
        self.torch, self.setting = torch, setting

    def fit(self, sets: Sets, seed: int, limit: float, target: float | None) -> Course:
        torch, classes = self.torch, self.setting.classes
        torch.manual_seed(seed)
        X, y, X_test, y_test = sets
        sizes = (X.shape[1], *self.setting.hidden, int(y.max()) + 1 if classes else y[0].size)
        self.layers = [torch.nn.Linear(*pair) for pair in pairwise(sizes)]
        if not isinstance(X, np.ndarray):
            first = self.layers[0]
            first.weight = torch.nn.Parameter(first.weight.detach().T.contiguous())
        wanted = torch.from_numpy(y if classes else y.reshape(len(y), -1))
        loss_of = torch.nn.functional.cross_entropy if classes else torch.nn.functional.mse_loss
        optimizer = torch.optim.Adam([p for layer in self.layers for p in layer.parameters()])
        course, ends = Course(lambda: score_of(self.predict(X_test), y_test), limit, target), Stopping()
        try:
            while True:
                total = 0.0
                for picked in torch.randperm(len(y)).split(256):
                    optimizer.zero_grad()
                    loss = loss_of(self.outputs(X[picked.numpy()]), wanted[picked])
                    loss.backward()
                    optimizer.step()
                    total += loss.item() * len(picked)
                course.row(ends(total / len(y)))
        except Over:
            return course

    def outputs(self, X: Any) -> Any:
        first, *others = self.layers
        tensor = self.torch.from_numpy
        if isinstance(X, np.ndarray):
            result = first(tensor(X))
        else:  # in PyTorch, the fastest product of a sparse matrix that has a gradient
            parts = tensor(X.indices), first.weight, tensor(X.indptr[:-1])
            bag = self.torch.nn.functional.embedding_bag
            result = bag(*parts, mode="sum", per_sample_weights=tensor(X.data)) + first.bias
        for layer in others:
            result = layer(self.torch.relu(result))
        return result

    def predict(self, X: Any) -> np.ndarray:
        with self.torch.no_grad():
            found = self.outputs(X).numpy()
        return found.argmax(axis=1) if self.setting.classes else found


CONTENDERS = {"ours": Ours, "scikit-learn": ScikitLearn, "PyTorch": PyTorch, "LightGBM": LightGBM}


# ---- The process. ----


def takes_part(contender: str, setting: Setting) -> bool:
    return contender != "LightGBM" or setting.trees


def singles(contender: Any, X: Any) -> dict[str, float]:
    """Milliseconds of predictions of one row: the median, and nine of ten are faster than "p90"."""
    times = []
    for k in range(SINGLE):
        row = X[k % X.shape[0] : k % X.shape[0] + 1]
        began = time.perf_counter()
        contender.predict(row)
        times.append(1e3 * (time.perf_counter() - began))
    return {"median": float(np.median(times)), "p90": float(np.percentile(times, 90))}


def serve(name: str, which: str, cores: int, quick: bool) -> None:
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever contenders print
    warnings.simplefilter("ignore")
    try:
        sets = SETTINGS[which].load(quick)
        contender = CONTENDERS[name](SETTINGS[which], cores)
        contender.fit((sets[0][:FIRST], sets[1][:FIRST], *sets[2:]), 0, 0.0, None)
        about = {"version": importlib.import_module(contender.needs).__version__, "shape": sets[0].shape}
    except (ImportError, OSError) as error:
        about = {"missing": str(error)}
    for line in sys.stdin:
        task = json.loads(line)
        if task["do"] == "fit":
            course = contender.fit(sets, task["seed"], task["limit"], task["target"])
            answer = {"seed": task["seed"], "rows": course.rows, "end": course.end}
        else:
            answer = singles(contender, sets[2]) if task["do"] == "predict" else about
        print(json.dumps(answer), file=out, flush=True)


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] == "quick")
