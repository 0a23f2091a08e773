"""What users of programs like this one reported elsewhere, tried here: each test is a report."""

import os
import stat
import subprocess
import sys
import threading

import numpy as np
import pytest
from helpers.estimators import fitted, samples
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_iris

import asysvrg
from asysvrg import AsySVRGClassifier, AsySVRGRegressor, cli
from asysvrg.data import targets
from asysvrg.store import files

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
X, Y = load_iris(return_X_y=True)


def small(kind=AsySVRGClassifier, **more):
    return kind((5,), random_state=0, **more)


# Fits that are refused.


@pytest.mark.parametrize("n_models", [1, 2])
@pytest.mark.parametrize(
    ("warm_start", "arguments"),
    [
        (False, {"y": Y + 10, "sample_weight": -np.ones(150)}),
        (False, {"X": X[:, :3], "y": np.full(150, 7)}),
        (True, {"y": Y + 10}),
        (True, {"X": X[:100], "y": Y[:100]}),
    ],
)
def test_a_refused_fit_leaves_the_model(tmp_path, n_models, warm_start, arguments):
    model = small(warm_start=warm_start, n_models=n_models, max_iter=2).fit(X, Y)
    before = model.predict(X)
    for _ in range(2):  # also the second time
        with pytest.raises(ValueError, match=r".+"):
            model.fit(**({"X": X, "y": Y} | arguments))
    np.testing.assert_array_equal(model.predict(X), before)
    model.save(tmp_path / "model.npz")
    np.testing.assert_array_equal(asysvrg.load(tmp_path / "model.npz").predict(X), before)


def test_a_first_fit_that_is_refused_leaves_nothing():
    model = small()
    with pytest.raises(ValueError, match="Negative"):
        model.fit(X, Y, sample_weight=-np.ones(150))
    assert not [name for name in vars(model) if name.endswith("_")]


def test_warm_start_and_partial_fit_refuse_another_loss():
    model = small(AsySVRGRegressor, warm_start=True, max_iter=1).fit(X, X[:, 0])
    model.set_params(loss="poisson")
    with pytest.raises(ValueError, match="warm_start needs the loss of the fit before, squared_error; got poisson"):
        model.fit(X, X[:, 0])
    with pytest.raises(ValueError, match="partial_fit needs the loss of the fit before, squared_error; got poisson"):
        model.partial_fit(X, X[:, 0])


def test_partial_fit_refuses_another_network():
    model = small(max_iter=1).fit(X, Y)
    for name, value in (("dtype", "float64"), ("activation", "tanh"), ("fit_intercept", False)):
        with pytest.raises(ValueError, match=f"partial_fit needs the {name} of the fit before, .*; got {value}"):
            clone(model).fit(X, Y).set_params(**{name: value}).partial_fit(X, Y)
    with pytest.raises(ValueError, match="partial_fit goes on with one network, and the fit before has 2: call it of"):
        small(max_iter=1, n_models=2).fit(X, Y).set_params(n_models=1).partial_fit(X, Y)


def test_a_scaler_of_a_handful_of_samples_is_refused():
    with pytest.raises(ValueError, match="takes the quartiles of the first samples, of which there are 1"):
        small(scale="robust-clip").partial_fit(X[:1], Y[:1], [0, 1, 2])
    assert small(scale="robust-clip").partial_fit(X, Y, [0, 1, 2]).partial_fit(X[:1], Y[:1]).n_iter_ == 2


# Several networks.


def test_several_networks_take_new_parameters():
    model = small(warm_start=True, n_models=2, max_iter=2).fit(X, Y)
    before = model.estimators_[0].coefs_[0].copy()
    kept = model.estimators_[0]
    model.set_params(alpha=0.5, max_iter=1).fit(X, Y)
    assert model.n_iter_ == 1
    assert [member.alpha for member in model.estimators_] == [0.5, 0.5]
    np.testing.assert_array_equal(kept.coefs_[0], before)  # whoever has the old networks keeps them
    with pytest.raises(ValueError, match="warm_start needs the layers"):
        model.set_params(hidden_layer_sizes=(6,)).fit(X, Y)


def test_an_exception_of_a_callback_stops_all_networks():
    seen = threading.Event()

    def callback(row):
        if row["epoch"] == 1:
            seen.set()
            raise TimeoutError

    model = AsySVRGClassifier((50,), max_iter=10**5, tol=0, n_models=2, n_jobs=2, early_stopping=False, random_state=0)
    with pytest.raises(TimeoutError):
        model.fit(X, Y, callback=callback)
    assert seen.is_set()


# Resuming.


def test_a_run_that_has_all_its_epochs_stops_at_once(tmp_path):
    for more in ({}, {"learning_rate_init": 0.01, "tol": 0}):
        how = {"checkpoint_dir": tmp_path / str(len(more)), **more}
        first = small(max_iter=6, **how).fit(X, Y)
        again = small(max_iter=3, resume=True, **how).fit(X, Y)
        assert (again.n_iter_, again.stopped_) == (6, "max_iter")
        np.testing.assert_array_equal(again.coefs_[0], first.coefs_[0])


def test_more_epochs_where_a_validation_set_chooses(tmp_path):
    how = {"checkpoint_dir": tmp_path, "early_stopping": True, "tol": 0}
    small(max_iter=4, **how).fit(X, Y)
    assert small(max_iter=8, resume=True, **how).fit(X, Y).n_iter_ == 8


# Files.


