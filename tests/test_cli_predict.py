"""`asysvrg predict`."""

import numpy as np
import pandas as pd
import pytest
from helpers.estimators import fitted, samples
from scipy import sparse
from sklearn.datasets import dump_svmlight_file

import asysvrg
from asysvrg import AsySVRGClassifier, AsySVRGRegressor, cli, load

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
