"""Rows of a trace."""


def rows(losses):
    delay = {"mean": 0.5, "p50": 0, "p99": 2, "max": 2}
    return [
        {
            "epoch": s, "seconds": s / 10, "loss": loss, "train_error": 0.1, "validation_error": None,
            "test_error": None if s % 2 else 0.2, "gradient_norm_squared": 1e-3, "delay": delay,
        }
        for s, loss in enumerate(losses)
    ]  # fmt: skip
