"""Every kernel against its NumPy twin (twin.py), and the twin against finite differences."""

import itertools

import numpy as np
import pytest
from asysvrg.core.inner import draw_batch
from asysvrg.core.network import Network, Samples, aligned_zeros
from conftest import Problem
from scipy import special

from asysvrg.core import inner
from asysvrg.core.importance import Draws
from asysvrg.core.objective import Objective

TOLERANCE = {np.float64: 1e-10, np.float32: 3e-4}


def test_gradient_of_the_twin_by_finite_differences(setting):
    problem = Problem(**setting, n=40, p=6)
    x, step = np.array(problem.x), 1e-6
    gradient = problem.twin.gradient(x)
    rng = np.random.default_rng(1)
    for k in rng.choice(len(x), size=min(12, len(x)), replace=False):
        e = step * (np.arange(len(x)) == k)
        slope = (problem.twin.loss(x + e) - problem.twin.loss(x - e)) / (2 * step)
        assert gradient[k] == pytest.approx(slope, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("rows", [1, 16, 37])
@pytest.mark.parametrize("classes", [2, 10, 17])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_probabilities_of_any_sums(dtype, classes, rows):
    """Samples are the sums: from next to each other to further apart than any exponential has numbers for."""
    network = Network((classes, classes), "relu", "softmax", dtype)
    x = network.vector(np.r_[np.eye(classes).ravel(), np.zeros(classes)])
    rng = np.random.default_rng(0)
    spread = rng.choice([1e-3, 1, 10, 80, 1000], size=(rows, 1))
    sums = (spread * rng.standard_normal((rows, classes))).astype(dtype)
    labels = rng.integers(classes, size=rows, dtype=np.int32)
    found = aligned_zeros((rows, classes), dtype)
    loss, errors = network.sweep(Samples(sums, labels), x, 1, outputs=found)
    below = (sums - sums.max(1, keepdims=True)).astype(np.float64)  # what rounds first
    expected = special.softmax(below, axis=1)
    np.testing.assert_allclose(found, expected, rtol=8 * np.finfo(dtype).eps, atol=1e-37)
    losses = -special.log_softmax(below, axis=1)[np.arange(rows), labels]
    assert loss == pytest.approx(losses.sum(), rel=4 * float(np.finfo(dtype).eps))
    assert errors == np.count_nonzero(expected.argmax(1) != labels)
    sums[rows // 2, 0] = np.nan
    network.sweep(Samples(sums), x, 1, outputs=found)
    np.testing.assert_array_equal(np.isnan(found).all(1), np.arange(rows) == rows // 2)
    np.testing.assert_array_equal(np.isnan(found).any(1), np.arange(rows) == rows // 2)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("threads", [1, 3])
def test_sweep_against_the_twin(setting, dtype, threads):
    problem = Problem(**setting, dtype=dtype)
    network, n = problem.network, problem.samples.size
    values, gradients, outputs = problem.twin.per_sample(problem.x)
    computed = aligned_zeros((n, outputs.shape[1]), dtype)
    parts = aligned_zeros((threads, network.size), dtype)
    parts.fill(np.nan)  # a sweep overwrites them
    loss, errors = network.sweep(problem.samples, problem.x, threads, parts, outputs=computed)
    tol = TOLERANCE[dtype]
    assert loss == pytest.approx(values.sum(), rel=tol)
    np.testing.assert_allclose(parts.sum(0), gradients.sum(0), rtol=tol, atol=100 * tol)
    np.testing.assert_allclose(computed, outputs, rtol=tol, atol=10 * tol)
    weight = problem.samples.weight
    weight = np.ones(n) if weight is None else weight
    if setting["loss"] == "softmax":
        expected = (weight * (outputs.argmax(1) != problem.samples.y)).sum()
    elif setting["loss"] == "binary":
        expected = (weight * ((outputs > 0.5) != problem.samples.y).any(1)).sum()
    else:
        expected = (weight * ((outputs - problem.samples.y) ** 2).sum(1)).sum()
    assert errors == pytest.approx(expected, rel=10 * tol)


@pytest.mark.parametrize("coordinates", [(0, 1), (9, 1), (12, 4), (12, 16)], ids=str)
@pytest.mark.parametrize("direction", ["sgd", "svrg"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_inner_loop_against_the_twin(setting, coordinates, direction, dtype):
    problem = Problem(**setting, dtype=dtype, n=60, p=9)
    count, block = coordinates
    _, mu, cache = problem.snapshot(problem.x)
    expected = problem.twin.epoch(direction, problem.x, 25, 0.02, 4, count, block, seed=7, epoch=3)
    assert np.abs(expected - problem.x).max() > 1e-5
    updates = ["serial", "atomic"] + ["striped"] * (not count or block > 1) + ["owned", "replicated"] * (not count)
    for update, kept in itertools.product(updates, [None, cache] if direction == "svrg" else [None]):
        x, x_snap = problem.vector(problem.x), problem.vector(problem.x)
        how = {"direction": direction, "eta": 0.02, "epoch": 3, "mu": mu, "x_snap": x_snap, "cache": kept}
        delays = problem.inner_loop(count, block, update).run(x, 25, **how)
        what = f"{update}, with{'out' * (kept is None)} a cache"
        np.testing.assert_allclose(x, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype], err_msg=what)
        assert (delays == 0).all()


@pytest.mark.parametrize("alpha", [0.0, 0.03, 9.0, "rows"])
@pytest.mark.parametrize("direction", ["sgd", "svrg"])
@pytest.mark.parametrize(("form", "dtype"), [("zeros", np.float32), ("csr", np.float64)])
@pytest.mark.parametrize("hidden", [(), (7,), (150, 4)], ids=str)
def test_rows_put_off_against_the_twin(monkeypatch, hidden, form, dtype, direction, alpha):
    """csrc/lazy.h: columns without an entry in the batch wait, and end where the twin's do."""
    monkeypatch.setattr(inner, "SPARSE_ENOUGH", np.inf)
    if alpha == "rows":
        alpha = np.random.default_rng(3).random(30 + len(hidden))
    problem = Problem(hidden=hidden, form=form, dtype=dtype, n=60, p=30, alpha=alpha, density=0.03)
    _, mu, cache = problem.snapshot(problem.x)
    expected = problem.twin.epoch(direction, problem.x, 100, 0.1, 2, 0, 1, seed=7, epoch=3)
    for update in ["serial", "atomic", "striped"]:
        loop, x = problem.inner_loop(update=update, batch=2), problem.vector(problem.x)
        assert loop.puts_off
        loop.run(x, 100, direction=direction, eta=0.1, epoch=3, mu=mu, cache=cache)
        np.testing.assert_allclose(x, expected, rtol=4 * TOLERANCE[dtype], atol=4 * TOLERANCE[dtype])


@pytest.mark.parametrize("update", ["serial", "striped"])
def test_rows_put_off_shrink_by_a_small_alpha(monkeypatch, update):
    """1 - eta alpha, rounded to float32, would shrink them a ninth too fast."""
    monkeypatch.setattr(inner, "SPARSE_ENOUGH", np.inf)
    alpha = 4.5 * 2.0**-24
    problem = Problem(hidden=(), form="csr", dtype=np.float32, n=40, p=300, alpha=alpha, density=0.9)
    problem.samples = Samples(problem.samples.X, problem.samples.y, np.zeros(40, np.float32))
    x = problem.vector(problem.x)
    problem.inner_loop(update=update).run(x, 1000, direction="sgd", eta=1.0, epoch=0)
    weights = slice(0, 300 * 5)
    shrunk = 1 - (x[weights].astype(float) / problem.x[weights]).mean()
    assert shrunk == pytest.approx(1000 * alpha, rel=0.02)


def test_rows_are_put_off_where_the_mini_batch_leaves_most_of_them_out():
    problem = Problem(form="csr", p=100, density=0.03)
    X = problem.samples.X
    assert problem.samples.density == pytest.approx(X.nnz / np.prod(X.shape))
    assert problem.inner_loop(batch=4).puts_off
    assert not problem.inner_loop(batch=40).puts_off
    assert not problem.inner_loop(10, batch=4).puts_off
    assert Problem().samples.density == 1
    assert not Problem().inner_loop(batch=1).puts_off


@pytest.mark.parametrize("kind", ["sgd", "svrg"])
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_direction_against_the_twin(setting, kind, threads, dtype):
    """Eq. (16): v of a worker, at an x^ that is not the snapshot; threads have their parts of the mini-batch."""
    problem = Problem(**setting, dtype=dtype, n=60, p=9)
    _, mu, cache = problem.snapshot(problem.x)
    snap, loop = problem.vector(problem.x), problem.inner_loop(threads=threads)
    x, v = problem.vector(problem.x), problem.vector()
    x += 0.1 * np.random.default_rng(2).standard_normal(len(x)).astype(dtype)
    for t in range(5):
        expected = problem.twin.direction(kind, x, snap, draw_batch(7, 3, t, 60, 4))
        for kept in [None, cache] if kind == "svrg" else [None]:
            v[:] = np.nan
            loop.direction(x, v, t, direction=kind, epoch=3, mu=mu, x_snap=snap, cache=kept)
            what = f"with{'out' * (kept is None)} a cache"
            np.testing.assert_allclose(v, expected, rtol=10 * TOLERANCE[dtype], atol=TOLERANCE[dtype], err_msg=what)


@pytest.mark.parametrize("form", ["dense", "zeros", "csr"])
def test_updates_and_directions_of_one_loop_are_those_of_two(form):
    """They lay the same scratch out differently."""
    problem = Problem(form=form, dtype=np.float32, n=60, p=300, density=0.03)
    both, apart = problem.inner_loop(batch=4), [problem.inner_loop(batch=4) for _ in range(2)]
    assert both.puts_off == (form != "dense")
    x, v, expected = problem.vector(problem.x), problem.vector(), problem.vector()
    for epoch in range(3):
        y = problem.vector(x)
        both.run(x, 20, direction="sgd", eta=0.1, epoch=epoch)
        apart[0].run(y, 20, direction="sgd", eta=0.1, epoch=epoch)
        np.testing.assert_array_equal(x, y)
        both.direction(x, v, 0, direction="sgd", epoch=epoch)
        apart[1].direction(x, expected, 0, direction="sgd", epoch=epoch)
        np.testing.assert_array_equal(v, expected)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("form", ["dense", "zeros", "csr"])
@pytest.mark.parametrize("hidden", [(), (19, 6)], ids=str)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_cache_is_completed_where_a_direction_needs_it(hidden, form, threads, dtype):
    """Each sample is passed through the network at x~ once, whoever needs it, and its line is that of a sweep."""
    problem = Problem(hidden=hidden, form=form, dtype=dtype, weighted=True, n=30, p=9)
    _, mu, full = problem.snapshot(problem.x)
    snap, x, v = problem.vector(problem.x), problem.vector(1.1 * problem.x), problem.vector()
    cache, known = aligned_zeros(full.shape, dtype), np.zeros(30, np.int32)
    cache[:10], known[:10], cache[10:] = full[:10], 1, np.nan
    loop, seen = problem.inner_loop(threads=threads, batch=7), np.arange(30) < 10
    for t in range(6):
        index = draw_batch(7, 3, t, 30, 7)
        how = {"direction": "svrg", "epoch": 3, "mu": mu, "x_snap": snap}
        passes = loop.direction(x, v, t, cache=cache, known=known, **how)
        assert passes == len(set(index) - set(np.flatnonzero(seen)))
        seen[index] = True
        np.testing.assert_array_equal(known, seen)
        expected = problem.twin.direction("svrg", x, snap, index)
        np.testing.assert_allclose(v, expected, rtol=10 * TOLERANCE[dtype], atol=TOLERANCE[dtype])
    assert 10 < seen.sum() < 30
    np.testing.assert_allclose(cache[seen], full[seen], rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    assert np.isnan(cache[~seen]).all()
    assert loop.direction(x, v, 0, cache=cache, known=known, **how) == 0
    assert loop.direction(x, v, 0, **how) == 7
    with pytest.raises(ValueError, match="needs x_snap"):
        loop.direction(x, v, 0, cache=cache, known=known, **(how | {"x_snap": None}))


@pytest.mark.parametrize("coordinates", [(0, 1), (9, 1)], ids=str)
@pytest.mark.parametrize("direction", ["sgd", "svrg", "svrg-uncached"])
@pytest.mark.parametrize("form", ["dense", "zeros", "csr"])
@pytest.mark.parametrize("loss", ["softmax", "squared", "binary"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("hidden", [(), (19, 6)], ids=str)
def test_draws_from_a_list_against_the_twin(hidden, dtype, loss, form, direction, coordinates):
    """Any list and any ratio; the lengths left behind are those where a sample was drawn last."""
    problem = Problem(hidden=hidden, loss=loss, form=form, dtype=dtype, weighted=True, n=60, p=9)
    rng, kind = np.random.default_rng(4), direction.removesuffix("-uncached")
    ratio, lengths = (rng.random(60) + 0.5).astype(dtype), np.full(60, -1, dtype)
    draws = Draws(np.sort(rng.integers(60, size=60, dtype=np.int32)), ratio, lengths)
    _, mu, cache = problem.snapshot(problem.x)
    how = {"seed": 7, "epoch": 3, "replacement": False, "draws": (draws.listed, ratio, 0)}
    before, expected = (problem.twin.epoch(kind, problem.x, m, 0.02, 4, *coordinates, **how) for m in (24, 25))
    x, loop = problem.vector(problem.x), problem.inner_loop(*coordinates, "serial", replacement=False)
    how = {"direction": kind, "eta": 0.02, "epoch": 3, "mu": mu, "x_snap": problem.vector(problem.x), "draws": draws}
    loop.run(x, 25, cache=cache if direction == "svrg" else None, **how)
    np.testing.assert_allclose(x, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    last = draws.listed[draw_batch(7, 3, 24, 60, 4, False)]
    np.testing.assert_allclose(draws.lengths[last], problem.twin.lengths(before, last), rtol=10 * TOLERANCE[dtype])
    assert ((draws.lengths < 0) == ~np.isin(np.arange(60), draws.listed)).all()


@pytest.mark.parametrize("rank", [0, 3])
@pytest.mark.parametrize("direction", ["sgd", "svrg", "svrg-uncached"])
@pytest.mark.parametrize("form", ["dense", "zeros", "csr", "zeros-lines"])
@pytest.mark.parametrize("loss", ["softmax", "squared", "binary"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("hidden", [(), (19, 6)], ids=str)
def test_lots_against_the_twin(hidden, dtype, loss, form, direction, rank):
    """csrc/step.h: after_lot. Nobody is left out where it saves nothing, or where x~ has not been looked at yet."""
    form, _, subset = form.partition("-")
    problem = Problem(hidden=hidden, loss=loss, form=form, dtype=dtype, weighted=True, n=60, p=9)
    rng, kind = np.random.default_rng(4), direction.removesuffix("-uncached")
    coordinates = (12, 4) if subset else (0, 1)
    enough = 3 * np.median(problem.twin.lengths(problem.x, np.arange(60)))
    draws = Draws(np.arange(60, dtype=np.int32), (rng.random(60) + 0.5).astype(dtype), np.ones(60, dtype), enough)
    bases, pairs = shortened(problem, rank, kind) if rank else (None, None)
    _, mu, cache = problem.snapshot(problem.x)
    how = {"seed": 7, "epoch": 3, "replacement": False, "bases": bases}
    left_out = form != "dense" and not subset and direction != "svrg-uncached"
    without, expected = (
        problem.twin.epoch(
            kind, problem.x, 40, 0.1, 4, *coordinates, **how, draws=(draws.listed, draws.ratio, some)
        )
        for some in (0, enough)
    )  # fmt: skip
    assert np.abs(expected - without).max() > 5 * TOLERANCE[dtype]
    how = {"direction": kind, "eta": 0.1, "epoch": 3, "mu": mu, "draws": draws, "deflation": pairs}
    how |= {"cache": cache if direction != "svrg-uncached" else None, "x_snap": problem.vector(problem.x)}
    of_all = [("striped", 1), ("owned", 1), ("owned", 3), ("replicated", 1)]
    for update, threads in [("serial", 1), ("atomic", 1)] + of_all * (not subset):
        x = problem.vector(problem.x)
        loop = problem.inner_loop(*coordinates, update, threads=threads, replacement=False, rank=rank)
        loop.run(x, 40, **how)
        wanted = expected if left_out else without
        np.testing.assert_allclose(x, wanted, rtol=4 * TOLERANCE[dtype], atol=4 * TOLERANCE[dtype])


@pytest.mark.parametrize(
    ("update", "coordinates"),
    [("serial", (0, 1)), ("striped", (0, 1)), ("owned", (0, 1)), ("replicated", (0, 1)), ("atomic", (9, 1))],
    ids=str,
)
@pytest.mark.parametrize("rows_put_off", [False, True])
@pytest.mark.parametrize("direction", ["sgd", "svrg"])
def test_a_boosted_l2_term_is_that_of_as_large_an_alpha(direction, rows_put_off, update, coordinates, monkeypatch):
    """For one epoch: the next one has alpha itself."""
    monkeypatch.setattr(inner, "SPARSE_ENOUGH", np.inf if rows_put_off else 0)
    problem = Problem(hidden=(7, 6), form="csr", n=60, p=9, alpha=0.125)
    _, mu, cache = problem.snapshot(problem.x)
    how = {"direction": direction, "eta": 0.05, "epoch": 3, "mu": mu, "cache": cache}
    loop, x, after = problem.inner_loop(*coordinates, update), problem.vector(problem.x), problem.vector(problem.x)
    loop.run(x, 50, boost=3, **how)
    loop.run(after, 50, **how)
    plain, expected = problem.vector(problem.x), problem.vector(problem.x)
    problem.inner_loop(*coordinates, update).run(plain, 50, **how)
    problem.alpha *= 3
    problem.inner_loop(*coordinates, update).run(expected, 50, **how)
    np.testing.assert_allclose(x, expected, rtol=1e-12, atol=1e-15)
    np.testing.assert_array_equal(after, plain)
    assert np.abs(plain - x).max() > 1e-2


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


@pytest.mark.parametrize("coordinates", [(0, 1), (9, 1), (12, 4), (24, 16)], ids=str)
@pytest.mark.parametrize("direction", ["sgd", "svrg", "svrg-uncached"])
@pytest.mark.parametrize("form", ["dense", "zeros", "csr"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("hidden", [(), (7,), (19, 6)], ids=str)
def test_shortened_steps_against_the_twin(hidden, dtype, form, direction, coordinates):
    """csrc/deflate.h, with any U; one layer of several without."""
    problem = Problem(hidden=hidden, dtype=dtype, form=form, weighted=True, n=60, p=9)
    kind, count, block, rank = direction.removesuffix("-uncached"), *coordinates, 3
    bases, pairs = shortened(problem, rank, kind, [1] if len(hidden) > 1 else [])
    _, mu, cache = problem.snapshot(problem.x)
    how = {"replacement": False, "bases": bases}
    expected = problem.twin.epoch(kind, problem.x, 25, 0.02, 4, count, block, 7, 3, **how)
    plain = problem.twin.epoch(kind, problem.x, 25, 0.02, 4, count, block, 7, 3, replacement=False)
    assert np.abs(expected - plain).max() > 0.002
    for update in ["serial", "atomic"] if count else ["serial", "striped", "replicated"]:
        x, loop = problem.vector(problem.x), problem.inner_loop(count, block, update, replacement=False, rank=rank)
        at_snapshot = {"mu": mu, "x_snap": problem.vector(problem.x), "cache": cache if direction == "svrg" else None}
        loop.run(x, 25, direction=kind, eta=0.02, epoch=3, deflation=pairs, **at_snapshot)
        np.testing.assert_allclose(x, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    if not count:
        v, loop = problem.vector(), problem.inner_loop(threads=2, rank=rank)
        loop.direction(x, v, 2, direction=kind, epoch=3, deflation=pairs, **at_snapshot)
        expected = problem.twin.direction(kind, x, problem.x, draw_batch(7, 3, 2, 60, 4), bases)
        np.testing.assert_allclose(v, expected, rtol=10 * TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.parametrize("direction", ["sgd", "svrg"])
def test_rows_put_off_below_shortened_layers(monkeypatch, direction):
    monkeypatch.setattr(inner, "SPARSE_ENOUGH", np.inf)
    problem = Problem(hidden=(7, 6), form="csr", n=60, p=30, density=0.03)
    bases, pairs = shortened(problem, 3, direction, [0])
    _, mu, cache = problem.snapshot(problem.x)
    expected = problem.twin.epoch(direction, problem.x, 100, 0.1, 2, 0, 1, seed=7, epoch=3, bases=bases)
    loop, x = problem.inner_loop(update="striped", batch=2, rank=3), problem.vector(problem.x)
    how = {"direction": direction, "eta": 0.1, "epoch": 3, "mu": mu, "cache": cache}
    loop.run(x, 100, deflation=pairs, **how)
    np.testing.assert_allclose(x, expected, rtol=1e-9, atol=1e-9)
    for wrong in (shortened(problem, 3, direction)[1], None):
        with pytest.raises(ValueError, match="a rank needs a basis of each layer"):
            loop.run(x, 100, deflation=wrong, **how)


@pytest.mark.parametrize("update", ["serial", "striped", "owned", "replicated"])
@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("hidden", [(), (7, 6)], ids=str)
def test_shortened_steps_with_a_large_l2_term(hidden, same, update):
    """One thread keeps the first layer's shortening apart, which must shrink with the weights, but not the bias."""
    alpha = np.array([1.0, *np.random.default_rng(3).random(8 + len(hidden))])
    alpha[:9] = 1.0 if same else alpha[:9]
    problem = Problem(hidden=hidden, form="zeros", n=60, p=9, alpha=alpha)
    bases, pairs = shortened(problem, 3, "svrg")
    _, mu, cache = problem.snapshot(problem.x)
    expected = problem.twin.epoch("svrg", problem.x, 200, 0.05, 4, 0, 1, seed=7, epoch=3, bases=bases)
    x, loop = problem.vector(problem.x), problem.inner_loop(update=update, rank=3, threads=1 + (update == "owned"))
    for _ in range(2):  # nothing is left of the first time
        x[:] = problem.x
        loop.run(x, 200, direction="svrg", eta=0.05, epoch=3, mu=mu, cache=cache, deflation=pairs)
        np.testing.assert_allclose(x, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("coordinates", [(0, 1), (9, 1), (24, 16)], ids=str)
@pytest.mark.parametrize("hidden", [(), (7,), (5, 4)], ids=str)
def test_an_l2_weight_for_each_row_and_layer(coordinates, hidden):
    alpha = np.random.default_rng(3).random(9 + len(hidden))
    problem = Problem(hidden=hidden, n=60, p=9, alpha=alpha)
    _, mu, cache = problem.snapshot(problem.x)
    count, block = coordinates
    x = problem.vector(problem.x)
    problem.inner_loop(count, block).run(x, 25, direction="svrg", eta=0.02, epoch=3, mu=mu, cache=cache)
    expected = problem.twin.epoch("svrg", problem.x, 25, 0.02, 4, count, block, seed=7, epoch=3)
    np.testing.assert_allclose(x, expected, rtol=1e-10, atol=1e-10)
    objective = Objective(problem.network, problem.samples, alpha=alpha, threads=1, cache_bytes=0)
    snapshot = objective.snapshot(x, keep_cache=False)
    assert snapshot.loss == pytest.approx(problem.twin.loss(x), rel=1e-10)
    assert snapshot.gradient_norm_squared == pytest.approx((problem.twin.gradient(x) ** 2).sum(), rel=1e-10)
