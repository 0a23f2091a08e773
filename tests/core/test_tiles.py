"""Products on tiles (csrc/tiles.h), which only some processors have, against the NumPy twin.

import pytest
tests/test_package.py runs these tests on others, too, with the instructions in C (tests/sanitize/emulated_tiles.h).
"""

import os
import subprocess
import sys

import numpy as np
import pytest
from helpers.combinations import combinations
from helpers.problems import MODES, TOLERANCE, Problem, shortened

from asysvrg.core import network
from asysvrg.core.draws import draw_batch
from asysvrg.core.network import aligned_zeros

pytestmark = pytest.mark.skipif(not network.HAS_TILES, reason="this processor has no tiles (AMX)")

TOL = TOLERANCE[np.float32]

# Inputs, units and samples of a mini-batch: less than one tile of each; more than what is kept at once of each (128),
# not by whole tiles; and all whole tiles.
SHAPES = [(9, (7,), 4), (140, (150, 6), 133), (300, (20,), 40), (128, (32,), 64)]

shapes = pytest.mark.parametrize(("p", "hidden", "batch"), SHAPES, ids=str)

forms = pytest.mark.parametrize("form", ["dense", "zeros"])


def on_tiles(p, hidden, form, **more):
    problem = Problem(hidden=hidden, form=form, dtype=np.float32, weighted=True, n=200, p=p, tiles=1, **more)
    problem.x[:] *= 2 / np.sqrt(p)
    return problem


@shapes
@forms
@pytest.mark.parametrize("threads", [1, 3])
def test_sweep(p, hidden, batch, form, threads):
    problem = on_tiles(p, hidden, form)
    values, gradients, _ = problem.twin.per_sample(problem.x)
    parts = aligned_zeros((threads, problem.network.size), np.float32)
    loss, _ = problem.network.sweep(problem.samples, problem.x, threads, parts)
    assert loss == pytest.approx(values.sum(), rel=TOL)
    np.testing.assert_allclose(parts.sum(0), gradients.sum(0), rtol=TOL, atol=100 * TOL)


@combinations(
    shape=SHAPES,
    form=["dense", "zeros"],
    direction=["sgd", "svrg", "svrg-uncached"],
    rank=[0, 3, 20],
    coordinates=[(0, 1), (60, 1), (96, 16)],
)
def test_inner_loop(shape, form, direction, rank, coordinates):
    """With and without shortened steps, whose directions fit beside the units of the last tile, or do not."""
    p, hidden, batch = shape
    problem = on_tiles(p, hidden, form)
    kind, (count, block) = direction.removesuffix("-uncached"), coordinates
    _, mu, cache = problem.snapshot(problem.x)
    bases, pairs = shortened(problem, min(rank, min(problem.widths[:-1])), kind) if rank else (None, None)
    how = {"direction": kind, "epoch": 3, "preconditioner": pairs, "mu": mu, "x_snap": problem.vector(problem.x)}
    how["cache"] = cache if direction == "svrg" else None
    expected = problem.twin.epoch(kind, problem.x, 8, 0.05, batch, count, block, seed=7, epoch=3, bases=bases)
    assert np.abs(expected - problem.x).max() > 1e-4
    for mode in ["plain", "atomic"] if count else MODES:
        how_many = {"threads": 3 if mode == "lockstep" else 1, "rank": pairs[0][0].shape[1] if rank else 0}
        loop = problem.inner_loop(count, block, batch=batch, **how_many, **MODES[mode])
        x = problem.vector(problem.x)
        loop.run(x, 8, eta=0.05, **how)
        np.testing.assert_allclose(x, expected, rtol=TOL, atol=TOL)


