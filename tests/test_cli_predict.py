"""`asysvrg predict`."""

import errno
import importlib.util
import os

import numpy as np
import pandas as pd
import pytest
from helpers.estimators import fitted, samples
from scipy import sparse
from sklearn.datasets import dump_svmlight_file, load_iris

import asysvrg
from asysvrg import AsySVRGClassifier, AsySVRGRegressor, cli, load
from asysvrg.store import files

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_predict_a_named_set_with_what_train_saved(here, capsys):
    assert cli.main(["train", "--hidden-layer-sizes", "20", "--max-iter", "5", "--quiet", "--save", "model"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "model: model"
    X = asysvrg.cli.data.load("digits").X_test
    assert cli.main(["predict", "digits", "--model", "model"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "prediction"
    np.testing.assert_array_equal(np.array(lines[1:], dtype=int), load("model").predict(X))
    assert cli.main(["predict", "digits", "--model", "model", "--proba", "--output", "proba.csv"]) == 0
    assert capsys.readouterr().out == "predictions: proba.csv\n"
    table = pd.read_csv("proba.csv")
    assert list(table.columns) == [str(i) for i in range(10)]
    np.testing.assert_allclose(table.to_numpy(), load("model").predict_proba(X), rtol=1e-6)


def predictions(capsys, *arguments):
    assert cli.main(["predict", *arguments]) == 0
    return capsys.readouterr().out.splitlines()[1:]


def test_predict_csv_with_and_without_a_target(here, capsys):
    X, y = samples(AsySVRGClassifier)
    names = np.array(["red", "green", "blue, dark"])
    model = fitted(AsySVRGClassifier, X=X, y=names[y])
    model.save("model.npz")
    frame = pd.DataFrame(X, columns=list("abcdef"))
    frame.to_csv("bare.csv", index=False)
    frame.assign(y=y).to_csv("number.csv", index=False)
    frame.assign(y=names[y]).to_csv("text.csv", index=False)
    frame.insert(0, "y", names[y])
    frame.to_csv("first.csv", index=False)
    expected = [f'"{name}"' if "," in name else name for name in model.predict(X)]
    for arguments in (["bare.csv"], ["number.csv"], ["text.csv"], ["first.csv", "--target", "y"]):
        assert predictions(capsys, *arguments, "--model", "model.npz") == expected, arguments


@pytest.mark.parametrize("call", ["fsync", "replace", "open"])
def test_a_full_disk_is_named_by_the_output(here, monkeypatch, capsys, call):
    fitted(AsySVRGClassifier).save("model.npz")
    pd.DataFrame(samples(AsySVRGClassifier)[0]).to_csv("rows.csv", index=False)
    (here / "old.csv").write_text("old")

    def full(*arguments, **options):
        named = () if call == "fsync" else (".old.csv.1.tmp",)
        raise OSError(errno.ENOSPC, "No space left on device", *named)

    monkeypatch.setattr(files if call == "open" else os, call, full, raising=False)
    assert cli.main(["predict", "rows.csv", "--model", "model.npz", "--output", "old.csv"]) == 2
    assert capsys.readouterr().err == "asysvrg predict: error: old.csv: No space left on device\n"
    assert sorted(os.listdir(here)) == ["model.npz", "old.csv", "rows.csv"]
    assert (here / "old.csv").read_text() == "old"


def test_predict_svmlight_that_does_not_use_the_last_columns(here, capsys):
    X, y = samples(AsySVRGClassifier)
    model = fitted(AsySVRGClassifier, X=sparse.csr_matrix(X), y=y)
    model.save("model.npz")
    X[:, -2:] = 0
    dump_svmlight_file(X, y, "rows.svm", zero_based=False)
    assert predictions(capsys, "rows.svm", "--model", "model.npz") == [str(label) for label in model.predict(X)]


def test_predict_several_targets(here, capsys):
    X, _ = samples(AsySVRGRegressor)
    model = fitted(AsySVRGRegressor)
    model.save("model.npz")
    np.savez("X.npz", X=X)
    assert cli.main(["predict", "X.npz", "--model", "model.npz", "--output", "out.csv"]) == 0
    table = pd.read_csv("out.csv")
    assert list(table.columns) == ["prediction 0", "prediction 1", "prediction 2"]
    np.testing.assert_allclose(table.to_numpy(), model.predict(X), rtol=1e-6)


def test_predict_bad_input(here, capsys):
    fitted(AsySVRGRegressor).save("model.npz")
    for arguments, words in [
        (["iris"], "iris has 4 features; the model was trained on 6"),
        (["no-such-file"], "no file or folder 'no-such-file'"),
        (["iris", "--proba"], "no probabilities"),
        (["iris", "--output", "no/such/out.csv"], "no folder no/such"),
        (["iris", "--output", "."], "is a folder"),
        (["iris", "--model", "nothing"], "nothing"),
        (["model.npz"], "model.npz"),
    ]:
        assert cli.main(["predict", "--model", "model.npz", *arguments]) == 2
        out, err = capsys.readouterr()
        assert (out, len(err.splitlines())) == ("", 1)
        assert err.startswith("asysvrg predict: error: ")
        assert words in err


# What training knew of its file.


def trained(*arguments):
    how = ["--hidden-layer-sizes", "none", "--max-iter", "20", "--quiet", "--save", "model.npz"]
    assert cli.main(["train", *arguments, *how]) == 0
    return load("model.npz")


@pytest.fixture
def flowers(here):
    frame = load_iris(as_frame=True).frame.sample(frac=1, random_state=0)
    frame.columns = ["sl", "sw", "pl", "pw", "kind"]
    frame["kind"] = frame["kind"].map("0{}".format)
    frame.to_csv("train.csv", index=False)
    return frame


def test_columns_are_found_by_name(here, flowers, capsys):
    model = trained("train.csv")
    assert model.feature_names_in_.tolist() == ["sl", "sw", "pl", "pw"]
    assert model.schema_ == {"target": "kind", "zero_based": None}
    X = flowers[["sl", "sw", "pl", "pw"]]
    expected = list(model.predict(X))
    assert set(expected) == {"00", "01", "02"}
    capsys.readouterr()
    for frame, word in [
        (X, ""),
        (X[["pw", "pl", "sl", "sw"]], ""),
        (flowers[["kind", "pw", "pl", "sl", "sw"]], ""),
        (X.assign(id="x7", note=None), "the model was not trained on id, note; left out"),
        (flowers.assign(row=1), "not trained on row"),
    ]:
        for write, name in ((frame.to_csv, "new.csv"), (frame.to_parquet, "new.parquet")):
            if name == "new.csv" or importlib.util.find_spec("pyarrow"):
                write(name, index=False)
                assert cli.main(["predict", name, "--model", "model.npz"]) == 0
                out, err = capsys.readouterr()
                assert out.splitlines()[1:] == expected
                assert word in err
                assert bool(word) == bool(err)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda frame: frame.drop(columns="pw"), "lacks columns that the model was trained on: pw"),
        (lambda frame: frame.rename(columns={"pw": "PW", "sl": "l"}), "trained on: sl, pw"),
        (lambda frame: frame.assign(other=1)[["sl", "sw", "pl", "other"]], "trained on: pw"),
        (lambda frame: frame[["sl", "sw", "pl", "pw", "pw"]], "has a column twice: pw"),
        (lambda frame: frame.assign(pw=None), "column 'pw' has no value in rows 0, 1"),
        (lambda frame: frame.assign(pw="low"), "column 'pw' holds the text 'low'"),
        (lambda frame: frame.iloc[:0], "0 rows"),
    ],
)
def test_columns_that_are_not_found(here, flowers, capsys, change, words):
    trained("train.csv")
    change(flowers).to_csv("new.csv", index=False)
    capsys.readouterr()
    assert cli.main(["predict", "new.csv", "--model", "model.npz"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err
    assert len(err.splitlines()) == 1


def test_columns_without_names(here, flowers, capsys):
    """The target is left out where it was; without a header nothing else is known."""
    first = flowers[["kind", "sl", "sw", "pl", "pw"]]
    first.to_csv("train.csv", index=False, header=False)
    model = trained("train.csv", "--target", "0")
    assert model.schema_ == {"target": 0, "zero_based": None}
    expected = list(model.predict(flowers[["sl", "sw", "pl", "pw"]].to_numpy()))
    for frame in (first, first.drop(columns="kind")):
        frame.to_csv("new.csv", index=False, header=False)
        assert predictions(capsys, "new.csv", "--model", "model.npz")[-len(expected) :] == expected
    flowers.to_csv("train.csv", index=False)
    trained("train.csv")
    flowers.drop(columns="kind").to_csv("new.csv", index=False, header=False)
    assert cli.main(["predict", "new.csv", "--model", "model.npz"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[-len(expected) :] == expected
    assert "has no header: its columns are taken in the order" in err


def test_a_model_of_arrays_takes_the_last_column_for_the_target_and_says_so(here, flowers, capsys):
    X = flowers[["sl", "sw", "pl", "pw"]].to_numpy()
    model = AsySVRGClassifier((), max_iter=5, random_state=0).fit(X, flowers["kind"])
    model.save("model.npz")
    assert cli.main(["predict", "train.csv", "--model", "model.npz"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[1:] == list(model.predict(X))
    assert "the last column, 'kind', is taken for the target" in err


def test_a_frame_of_a_model_fitted_in_python(here, flowers, capsys):
    X = flowers[["sl", "sw", "pl", "pw"]]
    AsySVRGClassifier((), max_iter=5, random_state=0).fit(X, flowers["kind"]).save("model.npz")
    flowers[["pw", "pl", "sw", "sl"]].to_csv("new.csv", index=False)
    assert predictions(capsys, "new.csv", "--model", "model.npz") == list(load("model.npz").predict(X))


@pytest.mark.parametrize("zero_based", [True, False])
def test_the_first_index_of_svmlight_is_remembered(here, capsys, zero_based):
    rng = np.random.default_rng(0)
    X = (rng.random((200, 6)) < 0.4).astype(float)
    X[:, 0] = X[:, 1]  # feature 0 occurs, and is not needed
    y = np.where(X[:, 2] > X[:, 1], 1, -1)
    dump_svmlight_file(X, y, "train.svm", zero_based=zero_based)
    model = trained("train.svm", "--test-size", "0")
    assert model.schema_ == {"target": None, "zero_based": zero_based}
    rows = X[X[:, 0] == 0]
    dump_svmlight_file(rows, np.zeros(len(rows)), "new.svm", zero_based=zero_based)
    capsys.readouterr()
    assert predictions(capsys, "new.svm", "--model", "model.npz") == [str(label) for label in model.predict(rows)]
    if zero_based:
        others = predictions(capsys, "new.svm", "--model", "model.npz", "--no-zero-based")
        assert others != [str(label) for label in model.predict(rows)]
    else:
        assert cli.main(["predict", "new.svm", "--model", "model.npz", "--zero-based"]) == 2
        assert "new.svm has 7 features; the model was trained on 6" in capsys.readouterr().err


def test_the_first_index_of_svmlight_can_be_given(here):
    X = np.eye(20)[:, 1:]
    dump_svmlight_file(np.hstack([np.zeros((20, 1)), X]), np.arange(20) % 2, "train.svm", zero_based=True)
    assert trained("train.svm", "--zero-based").n_features_in_ == 20
    assert trained("train.svm").n_features_in_ == 19


# Classes or a real target.


@pytest.mark.parametrize(
    ("labels", "kind"),
    [
        (["0.0", "1.0", "2.0"], AsySVRGClassifier),
        (["3", "1", "2"], AsySVRGClassifier),
        (["0.5", "1.0", "2.0"], AsySVRGRegressor),
    ],
)
def test_one_rule_for_all_formats(here, labels, kind):
    X, y = load_iris(return_X_y=True)
    texts = [labels[label] for label in y]
    lines = [",".join(map(str, row)) for row in X]
    (here / "a.csv").write_text("".join(f"{line},{text}\n" for line, text in zip(lines, texts, strict=True)))
    pairs = [" ".join(f"{i}:{value}" for i, value in enumerate(row, 1)) for row in X]
    (here / "a.svm").write_text("".join(f"{text} {pair}\n" for pair, text in zip(pairs, texts, strict=True)))
    np.savez("a.npz", X=X, y=np.array(texts, float))
    for name in ("a.csv", "a.svm", "a.npz"):
        model = trained(name)
        assert type(model) is kind, name
        if kind is AsySVRGClassifier:
            assert model.classes_.tolist() == sorted({int(float(label)) for label in labels})


def test_a_list_of_prices_needs_a_task(here, capsys):
    prices = np.random.default_rng(0).permutation(300) + 1000
    pd.DataFrame({"a": prices / 7, "price": prices}).to_csv("a.csv", index=False)
    assert cli.main(["train", "a.csv"]) == 2
    _, err = capsys.readouterr()
    assert "different values in 240 rows, as many as a list of prices" in err
    assert "--task regression" in err
    assert type(trained("a.csv", "--task", "regression")) is AsySVRGRegressor
    pd.DataFrame({"a": prices / 7, "b": prices % 60}).to_csv("b.csv", index=False)
    assert cli.main(["train", "b.csv", "--max-iter", "1", "--quiet", "--task", "classification"]) == 0
    names = [f"n{price}" for price in prices]
    pd.DataFrame({"a": prices / 7, "name": names}).to_csv("c.csv", index=False)
    assert cli.main(["train", "c.csv"]) == 2
    assert "--target chooses another column" in capsys.readouterr().err


def test_tasks_that_do_not_go_with_the_target(here, capsys):
    pd.DataFrame({"a": [1, 2, 3, 4], "y": ["u", "v", "u", "v"]}).to_csv("text.csv", index=False)
    pd.DataFrame({"a": [1, 2, 3, 4], "y": [1, 2.5, 1, 1]}).to_csv("real.csv", index=False)
    for arguments, words in [
        (["text.csv", "--task", "regression"], "the target holds the text"),
        (["real.csv", "--task", "classification", "--test-size", "0"], "the target 2.5 in row 1"),
    ]:
        assert cli.main(["train", *arguments]) == 2
        assert words in capsys.readouterr().err


def test_a_feature_that_is_taken_for_the_target_is_missing(here, flowers, capsys):
    trained("train.csv")
    capsys.readouterr()
    assert cli.main(["predict", "train.csv", "--model", "model.npz", "--target", "sl"]) == 2
    assert "train.csv lacks columns that the model was trained on: sl" in capsys.readouterr().err


@pytest.mark.parametrize("delimiter", [" ", ",", "\t"])
def test_a_header_by_numpy_is_read(here, delimiter):
    rows = np.random.default_rng(0).normal(size=(30, 3)).round(3)
    np.savetxt("table.txt", rows, delimiter=delimiter, header=delimiter.join(["a", "b", "y"]))
    model = trained("table.txt", "--task", "regression", "--test-size", "5")
    assert model.feature_names_in_.tolist() == ["a", "b"]
    assert model.schema_["target"] == "y"
