"""x and v on the wire in half precision: what a message keeps, and what becomes of what it leaves out."""

import numpy as np
import pytest
from helpers.problems import Problem
from helpers.simulation import accountants, some_faults, trainers, updates
from sklearn.datasets import load_digits

from asysvrg.core.network import Network, Samples, aligned_zeros, from_half, to_half
from asysvrg.core.objective import Objective
from asysvrg.distributed.codec import CODECS, Codec, Half
from asysvrg.distributed.gradient import FullGradient, data_shards
from asysvrg.distributed.server import Group

BITS = 2.0**-11  # relative error of a number in half precision, rounded to nearest

BOTH = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def over_the_wire(code):
    """As a receiver has it: behind a header, in a buffer that is not its own."""
    buffer = np.full(64 + code.nbytes + 64, 255, np.uint8)
    buffer[64 : 64 + code.nbytes] = code.view(np.uint8)
    return buffer[64 : 64 + code.nbytes]


def pair(size, dtype):
    return Half(size, np.dtype(dtype)), Half(size, np.dtype(dtype))


@BOTH
def test_every_number_of_half_precision(dtype):
    """Against NumPy's conversion: all 2^16 bit patterns but those of infinity and NaN."""
    bits = np.arange(2**16).astype(np.uint16)
    bits = bits[bits & 0x7C00 != 0x7C00]
    expected, found = bits.view(np.float16).astype(dtype), np.zeros(bits.size, dtype)
    for scale in (1.0, 0.25):
        from_half(bits, scale, found)
        assert (found == scale * expected).all()
        assert (np.signbit(found) == np.signbit(expected)).all()
    small = np.abs(expected) < 2**15
    again = np.zeros(small.sum(), np.uint16)
    to_half(expected[small] * 4, 0.25, again)
    assert (again == bits[small]).all()


@BOTH
@pytest.mark.parametrize("size", [1, 7, 16, 4099])
def test_rounding_to_half_precision(dtype, size):
    """Against NumPy's conversion: numbers between, ties to even, what becomes zero."""
    rng = np.random.default_rng(size)
    numbers = (rng.choice([-1, 1], size) * 2.0 ** rng.uniform(-40, 14.99, size)).astype(np.float32)
    bits = rng.integers(0x7800, size=size).astype(np.uint16)
    ties = (bits.view(np.float16).astype(np.float32) + (bits + np.uint16(1)).view(np.float16).astype(np.float32)) / 2
    for u in (numbers, ties, -ties, np.nextafter(ties, np.float32(0)), np.nextafter(ties, np.float32(1e5))):
        out = np.full(size + 1, 9, np.uint16)
        to_half(u.astype(dtype), 1.0, out[:size])
        assert (out[:size] == u.astype(np.float16).view(np.uint16)).all()
        assert out[size] == 9


def test_half_precision_has_arrays_of_its_own_types():
    for u, out in ((np.zeros(3), np.zeros(2, np.uint16)), (np.zeros(3), np.zeros(3, np.float16))):
        with pytest.raises(TypeError, match="expected a C-contiguous uint16 array"):
            to_half(u, 1.0, out)
    with pytest.raises(ValueError, match="dtype is float32 or float64, got int64"):
        to_half(np.arange(3), 1.0, np.zeros(3, np.uint16))


@BOTH
@pytest.mark.parametrize("size", [1, 4, 7, 1000])
def test_exact_vectors_come_out_as_they_went_in(dtype, size):
    x, snap = np.random.default_rng(0).normal(size=(2, size)).astype(dtype)
    server, worker = Codec(size, x.dtype), Codec(size, x.dtype)
    assert server.nbytes == x.nbytes
    assert (worker.received(over_the_wire(server.parameters(x, snap)), snap) == x).all()
    assert (server.arrived(over_the_wire(worker.direction(x, 0))) == x).all()


