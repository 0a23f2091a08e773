"""The plan of a fit: what is chosen by size of data and machine, and that it says why."""

import dataclasses
import json

import numpy as np
import pytest
from scipy import sparse

from asysvrg import MPI, AsySVRGClassifier
from asysvrg.core.network import Network
from asysvrg.method import Data, chosen_by_validation
from asysvrg.plan import DENSE, LAZY, Plan, cache_hits, copy_bytes, make_plan, storage, sweep_parts
from asysvrg.settings import check

MB = 2**20


def planned(n=10_000, inputs=50, hidden=(20,), *, density=1.0, sparse=False, dtype=np.float32, **options):
    """The plan for data of a size, with 10 classes."""
    network = Network((inputs, *hidden, 10), "relu", "softmax", dtype)
    data = Data(n, inputs, round(density * n * inputs), sparse)
    return make_plan(check(AsySVRGClassifier(hidden, **options)), network, data)


def run_by(plan):
    return plan.threads, plan.execution, plan.update


def test_a_plan_is_frozen_and_gives_a_reason_for_each_choice():
    for plan in (planned(), planned(backend="mpi"), planned(n_jobs=2, inputs=200)):
        names = [field.name for field in dataclasses.fields(Plan) if field.name != "reasons"]
        assert list(plan.values()) == names
        assert set(plan.reasons) == set(names)
        assert all(plan.reasons.values())
        lines = plan.describe().splitlines()
        assert [line.split()[0] for line in lines] == names
        assert all(line.endswith(plan.reasons[name]) for line, name in zip(lines, names, strict=True))
        assert json.loads(json.dumps(plan.values())) == plan.values()
        with pytest.raises(dataclasses.FrozenInstanceError):
            plan.threads = 3


def test_the_same_settings_and_sizes_give_the_same_plan():
    assert planned() == planned() != planned(batch_size=7)


@pytest.mark.parametrize(
    ("n", "options", "chosen"),
    [
        (1000, {}, ("importance", 4, 1.0, 6.0)),
        (5000, {"solver": "svrg"}, ("importance", 4, 4.0, 6.0)),
        (4999, {"solver": "svrg"}, ("replacement", 0, 1.0, 1.0)),
        (1000, {"sparse": True}, ("importance", 0, 1.0, 6.0)),
        (1000, {"backend": "mpi"}, ("replacement", 0, 1.0, 6.0)),
        (999, {}, ("replacement", 0, 1.0, 1.0)),
        (1000, {"learning_rate_init": 0.1}, ("replacement", 0, 1.0, 1.0)),
        (1000, {"sampling": "shuffle", "deflation": 2, "alpha_boost": 3}, ("shuffle", 2, 3.0, 6.0)),
    ],
    ids=str,
)
def test_faster_methods_are_for_large_sets_and_an_automatic_rate(n, options, chosen):
    plan = planned(n, **options)
    assert (plan.sampling, plan.deflation, plan.alpha_boost, plan.most_growth) == chosen


@pytest.mark.parametrize(
    ("n", "options", "chosen"),
    [
        (1000, {"solver": "svrg"}, (20, 100, 4)),  # two passes
        (8000, {"solver": "svrg"}, (40, 400, 4)),
        (60_000, {"solver": "svrg"}, (50, 2400, 4)),
        (101, {"solver": "svrg"}, (20, 50, 4)),  # the least number of steps
        (101, {}, (20, 50, 0)),
        (10_000, {}, (20, 500, 0)),  # one pass
        (160_000, {}, (50, 1600, 0)),  # half a pass
        (160_000, {"hidden": ()}, (50, 800, 0)),
        (1_000_000, {"batch_size": 100}, (100, 3163, 0)),
        (101, {"learning_rate_init": 0.1}, (20, 6, 0)),  # one pass, rounded up
        (10, {"learning_rate_init": 0.1}, (10, 1, 0)),  # no more samples
        (1000, {"inner_steps": 7, "sgd_epochs": 0, "batch_size": 3}, (3, 7, 0)),
        (1000, {"learning_rate_init": 0.1, "sgd_epochs": 5}, (20, 50, 5)),
    ],
    ids=str,
)
def test_mini_batch_and_steps(n, options, chosen):
    plan = planned(n, **options)
    assert (plan.batch_size, plan.inner_steps, plan.sgd_epochs) == chosen


