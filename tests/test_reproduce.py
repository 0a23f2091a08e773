"""`asysvrg reproduce`: the paper's experiments, here on digits and with few and short runs."""

import json
from dataclasses import replace

import numpy as np
import pytest
from helpers.locks import alone

from asysvrg.__main__ import main
from asysvrg.distributed import hosts
from asysvrg.report import streams
from asysvrg.reproduce import cluster, command, drawing, measures, methods, runs, settings, speedup, tuning, verdict

DIGITS = settings.Problem(
    "digits",
    "digits",
    {"train_size": 300, "test_size": 100},
    settings.PLAIN | {"hidden_layer_sizes": [8], "alpha": 1e-3, "inner_steps": 30, "coordinates": 100},
    sgd_epochs=2,
)
TINY = settings.Effort(
    (0.1, 1.0),
    (0.0, 0.5),
    (1,),
    seeds=2,
    epochs=8,
    short=2,
    threads=(1, 2),
    workers=(1, 2),
    crowds=(3,),
    ranks=False,
    hosts=(),
)
DENSE = replace(DIGITS, name="dense", parameters=DIGITS.parameters | {"coordinates": "all"})
PROBLEMS = {"fig1": DIGITS, "fig2": DIGITS, "fig3": DENSE, "fig4": DENSE}


def reproduce(out, figures=("fig1",), **options):
    return command.reproduce(figures, out, effort=TINY, problems=PROBLEMS, **options)


