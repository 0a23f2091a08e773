"""The tables of docs/simulator.md: simulated beside real runs, speedup up to 1,000 workers, policies, costs of records.

Run: python bench/simulation.py [real|speedup|policies|record|delays ...]. Ranks need mpiexec beside the interpreter.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from sklearn import datasets

import asysvrg
from asysvrg import AsySVRGClassifier, data, simulate
from asysvrg.distributed import launch
from asysvrg.report import plots
from asysvrg.reproduce.drawing import style
from asysvrg.simulation.calibrate import calibrate

EPOCHS = 4
KS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
SLOW = {0: 0.1}  # one worker in ten takes ten times as long


def cifar():
    sets = data.load("cifar10-features")
    return sets.X_train, sets.y_train


def model(**parameters):
    """The paper's setting for CIFAR-10: 384-50-10, b = 10, m = 2,000, plain SVRG."""
    given = {"batch_size": 10, "inner_steps": 2000, "solver": "svrg", "sgd_epochs": 0, "deflation": 0, "tol": 0}
    given |= {"sampling": "replacement", "learning_rate_init": 0.02, "max_iter": EPOCHS, "early_stopping": False}
    return AsySVRGClassifier((50,), random_state=0, **given | parameters)


def epoch_seconds(history):
    return min(np.diff([row["seconds"] for row in history["epochs"]]))


def mean_delay(history):
    return statistics.mean(row["delay"]["mean"] for row in history["epochs"][1:])


def of_ranks(workers):
    """The history of a run under mpiexec."""
    with tempfile.TemporaryDirectory() as folder:
        command = launch.find().command(workers + 1, None, [])
        command += [sys.executable, __file__, "rank", f"{folder}/history.json"]
        subprocess.run(command, check=True, env=launch.environment(Path(folder)) | {"OMP_NUM_THREADS": "1"})
        return json.loads(Path(folder, "history.json").read_text())


def rank(path):
    fitted = model(backend="mpi").fit(*cifar())
    if launch.mpi.launched()[0] == 0:
        Path(path).write_text(json.dumps(fitted.history_))


def real():
    """Seconds of an epoch and mean delays; costs are calibrated just before."""
    X, y = cifar()
    costs = calibrate(model(), X, y)
    print("costs:", json.dumps({name: {k: float(f"{v:.3g}") for k, v in each.items()} for name, each in costs.items()}))
    print("| run | real s | simulated s | ratio | real delay | simulated delay |\n|---|---|---|---|---|---|")
    for k in (1, 2):
        runs = (model(execution="shared", n_jobs=k, max_iter=8).fit(X, y).history_ for _ in range(5))  # short ones
        row(f"{k} thread(s)", min(runs, key=epoch_seconds), "shared", k, costs, X, y)
    for k in (1, 2, 3):
        fastest = min((of_ranks(k) for _ in range(3)), key=epoch_seconds)
        row(f"{k + 1} ranks, {k} worker(s)", fastest, "distributed", k, costs, X, y)


def row(name, history, architecture, k, costs, X, y):
    virtual = simulate(model(), X, y, workers=k, architecture=architecture, costs=costs).history_
    both = [epoch_seconds(each) for each in (history, virtual)]
    delays = [mean_delay(each) for each in (history, virtual)]
    print(f"| {name} | {both[0]:.3f} | {both[1]:.3f} | {both[1] / both[0]:.2f} | {delays[0]:.2f} | {delays[1]:.2f} |")


def speedup():
    """Virtual seconds of an epoch: iterations of 1 ms, lognormal; a server of 20 us; a memory of 0.5% per worker."""
    X, y = cifar()
    print("| workers | shared speedup | loss | wall s | distributed speedup | loss | wall s | mean delay |")
    print("|---|---|---|---|---|---|---|---|")
    first = {}
    for k in KS:
        cells, delay = [str(k)], 0.0
        for architecture in ("shared", "distributed"):
            costs = {"compute": "lognormal:0.001:0.3", "message": 1e-4, "server": 2e-5, "sweep": 1.0}
            costs |= {"contention": 0.005} if architecture == "shared" else {}
            begin = time.perf_counter()
            history = simulate(model(), X, y, workers=k, architecture=architecture, **costs).history_
            wall = time.perf_counter() - begin
            seconds, delay = epoch_seconds(history), mean_delay(history)
            speed = first.setdefault(architecture, seconds) / seconds
            cells += [f"{speed:.1f}", f"{history['epochs'][-1]['loss']:.4f}", f"{wall:.1f}"]
        print(f"| {' | '.join(cells)} | {delay:.0f} |", flush=True)


POLICIES = {
    "none, equal workers": {"speeds": None},
    "none": {},
    "wait 12": {"policy": "wait", "max_delay": 12},
    "drop 20": {"policy": "drop", "max_delay": 20},
    "adaptive": {"policy": "adaptive"},
}


