"""Ranks with samples of their own."""

import numpy as np
import pytest
from helpers.mpi_jobs import digits

from asysvrg import AsySVRGClassifier, AsySVRGRegressor, inputs
from asysvrg.distributed import sharding
from asysvrg.distributed.protocol import Lost

pytestmark = [pytest.mark.timeout(180), pytest.mark.usefixtures("mpi")]


def test_shards_of_their_own(ranks):
    """Each rank has rows of its own, 1:9 and more; the model is that of all rows together, servers' included."""
    settings = {"dtype": "float64", "max_iter": 2, "random_state": 0, "learning_rate_init": 0.1, "tol": 0}
    told = ranks(
        """
        from scipy import sparse
        X, y = digits()
        X, y = X[:1500], y[:1500]
        weight = np.linspace(0.5, 2, 1500)
        order = np.argsort(y, kind="stable")  # a shard has some classes only
        bounds = [0, 100, 1360, 1500]
        found = []
        for form in (np.asarray, sparse.csr_matrix):
            mine = order[bounds[RANK] : bounds[RANK + 1]]
            model = AsySVRGClassifier(
                (), alpha=0.05, dtype="float64", max_iter=25, inner_steps=750, tol=0, random_state=0,
                learning_rate_init=0.3, backend="mpi",
            ).fit(form(X[mine]), y[mine], weight[mine], callback=lambda row: row["gradient_norm_squared"] < 1e-18)
            found.append({"x": vector(model), "samples": model.history_["config"]["samples"],
                          "shards": model.history_["config"]["shards"], "row": model.history_["epochs"][-1]})
        target = 3 * X[:, 20] + X[:, 30]
        how = {"dtype": "float64", "max_iter": 30, "alpha": 0.01, "solver": "svrg", "random_state": 0, "tol": 0}
        regressor = AsySVRGRegressor((), **how, backend="mpi")
        mine = np.arange(1500)[bounds[RANK] : bounds[RANK + 1]]
        regressor.fit(X[mine], target[mine])
        mine = slice(0, 100) if RANK < 2 else slice(100, None)
        dealt = AsySVRGClassifier((9,), **SETTINGS, backend=MPI(servers=2)).fit(X[mine], y[mine])
        tell(found=found, regression=vector(regressor), error=regressor.history_["epochs"][-1]["train_error"],
             dealt=vector(dealt))
        """.replace("SETTINGS", str(settings)),
        3,
    )
    X, y = digits()
    X, y = X[:1500], y[:1500]
    serial = AsySVRGClassifier(
        (), alpha=0.05, dtype="float64", max_iter=25, inner_steps=1500, tol=0, random_state=0, learning_rate_init=0.2,
        n_jobs=1,
    ).fit(X, y, sample_weight=np.linspace(0.5, 2, 1500))  # fmt: skip
    expected = np.concatenate([serial.coefs_[0].ravel(), serial.intercepts_[0]])
    for one in told[0]["found"]:
        assert (one["samples"], one["shards"]) == (1500, 2)
        assert one["row"]["gradient_norm_squared"] < 1e-18
        assert one["row"]["loss"] == pytest.approx(serial.loss_, rel=1e-9)
        np.testing.assert_allclose(one["x"], expected, atol=1e-6)
    assert all(one == told[0] for one in told)
    target = 3 * X[:, 20] + X[:, 30]
    how = {"dtype": "float64", "max_iter": 30, "alpha": 0.01, "solver": "svrg", "random_state": 0, "tol": 0}
    serial = AsySVRGRegressor((), **how, n_jobs=1)
    serial.fit(X, target)
    assert told[0]["error"] == pytest.approx(1 - serial.score(X, target), abs=1e-5)
    first = inputs.prepared(X[:100], y[:100].astype(np.int32), None)  # in the order in which a small set is trained on
    serial = AsySVRGClassifier((9,), **settings, n_jobs=1).fit(np.r_[X[100:], first.X], np.r_[y[100:], first.y])
    expected = np.concatenate([a.ravel() for a in (*serial.coefs_, *serial.intercepts_)])
    np.testing.assert_allclose(told[0]["dealt"], expected, atol=1e-12)


def told(samples, servers):
    """What a rank says of itself."""
    numbers = {"n_rows": 3, "mass": 3.0, "mean": np.zeros(0), "spread": 0.0, "weighted": False}
    return (
        dict.fromkeys(sharding.EQUAL, 0)
        | numbers
        | {"samples": [samples], "servers": servers, "threads": 1, "cores": 1}
    )


def test_a_rank_that_is_lost_before_it_said_which_samples_it_has():
    """Rank 3 of 4: the samples of rank 1, a server, may have been its own, too."""
    with pytest.raises(Lost, match="rank 3 was lost before it said which samples it has"):
        sharding.agree({0: told("a", 2), 1: told("b", 2), 2: told("a", 2)}, None, 4)
    with pytest.raises(ValueError, match="rank 1, one of 2 servers, has samples that no worker has"):
        sharding.agree({0: told("a", 2), 1: told("b", 2), 2: told("a", 2)}, None, 3)
    with pytest.warns(UserWarning, match="rank 3 was lost .*: the run has those of the other ranks"):
        agreed = sharding.agree({rank: told("a", 1) for rank in range(3)}, None, 4)
    assert agreed["n"] == 3


def test_automatic_early_stopping_needs_equal_samples_or_a_validation_set(ranks):
    told = ranks(
        """
        rng = np.random.default_rng(0)
        X = rng.normal(size=(20_000, 3))
        y = (X[:, 0] > 0).astype(int)
        mine = slice(10_000 * (RANK > 1), 10_000 * (1 + (RANK > 1)))
        ends = {"max_iter": 1, "inner_steps": 10, "random_state": None, "backend": "mpi"}
        last = {"X_val": X[-100:], "y_val": y[-100:]} if RANK == 0 else {}
        found = []
        for rows, more in [(slice(None), {}), (mine, {}), (mine, last), (slice(10_000), last), (slice(9000), {})]:
            config = AsySVRGClassifier((9,), **ends).fit(X[rows], y[rows], **more).history_["config"]
            found.append([config["early_stopping"], config["samples"], config["plan"]["early_stopping"]])
        always = AsySVRGClassifier((9,), early_stopping=True, **ends).fit(X[:900], y[:900], **last)
        found.append([True, always.history_["config"]["samples"], "given"])
        tell(found=found)
        """,
        3,
    )
    assert told[0]["found"] == [
        [True, 18_000, "20,000 samples, at least 10,000"],
        [False, 20_000, "ranks have samples of their own, and no X_val is given"],
        [True, 20_000, "20,000 samples, at least 10,000"],
        [True, 10_000, "10,000 samples, at least 10,000"],
        [False, 9000, "9,000 samples, fewer than 10,000"],
        [True, 900, "given"],
    ]
    assert all(one == told[0] for one in told)
