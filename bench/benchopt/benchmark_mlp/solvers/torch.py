"""PyTorch on CPUs, eager: Adam, or SGD with momentum."""

import itertools

import torch
from benchopt import BaseSolver
from torch.nn.functional import cross_entropy


class Solver(BaseSolver):
    """A Sequential of linear layers."""

    name = "torch"
    requirements = ["pip::torch"]
    sampling_strategy = "callback"
    parameters = {"solver, rate": [("adam", 1e-3), ("momentum", 0.02)], "batch": [50]}

    def set_objective(self, X, y, widths, C):
        """What the benchmark minimises."""
        self.X, self.y = torch.from_numpy(X), torch.from_numpy(y)
        self.widths, self.C = widths, C

    def run(self, callback):
        """A pass over the samples for each call."""
        torch.manual_seed(0)
        self.layers = [torch.nn.Linear(a, b) for a, b in itertools.pairwise(self.widths)]
        net = torch.nn.Sequential(*[part for layer in self.layers for part in (layer, torch.nn.ReLU())][:-1])
        groups = [
            {"params": [layer.weight for layer in self.layers], "weight_decay": self.C},
            {"params": [layer.bias for layer in self.layers]},
        ]
        if self.solver == "adam":
            optimizer = torch.optim.Adam(groups, lr=self.rate)
        else:
            optimizer = torch.optim.SGD(groups, lr=self.rate, momentum=0.9)
        while callback():
            for rows in torch.randperm(len(self.X)).split(self.batch):
                optimizer.zero_grad()
                cross_entropy(net(self.X[rows]), self.y[rows]).backward()
                optimizer.step()

    def get_result(self):
        """Weights, transposed, and biases."""
        return {
            "layers": [
                (layer.weight.detach().numpy().T.copy(), layer.bias.detach().numpy().copy()) for layer in self.layers
            ]
        }
