"""What prediction needs to know of the file that a model was trained on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Schema:
    """What `asysvrg predict` needs to know of the training file, in order to read other files in the same way.

    Attributes
    ----------
    names : tuple of str, or None
        The features' columns; None for files without names.
    target : str, int or None
        The target's column: its name or, in a table without a header, its index.
    zero_based : bool or None
        Whether the indices of an svmlight file start from 0.
    """

    names: tuple[str, ...] | None = None
    target: str | int | None = None
    zero_based: bool | None = None

    def __post_init__(self) -> None:
        if type(self.target) not in (str, int, type(None)) or type(self.zero_based) not in (bool, type(None)):
            raise ValueError(f"target {str(self.target)[:40]!r} or zero_based {str(self.zero_based)[:40]!r} is unknown")

    def as_dict(self) -> dict[str, str | int | bool | None]:
        """All but the names, which scikit-learn's estimators keep as `feature_names_in_`."""
        return {"target": self.target, "zero_based": self.zero_based}
