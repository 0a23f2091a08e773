"""The paper's theorems as functions, measurements of what they need, and reports that compare them with runs.

`equations` has Theorems 1 to 4 with the paper's letters, `serial` the theorem of serial SVRG that they extend.
`smoothness_of` measures L, and `report` says what the theorems say of a run.
"""

from asysvrg.theory.equations import (
    Constants,
    Settings,
    admissible_delay,
    bound,
    constants,
    is_proved,
    largest_eta,
    largest_u0,
    settings,
    sigma,
    simplified_bound,
    variance_factor,
)
from asysvrg.theory.measured import smoothness_of
from asysvrg.theory.report import Report, report
from asysvrg.theory.serial import reddi_constants, reddi_settings

__all__ = [
    "Constants", "Report", "Settings", "admissible_delay", "bound", "constants", "is_proved", "largest_eta",
    "largest_u0", "reddi_constants", "reddi_settings", "report", "settings", "sigma", "simplified_bound",
    "smoothness_of", "variance_factor",
]  # fmt: skip
