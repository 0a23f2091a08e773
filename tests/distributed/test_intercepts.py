"""Networks without biases, trained by ranks."""


def test_ranks_keep_biases_at_zero(ranks):
    program = """
        import numpy as np
        from asysvrg import AsySVRGRegressor

        rng = np.random.default_rng(0)
        X = rng.normal(size=(200, 6)) + 2
        y = X @ rng.normal(size=6) + 30
        model = AsySVRGRegressor((4,), fit_intercept=False, backend="mpi", max_iter=3, random_state=0, tol=0).fit(X, y)
        tell(
            biases=max(float(abs(b).max()) for b in model.intercepts_),
            weights=min(float(abs(W).max()) for W in model.coefs_),
            losses=[row["loss"] for row in model.history_["epochs"]],
        )
    """
    for told in ranks(program, 3):
        assert told["biases"] == 0
        assert told["weights"] > 0.01
        assert told["losses"][-1] < told["losses"][0] / 2