def test_a_saved_file_keeps_its_mode_and_links(tmp_path):
    model, path, link = small(max_iter=1).fit(X, Y), tmp_path / "private", tmp_path / "link"
    model.save(path)
    path.chmod(0o600)
    link.symlink_to(path)
    model.set_params(alpha=0.25).save(link)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert link.is_symlink()
    assert asysvrg.load(path).alpha == 0.25


def test_threads_may_save_to_one_path(tmp_path):
    model, path, errors = small(max_iter=1).fit(X, Y), tmp_path / "model.npz", []

    def save():
        try:
            for _ in range(10):
                model.save(path)
                asysvrg.load(path)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=save) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert os.listdir(tmp_path) == ["model.npz"]


def test_an_output_is_no_input_and_no_other_output(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.savetxt("data.csv", np.c_[X, Y], delimiter=",")
    assert cli.main(["train", "data.csv", "--max-iter", "1", "--quiet", "--save", "model"]) == 0
    for arguments, words in [
        (["predict", "data.csv", "--model", "model", "--output", "model"], "--output model is an input"),
        (["predict", "data.csv", "--model", "model", "--output", "./data.csv"], "is an input"),
        (["train", "data.csv", "--save", "data.csv"], "--save data.csv is an input"),
        (["train", "data.csv", "--save", "new", "--trace", "new"], "--trace new is --save, too"),
    ]:
        assert cli.main(arguments) == 2
        assert words in capsys.readouterr().err


def test_a_pipe_is_read_once(tmp_path):
    small(max_iter=1).fit(X, Y).save(tmp_path / "model")
    lines = "".join(",".join(map(str, row)) + "\n" for row in np.c_[X, Y])
    command = [sys.executable, "-m", "asysvrg", "predict", "/dev/stdin", "--model", str(tmp_path / "model")]
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) == 151


def test_callbacks_get_rows_of_their_own(tmp_path):
    def callback(row):
        row["mine"] = np.float32(1)
        row["delay"].clear()

    model = small(max_iter=2, checkpoint_dir=tmp_path / "run").fit(X, Y, callback=callback)
    model.save(tmp_path / "model.npz")
    assert all("mine" not in row and row["delay"] for row in model.history_["epochs"])


# Conversion.


def test_a_model_of_several_labels_in_scikit_learn():
    labels = np.c_[Y == 0, Y > 0, X[:, 0] > 5.5].astype(int)
    model = small().fit(X, labels)
    np.testing.assert_array_equal(model.to_sklearn().predict(X), model.predict(X))


@pytest.mark.parametrize("kind", [AsySVRGClassifier, AsySVRGRegressor])
def test_a_converted_model_can_be_cloned_and_fitted(kind):
    mlp = fitted(kind).to_sklearn()
    assert clone(mlp).hidden_layer_sizes == fitted(kind).hidden_layer_sizes
    clone(mlp).fit(*samples(kind))


# NumPy and the environment.


def test_words_of_numpy(tmp_path):
    words = {"activation": np.str_("tanh"), "solver": np.str_("svrg"), "loss": np.str_("huber")}
    model = small(AsySVRGRegressor, max_iter=1, **words).fit(X, X[:, 0])
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(asysvrg.load(tmp_path / "model").predict(X), model.predict(X))


def test_underflow_is_no_error():
    with np.errstate(all="raise"):
        small(max_iter=1).fit(X * 1e-30, Y)


def test_versions_need_no_metadata(monkeypatch):
    from importlib import metadata

    from asysvrg.core import trace

    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    trace._environment.cache_clear()
    assert trace.environment()["numpy"] == np.__version__


@pytest.mark.parametrize("center", [0, 5, 9, 20])
def test_inputs_far_from_zero_for_their_size(center):
    rng = np.random.default_rng(0)
    Z, w = rng.normal(size=(300, 5)), rng.normal(size=5)
    assert AsySVRGRegressor(random_state=0).fit(Z + center, Z @ w).score(Z + center, Z @ w) > 0.9


def test_a_column_may_be_named_dtype():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=["dtype", "a", "b", "c"])
    model = small(AsySVRGRegressor, max_iter=1).fit(frame, X[:, 0])
    np.testing.assert_array_equal(model.predict(frame), model.predict(pandas.DataFrame(X, columns=frame.columns)))


def test_what_is_not_deterministic_says_so():
    assert not small().__sklearn_tags__().non_deterministic
    assert small(delay_adaptive=True).__sklearn_tags__().non_deterministic


def test_errors_name_what_was_given():
    with pytest.raises(ValueError, match=r"^classes has one class only"):
        small().partial_fit(X, Y, classes=[1])
    with pytest.raises(ValueError, match="Expected 2D"):
        small().fit(sparse.csr_array(X[:, 0]), Y)
    with pytest.raises(ValueError, match="encoding is 'zlib', which Python does not know"):
        asysvrg.data.load("some.csv", encoding="zlib")
    with pytest.raises(ValueError, match=r"the target 1e\+16 in row 1 \(from 0\) is too large, no class"):
        targets.for_task(np.array([1.0, 1e16]), "classification")


@pytest.mark.parametrize("name", ["n" * 246 + ".npz", "[a].npz"])
def test_any_name_of_a_file_is_a_name_for_a_model(tmp_path, name):
    model = small(max_iter=1).fit(X, Y)
    model.save(tmp_path / name)
    (tmp_path / f".{name[:50]}.1.00000000.tmp").write_bytes(b"")
    files.clear_abandoned(tmp_path / name)
    assert os.listdir(tmp_path) == [name]
    np.testing.assert_array_equal(asysvrg.load(tmp_path / name).predict(X), model.predict(X))
