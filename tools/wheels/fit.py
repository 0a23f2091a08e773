"""What an installed wheel must do, run by the Python that has it: fits, predicts, and writes a line of JSON."""

import json
import platform
import sys
import tempfile
import time
from pathlib import Path

START = time.perf_counter()


def first_prediction():
    from sklearn.datasets import load_digits

    from asysvrg import AsySVRGClassifier

    X, y = load_digits(return_X_y=True)
    model = AsySVRGClassifier(hidden_layer_sizes=(20,), max_iter=5, n_jobs=2, random_state=0).fit(X, y)
    score = model.score(X, y)
    assert score > 0.9, score
    return score


def more():
    """Sparse input, both precisions, regression, and a model that is written and read."""
    import numpy as np
    from scipy.sparse import csr_array
    from sklearn.datasets import load_diabetes

    import asysvrg

    X, y = load_diabetes(return_X_y=True)
    for dtype in ("float32", "float64"):
        for data in (X, csr_array(X * (abs(X) > 0.02))):
            for solver in ("sgd", "svrg"):
                model = asysvrg.AsySVRGRegressor(
                    (10,), solver=solver, dtype=dtype, n_jobs=2, random_state=0, max_iter=20
                )
                assert model.fit(data, y).score(data, y) > 0.3
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder, "model.npz"))
        read = asysvrg.load(Path(folder, "model.npz"))
    assert np.array_equal(read.predict(data), model.predict(data))


def main():
    score = first_prediction()
    seconds = time.perf_counter() - START
    more()
    import numpy
    import scipy
    import sklearn

    import asysvrg
    from asysvrg.core.network import build_info

    assert Path(sys.prefix) in Path(asysvrg.__file__).parents or "--anywhere" in sys.argv, asysvrg.__file__
    info = build_info()
    assert info["openmp"] > 0
    versions = {module.__name__: module.__version__ for module in (asysvrg, numpy, scipy, sklearn)}
    locked = getattr(sys, "_is_gil_enabled", lambda: True)()
    version = platform.python_version() + ("" if locked else "t")
    found = {"python": version, "machine": platform.machine(), "libc": " ".join(platform.libc_ver())}
    print(
        json.dumps(found | versions | {"simd": info["simd"], "score": score, "first_prediction_s": round(seconds, 2)})
    )


if __name__ == "__main__":
    main()
