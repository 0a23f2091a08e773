"""Simulated fits: one worker is the serial run; x^ is the older state; schedules are replayed; what is refused."""

import json
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import sparse

import asysvrg
from asysvrg import AsySVRGClassifier, AsySVRGRegressor, simulate
from asysvrg.core.network import Samples
from asysvrg.core.steps import StepLoop
from asysvrg.core.threaded import ThreadedExecution
from asysvrg.distributed.execution import DistributedExecution
from asysvrg.simulation.events import Read, Recorder, Write, load
from asysvrg.simulation.execution import SimulatedExecution
from asysvrg.simulation.states import States

RNG = np.random.default_rng(0)
X = RNG.normal(size=(400, 30))
Y = (X @ RNG.normal(size=(30, 3))).argmax(axis=1)
INPUTS = {
    "dense": X,
    "zeros": X * (RNG.random(X.shape) < 0.3),
    "sparse": sparse.csr_matrix(X * (RNG.random(X.shape) < 0.3)),
    "lazy": sparse.csr_matrix(X * (RNG.random(X.shape) < 0.02)),
}
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # rates that delays spoil
ARCHITECTURES = ["shared", "distributed"]
BUSY = {"workers": 6, "compute": "exponential:1", "message": 0.3, "server": 0.2}


def model(**parameters):
    return AsySVRGClassifier(**{"hidden_layer_sizes": (9,), "max_iter": 3, "random_state": 0} | parameters)


def vector(fitted):
    return np.concatenate([each.ravel() for each in (*fitted.coefs_, *fitted.intercepts_)])


def losses(fitted):
    return np.array([row["loss"] for row in fitted.history_["epochs"]])


# ---- One worker. ----


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("solver", ["svrg", "sgd", "lsvrg"])
@pytest.mark.parametrize("coordinates", ["all", 50, "lines:64"])
@pytest.mark.parametrize("kind", INPUTS)
def test_one_worker_is_the_serial_run_bit_for_bit(architecture, dtype, solver, coordinates, kind):
    given = {"dtype": dtype, "solver": solver, "coordinates": coordinates, "n_jobs": 1, "batch_size": 10}
    serial = model(**given).fit(INPUTS[kind], Y)
    assert serial.history_["config"]["lazy_rows"] == (kind == "lazy" and coordinates == "all")
    one = simulate(model(**given), INPUTS[kind], Y, workers=1, architecture=architecture, message=0.3, server=0.3)
    np.testing.assert_array_equal(vector(one), vector(serial))
    assert one.history_["delay_histogram"] == serial.history_["delay_histogram"]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(
    "given",
    [
        {"solver": "page"},
        {"deflation": 3},
        {"deflation": 3, "sampling": "importance", "solver": "sgd"},
        {"sampling": "shuffle", "cache_size": 0},
        {"update": "striped", "n_jobs": 1},
        {"early_stopping": True, "decay": "linear", "alpha_boost": 4.0},
    ],
)
def test_one_worker_with_everything_else(architecture, given):
    serial = model(**given).fit(X, Y)
    one = simulate(model(**given), X, Y, workers=1, architecture=architecture)
    np.testing.assert_array_equal(vector(one), vector(serial))
    np.testing.assert_array_equal(losses(one), losses(serial))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("hidden", [(9,), (20,), (100,), (118, 7)], ids=str)
