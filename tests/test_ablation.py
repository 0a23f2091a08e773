"""bench/switches.py: every switch fits the code as it is."""

import re
from pathlib import Path

import numpy as np
import pytest

from asysvrg import AsySVRGClassifier, plan
from asysvrg.core.network import Network
from asysvrg.method import Data
from asysvrg.settings import check

ROOT = Path(__file__).parents[1]


@pytest.fixture
def switches(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    return pytest.importorskip("switches")


def plans(**settings):
    """The plans for a set like MNIST and for a sparse one."""
    settings = check(AsySVRGClassifier(n_jobs=2, **settings))
    sets = Data(10_000, 784, 1_500_000, False), Data(6000, 20_000, 480_000, True)
    shapes = [Network((data.inputs, 100, 10), "relu", "softmax", np.float32) for data in sets]
    return [plan.make_plan(settings, shape, data) for shape, data in zip(shapes, sets, strict=True)]


def test_every_switch_changes_the_plan_or_an_edited_constant(switches):
    texts = switches.edited()
    for name, switch in switches.SWITCHES.items():
        compiled = {key.rpartition(".")[2] for key in switch.patches if key.startswith("core.inner.")}
        if compiled:
            uses = [len(re.findall(rf"\b{key}\b", texts["asysvrg/core/inner.pyx"])) for key in compiled]
            assert min(uses) > 1, name
        elif name != switches.NOISE:
            svrg = {"solver": "svrg"} if name == "l2 continuation" else {}
            with switches.patched(switch.patches):
                off = plans(**switch.settings | svrg)
            assert off != plans(**svrg), name


def test_an_edit_that_does_not_apply_is_an_error(switches, monkeypatch):
    monkeypatch.setattr(switches, "EDITS", [("csrc/types.h", "no such line", "")])
    with pytest.raises(SystemExit, match="once is expected"):
        switches.edited()


def test_a_name_that_does_not_exist_is_an_error(switches):
    with pytest.raises(AttributeError), switches.patched({"plan.NO_SUCH_NAME": 1}):
        pass
