"""execution="lockstep" (csrc/kernels/lockstep.inc): threads that share each update compute the serial iteration."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from asysvrg.core.draws import divide
from helpers.combinations import combinations
from helpers.problems import DTYPES, TOLERANCE, Problem, at_snapshot, shortened

import asysvrg
from asysvrg.core import draws
from asysvrg.core.importance import Importance

forms = pytest.mark.parametrize("form", ["dense", "zeros", "csr"])


threads = pytest.mark.parametrize("threads", [1, 2, 5, 16])


@pytest.fixture(params=[False, True], ids=["each", "divided"])
def lockstep(request):
    """Each thread takes all samples through the upper layers; or they divide them."""
    return {"execution": "lockstep", "divide_samples": request.param}


@combinations(
    rank=[0, 3],
    hidden=[(), (7,), (19, 6)],
    dtype=DTYPES,
    form=["dense", "zeros", "csr"],
    direction=["sgd", "svrg", "svrg-uncached"],
    threads=[1, 2, 5, 16],
)
def test_lockstep_against_the_twin(lockstep, rank, hidden, dtype, form, direction, threads):
    """With more threads than samples in a mini-batch, or units in a layer, some have nothing to do there."""
    problem = Problem(hidden=hidden, dtype=dtype, form=form, weighted=True, n=60, p=9)
    how = at_snapshot(problem, direction)
    bases, pairs = shortened(problem, rank, how["direction"]) if rank else (None, None)
    expected = problem.twin.epoch(how["direction"], problem.x, 25, 0.02, 4, 0, 1, seed=7, epoch=3, bases=bases)
    x, loop = problem.vector(problem.x), problem.inner_loop(**lockstep, threads=threads, rank=rank)
    for _ in range(2):  # nothing is left of the first time
        x[:] = problem.x
        delays = loop.run(x, 25, eta=0.02, epoch=3, preconditioner=pairs, **how)
        np.testing.assert_allclose(x, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
        assert (delays == 0).all()


@threads
@forms
def test_large_mini_batches_and_wide_layers(lockstep, form, threads):
    problem = Problem(hidden=(150, 40), form=form, n=200, p=90, density=0.3)
    problem.x[:] *= 0.2
    how = at_snapshot(problem, "svrg")
    expected = problem.twin.epoch("svrg", problem.x, 20, 0.05, 70, 0, 1, seed=7, epoch=3)
    assert np.abs(expected - problem.x).max() > 1e-3
    x = problem.vector(problem.x)
    problem.inner_loop(**lockstep, threads=threads, batch=70).run(x, 20, eta=0.05, epoch=3, **how)
    np.testing.assert_allclose(x, expected, rtol=1e-10, atol=1e-10)


@threads
@pytest.mark.parametrize("alpha", [0.03, "rows"])
def test_lazy_rows(lockstep, alpha, threads):
    if alpha == "rows":
        alpha = np.random.default_rng(3).random(31)
    problem = Problem(hidden=(7,), form="csr", n=60, p=30, alpha=alpha, density=0.03)
    how = at_snapshot(problem, "svrg")
    expected = problem.twin.epoch("svrg", problem.x, 100, 0.1, 2, 0, 1, seed=7, epoch=3)
    x, loop = problem.vector(problem.x), problem.inner_loop(**lockstep, batch=2, threads=threads, lazy_rows=True)
    loop.run(x, 100, eta=0.1, epoch=3, **how)
    np.testing.assert_allclose(x, expected, rtol=1e-9, atol=1e-9)


@forms
@pytest.mark.parametrize("dtype", DTYPES)
def test_results_are_bit_repeatable(lockstep, dtype, form):
    problem = Problem(hidden=(40,), form=form, dtype=dtype, n=300, p=50, density=0.3)
    how, results = at_snapshot(problem, "svrg"), []
    for _ in range(3):
        x = problem.vector(problem.x)
        problem.inner_loop(**lockstep, threads=3, batch=20).run(x, 200, eta=0.05, epoch=3, **how)
        results.append(x)
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


@pytest.mark.parametrize("parts", [1, 2, 3, 8, 40])
@forms
def test_columns_are_divided_by_their_work(form, parts):
    problem = Problem(form=form, n=50, p=24, density=np.repeat([0.05, 0.6], 12))
    cuts, split = divide(problem.samples, 10, parts)
    assert cuts[0] == 0
    assert cuts[-1] == 24
    assert (np.diff(cuts) >= 0).all()
    X = problem.samples.X
    dense = X.toarray() if form == "csr" else X
    if form == "dense":
        assert split is None
        assert np.ptp(np.diff(cuts)) <= 1
        return
    assert split.shape == (parts - 1, 50)
    for cut, below in zip(cuts[1:-1], split, strict=True):
        np.testing.assert_array_equal(below, (dense[:, :cut] != 0).sum(1))
    work = draws.ROW_COST + 10 * (dense != 0).mean(0)
    shares = np.add.reduceat(np.r_[work, 0], cuts[:-1]) * (np.diff(cuts) > 0)
    assert shares.max() <= work.sum() / parts + work.max()


TESTS = Path(__file__).parents[1]
PATHS = {"PYTHONPATH": os.pathsep.join([str(Path(asysvrg.__file__).parents[1]), str(TESTS)])}
FEWER = """
import numpy as np
import asysvrg
from helpers.problems import Problem, at_snapshot
problem = Problem(hidden=(19, 6), form="zeros", n=60, p=9)
how = at_snapshot(problem, "svrg")
expected = problem.twin.epoch("svrg", problem.x, 25, 0.02, 4, 0, 1, seed=7, epoch=3)
for divide_samples in (False, True):
    x = problem.vector(problem.x)
    loop = problem.inner_loop(execution="lockstep", divide_samples=divide_samples, threads=5)
    loop.run(x, 25, eta=0.02, epoch=3, **how)
    np.testing.assert_allclose(x, expected, rtol=1e-10, atol=1e-10)
