"""Measurements during a run: the metric of (12) and (19), and L."""

import numpy as np
import pytest
from helpers.estimators import data, equal, small
from helpers.twin import Twin

from asysvrg import MPI, AsySVRGClassifier, AsySVRGRegressor, inputs
from asysvrg.core.gauge import Gauge
from asysvrg.core.network import Network, Samples
from asysvrg.core.objective import Objective, initial_parameters
from asysvrg.settings import check

COLUMNS = ("mean_gradient_norm_squared", "smoothness", "batch_smoothness")
WAYS = {
    "serial": {},
    "lockstep": {"execution": "lockstep", "n_jobs": 2},
    "coordinates": {"coordinates": 20},
    "lines": {"coordinates": "lines:16"},
    "sgd": {"solver": "sgd"},
    "lsvrg": {"solver": "lsvrg"},
    "shuffle": {"sampling": "shuffle"},
    "importance": {"sampling": "importance"},
    "linear decay": {"solver": "sgd", "decay": "linear"},
    "no cache": {"cache_size": 0.0},
    "striped": {"execution": "shared", "update": "striped"},
}


@pytest.mark.parametrize("how", WAYS.values(), ids=list(WAYS))
def test_an_epoch_in_pieces_has_the_same_bits(how):
    X, y = data(AsySVRGClassifier)
    options = {"hidden_layer_sizes": (9,), "max_iter": 3, "tol": 0} | how
    plain = small(AsySVRGClassifier, **options).fit(X, y)
    for count in (1, 5, 1000):
        tracked = small(AsySVRGClassifier, track_gradient_norm=count, **options).fit(X, y)
        assert equal(plain, tracked)
        for before, after in zip(plain.history_["epochs"], tracked.history_["epochs"], strict=True):
            assert not set(COLUMNS) & set(before)
            assert set(COLUMNS) <= set(after)
            for name in ("loss", "delay", "learning_rate", "sample_gradients"):
                assert before[name] == after[name], name
    assert plain.history_["delay_histogram"] == tracked.history_["delay_histogram"]


def test_in_lockstep_measurements_do_not_depend_on_the_number_of_threads():
    X, y = data(AsySVRGClassifier, n=2000)
    how = {"execution": "lockstep", "max_iter": 2, "tol": 0, "track_gradient_norm": 5}
    one, two = (small(AsySVRGClassifier, (9,), n_jobs=n_jobs, **how).fit(X, y).history_ for n_jobs in (1, 2))
    for name in COLUMNS:
        assert [row[name] for row in one["epochs"]] == [row[name] for row in two["epochs"]]