@BOTH
@pytest.mark.parametrize("size", [1, 3, 4, 1001])
@pytest.mark.parametrize("top", [1.0, 7e4, 3e-8, 1e-30, 1e37, "tiny", "max"])
def test_a_direction_keeps_eleven_bits_at_any_scale(dtype, size, top):
    info = np.finfo(dtype)
    top = {"tiny": info.smallest_normal * 2.0**20, "max": info.max / 2}.get(top, top)
    rng = np.random.default_rng(size)
    v = (top * rng.choice([-1, 1], size) * 2.0 ** -rng.uniform(0, 28, size)).astype(dtype)
    v[0] = top
    worker, server = pair(size, dtype)
    code = worker.direction(v.copy(), 0)
    assert code.nbytes == worker.nbytes <= 2 * size + 14
    found = server.arrived(over_the_wire(code))
    assert found.dtype == dtype
    assert (np.abs(found - v) <= BITS * np.abs(v)).all()
    assert size < 9 or (found != v).any()


@BOTH
def test_zeros_and_the_smallest_numbers(dtype):
    worker, server = pair(5, dtype)
    assert (server.arrived(worker.direction(np.zeros(5, dtype), 0)) == 0).all()
    v = np.array([0, 1, -2, 3, 4], dtype) * np.finfo(dtype).smallest_subnormal
    found = server.arrived(worker.direction(v.copy(), 0))
    assert (found + worker.residual == v).all()


@BOTH
def test_what_arrived_and_the_rest_are_all_directions(dtype):
    """Error feedback: no part of a direction is lost, however small beside the others."""
    rng, size = np.random.default_rng(1), 200
    scale = 2.0 ** -rng.uniform(0, 45, size)  # of coordinates; some are below what a message can hold
    worker, server = pair(size, dtype)
    for epoch in range(3):
        total, arrived, largest = np.zeros(size), np.zeros(size), 0.0
        for _ in range(400):
            v = (scale * rng.normal(1, 1, size)).astype(dtype)
            total += v
            arrived += server.arrived(over_the_wire(worker.direction(v, epoch)))
            largest = np.maximum(largest, np.abs(v) + 2.0**-36)  # of a number and the rest
        exact = 400 * np.finfo(dtype).eps + 400**2 * np.finfo(float).eps  # of the worker's sums, and of ours
        assert (np.abs(arrived + worker.residual - total) <= exact * largest).all()
        assert (np.abs(worker.residual) <= 1.01 * BITS * largest + 2.0**-36).all()
        assert (np.abs(arrived - total) > exact * largest).any(), "a test that could not fail"
    before = worker.residual.copy()
    assert before.any()
    assert (server.arrived(worker.direction(np.zeros(size, dtype), 3)) == 0).all()  # the rest is an epoch's


@BOTH
def test_parameters_are_as_precise_as_they_are_close_to_the_snapshot(dtype):
    rng = np.random.default_rng(2)
    snap = rng.normal(0, 100, 500).astype(dtype)
    server, worker = pair(500, dtype)
    for distance in (1e2, 1.0, 1e-3):
        x = snap + (distance * rng.normal(size=500)).astype(dtype)
        found = worker.received(over_the_wire(server.parameters(x, snap)), snap)
        rounding = 2 * np.finfo(dtype).eps * np.abs(x)
        assert (np.abs(found - x) <= BITS * np.abs(x - snap) * 1.001 + rounding).all()
    assert (worker.received(server.parameters(snap, snap), snap) == snap).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, "max"])
@BOTH
def test_what_is_not_finite_arrives_as_nan_and_is_not_carried_on(dtype, bad):
    worker, server = pair(6, dtype)
    bad = np.finfo(dtype).max if bad == "max" else bad
    v = np.arange(1, 7).astype(dtype) / 3
    first = server.arrived(worker.direction(v.copy(), 0)).copy()
    worker.direction(np.where(np.arange(6) == 3, bad, v), 1)
    assert np.isnan(server.arrived(worker.code)).all()
    assert np.isnan(server.received(worker.parameters(np.full(6, bad, dtype), v), v)).all()
    assert (server.arrived(worker.direction(v.copy(), 1)) == first).all()


@pytest.mark.parametrize("late", ["wait", "drop"])
@pytest.mark.parametrize("seed", range(5))
def test_each_iteration_is_applied_once_whatever_happens(seed, late):
    """The accounts of the protocol, in messages of half the size: unit vectors have no error."""
    rng = np.random.default_rng(seed)
    count, steps = int(rng.integers(2, 7)), 120
    faults = list(some_faults(rng, range(1, count + 1), [1]))
    network, groups = accountants(count, steps, seed=seed, faults=faults, duplicates=0.2, compress="float16")
    x = np.zeros(steps)
    task = network.run(updates(network, groups, x, steps, max_delay=3, late=late, compress="float16"))
    assert (x == 1).all()
    assert task.delays.max() <= 3


