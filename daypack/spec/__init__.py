"""The spec: TOML to a frozen, validated `TrainSpec`, and back.

Every error is a `SpecError` with one line a mistake: the file, the full key, what it got, what it takes, and
for an unknown key the nearest known one. Relative paths are taken from the folder of the spec file.
"""

from daypack.spec.schema import (
    BudgetSection,
    DataSection,
    DeviceSection,
    EnergySection,
    ModelSection,
    TrainSection,
    TrainSpec,
)
from daypack.spec.size import UNITS_BYTES, format_size, parse_size
from daypack.spec.toml import check_spec, load_spec, parse_spec, to_toml

__all__ = [
    "UNITS_BYTES",
    "BudgetSection",
    "DataSection",
    "DeviceSection",
    "EnergySection",
    "ModelSection",
    "TrainSection",
    "TrainSpec",
    "check_spec",
    "format_size",
    "load_spec",
    "parse_size",
    "parse_spec",
    "to_toml",
]