def test_samples_of_all_ranks_count():
    network = Network((50, 10), "relu", "softmax", np.float32)
    settings = check(AsySVRGClassifier((), backend=MPI()))
    plan = make_plan(settings, network, Data(2000, 50, 100_000, False), n=6000)
    assert (plan.inner_steps, plan.most_growth) == (171, 6.0)
    alone = make_plan(settings, network, Data(600, 50, 30_000, False))
    assert (alone.inner_steps, alone.most_growth) == (50, 1.0)


@pytest.mark.parametrize(
    ("options", "chosen"),
    [
        ({}, ("sgd", "linear")),
        ({"learning_rate_init": 0.1}, ("svrg", 0.0)),
        ({"target_loss": 0.1}, ("svrg", 0.0)),
        ({"sgd_epochs": 10}, ("svrg", 0.0)),
        ({"solver": "svrg"}, ("svrg", 0.0)),
        ({"solver": "sgd", "learning_rate_init": 0.1}, ("sgd", 0.0)),
        ({"solver": "page", "decay": "linear"}, ("page", "linear")),
        ({"decay": 0.5}, ("sgd", 0.5)),
    ],
    ids=str,
)
def test_direction_and_how_the_rate_falls(options, chosen):
    plan = planned(**options)
    assert (plan.solver, plan.decay) == chosen


@pytest.mark.parametrize(
    ("n", "options", "on", "why"),
    [
        (10_000, {}, True, "10,000 samples, at least 10,000"),
        (9999, {}, False, "9,999 samples, fewer than 10,000"),
        (9, {"early_stopping": True}, True, "given"),
        (10_000, {"early_stopping": False}, False, "given"),
        (10_000, {"target_loss": 0.1}, False, "a target for the loss is given"),
        (9, {"early_stopping": True, "target_loss": 0.1}, True, "given"),
    ],
    ids=str,
)
def test_a_validation_set_chooses_among_many_samples(n, options, on, why):
    plan = planned(n, **options)
    assert (plan.early_stopping, plan.reasons["early_stopping"]) == (on, why)
    settings = check(AsySVRGClassifier(**{"cache_size": 1} | options))
    for copied, obstacle in ((MB, ""), (MB + 1, "a copy of X takes 1.0 MB, more than 1.0 MB"), (MB, "they differ")):
        found = chosen_by_validation(settings, n, copied, "" if "copy" in obstacle else obstacle)
        automatic = on and why != "given"
        assert found == ((False, obstacle) if automatic and obstacle else (on, why))


@pytest.mark.parametrize(
    ("options", "epoch"),
    [
        ({}, 3),
        ({"max_iter": 41}, 10),
        ({"max_iter": 3}, 0),
        ({"hidden": ()}, 3),
        ({"early_stopping": False}, 0),
        ({"decay": "linear"}, 0),
        ({"solver": "svrg"}, 0),
        ({"n": 9999}, 0),
        ({"n": 9999, "early_stopping": True}, 3),
    ],
    ids=str,
)
def test_where_a_validation_set_chooses_the_rate_falls_twice(options, epoch):
    assert planned(**options).restart == epoch


@pytest.mark.parametrize(
    ("n", "options", "evaluated"),
    [(5000, {}, 0), (5001, {}, 5000), (1_000_000, {}, 63_250), (10_000, {"target_loss": 0.1}, 0)],
    ids=str,
)
def test_samples_that_stand_for_all(n, options, evaluated):
    assert planned(n, **options).evaluated == evaluated


@pytest.mark.parametrize("n_jobs", [None, 1, 2, 8])
@pytest.mark.parametrize(
    "data", [{}, {"inputs": 784}, {"sparse": True, "density": 0.01}, {"hidden": (500, 500)}], ids=str
)
def test_one_thread_trains_unless_more_are_asked_for(data, n_jobs):
    """So that the plan, and with it the result, does not depend on n_jobs."""
    plan = planned(n_jobs=n_jobs, **data)
    assert run_by(plan) == (1, "serial", "plain")
    assert plan == planned(n_jobs=3, **data)