"""


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_fewer_threads_than_asked_for_do_all_of_it(limit):
    """OpenMP need not give as many. The child compares with the twin; its exit code says whether they agree."""
    command, env = [sys.executable, "-c", FEWER], os.environ | PATHS | {"OMP_THREAD_LIMIT": str(limit)}
    subprocess.run(command, cwd=TESTS, env=env, check=True, timeout=60)


def test_gradient_norms_are_those_of_one_thread(lockstep):
    problem = Problem(hidden=(19, 6), form="zeros", n=60, p=9)
    steps, written = 40, []
    for execution, threads in ({}, 1), (lockstep, 3):
        importance = Importance(60, problem.x.dtype, 0)
        importance.norms[:] = np.linspace(0.1, 2, 60)
        how = execution | {"threads": threads, "replacement": False}
        x, loop = problem.vector(problem.x), problem.inner_loop(**how)
        loop.run(x, steps, eta=0.02, epoch=3, draws=importance.draws(3), **at_snapshot(problem, "sgd"))
        written.append((importance.norms, x))
    np.testing.assert_allclose(*(norms for norms, _ in written), rtol=1e-10)
    np.testing.assert_allclose(*(x for _, x in written), rtol=1e-10, atol=1e-10)


def test_a_deadline_leaves_whole_iterations(lockstep):
    problem = Problem(hidden=(200,), n=500, p=40)
    how, steps = at_snapshot(problem, "svrg"), 10**6
    x, loop = problem.vector(problem.x), problem.inner_loop(**lockstep, threads=2, batch=10)
    delays = loop.run(x, steps, eta=0.001, epoch=3, deadline=time.monotonic() + 0.3, **how)
    done = np.count_nonzero(delays >= 0)
    assert 0 < done < steps
    assert (delays[:done] == 0).all()
    again = problem.vector(problem.x)
    loop.run(again, done, eta=0.001, epoch=3, **how)
    np.testing.assert_array_equal(x, again)


def test_ctrl_c_is_heard(lockstep):
    problem = Problem(hidden=(200,), n=500, p=40)
    loop = problem.inner_loop(**lockstep, threads=3, batch=10)
    timer = threading.Timer(0.3, signal.raise_signal, [signal.SIGINT])
    timer.start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        loop.run(problem.vector(problem.x), 10**7, eta=1e-4, epoch=3, **at_snapshot(problem, "sgd"))
    assert time.monotonic() - began < 2


def test_subsets_of_coordinates_are_refused():
    with pytest.raises(ValueError, match="execution='lockstep' updates all coordinates"):
        Problem().inner_loop(10, execution="lockstep")


SPREAD = """
import atexit
import os
import subprocess
import sys
from pathlib import Path
from helpers.problems import Problem

def tasks(read):
    return {int(task.name): read(task) for task in Path("/proc/self/task").iterdir()}

def cores_of(task):
    return os.sched_getaffinity(int(task.name))

def time_and_core(task):
    core = (task / "stat").read_text().rpartition(")")[2].split()[36]
    return int((task / "schedstat").read_text().split()[0]), int(core)

loop, apart, times = Problem().inner_loop(execution="lockstep", threads=2), 0, 40
busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])  # where all is idle, the system may put both on one
atexit.register(busy.kill)
loop._spread_threads()
allowed = tasks(cores_of)
for _ in range(times):
    for task, cores in allowed.items():
        os.sched_setaffinity(task, {min(cores)})
    loop._spread_threads()  # there is no other core: both stay
    for task, cores in allowed.items():
        os.sched_setaffinity(task, cores)
    before = tasks(time_and_core)
    loop._spread_threads()
    after = tasks(time_and_core)
    ran = [core for task, (time, core) in after.items() if time > before[task][0]]
    apart += len(set(ran)) == 2
    assert tasks(cores_of) == allowed
assert apart > times / 2, apart  # the system may move one again before it is looked for
"""


def two_cores():
    return hasattr(os, "sched_getaffinity") and len(os.sched_getaffinity(0)) > 1


@pytest.mark.skipif(not two_cores(), reason="one core, or no Linux")
def test_threads_begin_on_cores_of_their_own():
    """Wherever they were before, and they may go anywhere afterwards."""
    subprocess.run([sys.executable, "-c", SPREAD], cwd=TESTS, env=os.environ | PATHS, check=True, timeout=60)