def test_one_worker_with_a_preconditioner_where_zeros_are_skipped(hidden, dtype):
    """A serial loop adds up the rows of W_0 and of the basis at once; steps have no padded rows that hold both."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 300)) * (rng.random((400, 300)) < 0.3)
    y = (X @ rng.normal(size=(300, 3))).argmax(axis=1)
    given = {"hidden_layer_sizes": hidden, "dtype": dtype, "deflation": 4, "n_jobs": 1}
    serial = model(**given).fit(X, y)
    assert serial.history_["config"]["skips_zeros"]
    np.testing.assert_array_equal(vector(simulate(model(**given), X, y, workers=1)), vector(serial))


def test_a_regressor_and_arguments_of_fit():
    given, weight = {"hidden_layer_sizes": (5,), "max_iter": 2, "random_state": 1}, RNG.random(400)
    serial = AsySVRGRegressor(**given).fit(X, X[:, :2], sample_weight=weight, X_val=X[:9], y_val=X[:9, :2])
    fit = {"sample_weight": weight, "X_val": X[:9], "y_val": X[:9, :2]}
    one = AsySVRGRegressor(**given)
    assert simulate(one, X, X[:, :2], workers=1, **fit) is one
    np.testing.assert_array_equal(vector(one), vector(serial))


# ---- x^. ----


@pytest.mark.parametrize("kind", ["dense", "lazy"])
def test_the_direction_is_that_at_the_older_state(kind):
    """x is kept and put back: then an update at an older x^ is that of a loop that is at x^."""
    fitted = model(dtype="float64", solver="svrg", max_iter=1).fit(INPUTS[kind], Y)
    network, samples = fitted._network, Samples(INPUTS[kind].astype(np.float64), fitted._encode(Y))
    lazy = kind == "lazy"

    def start():
        loop = StepLoop(
            network, samples, alpha=0.0, batch_size=4, execution="serial", update="plain", seed=3, threads=1,
            lazy_rows=lazy,
        )  # fmt: skip
        x = network.vector(np.concatenate([each.ravel() for each in (*fitted.coefs_, *fitted.intercepts_)]))
        loop.start(x, 8, direction="sgd", eta=0.2, epoch=0)
        return loop, x

    states = []
    loop, _ = start()
    for t in range(6):
        states.append(network.vector())
        loop.copy_to(states[-1])
        loop.step(t)
    current = network.vector()
    loop.copy_to(current)
    loop.step(7, states[2])  # at the state of two updates
    late = network.vector()
    loop.copy_to(late)
    loop.finish()

    loop, _ = start()
    loop.step(0)
    loop.step(1)
    loop.step(7)
    fresh = network.vector()
    loop.copy_to(fresh)
    loop.finish()
    np.testing.assert_allclose(late - current, fresh - states[2], rtol=0, atol=1e-12)
    assert abs(late - current).max() > 1e-4


@pytest.mark.parametrize("coordinates", ["all", 40])
def test_reads_that_overlap_with_writes_are_mixtures(coordinates):
    """Eq. (6): each coordinate of x^ is x's less the changes of the updates that it has not seen."""
    fitted = model(dtype="float64", solver="sgd", max_iter=1).fit(X, Y)
    network, samples = fitted._network, Samples(X, fitted._encode(Y))
    loop = StepLoop(
        network, samples, alpha=0.1, batch_size=4, execution="serial", update="plain", seed=3, threads=1,
        coordinates=0 if coordinates == "all" else coordinates,
    )  # fmt: skip
    x = network.vector(vector(fitted))
    loop.start(x, 9, direction="sgd", eta=0.2, epoch=0)
    states, kept, read = States(loop), [], {}

    def write(slot, t, **more):
        before = x.copy()
        states.write(Write(slot, t, len(kept), 0, 0, 0, **more))
        kept.append(x - before)

    for slot in "abc":
        states.read(Read(slot))
    write("a", 0, lasts=True)
    states.read(Read("a", [(0, 10, 60)]))
    read["a"] = x.copy()
    read["a"][10:60] -= kept[0][10:60]
    read["c"] = x - kept[0]
    write("b", 1, arrives=[("a", 20, 90), ("c", 0, 30)])
    read["a"][20:90] += kept[1][20:90]
    read["c"][:30] += kept[1][:30]
    states.read(Read("b"))
    read["b"] = x.copy()
    x_hats = {slot: states.kept[slot].vector.copy() for slot in "ac"}
    for slot, x_hat in x_hats.items():
        np.testing.assert_allclose(x_hat, read[slot], rtol=0, atol=1e-14)
    write("c", 2)
    np.testing.assert_array_equal(states.kept["b"].vector, read["b"])
    states.read(Read("c"))
    write("a", 3)
    write("b", 4)
    write("c", 5)
    assert not states.kept
    assert len(states.spare) + len(states.changes) == states.made <= 6
    loop.finish()


