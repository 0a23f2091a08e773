"""The trace of a run."""

import json

import numpy as np
import pytest
from helpers.problems import Problem, shared_execution

from asysvrg.core.loop import minimize
from asysvrg.core.schedule import Schedule
from asysvrg.core.trace import Trace, delay_summary

# The trace.


def test_delays_are_summed_up():
    delays = np.array([0] * 50 + [1] * 40 + [7] * 9 + [30], dtype=np.int32)
    assert delay_summary(delays) == {"mean": pytest.approx(1.33), "p50": 1, "p99": 30, "max": 30}
    assert delay_summary(delays[:0]) == {"mean": 0, "p50": 0, "p99": 0, "max": 0}
    record = Trace({})
    for part in (delays[:90], delays[:0], delays[90:], delays[:1]):
        record.count_delays(part)
    assert record.delay_histogram == [51, 40, 0, 0, 0, 0, 0, 9, *[0] * 22, 1]


@pytest.mark.parametrize("threads", [1, 4])
def test_the_trace_has_the_delay_of_every_update(threads):
    problem = Problem(hidden=(200,), n=500)
    x, record = problem.vector(problem.x), Trace({"name": "value"})
    execution = shared_execution(problem, threads=threads)
    minimize(execution, x, Schedule("svrg", max_iter=3, inner_steps=1500, learning_rate=1e-3), record)
    content = json.loads(json.dumps(record.as_dict()))
    assert set(content) == {"config", "environment", "epochs", "delay_histogram"}
    keys = {"epoch", "seconds", "loss", "gradient_norm_squared", "sample_gradients"}
    keys |= {f"{samples}_error" for samples in ("train", "validation", "test")} | {"validation_loss"}
    histogram = content["delay_histogram"]
    assert sum(histogram) == 3 * 1500
    assert len(histogram) - 1 == max(row["delay"]["max"] for row in content["epochs"])
    mean = sum(delay * count for delay, count in enumerate(histogram)) / 4500
    assert np.mean([row["delay"]["mean"] for row in content["epochs"][1:]]) == pytest.approx(mean)
    assert (mean > 0) == (threads > 1)
    for row in content["epochs"]:
        assert keys | {"delay", "direction", "learning_rate", "rolled_back", "partial", "best"} == set(row)
        assert set(row["delay"]) == {"mean", "p50", "p99", "max"}
        assert row["delay"]["p50"] <= row["delay"]["p99"] <= row["delay"]["max"]
