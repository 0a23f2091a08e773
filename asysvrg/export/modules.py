"""Modules that PyTorch has not. Imports torch: only `asysvrg.export.torch` imports this module, inside a function."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from asysvrg.preprocessing import FAR, LIMIT


class Exp(nn.Module):
    """exp(x)"""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.exp(x)


class Shift(nn.Module):
    """x + shift, in double precision."""

    def __init__(self, shift: np.ndarray):
        super().__init__()
        self.register_buffer("shift", torch.from_numpy(np.array(shift, dtype=np.float64)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.double() + self.shift


class Average(nn.Module):
    """The mean of what several modules make of x."""

    def __init__(self, modules: Sequence[nn.Module]):
        super().__init__()
        self.networks = nn.ModuleList(modules)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([network(x) for network in self.networks]).mean(dim=0)


class RobustClip(nn.Module):
    """`asysvrg.RobustClip.transform`, computed in the precision of x and rounded to `dtype`."""

    def __init__(self, center: np.ndarray, scale: np.ndarray, dtype: torch.dtype):
        super().__init__()
        self.dtype = dtype
        self.register_buffer("center", torch.from_numpy(np.array(center)))
        self.register_buffer("scale", torch.from_numpy(np.array(scale)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        largest = torch.finfo(x.dtype).max
        z = (x - self.center.to(x.dtype)).clamp(-largest, largest) / self.scale.to(x.dtype)
        z = z.clamp(-FAR, FAR)
        return (z / torch.sqrt(1 + (z / LIMIT) ** 2)).to(self.dtype)
