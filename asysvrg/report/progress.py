"""Progress of a run: a bar in a terminal, otherwise one line per epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

from asysvrg.report import streams

Row = dict[str, Any]


def short(value: float, decimals: int) -> str:
    """A number in at most 12 characters: of prices, squared errors may have more digits before the point."""
    return f"{value:.{decimals}f}" if abs(value) < 1e5 else f"{value:.6g}"


def describe(row: Row) -> str:
    """Loss, errors and delay of a row on one line."""
    words = [f"loss {short(row['loss'], 4)}", f"train error {row['train_error']:.4f}"]
    for name in ("validation", "test"):
        if row[f"{name}_error"] is not None:
            words.append(f"{name} error {row[f'{name}_error']:.4f}")
    if row["delay"]["max"]:
        words.append(f"delay {row['delay']['mean']:.1f}")
    if row.get("updates_per_second"):
        words.append(f"{row['updates_per_second']:.0f} updates/s, {row['workers']} workers")
    words += row.get("events", [])
    return ", ".join(words)


@contextmanager
def progress_bar(wanted: bool, epochs: int) -> Iterator[Callable[[Row], None]]:
    """Yield a function that shows a new row, or does nothing unless `wanted`."""
    stream = streams.err
    if not wanted:
        yield lambda row: None
    elif stream.isatty():
        with tqdm(total=epochs, unit="epoch", file=stream) as bar:

            def show(row: Row) -> None:
                bar.set_postfix_str(describe(row), refresh=False)
                bar.update(row["epoch"] - bar.n)

            yield show
    else:

        def say(row: Row) -> None:
            stream.say(f"epoch {row['epoch']}/{epochs}: {describe(row)}")

        yield say


def table(rows: list[Row], title: str = "", lines: int = 8) -> str:
    """Table of about `lines` rows, evenly spaced, with the first and the last row."""
    step = max(1, -(-(len(rows) - 1) // (lines - 1))) if len(rows) > 1 else 1
    chosen = [row for i, row in enumerate(rows) if i % step == 0 or i == len(rows) - 1]
    out = [title] if title else []
    errors = {"train": "train_error", "valid": "validation_error", "test": "test_error"}
    if all(row["validation_error"] is None for row in rows):
        del errors["valid"]
    titles = " ".join(f"{name + ' err':>9}" for name in errors)
    losses = [short(row["loss"], 5) for row in chosen]
    width = max(10, *map(len, losses))
    out.append(f"{'epoch':>6} {'seconds':>9} {'loss':>{width}} {'|grad|^2':>10} {titles} {'delay':>6}")
    for row, loss in zip(chosen, losses, strict=True):
        squares = row["gradient_norm_squared"]
        norm = "-" if squares is None else f"{squares:.2e}"
        found = " ".join(f"{'-' if row[name] is None else f'{row[name]:.4f}':>9}" for name in errors.values())
        out.append(
            f"{row['epoch']:>6} {row['seconds']:>9.3f} {loss:>{width}} {norm:>10} {found} {row['delay']['mean']:>6.2f}"
        )
    return "\n".join(out)
