"""
Digits: a first fit
===================

You learn how to train a classifier without choosing anything, and where to read what was chosen for you.
"""

# %%
# Two lines train a network. The data are 1,797 images of 8 x 8 pixels.
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from asysvrg import AsySVRGClassifier

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)

model = AsySVRGClassifier(random_state=0).fit(X_train, y_train)
print(f"accuracy on the test set: {model.score(X_test, y_test):.3f}")

# %%
# ``history_`` has a row for each epoch, and the settings of the run with the reason for each choice.
for row in model.history_["epochs"][::3]:
    print(f"epoch {row['epoch']:2}: loss {row['loss']:.4f}, training error {row['train_error']:.4f}")
for name in ("solver", "learning_rate", "batch_size", "execution"):
    print(f"{name}: {model.history_['config'][name]}")

# %%
# The rate falls in a straight line to 0, and the last epochs settle what the first ones have found.
import matplotlib.pyplot as plt

rows = model.history_["epochs"]
figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
axes.semilogy([row["epoch"] for row in rows], [row["loss"] for row in rows], "k.-")
axes.set(xlabel="epoch", ylabel="objective", title="digits, 64-100-10")
plt.show()

# %%
# Which digits are mixed up? The estimator is one of scikit-learn's, so its tools work.
from sklearn.metrics import ConfusionMatrixDisplay

figure, axes = plt.subplots(figsize=(5, 5), layout="constrained")
ConfusionMatrixDisplay.from_estimator(model, X_test, y_test, ax=axes, cmap="Greys", colorbar=False)
plt.show()
