"""
Delays, measured and simulated
==============================

You learn what a delay is, how large delays are with two real threads, and what a hundred threads would do.
"""

# %%
# Threads that do not wait for each other (``execution="shared"``) read the parameters while others write. The delay of
# an update is the number of updates that its gradient has not seen. It is counted in each run.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from asysvrg import AsySVRGClassifier, simulate

X, y = load_digits(return_X_y=True)
settings = {
    "hidden_layer_sizes": (50,),
    "solver": "svrg",
    "learning_rate_init": 0.1,
    "batch_size": 10,
    "inner_steps": 1000,
    "max_iter": 5,
    "tol": 0,
    "random_state": 0,
}
real = AsySVRGClassifier(**settings, execution="shared", n_jobs=2).fit(X / 16, y)
last = real.history_["epochs"][-1]["delay"]
print(f"two threads: delay {last['mean']:.2f} on average, at most {last['max']}; loss {real.loss_:.4f}")

# %%
# ``simulate`` does the same with virtual workers, in one thread and in virtual time. Each gradient is taken at the
# older parameters that its worker has read. The same arguments give the same bits. With a hundred workers this rate is
# too large: the run warns that it went back.
virtual = {}
for workers in (1, 2, 10, 100):
    model = AsySVRGClassifier(**settings)
    virtual[workers] = simulate(model, X / 16, y, workers=workers, compute="lognormal:1e-4:0.3", message=1e-6)
    row = virtual[workers].history_["epochs"][-1]
    print(f"{workers:3} virtual: delay {row['delay']['mean']:5.2f} on average, loss {row['loss']:.4f}")

# %%
# The mean delay is K - 1 with K workers, whatever the times of an iteration are. The spread depends on these times.
figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
for workers, style in ((2, "k-"), (10, "k--"), (100, "k:")):
    counts = np.array(virtual[workers].history_["delay_histogram"])
    axes.plot(counts / counts.sum(), style, label=f"{workers} virtual workers")
counts = np.array(real.history_["delay_histogram"])
axes.plot(counts / counts.sum(), "o", color="0.5", label="two threads, measured", markersize=4)
axes.set(xlabel="delay", ylabel="share of updates", xscale="symlog", xlim=(0, None))
axes.legend()
plt.show()

# %%
# Late gradients cost progress only when there are many: here the loss by epochs.
figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
for (workers, model), style in zip(virtual.items(), ("k-", "k--", "k-.", "k:"), strict=True):
    axes.semilogy([row["loss"] for row in model.history_["epochs"]], style, label=f"{workers}")
axes.set(xlabel="epoch", ylabel="objective")
axes.legend(title="virtual workers")
plt.show()

# %%
# And by virtual seconds, more workers are faster until delays and the time of a full gradient eat that up.
figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
for (workers, model), style in zip(virtual.items(), ("k-", "k--", "k-.", "k:"), strict=True):
    rows = model.history_["epochs"]
    axes.loglog([row["seconds"] for row in rows[1:]], [row["loss"] for row in rows[1:]], style, label=f"{workers}")
axes.set(xlabel="virtual seconds", ylabel="objective")
axes.legend(title="virtual workers")
plt.show()

# %%
# ``max_delay`` bounds the delay in real runs: an update that would be later is computed again.
bounded = AsySVRGClassifier(**settings, execution="shared", n_jobs=2, max_delay=1).fit(X / 16, y)
print("largest delay with max_delay=1:", max(row["delay"]["max"] for row in bounded.history_["epochs"]))
