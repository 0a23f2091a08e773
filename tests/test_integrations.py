"""Callbacks for other programs, with stand-ins for these; and what skops and MLflow read again."""

from types import SimpleNamespace

import numpy as np
import pytest
from helpers.estimators import fitted, samples, small

from asysvrg import MPI, AsySVRGClassifier, AsySVRGRegressor
from asysvrg.export import SKOPS_TYPES
from asysvrg.integrations import OptunaPruning, TensorBoard

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, y = samples(AsySVRGClassifier)


class Trial:
    """As much of an Optuna trial as the callback needs."""

    def __init__(self, direction="MAXIMIZE", prune_at=None):
        self.study, self.prune_at = SimpleNamespace(direction=SimpleNamespace(name=direction)), prune_at
        self.reports = {}

    def report(self, value, step):
        assert step not in self.reports
        self.reports[step] = value

    def should_prune(self):
        return len(self.reports) - 1 == self.prune_at


def fit(trial, **options):
    model = small(AsySVRGClassifier, (5,), **options)
    return model.fit(X, y, X_val=X, y_val=y, callback=OptunaPruning(trial))


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("direction", ["MAXIMIZE", "MINIMIZE"])
def test_the_validation_score_is_reported_after_each_epoch(direction, early_stopping):
    trial = Trial(direction)
    model = fit(trial, early_stopping=early_stopping)
    errors = [row["train_error"] for row in model.history_["epochs"]]
    wanted = errors if direction == "MINIMIZE" else [1 - error for error in errors]
    assert list(trial.reports) == [0, 1, 2, 3]
    assert list(trial.reports.values()) == pytest.approx(wanted)


def test_of_several_networks_one_is_reported():
    trial = Trial()
    fit(trial, n_models=3)
    assert list(trial.reports) == [0, 1, 2, 3]


def test_what_is_reported_may_be_another_number():
    trial = Trial()
    callback = OptunaPruning(trial, lambda row: row["loss"])
    model = small(AsySVRGRegressor, (5,)).fit(X, X[:, 0], callback=callback)
    assert list(trial.reports.values()) == [row["loss"] for row in model.history_["epochs"]]


@pytest.mark.parametrize("n_models", [1, 2])
def test_a_pruned_fit_ends(n_models):
    optuna = pytest.importorskip("optuna")
    trial = Trial(prune_at=1)
    with pytest.raises(optuna.TrialPruned, match="after epoch 1"):
        fit(trial, n_models=n_models)
    assert list(trial.reports) == [0, 1]


def test_no_validation_set():
    with pytest.raises(ValueError, match="needs a validation error: give fit X_val"):
        small(AsySVRGClassifier, (5,)).fit(X, y, callback=OptunaPruning(Trial()))


def test_a_study_prunes():
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.ERROR)

    def objective(trial):
        alpha = [1e-4, 1e3][trial.number]
        model = AsySVRGClassifier((5,), alpha=alpha, max_iter=4, random_state=0)
        return model.fit(X, y, X_val=X, y_val=y, callback=OptunaPruning(trial)).score(X, y)

    pruner = optuna.pruners.ThresholdPruner(lower=0.7, n_warmup_steps=2)
    study = optuna.create_study(direction="maximize", pruner=pruner)
    study.optimize(objective, n_trials=2)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "PRUNED"]
    assert max(study.trials[0].intermediate_values) == 4


class Writer:
    """As much of a SummaryWriter as the callback needs."""

    def __init__(self):
        self.scalars = {}

    def add_scalar(self, name, value, step):
        self.scalars[name, step] = value


def test_tensorboard_gets_the_numbers_of_each_epoch():
    writer = Writer()
    model = small(AsySVRGClassifier, (5,)).fit(X, y, callback=TensorBoard(writer, "digits/"))
    for row in model.history_["epochs"]:
        for name in ("loss", "train_error", "seconds", "sample_gradients"):
            assert writer.scalars[f"digits/{name}", row["epoch"]] == row[name]
    assert not {name for name, _ in writer.scalars} & {f"digits/{name}" for name in ("epoch", "partial", "direction")}


def test_tensorboard_keeps_networks_apart():
    writer = Writer()
    small(AsySVRGClassifier, (5,), n_models=2).fit(X, y, callback=TensorBoard(writer))
    assert {name.split("/")[1] for name, _ in writer.scalars} == {"0", "1"}


@pytest.mark.parametrize("module", ["tensorboardX", "torch.utils.tensorboard"])
def test_event_files(module, tmp_path):
    writers = pytest.importorskip(module)
    with writers.SummaryWriter(str(tmp_path)) as writer:
        small(AsySVRGClassifier, (5,)).fit(X, y, callback=TensorBoard(writer))
    [file] = tmp_path.iterdir()
    assert b"asysvrg/train_error" in file.read_bytes()


@pytest.mark.parametrize(
    "options",
    [{}, {"n_models": 2}, {"scale": "robust-clip"}, {"dtype": "float64"}, {"dtype": np.float64}],
    ids=str,
)
@pytest.mark.parametrize("kind", [AsySVRGClassifier, AsySVRGRegressor])
def test_skops_reads_what_it_wrote(kind, options):
    skops = pytest.importorskip("skops.io")
    model = fitted(kind, **options)
    again = skops.loads(skops.dumps(model), trusted=SKOPS_TYPES)
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    assert again.get_params() == model.get_params()
    assert again.history_ == model.history_
    again.partial_fit(X, model.predict(X)) if "n_models" not in options else again.fit(X, model.predict(X))


def test_skops_reads_the_options_of_a_distributed_fit():
    skops = pytest.importorskip("skops.io")
    model = fitted(AsySVRGClassifier).set_params(backend=MPI(servers=2))
    assert skops.loads(skops.dumps(model), trusted=SKOPS_TYPES).backend == MPI(servers=2)
