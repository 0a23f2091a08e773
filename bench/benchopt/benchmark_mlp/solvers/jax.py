"""JAX on CPUs: SGD with momentum, a pass over the samples compiled as one scan."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from benchopt import BaseSolver


class Solver(BaseSolver):
    """Plain JAX, without a library of layers."""

    name = "jax"
    requirements = ["pip::jax"]
    sampling_strategy = "callback"
    parameters = {"rate": [0.02], "batch": [50]}

    def set_objective(self, X, y, widths, C):
        """What the benchmark minimises."""
        self.X, self.y, self.widths = jnp.array(X), jnp.array(y), widths

        def loss(layers, X, y):
            for number, (W, b) in enumerate(layers):
                X = (jax.nn.relu(X) if number else X) @ W + b
            chosen = jnp.take_along_axis(jax.nn.log_softmax(X), y[:, None], axis=1)
            return C / 2 * sum((W**2).sum() for W, _ in layers) - chosen.mean()

        def step(state, rows):
            layers, velocity = state
            gradient = jax.grad(loss)(layers, self.X[rows], self.y[rows])
            velocity = jax.tree.map(lambda v, g: 0.9 * v - self.rate * g, velocity, gradient)
            return (jax.tree.map(jnp.add, layers, velocity), velocity), None

        self.epoch = jax.jit(lambda state, batches: jax.lax.scan(step, state, batches)[0])

    def warm_up(self):
        """Compiles outside the clock."""
        jax.block_until_ready(self.epoch(self._start(), self._batches(np.random.default_rng(0))))

    def _start(self):
        rng = np.random.default_rng(0)
        layers = [
            (jnp.array(rng.normal(scale=(2 / a) ** 0.5, size=(a, b)), dtype=jnp.float32), jnp.zeros(b))
            for a, b in itertools.pairwise(self.widths)
        ]
        return layers, jax.tree.map(jnp.zeros_like, layers)

    def _batches(self, rng):
        count = len(self.X) // self.batch
        return jnp.array(rng.permutation(len(self.X))[: count * self.batch].reshape(count, self.batch))

    def run(self, callback):
        """A pass over the samples for each call."""
        rng, self.state = np.random.default_rng(1), self._start()
        while callback():
            self.state = jax.block_until_ready(self.epoch(self.state, self._batches(rng)))

    def get_result(self):
        """Weights and biases."""
        return {"layers": [(np.asarray(W), np.asarray(b)) for W, b in self.state[0]]}
