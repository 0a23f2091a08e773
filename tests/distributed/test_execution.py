"""Distributed-AsySVRG on real ranks: each test is a program that every rank runs, and that writes what it saw."""

import numpy as np
import pytest
from helpers.mpi_jobs import digits

from asysvrg import AsySVRGClassifier

pytestmark = [pytest.mark.timeout(180), pytest.mark.usefixtures("mpi")]


@pytest.mark.parametrize("servers", [1, 2, pytest.param(3, marks=pytest.mark.full)])
def test_one_worker_is_the_serial_run(ranks, servers):
    """K = 1, no delay: x is the serial one to rounding, in every setting; several fits in one process."""
    told = ranks(
        """
        from scipy import sparse
        X, y = digits()
        t = np.c_[1e3 * X[:, 20] + 5 * y, X[:, 30]]
        sparser, words = X * (X > 0.8), np.array(list("abcdefghij"), dtype=object)
        common = {"random_state": 3, "max_iter": 3, "dtype": "float64", "tol": 0}
        common |= {"sampling": "replacement", "deflation": 0}
        cases = [
            (AsySVRGClassifier, X, y, {"learning_rate_init": 0.1, "batch_size": 10}),
            (AsySVRGClassifier, sparse.csr_matrix(X), y, {"solver": "sgd", "learning_rate_init": 0.2, "decay": 0.5}),
            (AsySVRGClassifier, X * 1e4, y, {"hidden_layer_sizes": (9, 7)}),
            (AsySVRGRegressor, X, t, {"activation": "tanh", "early_stopping": True}),
            (AsySVRGClassifier, X[:60], y[:60], {"class_weight": "balanced", "cache_size": 0}),
            (AsySVRGClassifier, sparser[:900], words[y[:900]], {"n_jobs": 2}),
        ]
        found = []
        for kind, inputs, targets, options in cases:
            serial = kind(**common | {"n_jobs": 1} | options)
            saves = ("skips_zeros", "snapshot_cache")
            if RANK == 0:
                serial.set_params(n_jobs=1).fit(inputs, targets)
            model = kind(**common | options, backend=MPI(servers=SERVERS)).fit(inputs, targets)
            rows = model.history_["epochs"]
            found.append({
                "far": abs(vector(model) - vector(serial)).max() if RANK == 0 else 0.0,
                "size": abs(vector(model)).max(),
                "losses": [row["loss"] for row in rows],
                "delays": [row["delay"]["max"] for row in rows],
                "serial": [row["loss"] for row in serial.history_["epochs"]] if RANK == 0 else [],
                "score": model.score(inputs, targets),
                "x": vector(model)[:100],
                "config": model.history_["config"]["workers"],
                "saves": [model.history_["config"][name] for name in saves],
                "serial saves": [serial.history_["config"][name] for name in saves] if RANK == 0 else [],
            })
        tell(found=found)
        """.replace("SERVERS", str(servers)),
        servers + 1,
    )
    for one, other in zip(told[0]["found"], told[-1]["found"], strict=True):
        assert one["far"] < 1e-9 * one["size"]
        assert one["serial"] == pytest.approx(one["losses"], rel=1e-9)
        assert not any(one["delays"])
        assert len(one["losses"]) == 4
        assert one["losses"][-1] < one["losses"][0]
        assert one["config"] == 1
        assert one["saves"] == one["serial saves"]
        for name in ("losses", "score", "x", "config"):
            assert one[name] == other[name]
    assert [one["saves"] for one in told[0]["found"]] == [
        [False, True], [True, True], [False, True], [False, True], [False, False], [True, True],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("workers", "servers", "compress"),
    [
        pytest.param(1, 1, None, marks=pytest.mark.full),
        pytest.param(2, 2, None, marks=pytest.mark.full),
        (3, 1, None),
        pytest.param(4, 1, None, marks=pytest.mark.full),
        pytest.param(8, 1, None, marks=pytest.mark.full),
        (2, 2, "float16"),
        pytest.param(3, 2, "float16", marks=pytest.mark.full),
    ],
)
def test_floor_of_a_strongly_convex_problem_is_the_same_for_any_number_of_ranks(ranks, workers, servers, compress):
    """The delay of many workers takes a smaller rate."""
    rate = 0.5 if workers < 4 else 0.3 if workers < 8 else 0.1
    told = ranks(
        f"""
        X, y = digits()
        model = AsySVRGClassifier(
            (), alpha=0.05, dtype="float64", max_iter=80, inner_steps=600, tol=0, random_state=0,
            learning_rate_init={rate}, batch_size=20,
            backend=MPI(servers={servers}, compress={compress!r}),
        ).fit(X, y, callback=lambda row: row["gradient_norm_squared"] < 1e-20)
        tell(rows=model.history_["epochs"], x=vector(model), histogram=model.history_["delay_histogram"])
        """,
        servers + workers,
    )
    X, y = digits()
    model = AsySVRGClassifier((), alpha=0.05, dtype="float64", max_iter=1, random_state=0).fit(X, y)
    last = told[0]["rows"][-1]
    assert last["gradient_norm_squared"] < 1e-20
    assert last["workers"] == workers
    assert sum(told[0]["histogram"]) == last["epoch"] * 600  # exactly m updates an epoch
    assert last["delay"]["mean"] == pytest.approx(workers - 1, abs=0.5)
    assert all(one["x"] == told[0]["x"] for one in told)
    d = sum(c.size for c in (*model.coefs_, *model.intercepts_))
    assert np.shape(told[0]["x"]) == (d,)
    each = last["bytes"] / 1200 - 64 * servers  # of a vector in a message, full gradients and their snapshots included
    assert 8 * d < each < 9 * d if compress is None else 2 * d < each < 3 * d