@pytest.mark.parametrize(
    ("options", "chosen"),
    [
        ({"n_jobs": 1}, (1, "serial", "plain")),
        ({"n_jobs": 1, "execution": "lockstep"}, (1, "lockstep", "plain")),
        ({"n_jobs": 1, "update": "striped"}, (1, "serial", "striped")),
        ({"n_jobs": 3, "execution": "lockstep"}, (2, "lockstep", "plain")),
        ({"n_jobs": 2, "execution": "shared"}, (2, "shared", "striped")),
        ({"n_jobs": 2, "update": "atomic"}, (2, "shared", "atomic")),
        ({"n_jobs": 3, "update": "plain"}, (1, "serial", "plain")),
        ({"n_jobs": 2, "max_delay": 4}, (2, "shared", "striped")),
        ({"n_jobs": 2, "coordinates": 9}, (2, "shared", "atomic")),
        ({"n_jobs": 2, "coordinates": "lines:9"}, (2, "shared", "striped")),
        ({"n_jobs": 2, "coordinates": 2010, "hidden": ()}, (1, "serial", "plain")),  # all there are
        ({"backend": "mpi"}, (1, "distributed", "server")),
        ({"backend": "mpi", "n_jobs": 3}, (3, "distributed", "server")),
    ],
    ids=str,
)
def test_what_is_given_is_taken(options, chosen, monkeypatch):
    """In lockstep as many as there are parts, and cores."""
    monkeypatch.setattr("joblib.cpu_count", lambda: 2)
    assert run_by(planned(inputs=200, **options)) == chosen


@pytest.mark.parametrize("options", [{"execution": "shared"}, {"coordinates": 9}], ids=str)
def test_plain_stores_of_several_threads_that_do_not_wait_are_refused(options):
    with pytest.raises(ValueError, match="update='plain' loses updates where 2 threads"):
        planned(update="plain", n_jobs=2, **options)


def test_little_work_is_for_one_thread_and_lockstep_is_worth_its_threads_sooner(monkeypatch):
    """n_jobs=None: parameters x mini-batch x density decides."""
    monkeypatch.setattr("joblib.cpu_count", lambda: 2)
    lockstep, shared = {"execution": "lockstep"}, {"execution": "shared"}
    assert run_by(planned(inputs=100, hidden=(50,), batch_size=40, **lockstep)) == (2, "lockstep", "plain")  # 222,400
    assert run_by(planned(inputs=100, hidden=(50,), batch_size=30, **lockstep)) == (1, "lockstep", "plain")
    assert run_by(planned(inputs=100, hidden=(50,), batch_size=10, update="striped")) == (1, "serial", "striped")
    assert run_by(planned(inputs=70, hidden=(50,), batch_size=10, **shared)) == (1, "serial", "plain")
    assert run_by(planned(inputs=70, hidden=(50,), batch_size=200, **shared)) == (2, "shared", "striped")
    assert run_by(planned(inputs=70, hidden=(50,), batch_size=200, density=0.1, **shared)) == (1, "serial", "plain")


@pytest.mark.parametrize("options", [{"n_jobs": 2}, {}], ids=str)
def test_zeros_of_dense_and_of_sparse_input_count_alike(options, monkeypatch):
    """784 columns of which 5% are non-zero, 10 hidden units."""
    monkeypatch.setattr("joblib.cpu_count", lambda: 2)
    options |= {"inputs": 784, "hidden": (10,), "density": 0.05, "deflation": 0, "execution": "shared"}
    dense, csr = (planned(sparse=sparse, **options) for sparse in (False, True))
    assert dense == csr
    assert run_by(csr) == ((2, "shared", "striped") if options.get("n_jobs") else (1, "serial", "plain"))


def test_fits_of_dense_and_of_sparse_input_are_run_alike(monkeypatch):
    monkeypatch.setattr("joblib.cpu_count", lambda: 2)
    rng = np.random.default_rng(0)
    X = (rng.random((2000, 784)) * (rng.random((2000, 784)) < 0.05)).astype(np.float32)
    model = AsySVRGClassifier((10,), max_iter=1, random_state=0)
    configs = [model.fit(data, np.arange(2000) % 10).history_["config"] for data in (X, sparse.csr_array(X))]
    for name in ("threads", "execution", "update", "skips_zeros"):
        assert configs[0][name] == configs[1][name]
    assert configs[0]["threads"] == 1


