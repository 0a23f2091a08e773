"""O(1/T) of AsySVRG beside O(1/sqrt(T)) of AsySGD, and the bound beside a run: `python bench/slopes.py`.

10,000 rows of MNIST if ASYSVRG_DATA_HOME has them, else the bundled digits; a hidden layer of 20 tanh units, two
threads that do not wait. The metric is the one of Eqs. (12) and (19), the mean of |grad f(x_t)|^2 over the iterations
so far. SVRG has one rate for all T. For SGD each T is a run of its own, whose rate is constant / sqrt(T), as its theory
wants (Lian et al. 2015). Writes docs/slopes.json and docs/slopes.png, in some minutes.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from contenders.setting import mnist_or_digits
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

from asysvrg import AsySVRGClassifier, theory
from asysvrg.core.trace import environment
from asysvrg.store.files import write_json

DOCS = Path(__file__).parents[1] / "docs"
EPOCH, LOOKS = 1000, 4
SETTINGS: dict[str, Any] = {
    "hidden_layer_sizes": (20,), "activation": "tanh", "alpha": 1e-3, "batch_size": 10, "sampling": "replacement",
    "decay": 0, "tol": 0, "early_stopping": False, "execution": "shared", "n_jobs": 2,
}  # fmt: skip
SVRG_RATE, SGD_CONSTANT = 0.05, 3.0


def metric(X: np.ndarray, y: np.ndarray, **settings: Any) -> tuple[np.ndarray, dict[str, Any]]:
    """The mean of |grad f|^2 up to the end of each epoch, and the trace."""
    history = AsySVRGClassifier(**SETTINGS | settings).fit(X, y).history_
    found = np.array([row["mean_gradient_norm_squared"] for row in history["epochs"][1:]])
    return np.cumsum(found) / np.arange(1, len(found) + 1), history


def slope(T: list[int], values: list[float]) -> float:
    """Of a straight line through the logarithms, by least squares."""
    return float(np.polyfit(np.log(T), np.log(values), 1)[0])


def curves(X: np.ndarray, y: np.ndarray, lengths: list[int], seeds: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The metric after each number of iterations, the mean over seeds; and L along the first run of SVRG."""
    found: dict[str, list[Any]] = {"AsySVRG": [], "AsySGD": [], "AsySGD, constant rate": []}
    for seed in range(seeds):
        how = {"random_state": seed, "inner_steps": EPOCH, "track_gradient_norm": LOOKS}
        most = lengths[-1] // EPOCH
        for name, solver in (("AsySVRG", "svrg"), ("AsySGD, constant rate", "sgd")):
            means, history = metric(X, y, solver=solver, learning_rate_init=SVRG_RATE, max_iter=most, **how)
            if name == "AsySVRG" and seed == 0:
                rows = [history["epochs"][T // EPOCH] for T in lengths]
                L = {each: [row[each] for row in rows] for each in ("smoothness", "batch_smoothness", "delay")}
            found[name].append([means[T // EPOCH - 1] for T in lengths])
        found["AsySGD"].append(
            [
                metric(X, y, solver="sgd", learning_rate_init=SGD_CONSTANT / T**0.5, max_iter=T // EPOCH, **how)[0][-1]
                for T in lengths
            ]
        )
    return {name: np.mean(values, axis=0).tolist() for name, values in found.items()}, L


def beside_the_bound(epochs: int) -> dict[str, Any]:
    """Softmax regression on the digits with Theorem 4's own eta, beta and m, and (19). L is known."""
    X, y = load_digits(return_X_y=True)
    X, b, u0, alpha = X / 16, 10, 0.005, 1e-3
    L = float(1 + (X**2).sum(1).max()) / 2 + alpha
    chosen = theory.settings("distributed", L=L, n=len(X), b=b, u0=u0, a=2 / 3)
    delay = int(theory.admissible_delay("distributed", u0=u0, b=b))
    means, history = metric(
        X, y, hidden_layer_sizes=(), alpha=alpha, batch_size=b, solver="svrg", learning_rate_init=chosen.eta,
        inner_steps=chosen.m, max_iter=epochs, max_delay=delay, track_gradient_norm=2, random_state=0, dtype="float64",
    )  # fmt: skip
    found = theory.constants("distributed", L=L, eta=chosen.eta, beta=chosen.beta, b=b, m=chosen.m, delay=delay)
    T = (np.arange(1, epochs + 1) * chosen.m).tolist()
    gap = history["epochs"][0]["loss"]  # the loss is not negative
    bound = [theory.bound(gap=gap, gamma=found.gamma, T=t) for t in T]
    about = {"L": L, "eta": chosen.eta, "m": chosen.m, "max_delay": delay, "gamma": found.gamma, "gap": gap}
    return about | {"T": T, "measured": means.tolist(), "bound": bound, "delays": history["delay_histogram"]}


def draw(found: dict[str, Any], path: Path) -> None:
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    styles = {"AsySVRG": ("o-", "black"), "AsySGD": ("s--", "tab:orange"),
              "AsySGD, constant rate": ("^:", "tab:blue")}  # fmt: skip
    for name, (style, colour) in styles.items():
        label = f"{name}: slope {found['slopes'][name]:.2f}"
        left.loglog(found["T"], found["metric"][name], style, color=colour, label=label, markersize=5)
    left.set(title=f"{found['data']}, tanh network", xlabel="iterations T")
    bound = found["bound"]
    right.loglog(bound["T"], bound["bound"], "--", color="tab:red", label="right-hand side of (19)")
    right.loglog(bound["T"], bound["measured"], "-", color="black", label="measured")
    right.set(title="digits, softmax regression, Theorem 4's settings", xlabel="iterations T")
    for panel in (left, right):
        panel.set_ylabel("mean of |grad f(x_t)|$^2$ (loss$^2$ / parameter$^2$)")
        panel.grid(alpha=0.3, which="both")
    left.set_ylim(top=4 * max(max(values) for values in found["metric"].values()))
    left.legend(loc="upper right")
    right.legend(loc="upper right")
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--doublings", type=int, default=7, help="of 1,000 iterations")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--output", type=Path, default=DOCS)
    args = parser.parse_args()
    name, X, y = mnist_or_digits(args.rows)
    lengths = [EPOCH * 2**k for k in range(args.doublings + 1)]
    found: dict[str, Any] = {"data": f"{name}, {len(X):,} rows", "T": lengths, "environment": environment()}
    found["settings"] = SETTINGS | {"svrg_rate": SVRG_RATE, "sgd_constant": SGD_CONSTANT, "seeds": args.seeds}
    found["metric"], found["along"] = curves(X, y, lengths, args.seeds)
    last = slice(min(2, len(lengths) - 2), None)  # the start, where the loss has yet to fall, is left out
    found["slopes"] = {each: slope(lengths[last], values[last]) for each, values in found["metric"].items()}
    found["bound"] = beside_the_bound(200)
    write_json(args.output / "slopes.json", found)
    draw(found, args.output / "slopes.png")
    print(found["slopes"])


if __name__ == "__main__":
    main()
