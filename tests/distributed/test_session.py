"""Ranks that train together: what one refuses ends all; the command line under mpiexec."""

import json
import re
import sys

import numpy as np
import pytest
from helpers.mpi_jobs import START, digits, mpiexec, run

pytestmark = [pytest.mark.timeout(180), pytest.mark.usefixtures("mpi")]


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
            broken(1, params={"backend": MPI(compress="float16")}),
            broken(2, params={"backend": MPI(servers=2)}),
            {"params": {"backend": MPI(servers=3)}},
            {"params": {"backend": MPI(servers=2)}} | broken(1, X=X[1:], y=y[1:]),
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
            assert seconds < 20
            if rank != culprit or word != "KeyError":
                assert word in text or culprit is None
            assert culprit in (None, rank) or f"rank {culprit}" in text
        assert one["loss"] == told[0]["loss"]


# ---- The command. ----


def test_the_command_under_mpiexec(mpi, tmp_path):
    """Rank 0 alone prints and writes."""
    arguments = ["train", "--max-iter", "3", "--trace", "t.json", "--save", "m.npz", "--checkpoint-dir", "kept"]
    done = run([*mpiexec(mpi, 3), sys.executable, "-m", "asysvrg", *arguments], tmp_path)
    assert done.code == 0, str(done)
    assert done.out.count("stopped after 3 epochs (max_iter)") == 1
    assert "2 worker(s), 1 thread(s), distributed, update=server" in done.out
    [delay] = re.findall(r"^epoch 3/3: .*delay (\d\.\d), \d+ updates/s, 2 workers$", done.err, re.MULTILINE)
    assert float(delay) == pytest.approx(1, abs=0.3)
    rows = json.loads((tmp_path / "t.json").read_text())["epochs"]
    assert rows[-1]["test_error"] < 0.15
    assert {"workers", "updates_per_second", "dropped", "events"} < set(rows[0])
    done = run([sys.executable, "-m", "asysvrg", "predict", "digits", "--model", "m.npz"], tmp_path)
    assert done.code == 0, str(done)


def test_a_file_that_is_missing_on_one_rank(mpi, tmp_path):
    X, y = digits()
    for rank in (0, 2):
        np.savetxt(tmp_path / f"{rank}.csv", np.c_[X, y][:300], delimiter=",")
    program = tmp_path / "program.py"
    program.write_text(START + "from asysvrg.cli import main\nsys.exit(main(['train', f'{RANK}.csv', '--quiet']))\n")
    done = run([*mpiexec(mpi, 3), sys.executable, program], tmp_path)
    assert done.code != 0
    assert done.seconds < 50
    [line] = [line for line in done.err.splitlines() if "error:" in line and "asysvrg train" in line]
    assert re.search(r"rank 1: .*1\.csv", line), str(done)
    assert not done.left


def test_without_other_ranks(mpi, tmp_path):
    for argv in ([], mpiexec(mpi, 1)):
        done = run([*argv, sys.executable, "-m", "asysvrg", "train", "--backend", "mpi"], tmp_path)
        assert done.code == 2, str(done)
        [line] = [line for line in done.err.splitlines() if "asysvrg train: error:" in line]
        assert "a server without workers" in line
        assert "asysvrg launch" in line


def test_a_launcher_of_another_mpi(mpi, tmp_path):
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
