"""
Checkpoints: stop a run and go on
=================================

You learn that a run which is interrupted and resumed ends with the same bits as one that was never interrupted.
"""

# %%
# ``checkpoint_dir`` is a folder that keeps the state after every epoch. It belongs to one run.
import tempfile
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

import asysvrg
from asysvrg import AsySVRGClassifier

X, y = load_digits(return_X_y=True)
folder = Path(tempfile.mkdtemp())
settings = {"solver": "svrg", "max_iter": 10, "tol": 0, "random_state": 0}

whole = AsySVRGClassifier(**settings).fit(X, y)
print(f"without a break: {whole.n_iter_} epochs, loss {whole.loss_!r}")

# %%
# Now the same run ends in the middle, as by a time limit of a cluster. Here a callback ends it after the fourth epoch.
first = AsySVRGClassifier(**settings, checkpoint_dir=folder / "run")
first.fit(X, y, callback=lambda row: row["epoch"] == 4)
print(f"first part:      {first.n_iter_} epochs, loss {first.loss_!r}, stopped by {first.stopped_!r}")
print("in the folder:  ", *(path.name for path in (folder / "run").iterdir()))

# %%
# ``resume=True`` goes on from there. It starts a new run if the folder is empty, so a script need not know whether it
# has run before.
second = AsySVRGClassifier(**settings, checkpoint_dir=folder / "run", resume=True).fit(X, y)
print(f"second part:     {second.n_iter_} epochs, loss {second.loss_!r}")
same = all(np.array_equal(a, b) for a, b in zip(whole.coefs_, second.coefs_, strict=True))
print("the same bits:  ", same)

# %%
# Other data, another network or other settings are refused, and the message says what is different.
try:
    AsySVRGClassifier(**settings, alpha=0.1, checkpoint_dir=folder / "run", resume=True).fit(X, y)
except ValueError as error:
    print(str(error).replace(str(folder), "..."))

# %%
# A model file is another thing: it holds what is needed to predict. Reading it runs no code.
second.save(folder / "model.npz")
loaded = asysvrg.load(folder / "model.npz")
print("same predictions:", np.array_equal(loaded.predict_proba(X), second.predict_proba(X)))

# %%
# The two parts beside the whole run:
import matplotlib.pyplot as plt

figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
axes.semilogy([row["loss"] for row in whole.history_["epochs"]], color="0.7", linewidth=5, label="without a break")
axes.semilogy([row["loss"] for row in second.history_["epochs"]], "k--", label="resumed")
axes.semilogy([row["loss"] for row in first.history_["epochs"]], "k.-", label="first part")
axes.set(xlabel="epoch", ylabel="objective")
axes.legend()
plt.show()