@BOTH
@pytest.mark.parametrize("svrg", [True, False])
def test_updates_are_the_directions_less_the_rest_of_each_worker(dtype, svrg):
    """The snapshot comes with a shard, or with the first x."""
    problem, eta = Problem(dtype=dtype, n=600), 0.05
    groups, d, x, told = [Group(600, (1, 2, 3))], problem.network.size, {}, {}
    for compress in CODECS:
        network = trainers(problem, dict.fromkeys([1, 2, 3], problem.samples), compress=compress)
        network.server.group(groups)
        if svrg:
            network.run(FullGradient(network.server, problem.x, data_shards(groups, d), sweep=1, keep_cache=[False]))
        directions, codecs = [], [worker.codecs[0] for worker in network.workers.values()]
        for codec in codecs:
            codec.direction = recorded(codec.direction, directions)
        before, x[compress] = network.bytes, problem.vector(problem.x)
        mu = problem.snapshot(problem.x)[1] if svrg else None
        given = {"snapshot": problem.x, "mu": mu, "compress": compress}
        network.run(updates(network, groups, x[compress], 300, epoch=1, eta=eta, **given))
        told[compress] = network.bytes - before
        arrived = np.sum(directions, axis=0) - sum(getattr(codec, "residual", 0) for codec in codecs)
        np.testing.assert_allclose(x[compress] - problem.x, -eta * arrived, atol=1000 * np.finfo(dtype).eps)
    moved = np.abs(x[None] - problem.x).max()
    assert 0 < np.abs(x["float16"] - x[None]).max() < 0.01 * moved
    header = 128 * 600
    assert (told["float16"] - header) / (told[None] - header) < {4: 0.55, 8: 0.3}[np.dtype(dtype).itemsize]


class Whole(Half):
    """x itself in half precision, for comparison."""

    def parameters(self, x, snap):
        return super().parameters(x, np.zeros_like(snap))

    def received(self, code, snap):
        return super().received(code, np.zeros_like(snap))


@BOTH
def test_convergence_is_that_of_full_precision(dtype):
    """Softmax regression, three workers; and what a message of x itself would make of it."""
    X, y = load_digits(return_X_y=True)
    samples = Samples(np.ascontiguousarray(X / 16, dtype=dtype), y.astype(np.int32))
    problem = Problem(dtype=dtype, n=10)
    problem.network, problem.samples, problem.alpha = Network((64, 10), "relu", "softmax", dtype), samples, 0.05
    objective = Objective(problem.network, samples, alpha=0.05, threads=1)
    d, groups = objective.d, [Group(len(y), (1, 2, 3))]
    shards, norms = data_shards(groups, d), {}
    for codec in (Codec, Half, Whole):
        network = trainers(problem, dict.fromkeys([1, 2, 3], samples), speeds=dict.fromkeys([1, 2, 3], 1e-3))
        network.server.group(groups)
        for worker in network.workers.values():
            worker.codecs = [codec(d, problem.network.dtype)]
        x, norms[codec], coder = aligned_zeros((d,), problem.network.dtype), [], codec(d, problem.network.dtype)
        for epoch in range(12):
            full = network.run(FullGradient(network.server, x, shards, sweep=epoch, keep_cache=[False]))
            snap = objective.assembled(x, full.gradient, full.loss, full.errors)
            norms[codec].append(snap.gradient_norm_squared)
            given = {"snapshot": snap.x, "mu": snap.mu, "sweep": epoch, "epoch": epoch, "codec": coder}
            network.run(updates(network, groups, x, 600, eta=0.2, **given))
    assert norms[Codec][-1] < 1e-8
    assert norms[Half] == pytest.approx(norms[Codec], rel=0.1)
    assert min(norms[Whole]) > 10 * norms[Codec][-1]


def recorded(direction, directions):
    def both(v, epoch):
        directions.append(v.astype(np.float64))
        return direction(v, epoch)

    return both
