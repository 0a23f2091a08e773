"""Small problems that every kernel is tried on."""

import numpy as np
from scipy import sparse

from asysvrg.core.inner import InnerLoop
from asysvrg.core.network import Network, Samples, aligned_zeros
from asysvrg.core.objective import Objective
from asysvrg.core.threaded import ThreadedExecution
from helpers.combinations import combinations
from helpers.twin import ACTIVATION, LOSS, Twin

TOLERANCE = {np.float64: 1e-10, np.float32: 3e-4}
DTYPES = [np.float64, np.float32]
PROBLEMS = {
    "hidden": [(), (7,), (19, 6), (5, 40, 3)],
    "activation": list(ACTIVATION),
    "loss": ["softmax", "softmax, smoothed", "binary", "binary, smoothed", *LOSS],
    "form": ["dense", "zeros", "csr"],
    "weighted": [False, True],
}


def has_its_activation(setting):
    """Without hidden layers there is no activation; one of the names stands for all."""
    return bool(setting["hidden"]) or setting["activation"] == PROBLEMS["activation"][0]


def each_problem(**factors):
    """Decorates a test that is for all problems, which it takes as `setting`; and for all values of its own factors."""
    return combinations(has_its_activation, **PROBLEMS, **factors)


def shortened(problem, rank, direction, without=()):
    """Any U for each layer but some, and what an inner loop is given of them."""
    rng, bases, pairs = np.random.default_rng(5), [], []
    _, mu, _ = problem.snapshot(problem.x)
    gradient = (mu if direction == "svrg" else 0) + problem.twin.decay * problem.x
    for layer, (W, b) in enumerate(problem.network.layers(gradient)):
        U = aligned_zeros((1 + len(W), rank), problem.network.dtype)
        U[:] = np.linalg.qr(rng.standard_normal(U.shape))[0] * np.sqrt(0.9)
        pair = (U, (U.T @ np.vstack([b, W])).astype(U.dtype))
        bases.append(None if layer in without else U)
        pairs.append(None if layer in without else pair)
    return bases, pairs


def at_snapshot(problem, direction):
    _, mu, cache = problem.snapshot(problem.x)
    kind, cached = direction.removesuffix("-uncached"), direction == "svrg"
    return {"direction": kind, "mu": mu, "x_snap": problem.vector(problem.x), "cache": cache if cached else None}


def shared_execution(problem, batch_size=4, cache=True, threads=1, **options):
    objective = Objective(problem.network, problem.samples, alpha=problem.alpha, threads=threads, cache=cache)
    how = {"execution": "serial", "update": "plain"} if threads == 1 else {"execution": "shared", "update": "striped"}
    return ThreadedExecution(objective, batch_size=batch_size, seed=3, **how, **options)


MODES = {  # how threads update: execution and memory mode
    "plain": {},
    "atomic": {"update": "atomic"},
    "striped": {"update": "striped"},
    "lockstep": {"execution": "lockstep", "parts": 3},
}


class Problem:
    """A random network and random samples, for the kernels and for the twin."""

    def __init__(
        self,
        hidden=(7,),
        activation="relu",
        loss="softmax",
        dtype=np.float64,
        form="dense",
        weighted=False,
        n=300,
        p=21,
        outputs=5,
        alpha=0.03,
        density=0.25,
        seed=0,
        tiles=0,
    ):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(n, p))
        if form != "dense":
            X *= rng.random((n, p)) < density
        self.widths = (p, *hidden, outputs)
        loss, _, is_smoothed = loss.partition(", ")
        smoothing = 0.3 if is_smoothed else 0.0
        self.network = Network(self.widths, activation, loss, dtype, tiles, smoothing)
        if loss == "softmax":
            y = rng.integers(outputs, size=n).astype(np.int32)
        elif loss == "binary":
            y = rng.integers(2, size=(n, outputs)).astype(dtype)
        else:
            y = rng.normal(size=(n, outputs)).astype(dtype)
            y = abs(y) if loss == "poisson" else y
        weight = None
        if weighted:
            weight = rng.random(n).astype(dtype)
            weight /= weight.mean()
        X = X.astype(dtype)
        if form == "csr":
            X = sparse.csr_array(X)
        self.samples = Samples(X, y, weight, skip_zeros=form == "zeros")
        self.alpha = alpha
        self.twin = Twin(self.widths, activation, loss, X, y, alpha, weight, smoothing)
        size = 0.15 if loss == "poisson" else 0.4  # its outputs are exponentials
        self.x = self.vector(size * rng.normal(size=self.network.size))

    def vector(self, values=0):
        return self.network.vector(values)

    def snapshot(self, x, threads=1):
        """Loss of the data, mu and the cache, by the kernels."""
        n = self.samples.size
        gradients = aligned_zeros((threads, self.network.size), self.network.dtype)
        cache = aligned_zeros((n, self.network.cache_width), self.network.dtype)
        loss, _ = self.network.sweep(self.samples, x, threads, gradients, cache)
        return loss / n, self.vector(gradients.sum(0) / n), cache

    def inner_loop(self, coordinates=0, block=1, update=None, threads=1, batch=4, execution=None, **more):
        """By default plain stores for one thread, and for several that do not wait atomic ones."""
        execution = execution or ("serial" if threads == 1 else "shared")
        return InnerLoop(
            self.network,
            self.samples,
            alpha=self.alpha,
            batch_size=batch,
            coordinates=coordinates,
            block=block,
            execution=execution,
            update=update or ("atomic" if execution == "shared" else "plain"),
            seed=7,
            threads=threads,
            **more,
        )
