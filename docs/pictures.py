"""Draws the pictures of how-it-works.md: `python docs/pictures.py` writes them to docs/pictures.

The gradients in them are real ones: of softmax regression on two columns of the iris data.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from scipy.special import expit
from sklearn.datasets import load_iris

HERE = Path(__file__).parent / "pictures"
DARK, GREY, LIGHT = "black", "0.55", "0.85"
BATCH, DRAWS, ALPHA = 5, 60, 5e-2


class Problem:
    """Logistic regression with two weights: setosa or not, on two centred columns."""

    def __init__(self) -> None:
        X, y = load_iris(return_X_y=True)
        X = X[50:, [0, 2]]
        self.X, self.y = X - X.mean(axis=0), (y[50:] == 2).astype(float)

    def loss(self, w: np.ndarray) -> float:
        """The objective at w."""
        z = self.X @ w
        return float(np.mean(np.logaddexp(0, z) - self.y * z) + ALPHA / 2 * w @ w)

    def gradient(self, w: np.ndarray, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        """The gradient at w of the objective, or of some samples."""
        X = self.X[rows]
        return X.T @ (expit(X @ w) - self.y[rows]) / len(X) + ALPHA * w

    def minimum(self) -> np.ndarray:
        """The w with the smallest objective, by gradient descent."""
        w = np.zeros(2)
        for _ in range(20_000):
            w = w - 0.5 * self.gradient(w)
        return w


def contours(axes: plt.Axes, problem: Problem, across: np.ndarray, along: np.ndarray) -> None:
    """Draws lines of equal objective."""
    losses = np.array([[problem.loss(np.array([a, b])) for a in across] for b in along])
    axes.contour(across, along, losses, levels=np.quantile(losses, np.linspace(0.02, 0.9, 9)), colors=LIGHT)
    axes.set(xticks=[], yticks=[])


def snapshot(problem: Problem) -> plt.Figure:
    """Four epochs of SVRG: a snapshot with its full gradient, then updates."""
    rng, eta, steps = np.random.default_rng(3), 0.4, 15
    figure, axes = plt.subplots(figsize=(6.4, 4), layout="constrained")
    x, best = np.array([-0.6, 0.3]), problem.minimum()
    path, snapshots = [x], []
    for _ in range(4):
        kept, full = x, problem.gradient(x)
        snapshots.append(kept)
        for _ in range(steps):
            rows = rng.integers(len(problem.y), size=BATCH)
            x = x - eta * (problem.gradient(x, rows) - problem.gradient(kept, rows) + full)
            path.append(x)
    path, snapshots = np.array(path), np.array(snapshots)
    low, high = np.vstack([path, [best]]).min(axis=0) - 0.35, np.vstack([path, [best]]).max(axis=0) + 0.35
    contours(axes, problem, np.linspace(low[0], high[0], 80), np.linspace(low[1], high[1], 80))
    axes.plot(*path.T, ".-", color=GREY, markersize=4, linewidth=1, label="updates")
    axes.plot(*snapshots.T, "s", color=DARK, markersize=8, label="snapshots: all samples are swept here")
    axes.plot(*best, "*", color=DARK, markersize=13, label="minimum")
    for number, at in enumerate(snapshots):
        axes.annotate(f"epoch {number}", at, xytext=(9, -16) if number < 2 else (12, 2), textcoords="offset points")
    axes.set(xlabel="first weight", ylabel="second weight")
    axes.legend(loc="lower right")
    return figure


def variance(problem: Problem) -> plt.Figure:
    """Mini-batch gradients at a point, and the same with the correction by a snapshot, near and far."""
    rng, best = np.random.default_rng(0), problem.minimum()
    x = best - 0.25
    batches = [rng.integers(len(problem.y), size=BATCH) for _ in range(DRAWS)]
    full = problem.gradient(x)
    figure, panels = plt.subplots(1, 3, figsize=(8.4, 3.1), layout="constrained", sharex=True, sharey=True)
    kinds = {"SGD": None, "SVRG, an old snapshot": x - 0.6, "SVRG, a recent snapshot": x - 0.1}
    for axes, (name, kept) in zip(panels, kinds.items(), strict=True):
        ends = np.array([problem.gradient(x, rows) for rows in batches])
        if kept is not None:
            ends += problem.gradient(kept) - np.array([problem.gradient(kept, rows) for rows in batches])
        for end in ends:
            axes.plot([0, -end[0]], [0, -end[1]], color=GREY, linewidth=0.8)
        axes.annotate("", -full, (0, 0), arrowprops={"arrowstyle": "->", "linewidth": 2.5, "color": DARK})
        spread = np.mean(np.sum((ends - full) ** 2, axis=1)) / (full @ full)
        axes.set(title=f"{name}\nvariance {spread:.2g} times |gradient|²", xticks=[], yticks=[])
        axes.title.set_fontsize(10)
    return figure


def threads() -> plt.Figure:
    """Three threads over time: read, compute, write; and the delay of one update."""
    starts = {0: [0.0, 3.1, 6.4], 1: [0.8, 4.6, 7.7], 2: [1.5, 4.0, 6.9]}
    lengths = {0: [2.4, 2.6, 2.7], 1: [3.0, 2.3, 2.2], 2: [1.7, 2.1, 2.5]}
    writes = sorted((s + n, k) for k in starts for s, n in zip(starts[k], lengths[k], strict=True))
    number = {at: turn + 1 for turn, (at, _) in enumerate(writes)}
    figure, axes = plt.subplots(figsize=(8.4, 3.1), layout="constrained")
    for k in starts:
        for start, length in zip(starts[k], lengths[k], strict=True):
            end = start + length
            axes.barh(k, 0.35, left=start, height=0.5, color="white", edgecolor=DARK, hatch="///")
            axes.barh(k, length - 0.65, left=start + 0.35, height=0.5, color=LIGHT, edgecolor=DARK)
            axes.barh(k, 0.3, left=end - 0.3, height=0.5, color=DARK, edgecolor=DARK)
            axes.text(start + 0.35 + (length - 0.65) / 2, k, f"update {number[end]}", ha="center", va="center")
    late_start, late_end = starts[1][1], starts[1][1] + lengths[1][1]
    missed = [at for at, k in writes if late_start < at < late_end]
    for at in missed:
        axes.axvline(at - 0.15, color=GREY, linestyle=":", linewidth=1.5)
    axes.annotate("", (late_end, 1.36), (late_start, 1.36), arrowprops={"arrowstyle": "<->", "color": DARK})
    text = f"{len(missed)} other updates are written meanwhile: the delay of update {number[late_end]} is {len(missed)}"
    axes.text((late_start + late_end) / 2, 1.57, text, ha="center", va="center", backgroundcolor="white", fontsize=9)
    handles = [
        mpl.patches.Patch(facecolor="white", edgecolor=DARK, hatch="///", label="reads x"),
        mpl.patches.Patch(facecolor=LIGHT, edgecolor=DARK, label="computes v at what it has read"),
        mpl.patches.Patch(facecolor=DARK, label="writes x - eta v"),
    ]
    axes.legend(handles=handles, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.08), frameon=False)
    axes.set(yticks=range(3), yticklabels=[f"thread {k}" for k in range(3)], xticks=[], ylim=(2.6, -0.5))
    axes.set_title("time goes to the right", fontsize=10, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def mixture() -> plt.Figure:
    """What a thread reads while others write: coordinates of different moments."""
    rng = np.random.default_rng(1)
    count, versions = 32, 5
    states = np.zeros((versions, count), dtype=int)
    for turn in range(1, versions):
        states[turn] = states[turn - 1]
        first = rng.integers(count - 12)
        states[turn, first : first + 12] = turn
    moment = np.minimum(np.arange(count) * versions // count, versions - 1)
    read = states[moment, np.arange(count)]
    figure, axes = plt.subplots(figsize=(8.4, 2.7), layout="constrained")
    shades = np.linspace(1, 0.25, versions).astype(str)
    rows = [*[(f"x after update {turn}" if turn else "x at first", states[turn]) for turn in range(versions)]]
    for place, (name, state) in enumerate([*rows, ("what was read, x^", read)]):
        y = place if place < versions else versions + 0.6
        axes.bar(np.arange(count), 0.8, 1, bottom=y, color=shades[state], edgecolor=DARK, linewidth=0.5)
        axes.text(-1, y + 0.4, name, ha="right", va="center", fontsize=9)
    for turn in range(versions):
        seen = np.flatnonzero(moment == turn)
        axes.plot([seen[0] - 0.5, seen[-1] + 0.5], [turn + 0.9] * 2, color=DARK, linewidth=2.5)
    axes.set(xlim=(-7.5, count), ylim=(versions + 1.6, -0.3), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    axes.set_title("coordinates; a bar marks those that are read at that moment", fontsize=10)
    return figure


def main() -> None:
    """Writes all pictures."""
    mpl.rcParams |= {"svg.hashsalt": "asysvrg", "font.size": 10, "savefig.facecolor": "white"}
    HERE.mkdir(exist_ok=True)
    problem = Problem()
    figures = {
        "snapshot": snapshot(problem), "variance": variance(problem), "threads": threads(), "mixture": mixture()
    }  # fmt: skip
    for name, figure in figures.items():
        figure.savefig(HERE / f"{name}.svg", metadata={"Date": None, "Creator": None})


if __name__ == "__main__":
    main()