def test_zeros_are_skipped_where_there_are_many_and_their_copy_fits():
    n, inputs = 1000, 200
    network = Network((inputs, 10), "relu", "softmax", np.float32)

    def stored(density, is_sparse=False, cache_bytes=np.inf):
        data = Data(n, inputs, round(density * n * inputs), is_sparse)
        found = storage(data, network, cache_bytes)
        return found.skips_zeros[0], found.snapshot_cache[0]

    assert stored(DENSE) == (False, True)
    assert stored(DENSE - 0.01) == (True, True)
    assert stored(1.0, is_sparse=True) == (True, True)
    cache = n * network.cache_width * 4
    copy = copy_bytes(Data(n, inputs, 20_000, False), 4)
    assert stored(0.1, cache_bytes=copy + cache) == (True, True)
    assert stored(0.1, cache_bytes=copy + cache - 1) == (True, False)  # the copy goes first
    assert stored(0.1, cache_bytes=copy - 1) == (False, cache < copy)
    assert stored(0.1, True, cache_bytes=cache) == (True, True)
    assert stored(0.1, True, cache_bytes=cache - 1) == (True, False)


def test_rows_are_lazy_where_a_mini_batch_leaves_most_of_them_out():
    options = {"inputs": 1000, "density": 0.02, "sparse": True}
    assert LAZY == 0.5
    assert planned(batch_size=24, **options).lazy_rows
    assert not planned(batch_size=25, **options).lazy_rows
    assert not planned(batch_size=10, coordinates=100, **options).lazy_rows
    assert planned(batch_size=24, **options | {"sparse": False}).lazy_rows  # zeros are skipped
    assert not planned(batch_size=1, inputs=1000).lazy_rows


def test_parts_of_lockstep_follow_from_the_problem():
    def parts(batch_size, **options):
        plan = planned(inputs=500, hidden=(100,), batch_size=batch_size, execution="lockstep", **options)  # 51,110
        return plan.parts

    assert parts(1) == parts(149) == 2
    assert parts(150) == 3
    assert parts(400) == 8
    assert parts(400, density=0.1) == 2  # few products
    assert parts(10_000) == 16
    assert all(parts(400, n_jobs=n_jobs) == 8 for n_jobs in (1, 2, 3))
    assert planned(update="striped", n_jobs=2).parts == 1


def test_parts_of_sweeps_follow_from_the_problem():
    assert [sweep_parts(n, 1000) for n in (1, 1023, 1024, 2000, 10**6)] == [1, 1, 2, 3, 8]
    assert [sweep_parts(10**6, size) for size in (2**21, 2**23, 10**8)] == [4, 2, 2]


def test_workers_say_how_they_store_their_samples():
    plan = planned(backend="mpi")
    assert (plan.skips_zeros, plan.snapshot_cache) == (False, False)
    assert planned(n=10**6).evaluated > 0 == planned(n=10**6, backend="mpi").evaluated  # they sweep over all
    whole = plan.with_storage(skips_zeros=True, snapshot_cache=True)
    assert (whole.skips_zeros, whole.snapshot_cache) == (True, True)
    assert whole.reasons["skips_zeros"] == "on all workers"


def test_data_of_arrays_and_matrices():
    X = np.array([[0, 1.5, 0], [0, 0, -2]])
    assert Data.of(X) == (2, 3, 2, False)
    assert Data.of(sparse.csr_array(X)) == (2, 3, 2, True)
    assert Data.of(X).density == pytest.approx(1 / 3)


@pytest.mark.parametrize(("workers", "passes"), [(1, 2), (2, 2), (4, 0.5), (10, 5), (10, 1)])
def test_share_of_draws_that_a_worker_finds_in_its_cache(workers, passes):
    """By drawing: a worker knows the samples that it swept, and those that it drew before."""
    n, rng = 20_000, np.random.default_rng(0)
    drawn = rng.integers(n, size=round(n * passes / workers))
    new = np.unique(drawn[drawn >= n / workers])
    assert cache_hits(n, round(n * passes), workers) == pytest.approx(1 - len(new) / len(drawn), abs=0.02)


def test_page_is_planned_one_after_the_other():
    """One thread, or lockstep; without preconditioner, snapshot cache and lazy rows."""
    plan = planned(solver="page", n_jobs=2, inputs=200, execution="lockstep")
    assert run_by(plan) == (2, "lockstep", "plain")
    assert run_by(planned(solver="page", n_jobs=2)) == (1, "serial", "plain")
    plan = planned(solver="page", n_jobs=1, density=0.001, sparse=True)
    assert run_by(plan) == (1, "serial", "plain")
    assert (plan.deflation, plan.snapshot_cache, plan.lazy_rows) == (0, False, False)
    with pytest.raises(ValueError, match="solver='page' takes backend='threads'"):
        planned(solver="page", backend="mpi")
