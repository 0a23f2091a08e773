"""
The paper's theorems beside a run
=================================

You learn what the theorems promise for a problem of yours, what a run really does, and how far these are apart.
"""

# %%
# The theorems bound the mean of the squared gradient norm over all iterations. ``track_gradient_norm=4`` measures it at
# four iterations of each epoch, and with it the constant L of Assumption 3. The activation is smooth, as the theorems
# want it.
from sklearn.datasets import load_digits

from asysvrg import AsySVRGClassifier, theory

X, y = load_digits(return_X_y=True)
settings = {
    "hidden_layer_sizes": (20,),
    "activation": "tanh",
    "alpha": 1e-3,
    "solver": "svrg",
    "batch_size": 10,
    "inner_steps": 500,
    "tol": 0,
    "random_state": 0,
}
model = AsySVRGClassifier(
    **settings, learning_rate_init=0.1, max_iter=40, execution="shared", n_jobs=2, max_delay=8, track_gradient_norm=4
).fit(X / 16, y)
report = theory.report(model.history_)
print(report)

# %%
# The report calls functions that take any numbers. The picture shows, for each delay, the largest learning rate for
# which the theorem gives a bound.
import matplotlib.pyplot as plt
import numpy as np

L, n, d, b, m = report["L"], report["n"], report["d"], report["b"], settings["inner_steps"]
delays = [0, 1, 2, 4, 8, 16, 32, 64, 128]
figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
for architecture, style in (("distributed", "k.-"), ("shared", "k.--")):
    rates = [theory.largest_eta(architecture, L=L, beta=2 * L, b=b, d=d, m=m, delay=delay) for delay in delays]
    label = "whole vectors (Theorem 3)" if architecture == "distributed" else "single coordinates (Theorem 1)"
    axes.plot(delays, rates, style, label=label)
axes.axhline(0.1, color="0.6", linestyle=":", label="the rate of this run")
axes.set(xlabel="largest delay", ylabel="largest rate with a proof", xscale="symlog", yscale="log", xlim=(0, None))
axes.legend()
plt.show()

# %%
# The metric of the theorems after T iterations. They promise that it falls as 1 / T, and it does; only the constants of
# the promise are far too careful.
rows = model.history_["epochs"][1:]
squares = np.array([row["mean_gradient_norm_squared"] for row in rows])
T = settings["inner_steps"] * np.arange(1, len(rows) + 1)
mean = np.cumsum(squares) / np.arange(1, len(rows) + 1)
slope = np.polyfit(np.log(T[len(T) // 4 :]), np.log(mean[len(T) // 4 :]), 1)[0]
print(f"slope in logarithmic scales: {slope:.2f}")
figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
axes.loglog(T, mean, "k.-", label="mean of the squared gradient norm")
axes.loglog(T, mean[-1] * T[-1] / T, color="0.6", linestyle=":", label="1 / T")
axes.set(xlabel="iterations T")
axes.legend()
plt.show()
