"""Cores, BLAS threads, forks and Python threads."""

import threading

import joblib
import numpy as np
import pytest
from helpers.estimators import ESTIMATORS, data, python, small
from threadpoolctl import threadpool_info, threadpool_limits

from asysvrg import AsySVRGClassifier
from asysvrg.core import cpu

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def test_nested_jobs_share_the_cores():
    cores = joblib.cpu_count()
    counts = joblib.Parallel(n_jobs=2)(joblib.delayed(cpu.count)(None) for _ in range(2))
    assert counts == 2 * [max(1, cores // 2)]


def test_omp_num_threads_bounds_the_default_only(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert cpu.count(None) == 1
    assert cpu.count(3) == 3


@pytest.mark.parametrize(("cores", "most"), [(2, 256), (100, 6400)])
def test_many_more_threads_than_cores_may_run_but_not_any_number(monkeypatch, cores, most):
    monkeypatch.setattr("joblib.cpu_count", lambda: cores)
    assert cpu.count(np.int64(most)) == cpu.count(np.array(most)) == most
    with pytest.raises(ValueError, match=f"n_jobs={most + 1}, but there are {cores} core.*{most} threads are the most"):
        cpu.count(most + 1)


def test_absurd_threads_are_an_error_and_python_goes_on():
    result = python(
        """
        from sklearn.datasets import load_iris
        from asysvrg import AsySVRGClassifier
        X, y = load_iris(return_X_y=True)
        model = AsySVRGClassifier((8,), max_iter=1, execution="shared", n_jobs=32).fit(X, y)
        print(model.history_["config"]["threads"])
        for n_jobs in (40_000, 2**31, 2**63):
            for call in (model.fit, model.partial_fit):
                try:
                    model.set_params(n_jobs=n_jobs)
                    call(X, y)
                except ValueError as error:
                    print(str(error).split(",")[0])
        """
    )
    expected = ["32", *(f"n_jobs={n_jobs}" for n_jobs in (40_000, 2**31, 2**63) for _ in range(2))]
    assert result.stdout.split() == expected, result.stderr


def test_threads_that_the_system_refuses_are_not_asked_for(monkeypatch):
    """libgomp would end the process. Half of those that can be had stay free for others."""
    start, started = threading.Thread.start, []

    def limited(thread):
        if len(started) == 9:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(cpu, "_started", 1)
    monkeypatch.setattr(threading.Thread, "start", limited)
    config = (
        small(AsySVRGClassifier, (5,), n_jobs=20, execution="shared").fit(*data(AsySVRGClassifier)).history_["config"]
    )
    assert (config["threads"], config["plan"]["threads"]) == (
        5, "of 20, OMP_THREAD_LIMIT or a limit of the system allows no more",
    )  # fmt: skip
    assert not any(thread.is_alive() for thread in started)
    assert cpu._started == 5


@pytest.mark.parametrize(
    ("variable", "value", "threads"),
    [("OMP_THREAD_LIMIT", "1", 1), ("OMP_THREAD_LIMIT", "3", 3), ("OMP_DYNAMIC", "true", 8)],
)
def test_threads_that_are_reported_are_those_that_run(monkeypatch, variable, value, threads):
    monkeypatch.setenv(variable, value)
    result = python(
        """
        import threading
        from asysvrg import AsySVRGClassifier
        from asysvrg.core import network
        from sklearn.datasets import load_iris
        X, y = load_iris(return_X_y=True)
        model = AsySVRGClassifier((8,), max_iter=2, update="striped", coordinates="all", n_jobs=8, random_state=0)
        found = []
        model.fit(X, y, callback=lambda row: found.append(network.team(8)))
        config = model.history_["config"]
        print(config["threads"], max(found), config["execution"], model._plan(X, y).threads)
        """
    )
    assert result.stdout.split() == [
        str(threads), str(threads), "serial" if threads == 1 else "shared", str(threads)
    ], result.stderr  # fmt: skip


# Threads, processes, BLAS.


def test_fit_in_a_forked_child_of_a_parallel_parent():
    """GNU OpenMP's threads do not survive a fork: a parallel region in the child would wait for ever."""
    result = python(
        """
        import os, warnings
        from sklearn.datasets import load_iris
        from asysvrg import AsySVRGClassifier
        warnings.simplefilter("ignore")
        X, y = load_iris(return_X_y=True)
        how = {"learning_rate_init": 0.05, "batch_size": 10, "max_iter": 30, "n_jobs": 4, "random_state": 0}
        how["execution"] = "shared"
        model = AsySVRGClassifier((8,), **how).fit(X, y)
        assert model.history_["config"]["threads"] == 4
        child = os.fork()
        if child == 0:
            model.predict(X)
            score = model.fit(X, y).score(X, y)
            os._exit(0 if score > 0.9 and model.history_["config"]["threads"] == 1 else 3)
        print(os.waitpid(child, 0)[1], model.score(X, y) > 0.9)
        """
    )
    assert result.stdout == "0 True\n", result.stderr


def blas_threads():
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_python_threads_fit_at_the_same_time(n_jobs):
    """Results with one thread each are those of one after the other, bit by bit."""
    jobs = [(kind, data(kind, n=400), state) for kind in ESTIMATORS for state in (0, 1)]
    options = {"n_jobs": n_jobs, "inner_steps": 1000, "max_iter": 6, "learning_rate_init": 0.02}
    expected = [small(kind, (10,), random_state=state, **options).fit(*Xy) for kind, Xy, state in jobs]
    before, fitted, inside = threadpool_info(), {}, []
    start = threading.Barrier(len(jobs))

    def fit(number):
        kind, Xy, state = jobs[number]
        start.wait()
        model = small(kind, (10,), random_state=state, **options)
        fitted[number] = model.fit(*Xy, callback=lambda row: inside.extend(blas_threads()))

    workers = [threading.Thread(target=fit, args=(number,)) for number in range(len(jobs))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert threadpool_info() == before
    assert set(inside) == {1}
    for number, model in enumerate(expected):
        if n_jobs == 1:
            np.testing.assert_array_equal(fitted[number].coefs_[0], model.coefs_[0])
        else:
            assert fitted[number].loss_ == pytest.approx(model.loss_, rel=0.2)


def test_blas_threads_are_given_back_by_whoever_comes_last():
    """threadpoolctl 3.8: OpenBLAS obeys the Python thread that set it first, and silently no other."""
    before = blas_threads()
    inside, leave = threading.Event(), threading.Event()

    def stay():
        with cpu.one_blas_thread():
            inside.set()
            leave.wait(timeout=60)

    worker = threading.Thread(target=stay)
    with cpu.one_blas_thread():
        worker.start()
        assert inside.wait(timeout=60)
        assert set(blas_threads()) == {1}
    assert set(blas_threads()) == {1}  # the worker still needs it
    leave.set()
    worker.join()
    assert blas_threads() == before
    worker = threading.Thread(target=stay)
    inside.clear()
    leave.clear()
    threadpool_limits(limits=max(before), user_api="blas")  # by which OpenBLAS is the main thread's
    worker.start()
    assert inside.wait(timeout=60)
    assert set(blas_threads()) == {1}
    leave.set()
    worker.join()
    with threadpool_limits(limits=1, user_api="blas"):  # others' limits work as ever
        assert set(blas_threads()) == {1}
    assert blas_threads() == before


def test_blas_threads_are_given_back_after_a_failure():
    before = threadpool_info()
    X, y = data(AsySVRGClassifier)

    def fail(row):
        raise RuntimeError("of the callback")

    with pytest.raises(RuntimeError, match="of the callback"):
        small(AsySVRGClassifier).fit(X, y, callback=fail)
    assert threadpool_info() == before
