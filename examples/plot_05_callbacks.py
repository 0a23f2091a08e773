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
# Below 10,000 samples nothing is held out by itself, and the network goes on to learn the wrong labels. The callback
# gets each row of ``history_["epochs"]``, a dict, as soon as it is there. Here it collects the errors on the test set,
# which the fit itself does not use.
epochs = []
model = AsySVRGClassifier(early_stopping=False, random_state=0)
model.fit(X_train, y_train, X_val=X_test, y_val=y_test, callback=lambda row: epochs.append(row))
print(f"{len(epochs)} rows, with the columns {', '.join(list(epochs[0])[:4])}, ...")
print(f"the last epoch:   accuracy {model.score(X_test, y_test):.3f}")

# %%
# ``early_stopping=True`` holds out a tenth of the training samples, wrong labels included, and keeps the epoch that
# predicts them best.
stopped = AsySVRGClassifier(early_stopping=True, random_state=0).fit(X_train, y_train)
print(f"early stopping:   accuracy {stopped.score(X_test, y_test):.3f}")

# %%
# A callback that returns True ends the fit. This one stops when fewer than three in ten training labels are missed,
# since that many are known to be wrong.
ruled = AsySVRGClassifier(early_stopping=False, random_state=0)
ruled.fit(X_train, y_train, callback=lambda row: row["train_error"] < 0.3)
print(f"a rule of my own: accuracy {ruled.score(X_test, y_test):.3f}, after {ruled.n_iter_} epochs")
print(f"why it ended: {ruled.stopped_!r}")

# %%
import matplotlib.pyplot as plt

figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
axes.plot([row["train_error"] for row in epochs], "k--", label="training error, a third of the labels wrong")
axes.plot([row["test_error"] for row in epochs], "k-", label="test error, right labels")
axes.axvline(ruled.n_iter_, color="0.6", linestyle=":", label="where the rule stops")
axes.set(xlabel="epoch", ylabel="error", ylim=(0, None))
axes.legend()
plt.show()
