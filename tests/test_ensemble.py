"""Several networks in place of one (`n_models`)."""

import os
import pickle
import signal
import threading
import time
import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_digits

from asysvrg import AsySVRGClassifier, AsySVRGRegressor, load

X, y = load_digits(return_X_y=True)
T, z = load_diabetes(return_X_y=True)
SMALL = {"hidden_layer_sizes": (8,), "max_iter": 2, "tol": 0, "random_state": 0}


def classifier(**options):
    return AsySVRGClassifier(**SMALL | {"n_models": 3, "n_jobs": 2} | options)


def regressor(**options):
    return AsySVRGRegressor(**SMALL | {"n_models": 3, "n_jobs": 2} | options)


def test_outputs_are_averages():
    model = classifier().fit(X, y)
    each = [member.predict_proba(X) for member in model.estimators_]
    assert len({one.tobytes() for one in each}) == 3
    np.testing.assert_allclose(model.predict_proba(X), np.mean(each, axis=0), rtol=1e-6)
    np.testing.assert_array_equal(model.predict(X), model.classes_[np.mean(each, axis=0).argmax(1)])
    model = regressor().fit(T, z)
    each = [member.predict(T) for member in model.estimators_]
    np.testing.assert_allclose(model.predict(T), np.mean(each, axis=0), rtol=1e-6)
    assert model.loss_ == pytest.approx(np.mean([member.loss_ for member in model.estimators_]))


def test_several_labels_and_targets():
    labels = np.stack([y % 2, y > 4], axis=1).astype(int)
    model = classifier().fit(X, labels)
    assert model.predict(X).shape == labels.shape
    assert regressor().fit(T, np.stack([z, -z], axis=1)).predict(T).shape == (len(z), 2)


def test_the_number_of_threads_does_not_matter():
    found = [classifier(n_jobs=n_jobs).fit(X, y).predict_proba(X) for n_jobs in (1, 2, 3)]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_one_network_is_as_before():
    one, plain = AsySVRGClassifier(**SMALL, n_models=1), AsySVRGClassifier(**SMALL)
    np.testing.assert_array_equal(one.fit(X, y).predict_proba(X), plain.fit(X, y).predict_proba(X))
    assert not hasattr(one, "estimators_")


def test_it_is_saved_pickled_and_cloned_like_one(tmp_path):
    for model, inputs, targets in ((classifier(), X, y), (regressor(), T, z)):
        model.fit(inputs, targets)
        model.save(tmp_path / "model")
        for other in (load(tmp_path / "model"), pickle.loads(pickle.dumps(model))):
            np.testing.assert_array_equal(other.predict(inputs), model.predict(inputs))
            assert [m.loss_ for m in other.estimators_] == [m.loss_ for m in model.estimators_]
            assert other.get_params() == model.get_params()
        np.testing.assert_array_equal(clone(model).fit(inputs, targets).predict(inputs), model.predict(inputs))


def test_another_fit_with_one_network_leaves_no_old_ones():
    model = classifier().fit(X, y)
    model.set_params(n_models=1).fit(X, y)
    assert not hasattr(model, "estimators_")


def test_in_scikit_learn_and_pytorch():
    model = classifier().fit(X, y)
    voting = model.to_sklearn()
    np.testing.assert_allclose(voting.predict_proba(X), model.predict_proba(X), atol=1e-5)
    np.testing.assert_array_equal(voting.predict(X), model.predict(X))
    model = regressor().fit(T, z)
    np.testing.assert_allclose(model.to_sklearn().predict(T), model.predict(T), rtol=1e-4)
    with pytest.raises(ValueError, match="one label a sample"):
        classifier().fit(X, np.stack([y % 2, y > 4], axis=1).astype(int)).to_sklearn()
    with pytest.raises(ValueError, match="one target"):
        regressor().fit(T, np.stack([z, z], axis=1)).to_sklearn()


def test_a_callback_hears_of_all_networks_and_stops_them():
    rows = []
    classifier().fit(X, y, callback=lambda row: rows.append((row["model"], row["epoch"])))
    assert sorted(rows) == [(model, epoch) for model in range(3) for epoch in range(3)]
    model = classifier(max_iter=1000).fit(X, y, callback=lambda row: row["epoch"] == 1)
    assert model.stopped_ == "callback"
    assert model.n_iter_ <= 2


def test_networks_that_a_callback_kept_from_training_have_no_say():
    """Networks without an update are left out, unless no network has one. A warm start trains them."""
    model = classifier(n_jobs=1, warm_start=True)
    with pytest.warns(UserWarning, match="2 of 3 networks ended before their first update"):
        model.fit(X, y, callback=lambda row: row["epoch"] == 1)
    assert [member.n_iter_ for member in model.estimators_] == [1]
    assert [member.n_iter_ for member in model.fit(X, y).estimators_] == [2, 2, 2]
    none = classifier(n_jobs=1).fit(X, y, callback=lambda row: True)
    assert [member.n_iter_ for member in none.estimators_] == [0, 0, 0]
    model = classifier(n_jobs=1, warm_start=True).fit(X, y).fit(X, y, callback=lambda row: True)
    assert [member.n_iter_ for member in model.estimators_] == [0, 0, 0]
    assert model.score(X, y) > 0.8


