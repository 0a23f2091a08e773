"""AsySVRG with delays that are chosen, in plain NumPy: Eqs. (4) to (6), (15) and (16)."""

import numpy as np


def run(twin, x, *, architecture, eta, m, epochs, b, delay, seed=0):
    """The mean of |grad f(x_t)|^2 over all iterations t.

    "shared": single coordinates, and x^ lacks a random half of the last `delay` updates. "distributed": whole vectors,
    and x^ is x as it was `delay` updates before. Epochs start together.
    """
    rng, norms = np.random.default_rng(seed), []
    n, x = len(twin.data[0]), np.array(x, dtype=float)
    for _ in range(epochs):
        snapshot, mu, changes = x.copy(), twin.gradient(x), []
        for _ in range(m):
            norms.append((twin.gradient(x) ** 2).sum())
            last = changes[max(len(changes) - delay, 0) :]
            missed = rng.random(len(last)) < 0.5 if architecture == "shared" else np.ones(len(last), dtype=bool)
            read = x - sum((change for change, miss in zip(last, missed, strict=True) if miss), np.zeros_like(x))
            v = twin.direction("svrg", read, snapshot, rng.integers(n, size=b), mu=mu)
            if architecture == "shared":
                v *= np.arange(x.size) == rng.integers(x.size)
            changes.append(-eta * v)
            x += changes[-1]
    return float(np.mean(norms))
