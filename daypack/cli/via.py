"""Where an engine runs, as an argument."""

from __future__ import annotations

from enum import StrEnum


class Via(StrEnum):
    """How the engine is started."""

    LOCAL = "local"
    EMULATED = "emulated"
    ADB = "adb"