def test_versions_are_kept_no_longer_than_needed():
    fitted = simulate(model(max_iter=2), X, Y, workers=50, compute="exponential:1", architecture="distributed")
    assert max(np.flatnonzero(fitted.history_["delay_histogram"])) > 15
    made = []

    class Counting(States):
        def clear(self):
            super().clear()
            made.append(self.made)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("asysvrg.simulation.execution.States", Counting)
        simulate(model(max_iter=3), X, Y, workers=8, compute="exponential:1", architecture="distributed")
    assert max(made) <= 8 + 2


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_late_steps_cost_progress(architecture):
    """A rate that is good for fresh directions is too large for those of twelve workers."""
    given = {"learning_rate_init": 1.0, "solver": "sgd", "max_iter": 2, "decay": 0.0}
    ends = [losses(simulate(model(**given), X, Y, workers=k, architecture=architecture))[-1] for k in (1, 4, 12)]
    assert ends[0] < 0.7 * ends[1] < 0.7 * ends[2]


# ---- Virtual time. ----


def test_seconds_are_virtual_and_the_same_every_time():
    runs = [simulate(model(solver="svrg", inner_steps=30), X, Y, **BUSY) for _ in range(2)]
    seconds = [[row["seconds"] for row in run.history_["epochs"]] for run in runs]
    assert seconds[0] == seconds[1]
    np.testing.assert_array_equal(vector(runs[0]), vector(runs[1]))
    assert seconds[0][1] > 1
    other = simulate(model(solver="svrg", inner_steps=30), X, Y, **BUSY, seed=1)
    assert seconds[0] != [row["seconds"] for row in other.history_["epochs"]]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_seconds_by_hand(architecture):
    """Two epochs: a sweep of 8 s by four workers, 20 iterations of 1 s each by four workers."""
    given = {"solver": "svrg", "sgd_epochs": 0, "inner_steps": 20, "max_iter": 2}
    costs = {"compute": 1.0, "message": 0.0, "server": 0.0, "sweep": 8.0}
    fitted = simulate(model(**given), X, Y, workers=4, architecture=architecture, **costs)
    assert [row["seconds"] for row in fitted.history_["epochs"]] == [0.0, 7.0, 14.0]
    about = fitted.history_["config"]
    assert about["execution"] == "simulated"
    assert about["simulation"]["architecture"] == architecture
    assert about["simulation"]["workers"] == 4


@pytest.mark.parametrize("solver", ["svrg", "sgd"])
def test_all_workers_may_come_late(solver):
    fitted = simulate(model(solver=solver), X, Y, workers=2, compute=0.01, late={0: 2.0, 1: 3.0})
    assert fitted.history_["epochs"][1]["seconds"] > 2
    assert losses(fitted)[-1] < losses(fitted)[0]


def test_lost_workers_slow_the_others():
    given = {"solver": "svrg", "sgd_epochs": 0, "inner_steps": 20, "max_iter": 2}
    fitted = simulate(model(**given), X, Y, workers=4, message=0, server=0, sweep=8.0, lost={0: 7.5, 1: 7.5})
    assert [row["seconds"] for row in fitted.history_["epochs"]] == [0.0, 7.0, 7.0 + 2.0 + 10.0]


# ---- Record and replay. ----


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("policy", ["none", "wait", "drop", "adaptive"])
@pytest.mark.parametrize("coordinates", ["all", 50])
def test_a_replay_is_the_run(tmp_path, architecture, policy, coordinates):
    bound = 3 if policy in ("wait", "drop") else None
    how = BUSY | {
        "architecture": architecture,
        "policy": policy,
        "max_delay": bound,
        "lost": {2: 5.0},
        "late": {1: 4.0},
    }
    first = simulate(model(coordinates=coordinates), X, Y, **how, record=tmp_path / "a.jsonl")
    again = simulate(model(coordinates=coordinates), X, Y, schedule=tmp_path / "a.jsonl", record=tmp_path / "b.jsonl")
    np.testing.assert_array_equal(vector(again), vector(first))
    assert again.history_["delay_histogram"] == first.history_["delay_histogram"]
    for one, other in zip(first.history_["epochs"], again.history_["epochs"], strict=True):
        assert other["seconds"] == pytest.approx(one["seconds"], rel=1e-12)
    lines = [(tmp_path / name).read_text().splitlines()[1:] for name in ("a.jsonl", "b.jsonl")]
    assert lines[0] == lines[1]


