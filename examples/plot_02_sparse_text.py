"""
Text: sparse input
==================

You learn that sparse matrices go in as they are, and what a network makes of them.
"""

# %%
# The texts are docstrings, which are at hand wherever this runs: of NumPy, SciPy, pandas and scikit-learn. The task is
# to tell from a docstring which library it is of.
import importlib.util
import re
from pathlib import Path

import numpy as np

LIBRARIES = ("numpy", "scipy", "pandas", "sklearn")
DOCSTRING = re.compile(r'\b(?:def|class) \w+[^"]*?:\n +r?"""(.{200,}?)"""', re.DOTALL)


def docstrings(library):
    """Returns the longer docstrings of a library, read from its files."""
    files = sorted(Path(importlib.util.find_spec(library).origin).parent.rglob("*.py"))
    texts = [path.read_text(encoding="utf-8") for path in files if "tests" not in path.parts]
    return sorted({found for text in texts for found in DOCSTRING.findall(text)})


texts, labels = [], []
for library in LIBRARIES:
    found = docstrings(library)
    texts += found
    labels += [library] * len(found)
print(f"{len(texts):,} docstrings: " + ", ".join(f"{labels.count(name):,} of {name}" for name in LIBRARIES))

# %%
# ``TfidfVectorizer`` makes a CSR matrix. Only some dozens of the columns of a row are not zero. The names of the
# libraries are left out.
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import train_test_split

words = TfidfVectorizer(
    token_pattern=r"[A-Za-z]{2,}",
    stop_words=["numpy", "np", "scipy", "pandas", "pd", "scikit", "sklearn"],
    min_df=2,
    sublinear_tf=True,
    dtype=np.float32,
)
X = words.fit_transform(texts)
X_train, X_test, y_train, y_test = train_test_split(X, labels, random_state=0, stratify=labels)
print(f"{X.shape[0]:,} rows, {X.shape[1]:,} columns, of which a row has {X.nnz / X.shape[0]:.0f}")

# %%
# It goes in as it is. The forward pass, the gradients and the updates touch only the weights of words that occur. The
# l2 term shrinks the weights of all other words, and that is done later, for many updates at once ("lazy rows").
from time import perf_counter

from sklearn.linear_model import LogisticRegression

from asysvrg import AsySVRGClassifier

for name, model in {
    "a hidden layer of 50": AsySVRGClassifier((50,), random_state=0),
    "no hidden layer": AsySVRGClassifier((), random_state=0),
    "scikit-learn's logistic regression": LogisticRegression(max_iter=1000),
}.items():
    start = perf_counter()
    model.fit(X_train, y_train)
    print(f"{name + ':':36}{perf_counter() - start:6.2f} s, accuracy {model.score(X_test, y_test):.3f}")

# %%
# Without a hidden layer each word has a weight for each library. These are the largest ones.
import matplotlib.pyplot as plt

linear = AsySVRGClassifier((), random_state=0).fit(X_train, y_train)
figure, panels = plt.subplots(1, 4, figsize=(9, 3.5), layout="constrained", sharex=True)
for library, weights, axes in zip(linear.classes_, linear.coefs_[0].T, panels, strict=True):
    largest = weights.argsort()[-12:]
    axes.barh(words.get_feature_names_out()[largest], weights[largest], color="0.4")
    axes.set(title=library, xlabel="weight")
plt.show()
