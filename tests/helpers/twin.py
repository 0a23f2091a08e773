"""The slow, obvious NumPy twin of every kernel: network, direction, coordinates, inner loop.

Formulas in float64, straight from the paper; nothing here is shared with csrc/ but the random draws.
"""

import itertools

import numpy as np
from scipy.special import expit, huber, xlogy
from scipy.stats import norm

from asysvrg.core.draws import draw_batch, draw_blocks

# Each activation and its derivative, in terms of the sum z.
ACTIVATION = {
    "relu": (lambda z: np.maximum(z, 0), lambda z: (z > 0).astype(float)),
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "logistic": (expit, lambda z: expit(z) * (1 - expit(z))),
    "identity": (lambda z: z, np.ones_like),
    "leaky_relu": (lambda z: np.where(z > 0, z, 0.01 * z), lambda z: np.where(z > 0, 1, 0.01)),
    "gelu": (lambda z: z * norm.cdf(z), lambda z: norm.cdf(z) + z * norm.pdf(z)),
}


# Losses of real targets: values, derivatives by the sums z, outputs.
LOSS = {
    "squared_error": lambda z, y: ((z - y) ** 2 / 2, z - y, z),
    "absolute_error": lambda z, y: (abs(z - y), np.sign(z - y), z),
    "huber": lambda z, y: (huber(1, z - y), np.clip(z - y, -1, 1), z),
    "poisson": lambda z, y: (np.exp(z) - y * z + xlogy(y, y) - y, np.exp(z) - y, np.exp(z)),
}


def unpack(widths, x):
    """[(W_0, b_0), ...] from the flat vector, by the layout of csrc/types.h."""
    layers, at = [], 0
    for w, v in itertools.pairwise(widths):
        layers.append((x[at : at + w * v].reshape(w, v), x[at + w * v : at + w * v + v]))
        at += w * v + v
    assert at == len(x)
    return layers


def l2_of_coordinates(widths, alpha):
    """alpha of every coordinate: a number, or one for each row of W_0 and then for each further layer."""
    alpha = np.broadcast_to(alpha, widths[0] + len(widths) - 2)
    rows = [np.repeat(alpha[: widths[0]], widths[1])]
    rows += [np.full(w * v, a) for w, v, a in zip(widths[1:-1], widths[2:], alpha[widths[0] :], strict=True)]
    return np.concatenate([np.r_[r, np.zeros(v)] for r, v in zip(rows, widths[1:], strict=True)])


def losses_and_deltas(widths, activation, loss, smoothing, x, X, y, weight=None):
    """Loss and outputs of every sample; for each layer its inputs and the loss's derivatives by its sums z.

    Losses and derivatives count the sample's weight; the l2 term is not in them.
    """
    function, derivative = ACTIVATION[activation]
    layers = unpack(widths, np.asarray(x, dtype=float))
    weight = np.ones(len(X)) if weight is None else weight
    acts, sums = [X], []
    for W, b in layers:
        sums.append(acts[-1] @ W + b)
        acts.append(function(sums[-1]))
    z = sums[-1]
    if loss == "softmax":
        log_p = z - z.max(1, keepdims=True)
        log_p -= np.log(np.exp(log_p).sum(1, keepdims=True))
        target = (1 - smoothing) * np.eye(z.shape[1])[y] + smoothing / z.shape[1]
        values = -(target * log_p).sum(1)
        delta = np.exp(log_p) - target
        outputs = np.exp(log_p)
    elif loss == "binary":
        target = (1 - smoothing) * y + smoothing / 2
        values = (np.logaddexp(0, z) - target * z).sum(1)
        outputs = 1 / (1 + np.exp(-z))
        delta = outputs - target
    else:
        values, delta, outputs = LOSS[loss](z, y)
        values = values.sum(1)
    delta = delta * weight[:, None]
    deltas = [(acts[-2], delta)]
    for layer in reversed(range(1, len(layers))):
        delta = (delta @ layers[layer][0].T) * derivative(sums[layer - 1])
        deltas.insert(0, (acts[layer - 1], delta))
    return values * weight, deltas, outputs


