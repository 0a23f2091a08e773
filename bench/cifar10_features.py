"""Builds cifar10-features.npz from CIFAR-10's binary files: `python bench/cifar10_features.py --data FOLDER`.

The network is the TensorFlow tutorial's for CIFAR-10: twice a convolution of 5 x 5 with 64 channels, max-pooling and
local response normalisation, then two fully connected layers, here of 384 units each, and softmax. It is trained on
random crops of 24 x 24 pixels, half of them mirrored. The features of an image are the second fully connected layer
after ReLU, for the crop in the middle. They are multiplied by one number, so that the mean squared norm of a training
row is 100, about that of an image of MNIST.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from asysvrg.data import formats
from asysvrg.data.reading import Reading
from asysvrg.store.files import replacing

SIDE, CROP, UNITS = 32, 24, 384
BATCH, RATE, MOMENTUM, DECAY = 128, 0.02, 0.9, 0.004
SQUARED_NORM = 100.0


class LocalResponse(nn.LocalResponseNorm):
    """TensorFlow's tf.nn.lrn(x, 4, bias=1, alpha=0.001 / 9, beta=0.75); PyTorch divides alpha by the size itself."""

    def __init__(self) -> None:
        super().__init__(9, alpha=0.001, beta=0.75, k=1.0)


def network() -> nn.Sequential:
    """The tutorial's, to the logits. The features are the output of all but its last layer."""
    layers: list[nn.Module] = [
        nn.Conv2d(3, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True), LocalResponse(),
        nn.Conv2d(64, 64, 5, padding=2), nn.ReLU(), LocalResponse(), nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.Flatten(),
        nn.Linear(64 * (CROP // 4) ** 2, UNITS), nn.ReLU(),
        nn.Linear(UNITS, UNITS), nn.ReLU(),
        nn.Linear(UNITS, 10),
    ]  # fmt: skip
    for layer, spread, bias in zip(
        [layer for layer in layers if hasattr(layer, "weight")],
        (0.05, 0.05, 0.04, 0.04, 1 / UNITS), (0.0, 0.1, 0.1, 0.1, 0.0), strict=True,
    ):  # fmt: skip
        nn.init.trunc_normal_(layer.weight, std=spread, a=-2 * spread, b=2 * spread)
        nn.init.constant_(layer.bias, bias)
    return nn.Sequential(*layers)


def images(rows: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.array(rows)).reshape(-1, 3, SIDE, SIDE)


def standardized(crops: torch.Tensor) -> torch.Tensor:
    """Each image with mean 0 and deviation 1, or less for one that is nearly of one colour."""
    flat = crops.reshape(len(crops), -1).float()
    deviation = flat.std(1, unbiased=False, keepdim=True).clamp(min=flat.shape[1] ** -0.5)
    return ((flat - flat.mean(1, keepdim=True)) / deviation).reshape(crops.shape)


def distorted(batch: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Random crops, half of them mirrored."""
    windows = batch.unfold(2, CROP, 1).unfold(3, CROP, 1)
    y, x = torch.randint(SIDE - CROP + 1, (2, len(batch)), generator=generator)
    crops = windows[torch.arange(len(batch)), :, y, x]
    mirrored = torch.rand(len(batch), generator=generator) < 0.5
    return standardized(torch.where(mirrored[:, None, None, None], crops.flip(3), crops))


def middle(batch: torch.Tensor) -> torch.Tensor:
    edge = (SIDE - CROP) // 2
    return standardized(batch[:, :, edge : edge + CROP, edge : edge + CROP])


def trained(X: torch.Tensor, y: torch.Tensor, epochs: int, seed: int) -> nn.Sequential:
    """Trains by SGD with momentum, at a rate that falls to 0 in a straight line."""
    torch.manual_seed(seed)
    net, generator = network(), torch.Generator().manual_seed(seed)
    connected = [p for layer in net if isinstance(layer, nn.Linear) and layer is not net[-1] for p in [layer.weight]]
    others = [p for p in net.parameters() if all(p is not other for other in connected)]
    groups: list[dict[str, Any]] = [{"params": connected, "weight_decay": DECAY}, {"params": others}]
    optimizer = torch.optim.SGD(groups, lr=RATE, momentum=MOMENTUM, nesterov=True)
    steps = epochs * -(-len(X) // BATCH)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    for epoch in range(epochs):
        begin, losses = time.perf_counter(), []
        for rows in torch.randperm(len(X), generator=generator).split(BATCH):
            loss = cross_entropy(net(distorted(X[rows], generator)), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(float(loss.detach()))
        seconds = time.perf_counter() - begin
        print(f"epoch {epoch + 1}/{epochs}: loss {np.mean(losses):.4f}, {seconds:.0f} s", file=sys.stderr, flush=True)
    return net


@torch.no_grad()
def outputs(net: nn.Sequential, X: torch.Tensor) -> np.ndarray:
    """What layers give for the middle of each image."""
    return np.concatenate([net(middle(batch)).numpy() for batch in X.split(500)])


def build(folder: Path, epochs: int, seed: int) -> tuple[dict[str, np.ndarray], float]:
    """The arrays of the file, and the network's own accuracy on the test set.

    Raises
    ------
    ValueError
        If the folder lacks the training or the test set.
    """
    (X, y), test, _ = formats.read(folder, Reading())
    if test is None or X.shape[1] != 3 * SIDE**2:
        raise ValueError(f"{folder} lacks CIFAR-10's test*.bin, beside train*.bin or data_batch*.bin")
    net = trained(images(X), torch.from_numpy(y), epochs, seed)
    accuracy = float((outputs(net, images(test[0])).argmax(1) == test[1]).mean())
    found = {name: outputs(net[:-1], images(rows)) for name, rows in {"X_train": X, "X_test": test[0]}.items()}
    norm = (found["X_train"].astype(np.float64) ** 2).sum(1).mean()
    found = {name: rows * np.float32((SQUARED_NORM / norm) ** 0.5) for name, rows in found.items()}
    return found | {"y_train": y, "y_test": test[1]}, accuracy


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    home = Path(os.environ.get("ASYSVRG_DATA_HOME", "."))
    parser.add_argument(
        "--data", type=Path, default=home / "cifar10", help="folder (default: ASYSVRG_DATA_HOME/cifar10)"
    )
    parser.add_argument("--out", type=Path, default=Path("cifar10-features.npz"), help="(default: in this folder)")
    parser.add_argument("--epochs", type=int, default=10, help="(default: 10)")
    parser.add_argument("--seed", type=int, default=0, help="(default: 0)")
    given = parser.parse_args(argv)
    if given.epochs < 1:
        parser.error(f"--epochs {given.epochs}: at least one is needed")
    if not given.out.absolute().parent.is_dir():
        parser.error(f"--out {given.out}: there is no folder {given.out.parent}")
    if not given.data.is_dir():
        parser.error(f"--data {given.data} is no folder: CIFAR-10's binary files are expected there")
    try:
        arrays, accuracy = build(given.data, given.epochs, given.seed)
    except ValueError as error:
        parser.error(str(error))
    with replacing(given.out) as file:
        np.savez_compressed(file, **arrays)
    shapes = ", ".join(f"{name} {'x'.join(map(str, array.shape))}" for name, array in arrays.items())
    print(f"{given.out}: {shapes}; the network's test accuracy {accuracy:.1%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
