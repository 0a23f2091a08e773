"""Model files and what is refused of them; models for scikit-learn and PyTorch."""

import json
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
from helpers.estimators import fitted, samples
from scipy import sparse
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.neural_network import MLPClassifier, MLPRegressor

import asysvrg
from asysvrg import MPI, AsySVRGClassifier, AsySVRGRegressor, cli, load
from asysvrg.store import model as model_files

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

ESTIMATORS = [AsySVRGClassifier, AsySVRGRegressor]


def assert_same(a, b, X):
    np.testing.assert_array_equal(a.predict(X), b.predict(X))
    assert a.predict(X).dtype == b.predict(X).dtype
    if hasattr(a, "predict_proba"):
        np.testing.assert_array_equal(a.predict_proba(X), b.predict_proba(X))


@pytest.mark.parametrize("form", ["dense", "csr"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("hidden", [(), (5,), (4, 3)], ids=str)
@pytest.mark.parametrize(("kind", "outputs"), [(AsySVRGClassifier, 3), (AsySVRGRegressor, 1), (AsySVRGRegressor, 3)])
def test_a_loaded_model_predicts_the_same(tmp_path, kind, outputs, hidden, dtype, form):
    X, y = samples(kind, outputs)
    X = sparse.csr_array(X) if form == "csr" else X
    model = fitted(kind, hidden, X=X, y=y, dtype=dtype, activation="tanh")
    model.save(tmp_path / "model")
    again = load(str(tmp_path / "model"))
    assert type(again) is kind
    assert_same(model, again, X)
    assert again.get_params() == model.get_params()
    assert again.history_ == json.loads(json.dumps(model.history_))
    for name in ("n_iter_", "loss_", "stopped_", "n_outputs_", "n_features_in_"):
        assert getattr(again, name) == getattr(model, name), name
    for a, b in zip(model.coefs_ + model.intercepts_, again.coefs_ + again.intercepts_, strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype
    again.save(tmp_path / "again")
    assert_same(model, load(tmp_path / "again"), X)
    assert_same(model, pickle.loads(pickle.dumps(again)), X)
    assert_same(clone(again).fit(X, y), model, X)  # the parameters are there, too


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_a_loaded_model_goes_on_with_partial_fit(tmp_path, kind):
    X, y = samples(kind)
    model = fitted(kind)
    model.save(tmp_path / "model.npz")
    again = load(tmp_path / "model.npz")
    for one in (model, again):
        one.partial_fit(X, y).partial_fit(X, y)
    assert_same(model, again, X)
    assert again.n_iter_ == 5


def test_a_loaded_model_of_several_labels_goes_on(tmp_path):
    X, y = samples(AsySVRGClassifier)
    Y = np.eye(3, dtype=int)[y]
    model = AsySVRGClassifier((4,), max_iter=2, random_state=0).fit(X, Y)
    model.save(tmp_path / "model.npz")
    again = load(tmp_path / "model.npz")
    assert_same(model.partial_fit(X, Y), again.partial_fit(X, Y), X)


LABELS = [
    np.array(["no", "yes, \u00e4\u4e2d", "x" * 300]),
    np.array(["a", "b", "c"], dtype=object),
    np.array([-5, 0, 2**40]),
    np.array([0, 1, 255], dtype=np.uint8),
    np.array([False, True]),
    np.array([0.0, 1.0, 2.0]),
]


@pytest.mark.parametrize("labels", LABELS, ids=lambda labels: f"{labels.dtype}")
def test_labels_keep_their_type(tmp_path, labels):
    X, y = samples(AsySVRGClassifier)
    model = fitted(AsySVRGClassifier, X=X, y=labels[y % len(labels)])
    model.save(tmp_path / "model.npz")
    again = load(tmp_path / "model.npz")
    np.testing.assert_array_equal(again.classes_, model.classes_)
    assert again.classes_.dtype == model.classes_.dtype
    assert_same(model, again, X)


def test_load_is_all_that_a_process_needs(tmp_path):
    fitted(AsySVRGClassifier).save(tmp_path / "model.npz")
    code = f"import asysvrg; print(type(asysvrg.load({str(tmp_path / 'model.npz')!r})).__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "AsySVRGClassifier\n"


def test_feature_names_are_kept(tmp_path):
    X, y = samples(AsySVRGRegressor)
    frame = pd.DataFrame(X, columns=[f"column {i}" for i in range(X.shape[1])])
    model = fitted(AsySVRGRegressor, X=frame, y=y)
    model.save(tmp_path / "model.npz")
    again = load(tmp_path / "model.npz")
    assert list(again.feature_names_in_) == list(frame.columns)
    assert_same(model, again, frame)
    with pytest.raises(ValueError, match="feature names"):
        again.predict(frame.rename(columns={"column 0": "other"}))


def test_parameters_that_json_has_not(tmp_path):
    model = fitted(AsySVRGClassifier, random_state=np.random.RandomState(3), dtype=np.float64, alpha=np.float32(0.5))
    model.save(tmp_path / "model.npz")
    given = load(tmp_path / "model.npz").get_params()
    assert (given["random_state"], given["dtype"], given["alpha"]) == (None, "float64", 0.5)
    assert given["hidden_layer_sizes"] == (5,)
    for value in ((1, [2, (3,)]), {0: 1.5, "a": None, (1, 2): [True]}, "balanced", {}, MPI(servers=3)):
        assert model_files._unpacked(json.loads(json.dumps(model_files._packed(value)))) == value


def test_a_file_can_hold_no_code(tmp_path):
    model = fitted(AsySVRGClassifier)
    model.save(tmp_path / "model.npz")
    with np.load(tmp_path / "model.npz", allow_pickle=False) as file:
        assert {file[name].dtype.kind for name in file.files} <= set("Uiuf")
        assert (str(file["format"]), int(file["version"])) == ("asysvrg-model", 1)


def test_what_cannot_be_saved(tmp_path):
    with pytest.raises(NotFittedError):
        AsySVRGClassifier().save(tmp_path / "model.npz")
    model = fitted(AsySVRGClassifier)
    with pytest.raises(FileNotFoundError):
        model.save(tmp_path / "no" / "model.npz")
    model.classes_ = np.array([1, None, 3], dtype=object)
    with pytest.raises(ValueError, match="classes_ of type object cannot be saved"):
        model.save(tmp_path / "model.npz")
    assert list(tmp_path.iterdir()) == []


def rewritten(path, **changes):
    with np.load(path) as file:
        held = {name: file[name] for name in file.files} | changes
    np.savez(path, **{name: value for name, value in held.items() if value is not None})


def with_values(path, **changes):
    with np.load(path) as file:
        values = json.loads(file["values"].tobytes()) | changes
    rewritten(path, values=np.frombuffer(json.dumps(values).encode(), np.uint8))


def with_fitted(path, **changes):
    with np.load(path) as file:
        held = json.loads(file["values"].tobytes())["fitted"]
    with_values(path, fitted=held | changes)


LABELS_OF_TWO = {"dtype": "<i8", "labels": [0, 1]}

DAMAGE = [
    (lambda path: path.write_bytes(b""), "not a zip archive"),
    (lambda path: path.write_text("1,2\n3,4\n"), "not a zip archive"),
    (lambda path: path.write_bytes(pickle.dumps({"x": 1})), "not a zip archive"),
    (lambda path: path.write_bytes(path.read_bytes()[:-50]), "truncated"),
    (lambda path: path.write_bytes(path.read_bytes()[:900] + bytes(9) + path.read_bytes()[909:]), "cannot be read"),
    (lambda path: np.savez(path, X=np.zeros((3, 2)), y=np.zeros(3)), "format, version, values, x missing"),
    (lambda path: rewritten(path, format=np.array("asysvrg-checkpoint")), "has format 'asysvrg-checkpoint'"),
    (lambda path: rewritten(path, version=np.array(2)), "version 2 of the format; this asysvrg reads 1; a newer"),
    (lambda path: rewritten(path, version=np.array(0)), "version 0"),
    (lambda path: rewritten(path, version=np.array("x")), "version x"),
    (lambda path: rewritten(path, x=None), "x missing"),
    (lambda path: rewritten(path, x=np.array([{}])), "allow_pickle"),
    (lambda path: rewritten(path, x=np.zeros(3, np.float32)), "float32 of shape (3,)"),
    (lambda path: rewritten(path, x=np.load(path)["x"].astype(np.float64)), "x is float64"),
    (lambda path: rewritten(path, x=np.load(path)["x"] + np.float32(np.inf)), "not finite"),
    (lambda path: rewritten(path, values=np.frombuffer(b"\xff{", np.uint8)), "damaged"),
    (lambda path: rewritten(path, values=np.frombuffer(b"[" * 99_999, np.uint8)), "damaged"),
    (lambda path: rewritten(path, values=np.frombuffer(b"3", np.uint8)), "not a JSON object"),
    (lambda path: rewritten(path, values=np.frombuffer(b"{}", np.uint8)), "no 'widths'"),
    (lambda path: with_values(path, widths=[6, -5, 3]), "widths"),
    (lambda path: with_values(path, widths="6"), "widths"),
    (lambda path: with_values(path, widths=[]), "network"),
    (lambda path: with_values(path, widths=[2**30, 2**30]), "2**31"),
    (lambda path: with_values(path, activation="sine"), "'sine'"),
    (lambda path: with_values(path, activation=["relu"]), "unknown"),
    (lambda path: with_values(path, loss="squared_error"), "squared_error"),
    (lambda path: with_values(path, dtype="int8"), "'int8'"),
    (lambda path: with_values(path, **{"class": "Popen"}), "class 'Popen' is not one of AsySVRGClassifier, "),
    (lambda path: with_values(path, **{"class": "_AsySVRG"}), "is not one of"),
    (lambda path: with_values(path, **{"class": {}}), "is not one of"),
    (lambda path: with_values(path, **{"class": "AsySVRGRegressor"}), "fitted attributes"),
    (lambda path: with_values(path, parameters={"momentum": 1}), "parameters momentum are unknown"),
    (lambda path: with_values(path, parameters=[1]), "not a valid model"),
    (lambda path: with_values(path, parameters={"alpha": {"dict": 3}}), "not a valid model"),
    (lambda path: with_values(path, fitted={}), "fitted attributes are missing"),
    (lambda path: with_values(path, fitted=None), "not a valid model"),
    (lambda path: with_fitted(path, n_outputs_=4), "do not match"),
    (lambda path: with_fitted(path, n_iter_="3"), "'n_iter_'"),
    (lambda path: with_fitted(path, predict=3), "attribute 'predict' is unknown"),
    (lambda path: with_fitted(path, history_={}), "history"),
    (lambda path: with_values(path, classes=None), "classes"),
    (lambda path: with_values(path, classes=LABELS_OF_TWO), "2 classes for 3 outputs"),
    (lambda path: with_values(path, classes={"dtype": "<i8", "labels": [0, 1, 1]}), "distinct"),
    (lambda path: with_values(path, classes={"dtype": "<i8", "labels": [0, 1, 2.5]}), "type int64"),
    (lambda path: with_values(path, classes={"dtype": "V5", "labels": [0, 1, 2]}), "not a valid model"),
    (lambda path: with_values(path, classes={"dtype": "O", "labels": [0, [], 2]}), "neither numbers nor text"),
    (lambda path: with_values(path, feature_names=["a"]), "feature names"),
    (lambda path: with_values(path, feature_names=3), "feature names"),
    (lambda path: with_fitted(path, schema_={"target": [1]}), "target '[1]'"),
    (lambda path: with_fitted(path, schema_={"zero_based": 1}), "zero_based '1'"),
    (lambda path: with_fitted(path, schema_={"base": 1}), "base"),
    (lambda path: with_fitted(path, schema_=[]), "attribute 'schema_'"),
]


@pytest.mark.parametrize(("damage", "words"), DAMAGE, ids=range(len(DAMAGE)))
def test_an_invalid_model_is_refused(tmp_path, damage, words, capsys):
    path = tmp_path / "model.npz"
    fitted(AsySVRGClassifier).save(path)
    damage(path)
    with pytest.raises(ValueError, match=r"model\.npz") as error:
        load(path)
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert cli.main(["predict", "iris", "--model", str(path)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_every_flipped_byte_is_an_error_or_a_model(tmp_path):
    """The error is ValueError, and no other; a model has a prediction for every sample."""
    path = tmp_path / "model.npz"
    X, _ = samples(AsySVRGClassifier)
    fitted(AsySVRGClassifier).save(path)
    content = path.read_bytes()
    rng, refused = np.random.default_rng(0), 0
    for _ in range(300):
        broken = bytearray(content)
        for place in rng.integers(len(content), size=rng.integers(1, 4)):
            broken[place] = rng.integers(256)
        path.write_bytes(broken[: rng.integers(len(content))] if rng.random() < 0.2 else broken)
        try:
            assert load(path).predict(X).shape == (len(X),)
        except ValueError:
            refused += 1
    assert refused > 200  # what names of files in the archive, times and the like are made of, nobody reads


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "model.npz")
    with pytest.raises(ValueError, match="is a folder"):
        load(tmp_path)
    assert asysvrg.load is load


# scikit-learn and PyTorch.


@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic", "identity"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("hidden", [(), (5,), (4, 3)], ids=str)
@pytest.mark.parametrize(("kind", "outputs"), [(kind, n) for kind in ESTIMATORS for n in (1, 2, 3)][1:])
def test_to_sklearn_predicts_the_same(kind, outputs, hidden, dtype, activation):
    X, y = samples(kind, outputs)
    model = fitted(kind, hidden, X=X, y=y, dtype=dtype, activation=activation)
    mlp = model.to_sklearn()
    assert type(mlp) is (MLPClassifier if kind is AsySVRGClassifier else MLPRegressor)
    np.testing.assert_allclose(mlp.predict(X), model.predict(X), atol=1e-5 if dtype == "float32" else 1e-12)
    if kind is AsySVRGClassifier:
        np.testing.assert_array_equal(mlp.predict(X), model.predict(X))
        np.testing.assert_allclose(mlp.predict_proba(X), model.predict_proba(X), atol=1e-6)
    assert mlp.score(X, y) == pytest.approx(model.score(X, y), abs=1e-6)
    assert mlp.loss_curve_ == [row["loss"] for row in model.history_["epochs"][1:]]


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error"])
def test_a_model_of_small_targets_is_saved(tmp_path, loss):
    """Their scale is sqrt(alpha), which must not turn the trace into numbers that JSON does not know."""
    X, y = samples(AsySVRGRegressor)
    model = AsySVRGRegressor(loss=loss, max_iter=2, random_state=0, checkpoint_dir=tmp_path / "run").fit(X, y / 1e4)
    model.save(tmp_path / "model.npz")
    np.testing.assert_array_equal(load(tmp_path / "model.npz").predict(X), model.predict(X))
    assert (tmp_path / "run" / "checkpoint.npz").exists()


@pytest.mark.parametrize("activation", ["leaky_relu", "gelu"])
def test_to_sklearn_refuses_what_mlp_lacks(activation):
    X, y = samples(AsySVRGRegressor)
    with pytest.raises(ValueError, match=f"has no activation='{activation}'"):
        fitted(AsySVRGRegressor, X=X, y=y, activation=activation).to_sklearn()


@pytest.mark.parametrize("labels", [["no", "yes"], ["a", "b", "c"]], ids=len)
def test_to_sklearn_keeps_labels_and_names(labels):
    X, y = samples(AsySVRGClassifier, len(labels))
    frame = pd.DataFrame(X, columns=list("abcdef"))
    model = fitted(AsySVRGClassifier, X=frame, y=np.array(labels)[y])
    mlp = model.to_sklearn()
    assert list(mlp.predict(frame)) == list(model.predict(frame))
    assert list(mlp.feature_names_in_) == list("abcdef")
    np.testing.assert_array_equal(mlp.classes_, model.classes_)
    mlp.coefs_[0][:] = 0
    assert (model.coefs_[0] != 0).any()  # it has arrays of its own


@pytest.mark.parametrize("options", [{"scale": "robust-clip"}, {"n_models": 2}], ids=str)
@pytest.mark.parametrize("kind", ESTIMATORS)
def test_to_sklearn_of_a_scaler_and_of_several_networks(kind, options):
    """It knows the columns, is silent, and leaves the model alone when it is fitted again."""
    X, y = samples(kind, 1 if kind is AsySVRGRegressor else 2)
    frame = pd.DataFrame(X, columns=list("abcdef"))
    model = fitted(kind, X=frame, y=y, **options)
    expected, other = model.predict(frame), model.to_sklearn()
    with warnings.catch_warnings(), config_context(transform_output="pandas"):
        warnings.simplefilter("error")
        np.testing.assert_allclose(other.predict(frame), expected, atol=1e-5)
    assert list(other[0].feature_names_in_ if "scale" in options else other.feature_names_in_) == list("abcdef")
    with pytest.raises(ValueError, match="feature names"):
        other.predict(frame[list("fedcba")])
    other.fit(100 * frame + 7, y)
    np.testing.assert_array_equal(model.predict(frame), expected)


def test_to_sklearn_of_counts():
    X, y = samples(AsySVRGRegressor)
    model = fitted(AsySVRGRegressor, X=X, y=np.abs(y), loss="poisson")
    if "loss" not in MLPRegressor().get_params():
        pytest.skip("scikit-learn has no Poisson loss before 1.7")
    np.testing.assert_allclose(model.to_sklearn().predict(X), model.predict(X), rtol=1e-5)
    with pytest.raises(ValueError, match="MLPRegressor has no loss='huber', as this model"):
        fitted(AsySVRGRegressor, X=X, y=y, loss="huber").to_sklearn()


def test_to_sklearn_on_real_data():
    X, y = load_digits(return_X_y=True)
    X = X / 16
    model = fitted(AsySVRGClassifier, (50,), X=X, y=y, max_iter=10)
    np.testing.assert_array_equal(model.to_sklearn().predict(X), model.predict(X))
    np.testing.assert_allclose(model.to_sklearn().predict_proba(X), model.predict_proba(X), atol=1e-6)