@pytest.fixture(scope="module", autouse=True)
def _quick_disk():
    """Hundreds of small files: waiting for the disk would take minutes where others use it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda file: None)
        yield


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    out = tmp_path_factory.mktemp("figures")
    reproduce(out, tuple(command.FIGURES))
    return out


@pytest.mark.parametrize("figure", command.FIGURES)
def test_writes_picture_json_and_verdict(done, figure):
    assert (done / f"{figure}.png").read_bytes().startswith(b"\x89PNG")
    assert b"</svg>" in (done / f"{figure}.svg").read_bytes()
    content = json.loads((done / f"{figure}.json").read_text())
    text = (done / "verdict.md").read_text()
    text = text.partition(f"## {command.FIGURES[figure].title}\n")[2].partition("\n## ")[0]
    for claim in content["claims"]:
        row = next(line for line in text.splitlines() if line.startswith(f"| {claim['claim']} |"))
        assert ("| yes |" if claim["held"] else "| **no** |") in row
        for value in claim["numbers"].values():
            assert (value if isinstance(value, str) else measures.finite(value)) in row or value is None


@pytest.mark.parametrize("figure", command.FIGURES)
def test_claims_follow_from_the_json(done, figure):
    content = json.loads((done / f"{figure}.json").read_text())
    assert json.loads(json.dumps(command.FIGURES[figure].claims(content))) == content["claims"]


def rows(losses):
    return [
        {"epoch": k, "seconds": 2.0 * k, "sample_gradients": 10 * k, "loss": loss, "train_error": loss / 10}
        | {"test_error": loss / 5, "rolled_back": False}
        for k, loss in enumerate(losses)
    ]


def compared(sgd, svrg, both, **about):
    runs = {"SGD": [rows(sgd)], "SVRG": [rows(svrg)], "SGD_SVRG": [rows(both)]}
    return {"runs": runs, "about": {"switch": 2, "test_comparable": False} | about}


@pytest.mark.parametrize(
    ("losses", "held"),
    [
        # As in the paper's text.
        (([9, 5, 4, 4, 4], [9, 7, 5, 3, 2], [9, 5, 4, 2, 1]), [True, True, True, True, True, True]),
        # SVRG never wins, and SGD_SVRG is between the two.
        (([9, 3, 2, 1, 1], [9, 7, 5, 4, 3], [9, 3, 2, 2, 2]), [True, False, False, False, False, False]),
        # SVRG leads from the start, and is best.
        (([9, 8, 7, 6, 5], [9, 4, 3, 2, 1], [9, 8, 7, 4, 3]), [False, True, False, True, True, True]),
    ],
)
def test_a_claim_holds_where_the_curves_say_so(losses, held):
    found = methods.claims(compared(*losses))
    assert [claim["held"] for claim in found] == held
    assert found[1]["numbers"]["final SVRG"] == losses[1][-1]


@pytest.mark.parametrize(("least", "held"), [(0.15, True), (0.05, False)])
def test_comparable_test_errors(least, held):
    found = methods.claims(compared([1, 0.2], [1, 0.2], [1, least], test_comparable=True))
    assert found[4]["held"] is held


def test_equal_evaluations_are_compared_between_rows():
    sgd, svrg = rows([9, 5, 1]), [row | {"sample_gradients": 2 * row["sample_gradients"]} for row in rows([9, 5, 1])]
    content = compared([9, 5, 1], [9, 5, 1], [9, 5, 1])
    content["runs"] |= {"SGD": [sgd], "SVRG": [svrg]}
    numbers = methods.claims(content)[-1]["numbers"]
    assert (numbers["loss of SGD"], numbers["loss of SVRG"]) == (1.0, 5.0)
    assert numbers["SVRG is lower from so many evaluations"] is None
    content["runs"]["SVRG"][0][1]["loss"] = 0.5  # after as many evaluations as SGD's last row has
    assert methods.claims(content)[-1]["numbers"]["SVRG is lower from so many evaluations"] == 20


@pytest.mark.parametrize(
    ("best", "alpha", "added", "at_edge"),
    [
        (0.1, 0.1, {"alpha": [], "beta": []}, False),
        (3.0, 5.0, {"alpha": [5.0, 10.0], "beta": []}, False),  # its edge was 1
        (4e-3, 5e-3, {"alpha": [5e-3, 1e-3], "beta": []}, False),
        (1e9, 1e4, {"alpha": [5.0, 10.0, 50.0, 100.0, 500.0, 1000.0, 5000.0, 10000.0], "beta": []}, True),
    ],
)
def test_grid_is_widened_where_the_best_is_at_its_edge(best, alpha, added, at_edge):
    tuned = tuning.tune(lambda a, b: rows([9, 1 + abs(np.log(a / best)) + b]), [1e-2, 0.1, 1.0], [0.0, 1.0], (1, 5))
    assert (tuned["alpha"], tuned["beta"], tuned["added"], tuned["at_edge"]) == (alpha, 0.0, added, at_edge)
    assert len(tuned["tried"]) == 2 * (3 + len(added["alpha"]))


def test_grid_of_beta_is_widened_too():
    tuned = tuning.tune(lambda a, b: rows([9, abs(a - 1) + abs(b - 1.2)]), [0.1, 1.0, 10.0], [0.9, 1.0], (1, 5))
    assert (tuned["beta"], tuned["added"]["beta"]) == (1.2, [1.1, 1.2, 1.3])


def test_a_rate_that_was_halved_is_not_the_best():
    halved = [row | {"rolled_back": True} for row in rows([9, 0.5])]
    tuned = tuning.tune(lambda a, b: halved if a == 1.0 else rows([9, 2 - a]), [0.1, 0.5, 1.0], [0.0], (1, 5))
    assert tuned["alpha"] == 0.5
    assert tuned["tried"][-1]["loss"] is None


def test_resumes_after_a_kill(tmp_path, monkeypatch, done):
    """Runs that were complete are taken; the others are made, and nothing is half written."""
    trained = []

    def train(self, stages, *rest, original=runs.Experiment._train, most=7):
        if len(trained) == most:
            raise KeyboardInterrupt
        trained.append(stages)
        return original(self, stages, *rest)

    monkeypatch.setattr(runs.Experiment, "_train", train)
    with pytest.raises(KeyboardInterrupt):
        reproduce(tmp_path)
    assert len(list((tmp_path / "runs").glob("*.json"))) == 7
    assert not (tmp_path / "verdict.md").exists()
    next((tmp_path / "runs").glob("*.json")).write_text('{"spec"')  # as if a disk had been full
    trained.clear()
    monkeypatch.setattr(runs.Experiment, "_train", lambda *a: train(*a, most=1000))
    reproduce(tmp_path, resume=True)
    assert 0 < len(trained) == len(list((tmp_path / "runs").glob("*.json"))) - 6
    again, first = (json.loads((out / "fig1.json").read_text()) for out in (tmp_path, done))
    assert again["tuned"] == first["tuned"]
    trained.clear()
    reproduce(tmp_path, resume=True)
    assert trained == []
    reproduce(tmp_path)  # made anew
    assert trained != []


@pytest.mark.parametrize("terminal", [True, False])
def test_shows_progress(tmp_path, monkeypatch, capsys, terminal):
    monkeypatch.setattr(streams.Stream, "isatty", lambda stream: terminal)
    monkeypatch.setattr(runs, "SILENCE", 0.0)
    store = runs.Runs(tmp_path, resume=False)
    with store.progress("fig1"):
        store.expect(1, "tuning SGD")
        for k in range(3):  # two more than expected
            store.get("a", {"k": k}, lambda: 0)
    out, err = capsys.readouterr()
    assert out == ""
    assert ("3/3" if terminal else "3 runs are done") in err
    assert "tuning SGD" in err


def test_runs_of_other_settings_are_not_taken(tmp_path):
    store = runs.Runs(tmp_path, resume=True)
    assert [store.get("a", {"rate": rate}, lambda rate=rate: rate) for rate in (1, 2, 1)] == [1, 2, 1]
    assert runs.Runs(tmp_path, resume=True).get("a", {"rate": 2}, lambda: 3) == 2
    assert runs.Runs(tmp_path, resume=False).get("a", {"rate": 2}, lambda: 3) == 3


def test_stages_go_on_from_each_other(tmp_path):
    sets = command._load({"digits": DIGITS}, None)["digits"]
    experiment = runs.Experiment(DIGITS, sets, runs.Runs(tmp_path, resume=False))
    rates = {method: {"alpha": 0.5, "beta": 0.0} for method in methods.METHODS}
    both, sgd = (experiment.train(method, methods.stages(method, rates, 5, 2)) for method in ("SGD_SVRG", "SGD"))
    assert [row["epoch"] for row in both] == list(range(6))
    assert [row["loss"] for row in both[:3]] == [row["loss"] for row in sgd[:3]]
    assert both[3]["loss"] < both[0]["loss"]
    assert np.all(np.diff([row["seconds"] for row in both]) > 0)
    assert np.all(np.diff([row["sample_gradients"] for row in both]) > 0)


@pytest.mark.parametrize("figure", [*command.FIGURES, "all"])
def test_missing_data_are_one_line(tmp_path, capsys, figure):
    assert main(["reproduce", figure, "--data-home", str(tmp_path / "none"), "--out", str(tmp_path / "out")]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert str(tmp_path / "none") in err
    assert "--data-home" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", command.FIGURES)
def test_pictures_can_be_read(done, name):
    """Units on axes, at most six lines a panel, and lines that differ in grey."""
    content = json.loads((done / f"{name}.json").read_text())
    figure = command.FIGURES[name].draw(content)
    assert figure.axes
    for panel in figure.axes:
        assert panel.get_xlabel()
        assert panel.get_ylabel()
        lines = panel.get_lines()
        assert 0 < len(lines) <= 6
        looks = {(line.get_linestyle(), str(line._dash_pattern), line.get_marker()) for line in lines}
        assert len(looks) == len(lines)


def test_simulated_threads_look_like_no_measured_ones(done):
    content = json.loads((done / "fig2.json").read_text())
    panels = command.FIGURES["fig2"].draw(content).axes
    simulated = [line for panel in panels for line in panel.get_lines() if line.get_label() == "simulated"]
    measured = {line.get_color() for panel in panels for line in panel.get_lines()} - {simulated[0].get_color()}
    assert len(simulated) == 3
    assert not measured & {drawing.SIMULATED["color"]}
    assert drawing.SIMULATED["color"] not in drawing.COLOURS
    assert drawing.SIMULATED["linestyle"] not in drawing.LINES


def test_speedup_is_of_times_to_a_similar_loss():
    """Eq. (22): the least loss that all reach, but for one that stays far above the others."""
    quick = [row | {"seconds": row["seconds"] / 4} for row in rows([9, 5, 2])]
    slow = [row | {"seconds": row["seconds"] * 3} for row in rows([9, 5, 2])]
    curves = {"1": [rows([9, 5, 2])], "4": [quick, slow, quick], "8": [rows([9, 8, 7])]}
    assert speedup.similar_loss(curves) == 2
    assert speedup.speedups(curves) == {"1": 1.0, "4": pytest.approx(4.0), "8": None}
    assert speedup.similar_loss(curves | {"16": [rows([9, 5, 2.08])]}) == 2.08


@pytest.mark.parametrize(("found", "linear", "degrades"), [((1, 1.9, 3.5), True, False), ((1, 1.9, 1.2), False, True)])
def test_claims_of_speedups(found, linear, degrades):
    speedups = dict(zip(("1", "2", "4"), found, strict=True))
    assert speedup.linear(speedups, 4, "", "thread")["held"] is linear
    assert speedup.linear(speedups, 2, "", "thread")["held"] is True
    assert speedup._degrades(speedups, "", "thread")["held"] is degrades


@pytest.mark.parametrize(("server", "full"), [(1e-3, None), (1.0, 2)])
def test_server_saturates(server, full):
    costs = {"compute": 1.0, "message": 0.0, "server": server, "sweep": 0.0}
    seconds = {"1": 100 * (1 + server), "2": max(100 * server, 50 * (1 + server)) + 1}
    content = {"about": {"costs": costs, "steps": 100}, "seconds": seconds}
    claim = speedup._saturates(content)
    assert claim["held"] is (full is not None)
    assert claim["numbers"]["saturated from so many workers"] == full


@pytest.fixture
def dense(tmp_path):
    sets = command._load({"dense": DENSE}, None)["dense"]
    return runs.Experiment(DENSE, sets, runs.Runs(tmp_path, resume=False))


def test_one_rank_trains_as_one_thread_does(mpi, dense):
    """In stages, too: the second one goes on where the first ended."""
    both = methods.stages("SGD_SVRG", {name: {"alpha": 0.1, "beta": 0.5} for name in methods.METHODS}, 4, 2)
    found, alone = dense.ranks(1, both, seed=3), dense.train("alone", both, seed=3)
    for name in ("epoch", "sample_gradients", "loss", "test_error"):
        np.testing.assert_allclose([row[name] for row in found], [row[name] for row in alone], rtol=1e-4)
    assert np.all(np.diff([row["seconds"] for row in found]) > 0)


@pytest.fixture
def stages_by_ranks(monkeypatch, full):
    """Without --full, ranks train the method of two stages only, and virtual workers the others."""

    def ranks(self, workers, stages, *, seed, name, original=runs.Experiment.ranks):
        if full or len(stages) > 1:
            return original(self, workers, stages, seed=seed, name=name)
        return self.train(name, stages, seed=seed, virtual={"workers": workers, "architecture": "distributed"})

    monkeypatch.setattr(runs.Experiment, "ranks", ranks)


@pytest.mark.slow
@pytest.mark.usefixtures("stages_by_ranks")
def test_figure_3_is_trained_by_ranks(mpi, tmp_path, monkeypatch):
    effort = replace(TINY, seeds=1, epochs=8, ranks=True)
    monkeypatch.setattr(command, "WORKERS", 2)
    text = command.reproduce(("fig3",), tmp_path, effort=effort, problems=PROBLEMS).read_text()
    assert "Trained by a server and 2 workers, ranks of MPI." in text
    content = json.loads((tmp_path / "fig3.json").read_text())
    assert {name: seeds[0][-1]["epoch"] for name, seeds in content["runs"].items()} == dict.fromkeys(methods.METHODS, 4)
    for (rows,) in content["runs"].values():
        assert rows[-1]["loss"] < rows[0]["loss"]
        assert 0 < rows[-1]["delay"] < 2  # one worker would have none
    title = command.FIGURES["fig3"].draw(content).legends[0].get_title().get_text()
    assert title == "Trained by a server and 2 workers, ranks of MPI"
    taken = json.loads(json.dumps(content["runs"]))
    command.reproduce(("fig3",), tmp_path, effort=effort, problems=PROBLEMS, resume=True)
    assert json.loads((tmp_path / "fig3.json").read_text())["runs"] == taken  # seconds, too: they were not made again


def test_without_mpi_figure_3_says_so(done, monkeypatch):
    def find():
        raise ValueError("there is no mpiexec")

    monkeypatch.setattr(speedup.launch, "find", find)
    assert speedup.no_ranks(settings.QUICK) == "there is no mpiexec"
    content = json.loads((done / "fig3.json").read_text())  # its effort has no ranks
    assert (
        "4 virtual workers of the simulator" in command.FIGURES["fig3"].draw(content).legends[0].get_title().get_text()
    )
    line = (
        "Trained by 4 virtual workers of the simulator, in virtual seconds, as there are no ranks of MPI: they were not"
    )
    assert line in (done / "verdict.md").read_text()


def of_cluster(rates):
    """What is found with so many updates a second, by number of workers; the server can do 400."""
    curves = {
        k: [[row | {"updates_per_second": rate, "delay": int(k) - 1} for row in rows([9, 5, 2])]]
        for k, rate in rates.items()
    }
    return {"server": 1 / 400, "curves": curves}


@pytest.mark.parametrize(("rates", "held"), [({"1": 50, "4": 190}, True), ({"1": 200, "4": 400}, False)])
def test_server_of_the_cluster(rates, held):
    found = of_cluster(rates)
    claim = cluster.claims({"cluster": found})[-1]
    assert claim["held"] is held
    assert cluster.loads(found) == {k: pytest.approx(rate / 400) for k, rate in rates.items()}
    assert cluster.saturates_at(found) == pytest.approx(400 / rates["1"])
    assert cluster.delays(found["curves"]) == {"1": 0, "4": 3}


def test_cluster_has_a_look_of_its_own(done):
    content = json.loads((done / "fig4.json").read_text()) | {"cluster": of_cluster({"1": 50, "4": 190, "10": 380})}
    figure = command.FIGURES["fig4"].draw(content)
    drawn = [line for panel in figure.axes for line in panel.get_lines()]
    looks = {line.get_color() for line in drawn if line.get_label() == cluster.WHAT}
    assert looks == {drawing.ON_CLUSTER["color"]}
    assert not looks & {*drawing.COLOURS, drawing.SIMULATED["color"]}
    assert drawing.ON_CLUSTER["linestyle"] not in (*drawing.LINES, drawing.SIMULATED["linestyle"])
    assert sum(line.get_label() == cluster.WHAT for line in drawn) == 3  # speedup, load, delays
    assert all(0 < len(panel.get_lines()) <= 6 for panel in figure.axes)


def test_says_why_there_is_no_cluster(done, monkeypatch):
    assert "The emulated cluster was not measured: it was not asked for." in (done / "verdict.md").read_text()
    effort = replace(settings.FULL, hosts=(1, 10))
    monkeypatch.setattr(cluster, "no_ranks", lambda effort: "")
    monkeypatch.setattr(cluster.joblib, "cpu_count", lambda: 1)
    assert cluster.why_not(effort) == "11 hosts need 1.1 cores, and there are 1"
    monkeypatch.setattr(cluster.joblib, "cpu_count", lambda: 2)
    monkeypatch.setattr(hosts.os, "geteuid", lambda: 1000, raising=False)
    assert cluster.why_not(effort) in ("only root can make network namespaces", "only Linux has network namespaces")


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_cluster_is_measured(mpi, dense, monkeypatch):
    monkeypatch.setattr(cluster, "ON_CLUSTER", {"batch_size": 50, "inner_steps": 20})
    monkeypatch.setattr(cluster, "BUSY", {"batch_size": 1, "inner_steps": 100})
    monkeypatch.setattr(cluster, "SHARE", 0.5)
    with alone("cluster"):
        if lacks := hosts.why_not():
            pytest.skip(lacks)
        found = cluster.measure(dense, replace(TINY, seeds=1, ranks=True, hosts=(1, 2)))
        assert "asv0" not in hosts.sh("ip netns list")
    assert list(found["curves"]) == ["1", "2"]
    assert all(rows[-1]["loss"] < rows[0]["loss"] for (rows,) in found["curves"].values())
    assert found["curves"]["1"][0][-1]["delay"] == 0 < found["curves"]["2"][0][-1]["delay"]
    assert 0 < found["server"] < 1


def test_verdict_names_what_was_widened(done):
    content = json.loads((done / "fig1.json").read_text())
    best = content["tuned"]["SGD"] | {"added": {"alpha": [5.0], "beta": []}, "at_edge": True}
    text = verdict.text({"fig1": content | {"tuned": {"SGD": best}}})
    assert "| alpha 5, as the best lay at its edge, and the best still lies there |" in text


def test_quick_is_a_part_of_the_papers_grid():
    assert set(settings.QUICK.alphas) <= set(settings.FULL.alphas)
    assert set(settings.QUICK.betas) <= set(settings.FULL.betas)
    assert len(settings.FULL.alphas) * len(settings.FULL.betas) == 88
