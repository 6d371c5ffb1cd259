"""A device's profile corrected by what its own kernels and files reach: `daypack calibrate`.

`programs.py` has the training steps that are measured, `readings.py` runs them, `fit.py` makes rates of what
they took, `session.py` puts these into a profile.
"""

from daypack.calibration.programs import Sizes
from daypack.calibration.session import Calibrated, calibrate

__all__ = ["Calibrated", "Sizes", "calibrate"]
