"""bench/cifar10_features.py: from CIFAR-10's binary files to a file of features."""

from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
TRAIN, TEST, BATCH = 40, 20, 24  # two batches, of which the second is short


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


def test_features_of_a_few_images(script, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(script, "BATCH", BATCH)
    labels = [write(tmp_path / "train-40.bin", TRAIN, 0), write(tmp_path / "test-20.bin", TEST, 1)]
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
    assert f"X_train {TRAIN}x384" in capsys.readouterr().out


def test_files_may_be_named_as_they_are_published(script, tmp_path, monkeypatch):
    labels = [write(tmp_path / name, 10, seed) for seed, name in enumerate(("data_batch_1.bin", "test_batch.bin"))]
    monkeypatch.setattr(script, "trained", lambda X, y, epochs, seed: script.network())
    arrays, _ = script.build(tmp_path, 1, 0)
    assert [arrays[name].shape for name in ("X_train", "X_test")] == [(10, 384)] * 2
    for name, y in zip(("y_train", "y_test"), labels, strict=True):
        np.testing.assert_array_equal(arrays[name], y)


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