def test_divergence_in_half_precision_is_rolled_back_as_it_is_without(ranks):
    """Numbers beyond half precision's range, beyond float32's, and NaN."""
    told = ranks(
        """
        X, y = digits(np.float32)
        rolled_back, losses = [], []
        for compress in (None, "float16"):
            model = AsySVRGRegressor(
                (), max_iter=14, tol=0, random_state=0, learning_rate_init=1.0, inner_steps=90,
                backend=MPI(compress=compress),
            ).fit(X, y)
            rolled_back.append([row["rolled_back"] for row in model.history_["epochs"]])
            losses.append([row["loss"] for row in model.history_["epochs"]])
        tell(rolled_back=rolled_back, losses=losses)
        """,
        2,
    )[0]
    assert told["rolled_back"][0] == told["rolled_back"][1]
    assert told["rolled_back"][0].count(True) >= 3
    assert np.isfinite(told["losses"]).all()
    assert told["losses"][1] == pytest.approx(told["losses"][0], rel=0.01)
    assert told["losses"][1][-1] < 0.5 * told["losses"][1][0]


def test_delay_policies_limits_and_checkpoints(ranks, tmp_path):
    told = ranks(
        """
        X, y = digits()
        found = {}
        for late in ("wait", "drop"):
            model = AsySVRGClassifier((), max_delay=2, backend=MPI(late=late), random_state=0, max_iter=3, tol=0)
            model.fit(X, y)
            found[late] = model.history_
        model = AsySVRGClassifier(backend="mpi", random_state=0, max_time=0.5, max_iter=10**6, tol=0).fit(X, y)
        found["max_time"] = model.stopped_
        model = AsySVRGClassifier((), backend="mpi", random_state=0, max_iter=9, tol=0, checkpoint_dir="kept")
        model.fit(X, y, callback=lambda row: row["epoch"] == 2)
        found["stopped"] = model.stopped_
        model.set_params(resume=True, max_iter=4).fit(X, y)
        found["resumed"] = model.history_["epochs"]
        model.set_params(checkpoint_dir=None, resume=False, warm_start=True, backend=MPI(wait="spin")).fit(X, y)
        found["warm"] = model.history_["epochs"][0]["loss"], found["resumed"][-1]["loss"]
        part = AsySVRGClassifier((), backend="mpi", random_state=0)
        for _ in range(3):
            part.partial_fit(X, y, classes=np.arange(10))
        found["part"] = part.score(X, y), part.n_iter_
        tell(**found)
        """,
        4,
    )
    for late in ("wait", "drop"):
        assert len(told[0][late]["delay_histogram"]) <= 3
        steps = told[0][late]["config"]["inner_steps"]
        assert sum(told[0][late]["delay_histogram"]) == 3 * steps
    assert told[0]["max_time"] == "max_time"
    assert told[0]["stopped"] == "callback"
    assert [row["epoch"] for row in told[0]["resumed"]] == [0, 1, 2, 3, 4]
    assert told[0]["warm"][0] == pytest.approx(told[0]["warm"][1], rel=1e-5)
    assert told[0]["part"][0] > 0.9
    assert told[0]["part"][1] == 3
    assert all(one == told[0] for one in told)
    assert (tmp_path / "kept" / "checkpoint.npz").exists()


