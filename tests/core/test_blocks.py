"""Blocks of rows."""

import numpy as np
import pytest

from asysvrg.core.blocks import count_nonzeros


@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (7, 2**17), (3, 2**19)], ids=str)
def test_non_zeros_are_counted_in_blocks(shape):
    X = np.random.default_rng(0).integers(-1, 2, size=shape).astype(np.float32)
    assert count_nonzeros(X) == np.count_nonzero(X)
