"""Microseconds of one inner iteration in the paper's MNIST setting, ours and the peers'.

n = 10,000, 784-100-10, ReLU, softmax, batch 10, C = 1e-3, float32. A round is an epoch from the same start.
Peers have one core. "times_ours": ratio to our svrg on 1000 coordinates in cache lines by one thread, in neighbouring
rounds.
"""

import os

import numpy as np
import pytest
from conftest import ALPHA, BATCH, ETA, MODES, Inner, Problem

from asysvrg.core.draws import draw_batch

STEPS = 1000  # the paper's m
THREADS = [1 << k for k in range(len(os.sched_getaffinity(0)).bit_length())]
HOW = [
    (direction, coordinates, mode, threads)
    for direction in ["sgd", "svrg", "svrg-uncached"]
    for coordinates in ["all", "single", "lines"]
    for threads in THREADS
    for mode in MODES
    if (mode != "serial" or threads == 1)
    and (mode in ("serial", "atomic") or coordinates == "all" or (mode, coordinates) == ("striped", "lines"))
    and (mode == "serial" or direction != "svrg-uncached")
]


@pytest.fixture(scope="module")
def problem(mnist):
    return Problem(*mnist[1:])


@pytest.fixture
def timed(measure, problem, mnist):
    """Times a run against our reference, and notes what the table shows."""
    reference = Inner(problem, STEPS)

    def against():
        reference.reset()
        reference.run()

    def timed(run, parameters, setup=None, rounds=10, threads=1, mode=None, delays=lambda: np.zeros(1)):
        times, ratio = measure(run, setup=setup, against=against, rounds=rounds)
        microseconds = times / STEPS * 1e6
        measure.note(microseconds_per_iteration=float(np.median(microseconds)), fastest=float(microseconds.min()))
        measure.note(times_ours=ratio, loss=float(problem.loss(parameters())), data=mnist[0])
        measure.note(delay_mean=float(delays().mean()), delay_max=int(delays().max()), threads=threads, mode=mode)

    return timed


@pytest.mark.parametrize(("direction", "coordinates", "mode", "threads"), HOW)
def test_ours(timed, problem, direction, coordinates, mode, threads):
    inner = Inner(problem, STEPS, direction, coordinates, mode, threads)
    timed(inner.run, lambda: inner.x, inner.reset, 30, threads, mode, lambda: inner.delays)


# ---- Peers: plain SGD and SVRG on all coordinates ----


def batches(problem):
    """The batches that ours would draw, outside the clock."""
    return np.array([draw_batch(0, 1, t, problem.samples.size, BATCH) for t in range(STEPS)])


def parts(problem, x):
    """Copies of [W_0, b_0, W_1, b_1]; `flat` undoes it."""
    return [np.array(part) for layer in problem.network.layers(x) for part in layer]


def flat(arrays):
    return np.concatenate([np.ravel(array) for array in arrays])


def test_scikit_learn_sgd(timed, problem, one_core):
    from sklearn.neural_network import MLPClassifier

    how = {"solver": "sgd", "momentum": 0, "learning_rate_init": ETA["all"], "batch_size": BATCH}
    # It divides alpha by the batch size.
    model = MLPClassifier(hidden_layer_sizes=problem.network.widths[1:-1], alpha=ALPHA * BATCH, **how)
    n = STEPS * BATCH
    X, y = problem.X[:n], problem.y[:n]
    model.partial_fit(X, y, classes=np.unique(problem.y))

    def reset():
        start = parts(problem, problem.start)
        model.coefs_, model.intercepts_ = start[::2], start[1::2]

    def parameters():
        return flat([model.coefs_[0], model.intercepts_[0], model.coefs_[1], model.intercepts_[1]])

    timed(lambda: model.partial_fit(X, y), parameters, reset)


@pytest.mark.parametrize("direction", ["sgd", "svrg"])
def test_pytorch_eager(timed, problem, one_core, direction):
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    X, y, picks = map(torch.from_numpy, (problem.X, problem.y.astype(np.int64), batches(problem)))

    def tensors(x, gradient=False):
        return [torch.from_numpy(part).requires_grad_(gradient) for part in parts(problem, x)]

    now, snap, start, mu = *(tensors(problem.start, g) for g in (True, True, False)), tensors(problem.mu)

    def gradient(params, rows):
        hidden = torch.relu(torch.addmm(params[1], X[rows], params[0]))
        loss = torch.nn.functional.cross_entropy(torch.addmm(params[3], hidden, params[2]), y[rows])
        return torch.autograd.grad(loss, params)

    def run():
        for rows in picks:
            v = gradient(now, rows)
            if direction == "svrg":
                v = torch._foreach_add(torch._foreach_sub(v, gradient(snap, rows)), mu)
            with torch.no_grad():
                torch._foreach_mul_(now[::2], 1 - ETA["all"] * ALPHA)
                torch._foreach_add_(now, v, alpha=-ETA["all"])

    def reset():
        with torch.no_grad():
            torch._foreach_copy_(now, start)

    timed(run, lambda: flat([p.detach().numpy() for p in now]), reset)


@pytest.mark.parametrize("direction", ["sgd", "svrg"])
def test_jax_jit_scan(timed, problem, one_core, direction):
    jax = pytest.importorskip("jax")
    X, y, picks = map(jax.numpy.array, (problem.X, problem.y, batches(problem)))
    start, mu = (list(map(jax.numpy.array, parts(problem, x))) for x in (problem.start, problem.mu))

    def loss(params, rows):
        hidden = jax.nn.relu(X[rows] @ params[0] + params[1])
        return -jax.nn.log_softmax(hidden @ params[2] + params[3])[jax.numpy.arange(BATCH), y[rows]].mean()

    def step(params, rows):
        v = jax.grad(loss)(params, rows)
        if direction == "svrg":
            v = [new - old + full for new, old, full in zip(v, jax.grad(loss)(start, rows), mu, strict=True)]
        decay = [ALPHA, 0, ALPHA, 0]
        return [p - ETA["all"] * (g + c * p) for p, g, c in zip(params, v, decay, strict=True)], None

    scan = jax.jit(lambda params: jax.lax.scan(step, params, picks)[0])
    reached = []

    def run():
        reached[:] = jax.block_until_ready(scan(start))

    timed(run, lambda: flat(reached))