@pytest.mark.parametrize(
    ("update", "alpha", "within"), [("striped", 0, 1e-10), ("striped", 1e-3, 1e-4), ("atomic", 0, 0.05)]
)
def test_a_real_run_by_threads_is_replayed(tmp_path, update, alpha, within):
    """Of striped updates it is known what each stripe had seen; but the l2 term depends on the order in a stripe. Of
    other updates x^ is then an older state as a whole.
    """
    given = {"n_jobs": 4, "execution": "shared", "update": update, "dtype": "float64", "hidden_layer_sizes": (60,)}
    given["alpha"] = alpha
    given |= {"solver": "svrg", "sgd_epochs": 0, "deflation": 0, "learning_rate_init": 0.05, "max_iter": 4}
    real = model(**given)
    with asysvrg.record(tmp_path / "real.jsonl"):
        real.fit(X, Y)
    again = simulate(model(**given), X, Y, schedule=tmp_path / "real.jsonl")
    assert again.history_["delay_histogram"] == real.history_["delay_histogram"]
    np.testing.assert_allclose(losses(again), losses(real), rtol=within)
    assert load(tmp_path / "real.jsonl").about["source"] == "threads"


def test_a_real_serial_run_and_lockstep_are_replayed(tmp_path):
    for given in ({}, {"execution": "lockstep", "n_jobs": 2}):
        real = model(dtype="float64", **given)
        with asysvrg.record(tmp_path / "real.jsonl"):
            real.fit(X, Y)
        again = simulate(model(dtype="float64"), X, Y, schedule=tmp_path / "real.jsonl")
        np.testing.assert_allclose(losses(again), losses(real), rtol=1e-9)


def test_a_record_is_of_one_fit(tmp_path):
    with asysvrg.record(tmp_path / "real.jsonl"):
        model().fit(X, Y)
        with pytest.raises(ValueError, match="one fit"):
            model().fit(X, Y)
    assert len(load(tmp_path / "real.jsonl").epochs) == 3
    with pytest.raises(ValueError, match="no folder"), asysvrg.record(tmp_path / "none" / "real.jsonl"):
        pass
    with pytest.raises(ValueError, match="a file is expected"), asysvrg.record(tmp_path):
        pass


def press(*_, **__):
    raise KeyboardInterrupt


def fail(row):
    if row["epoch"] == 2:
        raise RuntimeError("no more")