def test_a_resumed_run_is_the_uninterrupted_one_in_half_precision_too(ranks):
    """With one worker, bit for bit: nothing of an epoch's rounding is left to the next one."""
    told = ranks(
        """
        X, y = digits()
        found = []
        for stop in (99, 2):
            model = AsySVRGClassifier(
                (), backend=MPI(compress="float16"), random_state=0, max_iter=4, tol=0, checkpoint_dir=f"kept{stop}"
            ).fit(X, y, callback=lambda row: row["epoch"] == stop)
            if stop == 2:
                model.set_params(resume=True).fit(X, y)
            found.append([[row["loss"] for row in model.history_["epochs"]], vector(model)])
        tell(found=found)
        """,
        2,
    )
    whole, resumed = told[0]["found"]
    assert len(whole[0]) == 5
    assert whole == resumed


@pytest.mark.slow
def test_cifar_reaches_the_same_objective_with_any_number_of_workers(ranks, data_home, full):
    """384-50-10, mini-batches of 10, m = 2000: within 2% of serial SVRG after the same epochs."""
    program = f"""
        with np.load({str(data_home / "cifar10-features.npz")!r}) as file:
            X, y = file["X_train"], file["y_train"]
        common = dict(hidden_layer_sizes=(50,), alpha=1e-4, batch_size=10, inner_steps=2000, learning_rate_init=0.02,
                      max_iter=3, tol=0, random_state=0, sgd_epochs=0)
        model = AsySVRGClassifier(**common, backend="mpi").fit(X, y)
        serial = AsySVRGClassifier(**common, n_jobs=1).fit(X, y).loss_ if RANK == 0 else None
        tell(loss=model.loss_, serial=serial)
        """
    for workers in (1, 2, 4, 8) if full else (4,):
        told = ranks(program, workers + 1)
        assert told[0]["loss"] == pytest.approx(told[0]["serial"], rel=0.02)


def test_targets_far_from_zero_and_heavy_weights(ranks):
    """Ranks with samples of their own agree on one offset; a server gives its samples with weights of any size."""
    told = ranks(
        """
        rng = np.random.default_rng(0)
        X = rng.normal(size=(600, 3))
        y, weight = X @ [1, 2, 3] + 1.7e9, 1e60 * rng.random(600)
        part = slice(RANK * 200, RANK * 200 + 200)
        model = AsySVRGRegressor((), random_state=0, backend="mpi")
        model.fit(X[part], y[part], sample_weight=weight[part])
        first = model.score(X, y), model.intercepts_[0]
        tell(score=first[0], bias=first[1], again=model.partial_fit(X[part], y[part]).score(X, y))
        """,
        3,
    )
    for one in told:
        assert one["score"] > 0.999
        assert one["again"] > 0.999
        assert one["bias"] == told[0]["bias"] == pytest.approx([1.7e9], abs=1)
