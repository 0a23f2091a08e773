"""
Pipelines and grid search
=========================

You learn how the estimators fit into scikit-learn's tools: pipelines, searches over parameters, cross-validation.
"""

# %%
# A pipeline scales the columns and trains a network. Parameters of a step have its name in front.
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline

from asysvrg import AsySVRGClassifier, RobustClip

X, y = load_breast_cancer(return_X_y=True, as_frame=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)
model = make_pipeline(RobustClip(), AsySVRGClassifier(max_iter=20, random_state=0))
model.fit(X_train, y_train)
print(f"without a search: accuracy {model.score(X_test, y_test):.3f}")

# %%
# What is worth searching? The size of the network and ``alpha``. The learning rate is found by each fit itself.
# ``n_jobs=2`` runs two fits at a time. Each fit then has one thread: ``n_jobs=None`` of the estimator sees how many
# cores joblib leaves to it.
from time import perf_counter

grid = {
    "asysvrgclassifier__hidden_layer_sizes": [(), (30,), (100,)],
    "asysvrgclassifier__alpha": [1e-4, 1e-2, 1e-1],
}
search = GridSearchCV(model, grid, cv=5, scoring="neg_log_loss", n_jobs=2)
start = perf_counter()
search.fit(X_train, y_train)
print(f"{len(search.cv_results_['params'])} settings, five folds each: {perf_counter() - start:.1f} s")
print(f"best: {search.best_params_}")
print(f"with the search:  accuracy {search.best_estimator_.score(X_test, y_test):.3f}")

# %%
import matplotlib.pyplot as plt
import pandas as pd

table = pd.DataFrame(search.cv_results_)
figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
for (sizes, rows), line in zip(
    table.groupby(table["param_asysvrgclassifier__hidden_layer_sizes"].map(str)), ("k.-", "k.--", "k.:"), strict=True
):
    label = "no hidden layer" if sizes == "()" else f"hidden layer of {sizes.strip('(),')}"
    axes.semilogx(rows["param_asysvrgclassifier__alpha"].astype(float), -rows["mean_test_score"], line, label=label)
axes.set(xlabel="alpha", ylabel="log loss, five folds")
axes.legend()
plt.show()

# %%
# Cross-validation of the whole pipeline, and of one that averages five networks.
from sklearn.model_selection import cross_val_score

for networks in (1, 5):
    model.set_params(asysvrgclassifier__n_models=networks)
    scores = cross_val_score(model, X, y, cv=5, scoring="neg_log_loss")
    print(f"{networks} network(s): log loss {-scores.mean():.3f} (standard deviation of the folds {scores.std():.3f})")