@pytest.mark.parametrize("real", [False, True], ids=["simulated", "real"])
def test_a_run_without_updates_replaces_no_record(tmp_path, monkeypatch, real):
    """Of a model that is fitted already, by Ctrl-C while the first snapshot is computed."""
    path, fitted = tmp_path / "run.jsonl", model(solver="svrg", sgd_epochs=0)
    simulate(fitted, X, Y, **BUSY, record=path)
    before = path.read_bytes()
    monkeypatch.setattr(ThreadedExecution if real else SimulatedExecution, "snapshot", press)
    with pytest.raises(KeyboardInterrupt), asysvrg.record(path) if real else nullcontext():
        fitted.fit(X, Y) if real else simulate(fitted, X, Y, **BUSY, record=path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("real", [False, True], ids=["simulated", "real"])
def test_a_run_that_fails_replaces_no_record(tmp_path, real):
    path, fitted = tmp_path / "run.jsonl", model()
    simulate(fitted, X, Y, **BUSY, record=path)
    before = path.read_bytes()
    with pytest.raises(RuntimeError, match="no more"), asysvrg.record(path) if real else nullcontext():
        fitted.fit(X, Y, callback=fail) if real else simulate(fitted, X, Y, **BUSY, record=path, callback=fail)
    assert path.read_bytes() == before


def test_a_record_says_how_much_late_steps_were_shortened(tmp_path):
    """By threads: K / (delay + 1) from a delay of K on; by ranks, the same."""
    recorder = Recorder(tmp_path / "run.jsonl")
    recorder.describe(True, source="threads", architecture="shared", workers=2)
    turns, nothing = np.array([[0, 0], [1, 0], [2, 0], [3, 1]], dtype=np.int32), np.full((4, 2, 1), -1, dtype=np.int32)
    recorder.threads(0, turns, np.array([0, 1, 2, 3], dtype=np.int32), nothing)
    recorder.close()
    lines = [json.loads(line) for line in (tmp_path / "run.jsonl").read_text().splitlines()[1:]]
    assert [line.get("factor", 1.0) for line in lines] == [1, 1, 2 / 3, 2 / 4]
    of_rank = DistributedExecution._described(SimpleNamespace(began=0.0), 1, 7, t=3, worker=1, version=3, now=2.0)
    assert of_rank["factor"] == 2 / 5


def test_a_replay_takes_shortened_steps(tmp_path):
    """Of a record by one thread, in which one update is said to be late."""
    given = {"solver": "sgd", "learning_rate_init": 0.1, "max_iter": 1, "n_jobs": 1}
    with asysvrg.record(tmp_path / "run.jsonl"):
        whole = model(**given).fit(X, Y)
    head, first, *others = (tmp_path / "run.jsonl").read_text().splitlines()
    first = json.dumps(json.loads(first) | {"factor": 1e-6})
    (tmp_path / "late.jsonl").write_text("\n".join([head, first, *others]) + "\n")
    late = simulate(model(**given), X, Y, schedule=tmp_path / "late.jsonl")
    assert not np.array_equal(vector(late), vector(whole))


@pytest.mark.parametrize(("backend", "evaluated"), [("threads", 5000), ("mpi", 0)])
def test_virtual_ranks_compute_the_loss_of_all_samples_as_ranks_do(backend, evaluated):
    X = np.tile(INPUTS["dense"], (13, 1))
    how = {"solver": "sgd", "max_iter": 1, "backend": backend, "early_stopping": False}
    fitted = simulate(model(**how), X, np.tile(Y, 13), workers=2, architecture="distributed", compute=1.0)
    assert fitted.history_["config"]["evaluated"] == evaluated


def test_schedules_of_other_runs_are_refused(tmp_path):
    path = tmp_path / "a.jsonl"
    simulate(model(), X, Y, workers=3, record=path)
    with pytest.raises(ValueError, match="random_state"):
        simulate(model(random_state=1), X, Y, schedule=path)
    with pytest.raises(ValueError, match="samples 400, this one has 399"):
        simulate(model(), X[:399], Y[:399], schedule=path)
    with pytest.raises(ValueError, match="no epoch 3"):
        simulate(model(max_iter=9, solver="sgd", decay=0.0), X, Y, schedule=path)
    head, *lines = path.read_text().splitlines()
    path.write_text("\n".join([json.dumps(json.loads(head) | {"shards": 2}), *lines]))
    with pytest.raises(ValueError, match="2 sets of samples"):
        simulate(model(), X, Y, schedule=path)
    for text in ("", "{}", "[1]", '{"format": 1}\n{"epoch": 0}', "no json"):
        path.write_text(text)
        with pytest.raises(ValueError, match="no schedule that record"):
            simulate(model(), X, Y, schedule=path)


UPDATE = {"epoch": 0, "t": 1, "worker": 1, "read": 0, "delay": 1}


@pytest.mark.parametrize(
    "damage",
    [
        {"read": 2},  # the future
        {"read": -1},
        {"read": 0.5},
        {"epoch": "x"},
        {"t": -1},
        {"t": 400},
        {"t": 0},  # again
        {"worker": -1},
        {"delay": None},
        {"delay": 2},
        {"factor": "x"},
        {"factor": float("nan")},
        {"seconds": []},
        {"without": [[0, 0, 5]]},
        {"with": [[1, 0, 5]]},
        {"with": [[0, 5, 0]]},
        {"overtakes": [[1, 0, 5]]},
        {"overtakes": [["a", 0, 5]]},
        {"overtakes": 1},
    ],
    ids=str,
)
def test_updates_that_cannot_have_happened_are_refused(tmp_path, damage):
    path = tmp_path / "a.jsonl"
    simulate(model(), X, Y, workers=2, record=path)
    head, first, _, *lines = path.read_text().splitlines()
    path.write_text("\n".join([head, first, json.dumps(UPDATE), *lines]))
    simulate(model(), X, Y, schedule=path)
    path.write_text("\n".join([head, first, json.dumps(UPDATE | damage), *lines]))
    with pytest.raises(ValueError, match=r"damaged: line 3 is no update|of the schedule has iteration"):
        simulate(model(), X, Y, schedule=path)


@pytest.mark.parametrize(
    "damage", [{"workers": 10**9}, {"workers": 0}, {"source": []}, {"architecture": "ring"}], ids=str
)
def test_runs_that_cannot_have_been_are_refused(tmp_path, damage):
    path = tmp_path / "a.jsonl"
    simulate(model(), X, Y, workers=2, record=path)
    head, *lines = path.read_text().splitlines()
    path.write_text("\n".join([json.dumps(json.loads(head) | damage), *lines]))
    with pytest.raises(ValueError, match="damaged: line 1"):
        load(path)


# ---- What is refused. ----


@pytest.mark.parametrize(
    ("given", "how", "message"),
    [
        ({}, {"workers": 0}, "workers is a whole number"),
        ({}, {"architecture": "ring"}, "architecture is one of shared, distributed"),
        ({}, {"policy": "hope"}, "policy is one of"),
        ({}, {"policy": "wait"}, "needs max_delay"),
        ({}, {"policy": "wait", "max_delay": -1}, "max_delay"),
        ({}, {"policy": "drop", "max_delay": -1}, "max_delay"),
        ({}, {"max_delay": -1}, "max_delay"),
        ({}, {"seed": -1}, "seed"),
        ({"n_models": 2}, {}, "one network"),
        ({"execution": "lockstep"}, {}, "lockstep"),
        ({"solver": "page"}, {}, "page"),
        ({}, {"compute": "often"}, "compute is seconds"),
        ({}, {"costs": {}}, "no costs of"),
        ({}, {"record": "/nowhere/at/all"}, "no folder"),
    ],
)
def test_what_is_refused(given, how, message):
    with pytest.raises(ValueError, match=message) as error:
        simulate(model(**given), X, Y, **{"workers": 2} | how)
    assert "\n" not in str(error.value)


def test_refuses_other_estimators():
    with pytest.raises(TypeError, match="got dict"):
        simulate({}, X, Y, workers=2)


@pytest.mark.parametrize(("architecture", "policy"), [("shared", "drop"), ("distributed", "wait")])
def test_the_bound_of_the_estimator_is_kept_as_in_real_runs(architecture, policy):
    runs = [
        simulate(model(max_delay=2), X, Y, **BUSY, architecture=architecture),
        simulate(model(), X, Y, **BUSY, architecture=architecture, policy=policy, max_delay=2),
    ]
    np.testing.assert_array_equal(vector(runs[0]), vector(runs[1]))
    assert len(runs[0].history_["delay_histogram"]) <= 3


def test_checkpoints_resume_bit_by_bit(tmp_path):
    whole = simulate(model(max_iter=4, decay=0.0), X, Y, **BUSY)
    given = {"decay": 0.0, "checkpoint_dir": str(tmp_path)}
    simulate(model(max_iter=2, **given), X, Y, **BUSY)
    resumed = simulate(model(max_iter=4, resume=True, **given), X, Y, **BUSY)
    np.testing.assert_array_equal(vector(resumed), vector(whole))
    assert resumed.history_["epochs"][-1]["seconds"] == whole.history_["epochs"][-1]["seconds"]
    with pytest.raises(ValueError, match="simulation"):
        simulate(model(max_iter=4, resume=True, **given), X, Y, workers=3)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_estimator_that_adapts_to_delays_does_so_in_virtual_time(architecture):
    by_policy = simulate(model(solver="sgd"), X, Y, architecture=architecture, policy="adaptive", **BUSY)
    by_estimator = simulate(model(solver="sgd", delay_adaptive=True), X, Y, architecture=architecture, **BUSY)
    np.testing.assert_array_equal(vector(by_estimator), vector(by_policy))
    assert not np.array_equal(
        vector(by_policy), vector(simulate(model(solver="sgd"), X, Y, architecture=architecture, **BUSY))
    )
