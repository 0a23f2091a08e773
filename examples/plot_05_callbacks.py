"""
Early stopping and callbacks
============================

You learn which epoch a fit keeps, how to watch a run while it goes on, and how to stop it by a rule of your own.
"""

# %%
# From 10,000 samples on, a tenth of them is held out, and the epoch that predicts these best is kept. On smaller sets
# you ask for it, or you give a validation set of your own. Noisy labels show best what it is good for: a third of the
# training labels is wrong here.
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from asysvrg import AsySVRGClassifier

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
rng = np.random.default_rng(0)
wrong = rng.random(len(y_train)) < 1 / 3
y_train = np.where(wrong, rng.integers(0, 10, len(y_train)), y_train)

# %%
# A constant rate and many epochs: the network learns the wrong labels, too. The callback gets each row of
# ``history_["epochs"]``, a dict, as soon as it is there. Here it collects test errors, which the fit itself never uses.
settings = {"hidden_layer_sizes": (100,), "solver": "svrg", "learning_rate_init": 0.02, "max_iter": 60, "tol": 0}
epochs = []
model = AsySVRGClassifier(**settings, early_stopping=False, random_state=0)
model.fit(X_train / 16, y_train, X_val=X_test / 16, y_val=y_test, callback=lambda row: epochs.append(row))
print(f"{len(epochs)} rows, with the columns {', '.join(list(epochs[0])[:7])}, ...")
print(f"the last epoch:   accuracy {model.score(X_test / 16, y_test):.3f}")

# %%
# ``early_stopping=True`` holds out a tenth of the training samples, wrong labels included, and keeps the best epoch.
stopped = AsySVRGClassifier(**settings, early_stopping=True, n_iter_no_change=15, random_state=0)
stopped.fit(X_train / 16, y_train)
print(f"early stopping:   accuracy {stopped.score(X_test / 16, y_test):.3f}, after {stopped.n_iter_} epochs")

# %%
# A callback that returns True ends the fit. This one stops when the training error falls below the share of labels that
# are known to be wrong.
ruled = AsySVRGClassifier(**settings, early_stopping=False, random_state=0)
ruled.fit(X_train / 16, y_train, callback=lambda row: row["train_error"] < 0.3)
print(f"a rule of my own: accuracy {ruled.score(X_test / 16, y_test):.3f}, after {ruled.n_iter_} epochs")
print(f"why it ended: {ruled.stopped_!r}")

# %%
# The automatic settings need none of this as much: their rate falls to 0, and they end after few epochs.
default = AsySVRGClassifier(random_state=0).fit(X_train, y_train)
print(f"defaults:         accuracy {default.score(X_test, y_test):.3f}, after {default.n_iter_} epochs")

# %%
import matplotlib.pyplot as plt

figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
axes.plot([row["train_error"] for row in epochs], "k--", label="training error, a third of the labels wrong")
axes.plot([row["test_error"] for row in epochs], "k-", label="test error, right labels")
axes.axvline(ruled.n_iter_, color="0.6", linestyle=":", label="where the rule stops")
axes.set(xlabel="epoch", ylabel="error", ylim=(0, None))
axes.legend()
plt.show()
