"""`asysvrg speedup` in the paper's setting: whole runs by 1, 2, 4, ... threads. See README.md."""

import joblib
import pytest
from conftest import ALPHA, BATCH, ENVIRONMENT, ETA

from asysvrg import AsySVRGClassifier
from asysvrg.report import speedup

COORDINATES = {"all": "all", "single": 1000, "lines": "lines:1000"}


@pytest.mark.parametrize("coordinates", COORDINATES)
def test_speedup(benchmark, mnist, coordinates):
    data, X, y = mnist
    model = AsySVRGClassifier(
        solver="svrg", alpha=ALPHA, batch_size=BATCH, learning_rate_init=ETA[coordinates] / 2, inner_steps=1000,
        coordinates=COORDINATES[coordinates], max_iter=10, execution="shared", random_state=0,
    )  # fmt: skip
    counts = sorted({1, 2, joblib.cpu_count()})
    found = benchmark.pedantic(lambda: speedup.study(model, X, y, counts, repeats=5), rounds=1)
    last, others = found["runs"][-1], found["topology"]["cores_of_others"]
    seconds = {str(row["count"]): row["seconds"] for row in found["runs"]}
    benchmark.extra_info.update(
        environment=ENVIRONMENT, data=data, threads=last["count"], speedup=last["speedup"], knee=found["knee"],
        others=others, seconds=seconds,
    )  # fmt: skip