@shapes
@forms
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("rank", [0, 3])
def test_direction(p, hidden, batch, form, threads, rank):
    """Threads have their parts of the mini-batch, which may be fewer samples than tiles are for."""
    problem = on_tiles(p, hidden, form)
    bases, pairs = shortened(problem, rank, "svrg") if rank else (None, None)
    _, mu, cache = problem.snapshot(problem.x)
    x, v, snap = problem.vector(1.1 * problem.x), problem.vector(), problem.vector(problem.x)
    loop = problem.inner_loop(threads=threads, update="plain", batch=batch, rank=rank)
    loop.direction(x, v, 2, direction="svrg", epoch=3, mu=mu, x_snap=snap, cache=cache, preconditioner=pairs)
    expected = problem.twin.direction("svrg", x, snap, draw_batch(7, 3, 2, 200, batch), bases)
    np.testing.assert_allclose(v, expected, rtol=10 * TOL, atol=TOL)


@pytest.mark.parametrize("threads", [1, 2, 8])
@pytest.mark.parametrize("update", ["atomic", "striped"])
def test_no_update_is_lost(update, threads):
    """Directions that do not depend on x add up to the same in any order: identity, and targets far away."""
    problem = on_tiles(300, (), "dense", loss="squared_error", alpha=0.0)
    problem.samples.y[:] *= 1e6
    expected = problem.twin.epoch("sgd", problem.x, 200, 1e-9, 40, 0, 1, seed=7, epoch=3)
    loop, x = problem.inner_loop(update=update, threads=threads, batch=40), problem.vector(problem.x)
    loop.run(x, 200, direction="sgd", eta=1e-9, epoch=3)
    np.testing.assert_allclose(x - problem.x, expected - problem.x, rtol=1e-3, atol=1e-5)


def test_products_are_as_exact_as_promised():
    """To 3 * 2^-16 of the sum of their terms' sizes, also where these are large, small or many, and some cancel."""
    rng = np.random.default_rng(0)
    problem = Problem(hidden=(100,), activation="identity", dtype=np.float32, n=64, p=700, tiles=1)
    X, (W, b) = problem.samples.X, problem.network.layers(problem.x)[0]
    X *= 10.0 ** rng.integers(-8, 8, size=X.shape)
    W[:] = rng.standard_normal(W.shape) * 10.0 ** rng.integers(-8, 8, size=W.shape)
    b[:] = 0
    kept = aligned_zeros((64, problem.network.cache_width), np.float32)
    problem.network.sweep(problem.samples, problem.x, 1, cache=kept)
    X, W = X.astype(np.float64), W.astype(np.float64)
    error = np.abs(kept[:, :100] - X @ W) / (np.abs(X) @ np.abs(W))
    assert 1e-7 < error.max() < 3 * 2**-16


def test_tiles_can_be_turned_off():
    command = "import asysvrg.core.network as n; print(n.build_info()['simd'])"
    for off in ("0", "1"):
        env = os.environ | {"ASYSVRG_NO_TILES": off}
        shown = subprocess.run([sys.executable, "-c", command], env=env, check=True, capture_output=True, text=True)
        assert ("tiles" in shown.stdout) == (off == "0")


def test_predictions_are_without():
    """What users see is as exact as float32 is."""
    problems = [Problem(hidden=(20,), dtype=np.float32, p=64, n=200, tiles=tiles) for tiles in (0, 1)]
    outputs = np.zeros((2, 200, 5), np.float32)
    for problem, out in zip(problems, outputs, strict=True):
        problem.network.sweep(problem.samples, problem.x, 1, outputs=out)
    np.testing.assert_array_equal(*outputs)


def test_where_tiles_are_used():
    """Only in single precision and for enough units, unless asked for; a whole run differs in the last digits."""
    problems = [Problem(hidden=(20,), dtype=np.float32, p=64, n=200, tiles=tiles) for tiles in (None, 0, 1)]
    losses = [problem.snapshot(problem.x)[0] for problem in problems]
    assert losses[0] == losses[2] != losses[1] == pytest.approx(losses[0], rel=1e-5)
    narrow = [Problem(hidden=(8,), dtype=np.float32, p=64, n=200, tiles=tiles) for tiles in (None, 0)]
    assert narrow[0].snapshot(narrow[0].x)[0] == narrow[1].snapshot(narrow[1].x)[0]