def test_verbose_is_a_line_for_each_epoch_of_each_network(capsys):
    classifier(verbose=True).fit(X, y)
    lines = capsys.readouterr().err.splitlines()
    for number in range(3):
        assert sum(line.startswith(f"network {number}, epoch ") for line in lines) == 3
    assert len(lines) == 9


def test_an_error_of_a_callback_is_no_interrupt_of_the_others():
    def fail(row):
        if row["epoch"] == 1:
            raise RuntimeError("pruned")

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RuntimeError, match="pruned"):
            classifier(max_iter=100, n_jobs=3).fit(X, y, callback=fail)


def test_ctrl_c_stops_all_and_keeps_the_best():
    model = classifier(max_iter=10**6)
    timer = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            model.fit(X, y)
    assert time.monotonic() - start < 10
    assert model.stopped_ == "interrupted"
    assert 1 <= len(model.estimators_) <= 3
    assert model.score(X, y) > 0.5


def test_each_has_a_checkpoint_of_its_own(tmp_path):
    whole = classifier(max_iter=4).fit(X, y)
    classifier(max_iter=4, checkpoint_dir=tmp_path).fit(X, y, callback=lambda row: row["epoch"] == 2)
    assert sorted(os.listdir(tmp_path)) == ["network-0", "network-1", "network-2"]
    resumed = classifier(max_iter=4, checkpoint_dir=tmp_path, resume=True).fit(X, y)
    np.testing.assert_array_equal(resumed.predict_proba(X), whole.predict_proba(X))


def test_a_warm_start_goes_on_with_each():
    model = classifier(warm_start=True).fit(X, y)
    losses = [member.loss_ for member in model.estimators_]
    model.fit(X, y)
    for member, loss in zip(model.estimators_, losses, strict=True):
        assert member.history_["epochs"][0]["loss"] == pytest.approx(loss, rel=1e-5)
    for before, now in ((3, 2), (3, 1)):
        with pytest.raises(ValueError, match=f"as many networks as the fit before, {before}; got n_models={now}"):
            model.set_params(n_models=now).fit(X, y)
    model.set_params(warm_start=False).fit(X, y)
    with pytest.raises(ValueError, match="as many networks as the fit before, 1; got n_models=3"):
        model.set_params(warm_start=True, n_models=3).fit(X, y)


def test_numpys_global_state_fixes_networks_that_train_at_once():
    found = []
    for _ in range(4):
        np.random.seed(3)  # noqa: NPY002
        model = classifier(hidden_layer_sizes=(300,), n_models=8, max_iter=1, random_state=None)
        found.append(model.fit(X, y).predict_proba(X))
    for again in found[1:]:
        np.testing.assert_array_equal(again, found[0])


def test_an_error_in_one_is_an_error_of_all():
    def raises(row):
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        classifier().fit(X, y, callback=raises)
    for bad, message in ((0, "n_models == 0"), (1.5, "n_models must be an instance of int")):
        with pytest.raises((TypeError, ValueError), match=message):
            classifier(n_models=bad).fit(X, y)
    with pytest.raises(ValueError, match="partial_fit trains one network; got n_models=3"):
        classifier().partial_fit(X, y, classes=np.arange(10))


def test_names_of_columns_are_the_models():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(T, columns=[f"c{i}" for i in range(T.shape[1])])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = regressor().fit(frame, z, X_val=frame, y_val=z)
        model.predict(frame)
    assert list(model.feature_names_in_) == list(frame.columns)
    assert all(row["test_error"] is not None for row in model.history_["epochs"])


@pytest.mark.parametrize("random_state", [None, np.random.RandomState(3)], ids=["none", "instance"])
def test_networks_hold_out_the_same_samples_without_an_int_as_seed(tmp_path, random_state):
    """When they are resumed, and in a warm start."""
    options = {"early_stopping": True, "random_state": random_state, "checkpoint_dir": tmp_path}
    if random_state is None:
        classifier(**options).fit(X, y)
        assert classifier(**options, resume=True, max_iter=4).fit(X, y).n_iter_ == 4
    model = classifier(**options | {"checkpoint_dir": None}, warm_start=True)
    sets = []
    for _ in range(2):
        model.fit(X, y)
        sets.append([member.history_["epochs"][0]["validation_error"] for member in model.estimators_])
        ends = [member.history_["epochs"] for member in model.estimators_]
        if len(sets) == 1:
            kept = [min(row["validation_error"] for row in rows) for rows in ends]
    assert sets[1] == kept  # the second begins with the error at which the first ended, on the same samples


def test_a_loaded_model_of_named_columns_says_nothing(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(T, columns=[f"x{i}" for i in range(T.shape[1])])
    model = regressor().fit(frame, z)
    model.save(tmp_path / "model.npz")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(load(tmp_path / "model.npz").predict(frame), model.predict(frame))