@pytest.mark.parametrize(
    ("form", "how"), [("csr", {"batch_size": 1}), ("dense", {"deflation": 2})], ids=["lazy rows", "preconditioner"]
)
def test_what_waits_is_settled_before_it_is_measured(form, how):
    """Then only the order of roundings differs."""
    X, y = data(AsySVRGClassifier, p=60, form=form)
    if form == "csr":
        X = X.multiply(np.random.default_rng(1).random(X.shape) < 0.2).tocsr()
    options = {"hidden_layer_sizes": (5,), "max_iter": 2, "tol": 0, "dtype": "float64", "alpha": 0.01} | how
    plain = small(AsySVRGClassifier, **options).fit(X, y)
    tracked = small(AsySVRGClassifier, track_gradient_norm=7, **options).fit(X, y)
    assert plain.history_["config"]["lazy_rows"] == (form == "csr")
    for a, b in zip(plain.coefs_, tracked.coefs_, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("coordinates", ["all", 1])
@pytest.mark.parametrize("kind", [AsySVRGClassifier, AsySVRGRegressor])
def test_mean_is_that_of_the_twin(kind, coordinates):
    """(12): all iterations measured, and a NumPy run with the same draws."""
    X, y = data(kind, n=40, p=5, outputs=3)
    options = {"alpha": 0.03, "max_iter": 1, "tol": 0, "dtype": "float64", "inner_steps": 25, "solver": "svrg"}
    model = small(kind, (), coordinates=coordinates, track_gradient_norm=25, **options).fit(X, y)
    samples = inputs.prepared(X, model._encode_known(y, "y"), None)  # in the order in which they are drawn from
    state = np.random.RandomState(0)
    x = initial_parameters(model._network, state)
    seed = int(state.randint(np.iinfo(np.int32).max))
    twin = Twin((5, 3), "relu", model._loss, samples.X, samples.y, alpha=0.03, weight=samples.weight)
    chosen = 1 if coordinates == 1 else 0
    norms = [(twin.gradient(twin.epoch("svrg", x, t, 0.05, 10, chosen, 1, seed, 0)) ** 2).sum() for t in range(25)]
    rows = model.history_["epochs"]
    assert rows[0]["mean_gradient_norm_squared"] is None
    assert rows[1]["mean_gradient_norm_squared"] == pytest.approx(np.mean(norms), rel=1e-9)
    assert rows[1]["mean_gradient_norm_squared"] < norms[0] == pytest.approx(rows[0]["gradient_norm_squared"])


def gauge(count, n=30):
    X = np.random.default_rng(0).normal(size=(n, 3))
    network = Network((3, 1), "relu", "squared_error", np.float64)
    return Gauge(Objective(network, Samples(X, X[:, :1].copy()), alpha=0.1, threads=1), count, 5, seed=3), network


@pytest.mark.parametrize(("count", "steps"), [(1, 7), (3, 7), (7, 7), (10, 7), (4, 1000)])
def test_iterations_are_one_of_each_range(count, steps):
    found = gauge(count)
    seen = np.zeros(steps)
    for epoch in range(200):
        looks = found[0].start(epoch, steps, found[1].vector())
        assert len(looks) == min(count, steps)
        ends = np.arange(len(looks) + 1) * steps // len(looks)
        assert (ends[:-1] <= looks).all() and (looks < ends[1:]).all()  # noqa: PT018
        seen[looks] += 1
    assert steps == 1000 or seen.all()


def test_ranges_of_different_lengths_count_as_much_as_they_are_long():
    found, network = gauge(2)
    x = network.vector()
    norms = []
    found.start(0, 5, x)  # 0, 1 and 2, 3, 4
    for value in (1.0, 2.0):
        x[:] = value
        found.look(x)
        norms.append((found._objective.gradient(x) ** 2).sum())
    assert found.report()["mean_gradient_norm_squared"] == pytest.approx((2 * norms[0] + 3 * norms[1]) / 5)


def test_estimates_from_few_iterations_are_right_in_the_mean():
    X, y = data(AsySVRGClassifier, n=60)
    options = {"hidden_layer_sizes": (), "max_iter": 1, "inner_steps": 30, "tol": 0, "dtype": "float64"}
    exact, few = (
        [small(AsySVRGClassifier, track_gradient_norm=count, **options | {"random_state": seed}).fit(X, y)
         .history_["epochs"][1]["mean_gradient_norm_squared"] for seed in range(60)]
        for count in (30, 2)
    )  # fmt: skip
    differences = np.array(few) - exact
    assert differences.std() > 0
    assert abs(differences.mean()) < 4 * differences.std() / np.sqrt(60)


def test_threads_pause_and_keep_their_bound():
    X, y = data(AsySVRGClassifier, n=300)
    options = {"execution": "shared", "n_jobs": 4, "max_delay": 3, "track_gradient_norm": 4, "max_iter": 3, "tol": 0}
    model = small(AsySVRGClassifier, (8,), **options).fit(X, y)
    history = model.history_
    assert len(history["delay_histogram"]) <= 4
    assert sum(history["delay_histogram"]) == 3 * 30
    for row in history["epochs"][1:]:
        assert row["mean_gradient_norm_squared"] > 0
        assert row["smoothness"] > 0


def test_seconds_of_measurements_are_not_training():
    X, y = data(AsySVRGClassifier, n=2000, p=60)
    options = {"max_iter": 1, "tol": 0, "inner_steps": 50, "solver": "svrg", "early_stopping": False}
    plain, tracked = (
        min(small(AsySVRGClassifier, (50,), track_gradient_norm=count, **options).fit(X, y)
            .history_["epochs"][1]["seconds"] for _ in range(3))
        for count in (None, 50)
    )  # fmt: skip
    measured = 50 * plain / 2  # a gradient takes about as long as the snapshot, and the epoch has one
    assert tracked < plain + measured / 3


def test_a_deadline_in_the_middle_of_an_epoch():
    X, y = data(AsySVRGClassifier, n=2000, p=60)
    options = {"max_iter": 1, "tol": 0, "inner_steps": 10**6, "early_stopping": False, "track_gradient_norm": 10_000}
    for seconds in (0.3, 3):  # if other programs take all of the first
        history = small(AsySVRGClassifier, (50,), max_time=seconds, **options).fit(X, y).history_
        if history["delay_histogram"]:
            break
    assert history["epochs"][-1]["mean_gradient_norm_squared"] > 0
    assert 0 < sum(history["delay_histogram"]) < 10**6


def test_partial_fit_is_measured_too():
    X, y = data(AsySVRGClassifier)
    model = small(AsySVRGClassifier, (4,), track_gradient_norm=3)
    for _ in range(2):
        model.partial_fit(X, y, classes=[0, 2, 4, 6])
    assert [row["mean_gradient_norm_squared"] is None for row in model.history_["epochs"]] == [True, False, False]


@pytest.mark.parametrize("backend", ["mpi", MPI(servers=2)])
def test_ranks_cannot_pause(backend):
    with pytest.raises(ValueError, match=r"track_gradient_norm=5 is for threads, .*leave it out"):
        check(AsySVRGClassifier(track_gradient_norm=5, backend=backend))


def test_a_direction_that_cannot_be_divided():
    X, y = data(AsySVRGClassifier)
    with pytest.raises(ValueError, match="solver='page' takes track_gradient_norm=None; got 5"):
        small(AsySVRGClassifier, track_gradient_norm=5, solver="page").fit(X, y)


@pytest.mark.parametrize("before", [None, 5])
def test_a_resumed_run_is_measured_as_one_without_a_break(before, tmp_path):
    X, y = data(AsySVRGClassifier)
    options = {"hidden_layer_sizes": (6,), "tol": 0}
    whole = small(AsySVRGClassifier, max_iter=4, track_gradient_norm=5, **options).fit(X, y)
    options |= {"checkpoint_dir": str(tmp_path), "resume": True}
    small(AsySVRGClassifier, max_iter=2, track_gradient_norm=before, **options).fit(X, y)
    resumed = small(AsySVRGClassifier, max_iter=4, track_gradient_norm=5, **options).fit(X, y)
    assert equal(whole, resumed)
    for one, other in zip(whole.history_["epochs"][3:], resumed.history_["epochs"][3:], strict=True):
        for name in COLUMNS:
            assert one[name] == other[name]
    stopped = small(AsySVRGClassifier, max_iter=5, **options).fit(X, y)  # and without measurements
    assert "smoothness" not in stopped.history_["epochs"][-1]