def policies(target=0.45, rates=(0.01, 0.02, 0.05, 0.1, 0.2)):
    """Ten workers, one of them ten times as slow: virtual seconds and updates to a loss, at several rates.

    Draws docs/policies.png: seconds against rates.
    """
    X, y = cifar()
    times = {name: [] for name in POLICIES}
    print("| rate | policy | seconds to the target | epochs | last loss | largest delay | dropped |")
    print("|---|---|---|---|---|---|---|")
    for rate in rates:
        for name, how in POLICIES.items():
            given = {"speeds": SLOW, "compute": "lognormal:0.001:0.3", "sweep": 1.0, "architecture": "distributed"}
            one = model(learning_rate_init=rate, max_iter=40, target_loss=target)
            rows = simulate(one, X, y, workers=10, **given | how).history_["epochs"]
            times[name].append(rows[-1]["seconds"] if rows[-1]["loss"] <= target else np.nan)
            seconds = f"{times[name][-1]:.2f}" if rows[-1]["loss"] <= target else f"> {rows[-1]['seconds']:.2f}"
            delay, dropped = max(row["delay"]["max"] for row in rows), sum(row["dropped"] for row in rows)
            cells = [rate, name, seconds, len(rows) - 1, f"{rows[-1]['loss']:.4f}", delay, dropped]
            print(f"| {' | '.join(map(str, cells))} |", flush=True)
    draw_policies(rates, times, Path(__file__).parents[1] / "docs" / "policies.png")


def draw_policies(rates, times, path):
    figure = Figure(figsize=(6.5, 4), layout="constrained")
    panel = figure.subplots()
    for number, (name, seconds) in enumerate(times.items()):
        panel.loglog(rates, seconds, label=name, **style(number))
    panel.set(xlabel="learning rate", ylabel="virtual seconds to the target", xticks=rates, yticks=(3, 5, 10, 20, 50))
    panel.set_xticklabels(rates)
    panel.set_yticklabels((3, 5, 10, 20, 50))
    panel.minorticks_off()
    panel.grid(alpha=0.3)
    panel.legend()
    plots.write(figure, path)


def record():
    """What recording costs: seconds of an epoch without and with it, the file, and how near the replay is."""
    X, y = cifar()
    path = Path(tempfile.mkdtemp()) / "run.jsonl"
    print("| threads | dtype | without s | with s | bytes an update | largest relative difference of the losses |")
    print("|---|---|---|---|---|---|")
    for threads in (1, 2, 4):
        for dtype in ("float32", "float64"):
            seconds = []
            for records in (False, True):
                fitted = model(execution="shared", n_jobs=threads, dtype=dtype)
                with asysvrg.record(path) if records else nullcontext():
                    fitted.fit(X, y)
                seconds.append(epoch_seconds(fitted.history_))
            again = simulate(model(dtype=dtype), X, y, schedule=path)
            losses = [np.array([row["loss"] for row in each.history_["epochs"]]) for each in (fitted, again)]
            size, apart = path.stat().st_size / EPOCHS / 2000, abs(losses[1] / losses[0] - 1).max()
            print(
                f"| {threads} | {dtype} | {seconds[0]:.3f} | {seconds[1]:.3f} | {size:.0f} | {apart:.1e} |", flush=True
            )


def delays(workers=8):
    """Delays of 8 virtual workers by the distribution of their times, less those of the start, 0 to 7."""
    X, y = datasets.load_digits(return_X_y=True)
    print("| times of an iteration | mean | most frequent | range after the start |")
    print("|---|---|---|---|")
    for times in ("constant:1", "lognormal:1:0.15", "lognormal:1:0.2", "lognormal:1:0.3", "exponential:1"):
        fitted = AsySVRGClassifier((), solver="svrg", batch_size=5, inner_steps=700, max_iter=1, random_state=0)
        simulate(fitted, X, y, workers=workers, architecture="distributed", compute=times, message=0.0, server=0.0)
        counts = np.array(fitted.history_["delay_histogram"])
        mean = np.arange(len(counts)) @ counts / counts.sum()
        counts[:workers] -= 1
        (seen,) = np.nonzero(counts > 0)
        print(f"| {times} | {mean:.2f} | {counts.argmax()} | {seen[0]} to {seen[-1]} |")


PARTS = {"real": real, "speedup": speedup, "policies": policies, "record": record, "delays": delays}

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    if sys.argv[1:2] == ["rank"]:
        rank(sys.argv[2])
    else:
        for part in sys.argv[1:] or PARTS:
            print(f"\n{part}: {PARTS[part].__doc__}\n")
            PARTS[part]()