class Twin:
    """f(x) of Eq. (1) with an l2 term, and Algorithm 1 on it with one thread."""

    def __init__(self, widths, activation, loss, X, y, alpha=0.0, weight=None, smoothing=0.0):
        X = np.asarray(X.toarray() if hasattr(X, "toarray") else X, dtype=float)
        self.setting, self.data = (widths, activation, loss, smoothing), (X, y, weight)
        self.decay = l2_of_coordinates(widths, alpha)

    def passed(self, x, index=slice(None)):
        """Some samples, forward and backward through the network."""
        X, y, weight = self.data
        weight = None if weight is None else weight[index]
        return losses_and_deltas(*self.setting, x, X[index], y[index], weight)

    def per_sample(self, x, index=slice(None)):
        """Losses, gradients (n x d) and outputs of the samples."""
        values, deltas, outputs = self.passed(x, index)
        parts = [(np.einsum("ni,nj->nij", a, delta).reshape(len(a), -1), delta) for a, delta in deltas]
        return values, np.concatenate(list(itertools.chain(*parts)), axis=1), outputs

    def mean_gradient(self, x, index=slice(None), share=None):
        """The mean of the samples' gradients, each times its `share`; without a matrix of all of them."""
        parts = []
        for a, delta in self.passed(x, index)[1]:
            delta = (delta if share is None else share[:, None] * delta) / len(delta)
            parts += [(a.T @ delta).ravel(), delta.sum(0)]
        return np.concatenate(parts)

    def loss(self, x):
        return self.passed(x)[0].mean() + (self.decay * x**2).sum() / 2

    def gradient(self, x):
        return self.mean_gradient(x) + self.decay * x

    def gradient_norms(self, x, index):
        """Norms of the samples' derivatives by the outputs."""
        return np.linalg.norm(self.passed(x, index)[1][-1][1], axis=1)

    def direction(self, kind, x, x_snap, index, bases=None, share=None, mu=None):
        """Eq. (5), or the plain stochastic gradient; shortened by (I - U U') where each layer has a basis U or None.

        Gradients of the loss count `share` as much, a number for each sample of the mini-batch. mu: the gradient at
        x_snap, where the caller has it.
        """
        v = self.mean_gradient(x, index, share) + self.decay * x
        if kind == "svrg":
            v -= self.mean_gradient(x_snap, index, share) + self.decay * x_snap
            v += self.gradient(x_snap) if mu is None else mu
        if bases is None:
            return v
        seen = v + self.decay * (x_snap - x)  # the l2 term of the snapshot (csrc/kernels/precondition.inc)
        result = v.copy()
        for U, (W, b), (dW, db) in zip(
            bases, unpack(self.setting[0], seen), unpack(self.setting[0], result), strict=True
        ):
            if U is not None:
                change = U @ U.T @ np.vstack([b, W])
                db -= change[0]
                dW -= change[1:]
        return result

    def epoch(
        self, kind, x_snap, steps, eta, batch, coordinates, block, seed, epoch, replacement=True, bases=None, draws=None
    ):
        """Lines 5 to 10 of Algorithm 1. draws: as `importance.Draws`, without the norms."""
        x = np.array(x_snap, dtype=float)
        n, d = self.data[0].shape[0], len(x)
        listed, ratio = draws or (np.arange(n), np.ones(n))
        mu, rates = self.gradient(x_snap), np.broadcast_to(eta, steps)
        for t in range(steps):
            index = listed[draw_batch(seed, epoch, t, n, batch, replacement)]
            share = ratio[index]
            v = self.direction(kind, x, x_snap, index, bases, share, mu)
            k = np.arange(d)
            if coordinates:
                k = draw_blocks(seed, epoch, t, d, coordinates, block)
                k = (k[:, None] * block + np.arange(block)).ravel()
                k = k[k < d]
            x[k] -= rates[t] * v[k]  # Eq. (4)
        return x
