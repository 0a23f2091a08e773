"""bench/cifar10_features.py: from CIFAR-10's binary files to a file of features."""

from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
TRAIN, TEST = 320, 60


@pytest.fixture
def script(monkeypatch):
    pytest.importorskip("torch", reason="the features are computed by PyTorch")
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    import cifar10_features

    return cifar10_features


def write(path, n, seed):
    """Records as CIFAR-10's: the label, then planes of red, green and blue. Labels 0 and 1 are brighter on one side."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    pixels = rng.integers(0, 120, (n, 3, 32, 32))
    pixels[labels == 0, :, :16] += 100
    pixels[labels == 1, :, 16:] += 100
    path.write_bytes(np.column_stack([labels, pixels.reshape(n, -1)]).astype(np.uint8).tobytes())
    return labels


@pytest.mark.parametrize("names", [("train-320.bin", "test-60.bin"), ("data_batch_1.bin", "test_batch.bin")])
def test_features_of_a_few_hundred_images(script, tmp_path, capsys, names):
    labels = [write(tmp_path / name, n, seed) for seed, (name, n) in enumerate(zip(names, (TRAIN, TEST), strict=True))]
    out = tmp_path / "cifar10-features.npz"
    arguments = ["--data", str(tmp_path), "--epochs", "2", "--seed", "3", "--out"]
    assert script.main([*arguments, str(out)]) == 0
    with np.load(out) as found:
        assert set(found) == {"X_train", "y_train", "X_test", "y_test"}
        for name, n, y in (("train", TRAIN, labels[0]), ("test", TEST, labels[1])):
            X = found[f"X_{name}"]
            assert (X.shape, X.dtype) == ((n, 384), np.float32)
            assert X.min() == 0  # after ReLU
            np.testing.assert_array_equal(found[f"y_{name}"], y)  # in the order of the images
        assert (found["X_train"].astype(float) ** 2).sum(1).mean() == pytest.approx(100, rel=1e-3)
        # The two kinds of images are apart: each is nearer to the mean of its own.
        means = [found["X_train"][labels[0] == k].mean(0) for k in (0, 1)]
        distances = [((found["X_test"] - mean) ** 2).sum(1) for mean in means]
        assert np.mean((distances[1] < distances[0]) == labels[1]) > 0.9
        again = tmp_path / "again.npz"
        assert script.main([*arguments, str(again)]) == 0
        np.testing.assert_allclose(np.load(again)["X_test"], found["X_test"], rtol=1e-3, atol=1e-3)
    assert "X_train 320x384" in capsys.readouterr().out


def test_crops_and_flips(script):
    import torch

    batch = torch.arange(2 * 3 * 32 * 32).reshape(2, 3, 32, 32).float()
    crops = [script.distorted(batch, torch.Generator().manual_seed(seed)) for seed in range(20)]
    assert all(crop.shape == (2, 3, 24, 24) for crop in crops)
    rising = {bool(crop[0, 0, 0, 1] > crop[0, 0, 0, 0]) for crop in crops}
    assert rising == {True, False}
    assert float(crops[0].mean().abs()) < 1e-3
    assert script.middle(batch).std(unbiased=False) == pytest.approx(1, abs=1e-3)
    assert script.network()[:-1](script.middle(batch)).shape == (2, 384)


def test_what_is_missing_is_named(script, tmp_path, capsys):
    write(tmp_path / "data_batch_1.bin", 10, 0)
    cases = (["--data", str(tmp_path / "none")], "is no folder"), (["--data", str(tmp_path)], "lacks CIFAR-10's test")
    for arguments, words in (*cases, (["--epochs", "0"], "--epochs 0"), (["--out", "no/x.npz"], "no folder no")):
        with pytest.raises(SystemExit) as stop:
            script.main(arguments)
        assert stop.value.code == 2
        assert words in capsys.readouterr().err
