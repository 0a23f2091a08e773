"""bench/panel.py: its data, its figures and its table."""

import math
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
IN_FILES = ("MNIST", "CIFAR")


@pytest.fixture(autouse=True)
def _bench(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "bench"))


@pytest.fixture
def sets():
    return pytest.importorskip("panel_sets")


@pytest.fixture
def worker():
    return pytest.importorskip("panel_worker")


@pytest.fixture
def report():
    return pytest.importorskip("panel_report")


def dense(X):
    return X.toarray() if hasattr(X, "toarray") else X


def test_made_data_have_their_shapes_and_are_the_same_each_time(sets):
    for name, setting in sets.SETTINGS.items():
        if name.startswith(IN_FILES):
            continue
        once, again = setting.load(quick=True), setting.load(quick=True)
        for one, other in zip(once, again, strict=True):
            np.testing.assert_array_equal(dense(one[:300]), dense(other[:300]), err_msg=name)
        X, y, X_test, y_test = once
        assert X.dtype == X_test.dtype == np.float32
        assert X.shape[0] == len(y) >= min(setting.rows // sets.QUICK, sets.FEWEST), name
        assert X_test.shape[0] == len(y_test), name
        assert X.shape[1] == X_test.shape[1], name
        if setting.classes:
            assert y.min() == 0
            assert set(y_test) <= set(y), name
        else:
            np.testing.assert_allclose([y.mean(), y.std()], [0, 1], atol=1e-2)


def test_the_panel_is_as_wide_as_announced(sets):
    settings = sets.SETTINGS
    assert {len(setting.hidden) for setting in settings.values()} == {0, 1, 2, 3, 4}
    widths = [width for setting in settings.values() for width in setting.hidden]
    assert (min(widths), max(widths)) == (32, 1024)
    assert sets.census(100, 10)[0].shape[1] == 108
    assert len(np.unique(settings["table, 100 classes"].load(quick=True)[1])) == 100
    assert settings["text, 2 classes"].load(quick=True)[0].shape == (2000, 50_000)


def test_a_set_whose_file_is_missing_says_so(sets, monkeypatch, tmp_path):
    monkeypatch.setenv("ASYSVRG_DATA_HOME", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="mnist is not in ASYSVRG_DATA_HOME"):
        sets.SETTINGS["MNIST, 10,000"].load()


def course(scores, end=None, second=1.0):
    rows = [{"seconds": second * (k + 1), "processor": 2 * second * (k + 1), "score": s} for k, s in enumerate(scores)]
    return {"seed": 0, "rows": rows, "end": end}


def test_seconds_to_a_score_are_those_of_the_first_epoch_that_has_it(report):
    found = report.to_score([course([0.5, 0.8, 0.7], end=2)], 0.75)
    assert (found.seconds, found.processor, found.more) == (2, 4, False)
    never = report.to_score([course([0.5, 0.8, 0.7], end=1)], 0.9)
    assert (never.seconds, never.more) == (3, True)
    assert str(never) == "> 3 (6)"
    # One of three that never arrives does not make the median a bound.
    assert not report.to_score([course([0.9]), course([0.9]), course([0.1])], 0.9).more


def test_a_contender_has_the_score_at_its_own_end(report):
    courses = [course([0.5, 0.8, 0.9], end=1), course([0.5, 0.6], end=None)]
    assert report.score_of(courses) == pytest.approx(0.7)
    assert report.whole(courses).more
    given_up = {"seed": 0, "rows": [], "end": None, "limit": 9.0}
    assert math.isnan(report.score_of([given_up]))
    assert str(report.whole([given_up])) == "> 9 (9)"


def panel(ours, theirs):
    """Sets with a second's fit of ours; `theirs` are courses."""
    return {
        which: {"ours": {"courses": [course([score], end=0)]}, "scikit-learn": {"courses": [theirs[which]]}}
        for which, score in ours.items()
    }


def test_the_table_has_the_least_ratio_the_mean_and_the_lower_scores(report):
    theirs = {"digits": course([0.9, 0.95], end=1), "census": course([0.1] * 7 + [0.9], end=7)}
    sets = panel({"digits": 0.9, "census": 0.89}, theirs)
    text = report.peer_table(sets, "scikit-learn")
    assert "| digits | **0.9000** | 0.9500 | 1 (2) | 2 (4) | 1 (2) | 1 (1) |" in text
    assert "| census | **0.8900** | 0.9000 | 1 (2) | 8 (16) | 8 (16) | 8 (8) |" in text
    assert "Least ratio 1 (digits), geometric mean 2.83 (CPU 2.83), over 2 problems." in text
    assert "Lower by more than 0.002: digits (0.050); census (0.010)." in text
    equal = report.peer_table(panel({"digits": 0.9}, {"digits": course([0.9015], end=0)}), "scikit-learn")
    assert "**" not in equal
    assert equal.endswith("Lower by more than 0.002: none.")


def test_the_busy_table_has_medians_of_paired_ratios(report):
    def row(quiet, busy):
        return {
            kind: course([0.9], end=0, second=seconds) | {"predict": {"p90": seconds}}
            for kind, seconds in {"quiet": quiet, "busy": busy}.items()
        }

    rows = [row(1, 2), row(2, 6), row(1, 5)]
    assert report.busy_pair(rows, report.seconds_of) == (1, 5, 3)
    text = report.busy_table({"digits": {"ours, busy": rows, "scikit-learn, busy": rows}, "census": {}})
    assert "| digits | 1 | 5 | 3 | 1 | 5 | 1 | 5 | 1 |" in text
    late = [{"quiet": row(1, 2)["quiet"], "busy": {"rows": [], "end": None, "limit": 9.0}}]
    assert report.busy_pair(late, report.seconds_of) == (1, math.inf, math.inf)


def test_a_page_names_the_machine_and_all_versions(report):
    from asysvrg.core.trace import environment

    content = {"environment": environment(), "cores": 2, "quick": True, "limit": 300.0}
    sets = panel({"digits": 0.9}, {"digits": course([0.9], end=0)})
    sets["digits"]["ours"]["version"], sets["digits"]["scikit-learn"]["version"] = "0.1", "1.9.1"
    page = report.page(content | {"sets": sets})
    assert f"on {environment()['processor']}, 2 cores" in page
    assert "scikit-learn 1.9.1" in page
    assert "## Beside scikit-learn" in page
    assert "with a tenth of the rows" in page
    assert "| digits | small images of 8 x 8 | 1,300 + 497 | 100 | 1 |" in page
    assert "Nothing was measured" in report.page(content | {"sets": {}})


@pytest.mark.parametrize("name", ["ours", "scikit-learn", "PyTorch", "LightGBM"])
@pytest.mark.parametrize(
    "which", ["breast cancer", "text, 2 classes", "regression, 8 targets", "regression, 20 columns"]
)
def test_each_contender_fits_and_predicts(worker, sets, name, which):
    setting = sets.SETTINGS[which]
    if not worker.takes_part(name, setting):
        pytest.skip("not a table with one target")
    kind = worker.CONTENDERS[name]
    pytest.importorskip(kind.needs)
    X, y, X_test, y_test = setting.load(quick=True)
    contender = kind(setting, 1)
    found = contender.fit((X, y, X_test, y_test), 0, 0.3, 2.0)
    row = found.rows[-1]
    assert row["score"] == pytest.approx(worker.score_of(contender.predict(X_test), y_test), abs=1e-6)
    assert [row["seconds"] for row in found.rows] == sorted(row["seconds"] for row in found.rows)


def test_our_watched_network_is_that_of_scikit_learn(worker, sets):
    from sklearn.neural_network import MLPRegressor

    setting = sets.SETTINGS["regression, 20 columns"]
    data = setting.load(quick=True)
    plain = MLPRegressor(hidden_layer_sizes=setting.hidden, random_state=0).fit(*data[:2])
    contender = worker.ScikitLearn(setting, 1)
    found = contender.fit(data, 0, 60, 0.0)
    assert len(found.rows) == found.end + 1 == plain.n_iter_
    assert found.rows[-1]["score"] == plain.score(*data[2:])


def test_a_peer_without_our_score_goes_on_for_as_long_again(worker):
    found = worker.Course(lambda: 0.5, limit=100, target=0.9)
    for epoch in range(7):
        # A second ago; then a little less, so that a late look at the clock changes nothing.
        found.began = time.perf_counter() - (1 if epoch <= 2 else 0.9), time.process_time()
        with pytest.raises(worker.Over) if epoch == 6 else nullcontext():
            found.row(ends=epoch >= 2)
    assert found.end == 2
